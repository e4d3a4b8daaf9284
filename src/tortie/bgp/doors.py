"""What this host's BGP answers to people: its sessions, its routes, and why one is (not) there."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from tortie.bgp import why
from tortie.bgp.bird import BirdDriver
from tortie.bgp.control import BgpRoute, NextHop, Session
from tortie.bgp.judge import import_refusal, in_kernel
from tortie.errors import BgpError
from tortie.kernel import process


class Shown(Struct, frozen=True, rename="camel"):
    """A session as people see it. `peer` is the resource or node that it is made by; `state` is
    BIRD's word, or `withheld` for a peer that is left out."""

    peer: str
    name: str = ""
    kind: str = ""
    peer_address: str = ""
    remote_as: int = 0
    local_as: int = 0
    state: str = ""
    since: str = ""
    last_error: str = ""
    imported: int = 0
    filtered: int = 0
    exported: int = 0
    preferred: int = 0
    bfd: bool = False


def sessions(driver: BirdDriver) -> object:
    """All sessions, and the peers that are left out with the reason. Raises BgpError."""
    bgp = driver.bgp
    peers = {peer.name: peer for peer in bgp.peers}
    found = []
    for session in driver.sessions():
        peer = peers.get(session.name)
        found.append(
            Shown(
                peer=(peer.shown or peer.name) if peer else session.name,
                kind=peer.kind if peer else "",
                bfd=bool(peer and peer.bfd),
                **{
                    field: getattr(session, field)
                    for field in Session.__struct_fields__
                    if field in Shown.__struct_fields__
                },
            )
        )
    found += [
        Shown(peer=name, state="withheld", last_error=reason) for name, reason in bgp.withheld
    ]
    return msgspec.to_builtins(found)


def routes(driver: BirdDriver) -> object:
    """All routes that BIRD has, those that it refused with the reason. Raises BgpError."""
    bgp = driver.bgp
    found = why.heard(
        bgp,
        _without_connected(driver.control.routes()),
        driver.control.routes(refused=True),
        partial(import_refusal, bgp),
    )
    return msgspec.to_builtins(sorted(found, key=lambda each: (_order(each.prefix), each.refused)))


def reason(driver: BirdDriver, asked: str) -> object:
    """Why a prefix, or what leads to an address, is or is not in the kernel.

    Raises BgpError, KernelError; ValueError for what is neither prefix nor address.
    """
    bgp, control = driver.bgp, driver.control
    taken = _without_connected(control.routes())
    filtered = control.routes(refused=True)
    prefix = _prefix(asked, [each.prefix for each in (*taken, *filtered)])
    taken = [each for each in taken if each.prefix == prefix]
    found = why.heard(
        bgp,
        taken,
        [each for each in filtered if each.prefix == prefix],
        partial(import_refusal, bgp),
    )
    first = next((each for each in taken if each.best), taken[0] if taken else None)
    told = [peer.name for peer in bgp.peers if first and control.tells(prefix, peer.name)]
    barred = in_kernel(bgp, first) if first else ""
    kernel = kernel_routes(prefix)
    return msgspec.to_builtins(
        why.answer(bgp, prefix, found, kernel, driver.sessions(), told, barred)
    )


def kernel_routes(prefix: str) -> list[why.KernelRoute]:
    """The routes of the main table for just this prefix. Raises KernelError, BgpError."""
    family = "-6" if ":" in prefix else "-4"
    shown = process.run(["ip", "-N", "-json", family, "route", "show", "exact", prefix])
    try:
        return [_kernel_route(each) for each in json.loads(shown.stdout or "[]")]
    except (ValueError, LookupError, TypeError) as error:
        raise BgpError("the answer of `ip route show` cannot be read") from error


_KINDS = {"1": "unicast", "6": "blackhole", "7": "unreachable", "8": "prohibit"}


def _kernel_route(found: dict[str, object]) -> why.KernelRoute:
    hops = found.get("nexthops") or [found]
    assert isinstance(hops, list)
    kind = str(found.get("type", "unicast"))
    return why.KernelRoute(
        protocol=int(str(found.get("protocol", 0))),
        metric=int(str(found.get("metric", 0))),
        kind=_KINDS.get(kind, kind),
        next_hops=tuple(
            NextHop(str(hop.get("gateway", "")), str(hop.get("dev", "")))
            for hop in hops
            if hop.get("gateway") or hop.get("dev")
        ),
    )


def _prefix(asked: str, known: Iterable[str]) -> str:
    """The prefix asked for; for an address, the longest that is known and holds it."""
    if "%" in asked:
        raise ValueError(f"{asked!r} is neither a prefix nor an address")
    if "/" in asked:
        return str(ipaddress.ip_network(asked, strict=False))
    address = ipaddress.ip_address(asked)
    whole = ipaddress.ip_network(f"{address}/{address.max_prefixlen}")
    found = [ipaddress.ip_network(each) for each in set(known)]
    holding = [each for each in found if each.version == address.version and address in each]
    return str(max(holding, key=lambda each: each.prefixlen, default=whole))


def _without_connected(routes: Sequence[BgpRoute]) -> list[BgpRoute]:
    """Without what BIRD knows for itself only: connected networks and ways to peers."""
    return [each for each in routes if not each.session.startswith("tor_connected")]


def _order(prefix: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(prefix)
    return network.version, int(network.network_address), network.prefixlen
