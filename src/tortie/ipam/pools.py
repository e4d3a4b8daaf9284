"""Which pools serve a workload or a tunnel, and which blocks a pool is cut into. Pure.

Rules of Calico v3: pools that are asked for by name or CIDR are used whatever their selectors say;
else all that are enabled, assigned automatically, and select the node and the namespace. Either way
only those that are allowed for the use.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from tortie.errors import IpamError
from tortie.model import net, selector
from tortie.model import resources as r
from tortie.model.words import did_you_mean, quote

BLOCK_LENGTH: dict[net.Family, int] = {4: 26, 6: 122}
"""Prefix length of a block unless the pool says otherwise (Calico v3)."""

NAME_LABELS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
"""Every namespace has its name under these labels."""

Use = Literal["Workload", "Tunnel"]
ALLOWED_USES: tuple[Use, ...] = ("Workload", "Tunnel")
"""What a pool is for that does not say."""
_FOR: dict[Use, str] = {"Workload": "is not for workloads", "Tunnel": "is not for tunnels"}


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as stored: `key` and `revision` are the store's."""

    key: str
    revision: int
    name: str
    spec: r.IPPoolSpec

    @property
    def net(self) -> net.Net:
        return net.parse_net(self.spec.cidr)

    @property
    def block_length(self) -> int:
        """Prefix length of its blocks."""
        return self.spec.block_size or BLOCK_LENGTH[self.net.family]

    def serves(self, use: Use) -> bool:
        """It is allowed for a use."""
        return use in (self.spec.allowed_uses or ALLOWED_USES)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """It selects a node of these labels."""
        return selector.parse(self.spec.node_selector).matches(labels)


@dataclass(frozen=True, slots=True)
class Place:
    """For whom an address is wanted, and the labels of its node and namespace."""

    node: str
    labels: Mapping[str, str]
    namespace: str | None
    namespace_labels: Mapping[str, str]


def eligible(
    pools: Sequence[Pool],
    family: net.Family,
    place: Place,
    wanted: Sequence[str] | None,
    use: Use = "Workload",
) -> list[Pool]:
    """The pools to assign from, in order. Raises IpamError, saying why, if there is none."""
    of_family = [pool for pool in pools if pool.net.family == family]
    if wanted:
        return _named(pools, of_family, family, wanted, use)
    refused = {pool.name: _refusal(pool, place, use) for pool in of_family}
    found = [pool for pool in of_family if refused[pool.name] is None]
    if not found:
        why = "; ".join(f"{name} {reason}" for name, reason in refused.items())
        raise IpamError(
            f"no IPv{family} pool serves node {place.node}" + (f": {why}" if why else ""),
            "apply an IPPool that selects it"
            if why
            else f"apply an IPPool with an IPv{family} cidr",
        )
    return found


def containing(pools: Sequence[Pool], address: str) -> Pool | None:
    """The pool that an address lies in."""
    wanted = net.parse_net(address)
    return next((pool for pool in pools if pool.net.covers(wanted)), None)


def require(pool: Pool | None, address: str, use: Use) -> Pool:
    """The pool of an address. Raises IpamError if nothing is assigned from it for the use."""
    if pool is None or pool.spec.disabled:
        raise IpamError(
            f"the address {address} is in no enabled IP pool", "see `tortie get ippools`"
        )
    if not pool.serves(use):
        raise IpamError(
            f"the address {address} is in the IP pool {pool.name}, which {_FOR[use]}",
            f"choose another, or add {use} to its allowedUses",
        )
    return pool


def pool_of(pools: Sequence[Pool], cidr: str) -> Pool | None:
    """The pool that a block lies in."""
    inside = net.parse_net(cidr)
    return next((pool for pool in pools if pool.net.covers(inside)), None)


def block_around(pool: Pool, address: str) -> str:
    """The block of a pool in which an address lies."""
    return net.parse_net(f"{address}/{pool.block_length}").text


def candidates(pool: Pool, node: str, taken: Sequence[net.Net]) -> Iterator[str]:
    """The blocks of a pool that overlap none of `taken`.

    The first is chosen by a hash of the node's name, so that hosts seldom reach for the same one.
    """
    whole = pool.net
    bits = pool.block_length - whole.length
    if bits < 0:
        return
    count = 1 << bits
    size = 1 << (net.BITS[whole.family] - pool.block_length)
    exact = {other.text for other in taken if other.length == pool.block_length}
    odd = [o for o in taken if o.length != pool.block_length and o.family == whole.family]
    start = int.from_bytes(sha256(f"{node}/{pool.name}".encode()).digest()) % count
    step = 0
    while step < count:
        place = (start + step) % count
        first = whole.first + place * size
        over = [other for other in odd if other.first < first + size and first <= other.last]
        if over:
            # A large one is left at its end, not passed block by block; nor is the pool's end.
            past = (max(other.last for other in over) - whole.first) // size + 1
            step += min(past, count) - place
            continue
        step += 1
        text = f"{_address(whole.family, first)}/{pool.block_length}"
        if text not in exact:
            yield text


def _named(
    pools: Sequence[Pool],
    of_family: Sequence[Pool],
    family: net.Family,
    wanted: Sequence[str],
    use: Use,
) -> list[Pool]:
    """The pools asked for by name or CIDR, of one family, in the order they were asked for."""
    found = []
    for text in wanted:
        pool = next((p for p in pools if text in (p.name, p.net.text)), None)
        if pool is None:
            known = [p.name for p in pools]
            cure = did_you_mean(text, known) if known else "there is no IPPool yet"
            raise IpamError(f"there is no IP pool {quote(text)}", cure)
        if pool.spec.disabled:
            raise IpamError(f"the IP pool {pool.name} is disabled", "enable it or choose another")
        if not pool.serves(use):
            raise IpamError(
                f"the IP pool {pool.name} {_FOR[use]}",
                f"choose another, or add {use} to its allowedUses",
            )
        if pool in of_family and pool not in found:
            found.append(pool)
    if not found:
        raise IpamError(
            f"none of the pools asked for has IPv{family} addresses", "name one that has, too"
        )
    return found


def _refusal(pool: Pool, place: Place, use: Use) -> str | None:
    """Why a pool does not serve a place by itself; None: it does."""
    spec = pool.spec
    if spec.disabled:
        return "is disabled"
    if spec.assignment_mode != "Automatic":
        return "is assigned by hand only"
    if not pool.serves(use):
        return _FOR[use]
    if not pool.selects(place.labels):
        return f"does not select the node ({spec.node_selector})"
    if spec.namespace_selector and (
        place.namespace is None
        or not selector.parse(spec.namespace_selector).matches(place.namespace_labels)
    ):
        return f"does not select the namespace ({spec.namespace_selector})"
    return None


def _address(family: net.Family, value: int) -> str:
    return str(ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value))
