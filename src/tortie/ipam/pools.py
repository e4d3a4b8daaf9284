"""Which pools serve a workload, and which blocks a pool is cut into. Pure.

Rules of Calico v3: pools that are asked for by name or CIDR are used whatever their selectors say;
else all that are enabled, assigned automatically, and select the node and the namespace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tortie.errors import IpamError
from tortie.model import net, selector
from tortie.model import resources as r
from tortie.model.words import did_you_mean, quote

BLOCK_LENGTH: dict[net.Family, int] = {4: 26, 6: 122}
"""Prefix length of a block unless the pool says otherwise (Calico v3)."""

NAME_LABELS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
"""Every namespace has its name under these labels."""


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


@dataclass(frozen=True, slots=True)
class Place:
    """For whom an address is wanted, and the labels of its node and namespace."""

    node: str
    labels: Mapping[str, str]
    namespace: str | None
    namespace_labels: Mapping[str, str]


def eligible(
    pools: Sequence[Pool], family: net.Family, place: Place, wanted: Sequence[str] | None
) -> list[Pool]:
    """The pools to assign from, in order. Raises IpamError, saying why, if there is none."""
    of_family = [pool for pool in pools if pool.net.family == family]
    if wanted:
        return _named(pools, of_family, family, wanted)
    refused = {pool.name: _refusal(pool, place) for pool in of_family}
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
    exact = {other.text for other in taken}
    odd = [other for other in taken if other.length != pool.block_length]
    start = int.from_bytes(sha256(f"{node}/{pool.name}".encode()).digest()) % count
    for step in range(count):
        first = whole.first + (start + step) % count * size
        text = f"{_address(whole.family, first)}/{pool.block_length}"
        if text not in exact and not _overlaps(text, odd):
            yield text


def _named(
    pools: Sequence[Pool], of_family: Sequence[Pool], family: net.Family, wanted: Sequence[str]
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
        if pool in of_family and pool not in found:
            found.append(pool)
    if not found:
        raise IpamError(
            f"none of the pools asked for has IPv{family} addresses", "name one that has, too"
        )
    return found


def _refusal(pool: Pool, place: Place) -> str | None:
    """Why a pool does not serve a place by itself; None: it does."""
    spec = pool.spec
    if spec.disabled:
        return "is disabled"
    if spec.assignment_mode != "Automatic":
        return "is assigned by hand only"
    if spec.allowed_uses and "Workload" not in spec.allowed_uses:
        return "is not for workloads"
    if not selector.parse(spec.node_selector).matches(place.labels):
        return f"does not select the node ({spec.node_selector})"
    if spec.namespace_selector and (
        place.namespace is None
        or not selector.parse(spec.namespace_selector).matches(place.namespace_labels)
    ):
        return f"does not select the namespace ({spec.namespace_selector})"
    return None


def _address(family: net.Family, value: int) -> str:
    return str(ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value))


def _overlaps(text: str, others: Sequence[net.Net]) -> bool:
    return bool(others) and any(net.parse_net(text).overlaps(other) for other in others)
