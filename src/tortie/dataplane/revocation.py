"""Cutting the connections that a changed policy forbids, and only those.

A connection is cut by a bit of its mark, which the firewalls drop in both directions before they
let established connections pass: a deleted entry would come back with the next reply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import NamedTuple

from tortie.dataplane.crossing import Crossing
from tortie.dataplane.interpreter import Direction, Interpreter, Packet
from tortie.desired import REVOKED, Filter, Rule
from tortie.kernel.conntrack import Connection, ConntrackPort, Way
from tortie.kernel.rtnetlink import NetlinkPort

Asker = tuple[str, Direction]
"""Who may ask for cuts: the guarded interface ("*" for a host endpoint of all), and a direction."""


class Revocation:
    """Keeps the bit REVOKED as the filters that are told to it, one after the other, ask for.

    A connection that some endpoint's policy forbids gets the bit if that endpoint and direction
    ask for it now, or if they asked before and allowed it before: so the deletion of the policy
    that asks cuts, too. It loses the bit when nothing forbids it, or when who forbade it before no
    longer asks. With nobody asking and no bit set no connection is looked at.
    """

    def __init__(self, conntrack: ConntrackPort, netlink: NetlinkPort) -> None:
        self._conntrack = conntrack
        self._netlink = netlink
        self._last: Filter | None = None
        """the filter that all connections have been judged by"""
        self._any_marked = True
        """by us; at first perhaps by an earlier run"""

    def apply(self, wanted: Filter) -> int:
        """Judge by a filter that is in force already; how many connections were cut or freed.

        Raises KernelError; then the same is tried again by the next call.
        """
        if self._last == wanted:
            return 0
        judge = _Judge(self._last or Filter(), wanted, self._netlink)
        changed = 0
        if judge.asked or self._any_marked:
            # A connection that begins while we look was judged by the new filter, or its packet
            # was under way when that came: then it is there at the second look.
            changed = self._look(judge)
            if judge.asked:
                self._conntrack.settle()
                changed += self._look(judge)
        self._last = wanted
        return changed

    def _look(self, judge: _Judge) -> int:
        marked, cut, free = 0, [], []
        for each in self._conntrack.connections(judge.naming, REVOKED):
            was = bool(each.mark & REVOKED)
            now = judge.is_cut(each, was)
            marked += now
            if now != was:
                (cut if now else free).append(each)
        self._any_marked = True  # until all is done
        done = self._conntrack.mark(cut, REVOKED, True)
        done += self._conntrack.mark(free, REVOKED, False)
        self._any_marked = marked > 0
        return done


class _Changed(NamedTuple):
    """What a change of filter asks of one connection."""

    cuts: bool
    frees: bool


class _Judge:
    """Judges connections by the new filter, and by the old one where that matters."""

    def __init__(self, old: Filter, new: Filter, netlink: NetlinkPort) -> None:
        self._asked_now = _askers(new)
        self._asked_before = _askers(old) - self._asked_now
        self.asked = bool(self._asked_now or self._asked_before)
        self.naming = _whose((old, new), self._asked_now | self._asked_before)
        """addresses of all whose connections may be cut; None: of everybody"""
        self._new = Interpreter(new)
        self._old = Interpreter(old)
        self._crossing = Crossing(new.endpoints, netlink)
        self._alike = not _asks_for_source_ports(new) and not _asks_for_source_ports(old)
        self._known: dict[tuple[Packet, Packet], _Changed] = {}

    def is_cut(self, connection: Connection, was: bool) -> bool:
        """Should the connection have the bit? `was`: it has it now."""
        way = connection.master or connection.original
        if _is_for_many(way.destination) or _is_link_local(way.source):
            return was  # nothing says by which interface it comes
        packet, target = _packets(connection)
        if self._alike:
            packet, target = packet._replace(source_port=None), target._replace(source_port=None)
        found = self._known.get((packet, target))
        if found is None:
            found = self._known[packet, target] = self._judge(packet, target)
        return found.cuts or (was and not found.frees)

    def _judge(self, packet: Packet, target: Packet) -> _Changed:
        denied = self._deniers(self._new, packet, target)
        if denied & self._asked_now:
            return _Changed(cuts=True, frees=False)
        gone = denied & self._asked_before
        if not gone:
            return _Changed(cuts=False, frees=not denied)
        cuts = not gone <= self._deniers(self._old, packet, target)
        return _Changed(cuts, not cuts)

    def _deniers(self, reading: Interpreter, packet: Packet, target: Packet) -> set[Asker]:
        incoming = self._crossing.interface(packet.source)
        outgoing = self._crossing.interface(target.destination)
        return {
            (step.guard, step.direction)
            for step in reading.steps(packet, incoming, outgoing, target)
            if step.guard and not step.verdict.allowed
        }


def _askers(wanted: Filter) -> frozenset[Asker]:
    found: set[Asker] = set()
    for each in (*wanted.endpoints, *wanted.hosts):
        if each.revoke_ingress:
            found.add((each.interface, "ingress"))
        if each.revoke_egress:
            found.add((each.interface, "egress"))
    return frozenset(found)


def _whose(filters: Iterable[Filter], askers: Collection[Asker]) -> frozenset[str] | None:
    interfaces = {interface for interface, _ in askers}
    found: set[str] = set()
    for wanted in filters:
        if any(host.interface in interfaces for host in wanted.hosts):
            return None
        for each in wanted.endpoints:
            if each.interface in interfaces:
                found.update(each.addresses)
    return frozenset(found)


def _packets(connection: Connection) -> tuple[Packet, Packet]:
    """The first packet as it came in, and as it is behind the translation of its destination. What
    another connection announced is judged as that one."""
    if connection.master is not None:
        packet = _packet(connection.master)
        return packet, packet
    packet, reply = _packet(connection.original), connection.reply
    return packet, packet._replace(destination=reply.source, port=reply.source_port)


def _packet(way: Way) -> Packet:
    return Packet(way.source, way.destination, way.protocol, way.port, way.source_port, way.icmp)


def _is_for_many(address: str) -> bool:
    return address == "255.255.255.255" or ip_address(address).is_multicast


def _is_link_local(address: str) -> bool:
    return address.startswith("fe80:")


def _asks_for_source_ports(wanted: Filter) -> bool:
    """Else connections that differ in their source ports only have one verdict."""

    def asks(rule: Rule) -> bool:
        side = rule.source
        return bool(side.ports or side.port_sets or side.not_ports or side.not_port_sets)

    hosts = any(each.untracked_ingress or each.untracked_egress for each in wanted.hosts)
    return hosts or any(
        asks(rule) for each in wanted.policies for rule in (*each.ingress, *each.egress)
    )
