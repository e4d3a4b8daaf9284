"""Cutting the connections that a changed policy forbids, and only those.

A connection is cut by a bit of its mark, which the firewalls drop in both directions before they
let established connections pass: a deleted entry would come back with the next reply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import NamedTuple

from tortie.dataplane import alike
from tortie.dataplane.crossing import Crossing
from tortie.dataplane.interpreter import Direction, Interpreter, Packet
from tortie.desired import REVOKED, Endpoint, Filter, HostEndpoint, Rule
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
        self._failed = False
        """the last call did a part only"""

    def apply(self, wanted: Filter) -> int:
        """Judge by a filter that is in force already; how many connections were cut or freed.

        Raises KernelError; then the same is tried again by the next call.
        """
        if self._last == wanted and not self._failed:
            return 0
        self._failed = True
        old = self._last or Filter()
        asked = bool(_askers(old) or _askers(wanted))
        changed = 0
        if asked:
            # What begins from now on is judged by the new filter, but for a connection whose
            # first packet was under way when that came into force.
            self._conntrack.settle()
        if asked or self._any_marked:
            changed = self._mark(_Judge(old, wanted, self._netlink))
        self._last, self._failed = wanted, False
        return changed

    def _mark(self, judge: _Judge) -> int:
        wrong = self._conntrack.connections(REVOKED, judge.naming, judge.is_wrong)
        self._any_marked = True  # until all is done
        done = 0
        for cut in (True, False):
            chosen = [each for each in wrong if each.marked is not cut]
            done += self._conntrack.mark(chosen, REVOKED, cut)
        self._any_marked = judge.cuts_any
        return done


class _Changed(NamedTuple):
    """What a change of filter asks of one connection."""

    cuts: bool
    frees: bool


class _Judge:
    """Judges connections by the new filter, and by the old one where that matters."""

    def __init__(self, old: Filter, new: Filter, netlink: NetlinkPort) -> None:
        self._asked_now = _askers(new)
        self._asked_before = _askers(old)
        self.naming = _whose((old, new), self._asked_now | self._asked_before)
        """addresses of all whose connections may be cut; None: of everybody"""
        self._new = Interpreter(new)
        self._old = Interpreter(old)
        self._crossing = Crossing(new.endpoints, netlink)
        self._alike = alike.Alike(
            alike.addresses(old).union(alike.addresses(new), self._crossing.addresses),
            chain(alike.nets(old), alike.nets(new), self._crossing.nets),
        )
        self._source_ports = _asks_for_source_ports(new) or _asks_for_source_ports(old)
        self._failsafes = {each.port for one in (old, new) for each in one.failsafe_inbound}
        self.cuts_any = False
        """a connection that was looked at should have the bit"""
        self._known: dict[tuple[object, ...], _Changed] = {}

    def is_wrong(self, connection: Connection) -> bool:
        """Has the connection the bit and should not, or the other way round?"""
        (source, target, protocol, source_port, port, icmp), reply, was, master, _ = connection
        # All that the verdict hangs on.
        like = self._alike.of
        behind = like(reply.source) if reply.source != target else None
        told = self._source_ports or source_port in self._failsafes
        ports = source_port if told else None, port, reply.source_port
        key = like(source), like(target), behind, protocol, ports, icmp, master
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._judge(connection)
        cut = found.cuts or (was and not found.frees)
        self.cuts_any = self.cuts_any or cut
        return cut is not was

    def _judge(self, connection: Connection) -> _Changed:
        packet, target = _packets(connection)
        if _is_for_many(packet.destination) or _is_link_local(packet.source):
            return _Changed(cuts=False, frees=False)  # nothing says by which interface it comes
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
        if incoming is None and reading.answers_failsafe(packet):
            # One that was there before it was tracked begins with whoever spoke first since.
            return set()
        return {
            (step.guard, step.direction)
            for step in reading.steps(packet, incoming, outgoing, target)
            if step.guard and not step.verdict.allowed
        }


def _askers(wanted: Filter) -> frozenset[Asker]:
    found: set[Asker] = set()
    ends: tuple[Endpoint | HostEndpoint, ...] = (*wanted.endpoints, *wanted.hosts)
    for each in ends:
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
    """Broadcast or multicast."""
    if ":" in address:
        return address.startswith("ff")
    return address == "255.255.255.255" or 224 <= int(address.partition(".")[0]) < 240


def _is_link_local(address: str) -> bool:
    return address.startswith(("fe8", "fe9", "fea", "feb"))


def _asks_for_source_ports(wanted: Filter) -> bool:
    """Else connections that differ in their source ports only have one verdict."""

    def asks(rule: Rule) -> bool:
        side = rule.source
        return bool(side.ports or side.port_sets or side.not_ports or side.not_port_sets)

    hosts = any(each.untracked_ingress or each.untracked_egress for each in wanted.hosts)
    return hosts or any(
        asks(rule) for each in wanted.policies for rule in (*each.ingress, *each.egress)
    )
