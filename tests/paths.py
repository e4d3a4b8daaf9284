"""Which hosts a packet crosses in the two-node network of `worlds`, and by which interfaces."""

from __future__ import annotations

from typing import NamedTuple

from worlds import GATEWAY, NODE_ADDRESSES, OUTSIDE, SLOTS

from tortie.explain.oracle import Flow


class Hop(NamedTuple):
    """One host on a packet's way; None: it begins, or ends, on the host itself."""

    node: str
    incoming: str | None
    outgoing: str | None


class _Home(NamedTuple):
    node: str | None
    interface: str | None


_HOMES = {
    **{a: _Home(slot.node, slot.interface) for slot in SLOTS for a in (slot.four, slot.six)},
    **{a: _Home(node, None) for node, by in NODE_ADDRESSES.items() for a in by.values()},
    **dict.fromkeys(OUTSIDE.values(), _Home(None, None)),
}


def path(flow: Flow) -> tuple[Hop, ...]:
    """The hosts that judge a flow's first packet, in order; none from outside to outside."""
    source = _HOMES[flow.source]
    if flow.destination in GATEWAY.values():
        return (Hop(source.node, source.interface, None),) if source.node else ()
    target = _HOMES[flow.destination]
    if source.node is None and target.node is None:
        return ()
    if source.node is None:
        return (Hop(target.node, "wan", target.interface),)
    if target.node is None:
        return (Hop(source.node, source.interface, "wan"),)
    if source.node == target.node:
        return (Hop(source.node, source.interface, target.interface),)
    return (
        Hop(source.node, source.interface, "core"),
        Hop(target.node, "core", target.interface),
    )
