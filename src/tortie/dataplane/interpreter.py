"""The plain interpreter of a Filter: what a faithful dataplane does with the first packet of a
connection on one host.

It walks the hooks in the kernel's order, rule by rule. Limits of rate and of connections, and the
MAC addresses of neighbours, are not in it. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from tortie.dataplane.matching import Direction, Packet, Rules
from tortie.desired import (
    GATEWAY_V4,
    GATEWAY_V6,
    INTERFACE_PREFIX,
    Endpoint,
    Filter,
    HostEndpoint,
    OpenPort,
    TierStep,
)

__all__ = ["Direction", "Interpreter", "Packet", "Step", "Verdict"]

NEIGHBOUR_DISCOVERY = (*range(130, 137), 143)
"""ICMPv6 types that no host endpoint judges: MLD and ND (RFC 2710, 3810, 4861)."""

LINK_LOCAL, ALL_ON_LINK = "fe80::/10", "ff02::/16"
_ICMPV6 = 58
_UDP = 17
_GATEWAY_ECHO = {(GATEWAY_V4, 1, 8), (GATEWAY_V6, _ICMPV6, 128)}
_TO_HOST_ND = (131, 132, 133, 135, 136, 143)
_UNSPECIFIED_ND = (131, 132, 133, 135, 143)


class Verdict(NamedTuple):
    """What becomes of a packet, and what decided so, in words."""

    allowed: bool
    by: str


class Step(NamedTuple):
    """What one evaluation says of a packet.

    `guard` is the interface of the endpoint whose policy it is (a HostEndpoint's may be "*"), or ""
    for what is no endpoint's policy.
    """

    guard: str
    direction: Direction
    verdict: Verdict


class Interpreter:
    """Judges packets by one Filter. Building it is quick; what rules need is made when first
    asked for."""

    def __init__(self, wanted: Filter) -> None:
        self._filter = wanted
        self._rules = Rules(wanted)
        self._workloads = {each.interface: each for each in wanted.endpoints}
        self._hosts = {each.interface: each for each in wanted.hosts}

    def judge(
        self,
        packet: Packet,
        incoming: str | None,
        outgoing: str | None,
        translated: Packet | None = None,
    ) -> Verdict:
        """The verdict on the first packet of a connection.

        `incoming` None: the host itself sends; `outgoing` None: it ends on the host. `translated`
        is the packet behind a destination NAT of this host, if it has one.
        """
        last = Verdict(True, "nothing judges it here")
        for step in self.steps(packet, incoming, outgoing, translated):
            last = step.verdict
            if not last.allowed:
                break
        return last

    def steps(
        self,
        packet: Packet,
        incoming: str | None,
        outgoing: str | None,
        translated: Packet | None = None,
    ) -> Iterator[Step]:
        """What each evaluation on the packet's way says, in order; also those behind one that
        denies it."""
        target = translated or packet
        if (":" in packet.source) != (":" in packet.destination):
            yield _step("", "ingress", False, "source and destination are of two families")
            return
        exempt = False
        if incoming is not None:
            exempt = yield from self._before_routing(packet, incoming)
            if outgoing is None:
                yield from self._input(target, incoming, exempt)
            else:
                yield from self._forward(target, incoming, outgoing, exempt)
        elif outgoing is not None:
            yield from self._output(packet, target, outgoing)

    def allows(self, endpoint: Endpoint, direction: Direction, packet: Packet) -> Verdict:
        """What the policy of one workload endpoint of this filter says in one direction."""
        tiers = endpoint.ingress if direction == "ingress" else endpoint.egress
        return self._normal(endpoint, tiers, direction, packet).verdict

    def answers_failsafe(self, packet: Packet) -> bool:
        """Is it what the host would send back from a port that no host endpoint closes?"""
        return self._is_open(
            self._filter.failsafe_inbound, packet, packet.source_port, packet.destination
        )

    # --- the hooks ----------------------------------------------------------------------------

    def _before_routing(self, packet: Packet, incoming: str) -> Generator[Step, None, bool]:
        """Raw and mangle; true if no other evaluation of the host endpoint judges it."""
        if self._is_ours(incoming):
            live = self._may_send(incoming, packet)
            yield _step("", "egress", live, "the source is live" if live else "source is not live")
            return False
        host = self._governor(incoming)
        if host is None:
            return False
        if not self._open_in(packet, stateless=True):
            step = self._decided(host, "untracked", host.untracked_ingress, "ingress", packet)
            if step is not None:
                yield step
                if step.verdict.allowed:
                    return True
        if not self._open_in(packet):
            step = self._decided(host, "preDNAT", host.pre_dnat, "ingress", packet)
            if step is not None:
                yield step
                return step.verdict.allowed
        return False

    def _input(self, packet: Packet, incoming: str, exempt: bool) -> Iterator[Step]:
        vxlan = self._filter.encapsulated
        if vxlan and (packet.protocol, packet.port) == (_UDP, vxlan.port):
            ours = packet.source in vxlan.sources
            yield _step("", "ingress", ours, f"VXLAN from {'a' if ours else 'no'} host of ours")
            return
        if self._is_ours(incoming):
            yield from self._from_workload_to_host(packet, incoming)
            return
        host = self._governor(incoming)
        if host is None or exempt:
            return
        if self._open_in(packet):
            yield _step(host.interface, "ingress", True, "a failsafe port")
        else:
            yield self._normal(host, host.ingress, "ingress", packet)

    def _from_workload_to_host(self, packet: Packet, incoming: str) -> Iterator[Step]:
        kind = packet.icmp[0] if packet.icmp else None
        if (packet.destination, packet.protocol, kind) in _GATEWAY_ECHO:
            yield _step("", "egress", True, "its gateway answers")
        elif packet.protocol == _ICMPV6 and kind in _TO_HOST_ND:
            yield _step("", "egress", True, "neighbour discovery")
        elif self._is_open(self._filter.to_host_ports, packet, packet.port, packet.source):
            yield _step("", "egress", True, "a port of the host that is open to workloads")
        elif self._filter.to_host == "drop":
            yield _step(incoming, "egress", False, "workload to its own host")
        else:
            yield from self._from_workload(packet, incoming)

    def _output(self, packet: Packet, target: Packet, outgoing: str) -> Iterator[Step]:
        if self._is_ours(outgoing):
            on_link = self._rules.within(target.destination, (LINK_LOCAL, ALL_ON_LINK))
            yield self._to_live(target, outgoing, on_link)
            return
        host = self._governor(outgoing)
        if host is None:
            return
        if not self._open_out(packet, stateless=True):
            step = self._decided(host, "untracked", host.untracked_egress, "egress", packet)
            if step is not None:
                yield step
                if step.verdict.allowed:
                    return
        vxlan = self._filter.encapsulated
        to = (target.protocol, target.port)
        if vxlan and to == (_UDP, vxlan.port) and target.destination in vxlan.sources:
            yield _step("", "egress", True, "VXLAN to a host of ours")
        elif self._open_out(target):
            yield _step(host.interface, "egress", True, "a failsafe port")
        else:
            yield self._normal(host, host.egress, "egress", target)

    def _forward(
        self, packet: Packet, incoming: str, outgoing: str, exempt: bool
    ) -> Iterator[Step]:
        if self._is_ours(outgoing):
            yield self._to_live(packet, outgoing)
        host = self._governor(incoming)
        if host is not None and not exempt:
            step = self._decided(host, "forward", host.forward_ingress, "ingress", packet)
            yield from [step] if step is not None else []
        if self._is_ours(incoming):
            yield from self._from_workload(packet, incoming)
        if self._is_ours(outgoing):
            receiver = self._workloads.get(outgoing)
            if receiver is not None:  # else no address of it is live
                yield self._normal(receiver, receiver.ingress, "ingress", packet)
        host = self._governor(outgoing)
        if host is not None:
            step = self._decided(host, "forward", host.forward_egress, "egress", packet)
            yield from [step] if step is not None else []

    def _from_workload(self, packet: Packet, incoming: str) -> Iterator[Step]:
        sender = self._workloads.get(incoming)
        if sender is None:
            yield _step("", "egress", False, "unknown interface")
            return
        for rule in self._filter.never_from_workloads:
            if self._rules.match(rule, packet):
                yield _step(incoming, "egress", False, "no workload may send this")
        yield self._normal(sender, sender.egress, "egress", packet)

    # --- who is who ---------------------------------------------------------------------------

    def _is_ours(self, interface: str) -> bool:
        """A workload's, or one that would be if an endpoint spoke for it."""
        return interface in self._workloads or interface.startswith(INTERFACE_PREFIX)

    def _governor(self, interface: str) -> HostEndpoint | None:
        if self._is_ours(interface) or interface == "lo":
            return None
        return self._hosts.get(interface) or self._hosts.get("*")

    def _may_send(self, interface: str, packet: Packet) -> bool:
        endpoint = self._workloads.get(interface)
        source = packet.source
        if endpoint is not None and source in endpoint.addresses:
            return True
        kind = packet.icmp[0] if packet.protocol == _ICMPV6 and packet.icmp else None
        if source == "0.0.0.0":  # RFC 2131: a DHCP client without an address
            asks = (packet.protocol, packet.source_port, packet.port) == (_UDP, 68, 67)
            if asks and packet.destination == "255.255.255.255":
                return True
        elif source == "::":
            if kind in _UNSPECIFIED_ND:
                return True
        elif self._rules.within(source, (LINK_LOCAL,)) and (
            kind in _TO_HOST_ND or packet.destination == GATEWAY_V6
        ):
            return True
        return endpoint is not None and self._rules.within(source, endpoint.allowed_sources)

    def _to_live(self, packet: Packet, outgoing: str, anyway: bool = False) -> Step:
        endpoint = self._workloads.get(outgoing)
        live = anyway or (endpoint is not None and packet.destination in endpoint.addresses)
        return _step("", "ingress", live, "the target is live" if live else "target is not live")

    # --- failsafe -----------------------------------------------------------------------------

    def _open_in(self, packet: Packet, stateless: bool = False) -> bool:
        """Is this no host endpoint's business as it comes in? Without a memory of connections
        the answers to what may always go out count, too."""
        here, there = self._filter.failsafe_inbound, self._filter.failsafe_outbound
        return (
            _is_discovery(packet)
            or self._is_open(here, packet, packet.port, packet.source)
            or (stateless and self._is_open(there, packet, packet.source_port, packet.source))
        )

    def _open_out(self, packet: Packet, stateless: bool = False) -> bool:
        here, there = self._filter.failsafe_outbound, self._filter.failsafe_inbound
        other = packet.destination
        return (
            _is_discovery(packet)
            or self._is_open(here, packet, packet.port, other)
            or (stateless and self._is_open(there, packet, packet.source_port, other))
        )

    def _is_open(
        self, ports: Iterable[OpenPort], packet: Packet, port: int | None, other: str
    ) -> bool:
        return any(
            (each.protocol, each.port) == (packet.protocol, port)
            and (each.net is None or self._rules.within(other, (each.net,)))
            for each in ports
        )

    # --- evaluations --------------------------------------------------------------------------

    def _normal(
        self,
        endpoint: Endpoint | HostEndpoint,
        tiers: Sequence[TierStep],
        direction: Direction,
        packet: Packet,
    ) -> Step:
        """The tiers, then the profiles, then no."""
        verdict = self._tiers(tiers, direction, packet)
        for profile in endpoint.profiles if verdict is None else ():
            action = self._rules.first((profile,), direction, packet)
            if action is not None and action[0] != "pass":
                verdict = Verdict(action[0] == "allow", action[1])
                break
        allowed, by = verdict or (False, "no profile allows it")
        return _step(endpoint.interface, direction, allowed, f"{direction} of {endpoint.id}: {by}")

    def _decided(
        self,
        host: HostEndpoint,
        kind: str,
        tiers: Sequence[TierStep],
        direction: Direction,
        packet: Packet,
    ) -> Step | None:
        """What an evaluation without profiles says; None: it goes on."""
        verdict = self._tiers(tiers, direction, packet)
        if verdict is None:
            return None
        by = f"{kind} {direction} of {host.id}: {verdict.by}"
        return _step(host.interface, direction, verdict.allowed, by)

    def _tiers(
        self, tiers: Sequence[TierStep], direction: Direction, packet: Packet
    ) -> Verdict | None:
        for tier in tiers:
            found = self._rules.first(tier.policies, direction, packet)
            action, by = found or (tier.default, f"the default of tier {tier.tier}")
            if action != "pass":
                return Verdict(action == "allow", by)
        return None


def _step(guard: str, direction: Direction, allowed: bool, by: str) -> Step:
    return Step(guard, direction, Verdict(allowed, by))


def _is_discovery(packet: Packet) -> bool:
    return (
        packet.protocol == _ICMPV6
        and packet.icmp is not None
        and packet.icmp[0] in NEIGHBOUR_DISCOVERY
    )
