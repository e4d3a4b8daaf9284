"""The oracle: the verdict on a new connection, by reading the resources rule by rule.

It imports the resource types and the selector parser only, so that it can hold calc and the
dataplanes to account. Slow and plain: what it says is what the resources mean (Calico v3,
Kubernetes, with the house's own rules for namespaces, the own host and node addresses).

A packet is judged on each host that it crosses: where it begins, and where it ends. On each, by the
host endpoint of the interface that it comes in or goes out by, and by the workload that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tortie.explain.entity import Address, Entity, Flow, Interface, address_of, reply_of
from tortie.explain.evaluation import Evaluation, Outcome
from tortie.explain.judgement import REASONS, Judgement, Step, Verdict
from tortie.explain.matching import NotJudged
from tortie.explain.policies import Stage
from tortie.explain.reading import NO_INTERFACES, Reading
from tortie.explain.translation import behind, seen_as
from tortie.model import resources as r

__all__ = [
    "REASONS",
    "Flow",
    "Interface",
    "Judgement",
    "NotJudged",
    "Reading",
    "Step",
    "judge",
    "judge_in",
    "reply_of",
]

GATEWAYS = frozenset(address_of(text) for text in ("169.254.1.1", "fe80::1"))
ECHO_REQUEST = {1: 8, 58: 128}
"""ICMP protocol number to the type of an echo request."""
ND_TO_HOST = (131, 132, 133, 135, 136, 143)
"""ICMPv6 types that a workload and its host need to find each other (RFC 2710, 3810, 4861)."""


def judge(
    resources: Iterable[r.Resource],
    flow: Flow,
    cluster_default: str = "tenant",
    protected: Sequence[str] = (),
    interfaces: Mapping[str, tuple[Interface, ...]] = NO_INTERFACES,
) -> Judgement:
    """The verdict on the first packet of a new connection.

    Replies are not judged, but for untracked policies, which know no connections: ask for
    `reply_of(flow)` too where one may judge. What a host forwards from outside to outside is not
    judged. The arguments are those of `Reading`. Raises NotJudged for rules with http.
    """
    world = Reading(tuple(resources), cluster_default, tuple(protected), interfaces)
    return judge_in(world, flow)


def judge_in(world: Reading, flow: Flow) -> Judgement:
    """As `judge`, in a world that has been read. Raises NotJudged."""
    source, destination = address_of(flow.source), address_of(flow.destination)
    if source.version != destination.version:
        return _ended("DENIED", "mixed-families", "the packet")
    ends = []
    for address in (source, destination):
        floating = behind(world, address) if address is destination else []
        claimants = [] if world.known.node_at(address) else world.known.workloads_at(address)
        claimants += [one.workload for one in floating]
        if len(claimants) > 1:
            names = ", ".join(one.name for one in claimants)
            return _ended("DENIED", "duplicate-address", f"the address of {names}")
        workload = next(iter(claimants), None)
        if workload is not None and not world.is_served(workload):
            return _ended("DENIED", "not-served", f"the address of {workload.name}")
        node = workload.node if workload else world.host_at(address)
        ends.append(_End(address, node, workload, floating[0].internal if floating else None))
    sender, receiver = ends
    if destination in GATEWAYS:  # every host answers for them, to itself and its workloads
        receiver = _End(destination, sender.node, None)
    inside = sender.workload is not None and sender.workload is receiver.workload
    if inside and sender.workload is not None and receiver.internal is None:
        return _ended("ALLOWED", "same-endpoint", f"inside {sender.workload.name}")
    return _judge_way(_Way(world, flow, sender, receiver))


def _ended(verdict: Verdict, reason: str, where: str) -> Judgement:
    return Judgement(verdict, reason, (Step(where, None, None, None, verdict, REASONS[reason]),))


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a packet: a workload on a node; without one the node itself; None: outside.

    `internal`: the address is a floating one, and stands for this one of the workload.
    """

    address: Address
    node: str | None
    workload: Entity | None
    internal: Address | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """A packet on its way."""

    world: Reading
    flow: Flow
    sender: _End
    receiver: _End

    def translated(self, steps: list[Step]) -> _Way:
        """Behind the translation of its destination, if that is a floating address."""
        if self.receiver.internal is None or self.receiver.workload is None:
            return self
        text = f"{self.flow.destination} is the floating address of {self.receiver.workload.name}"
        text += f", {self.receiver.internal} from here on"
        steps.append(Step(f"host {self.receiver.node}", None, None, None, "Pass", text))
        flow = replace(self.flow, destination=str(self.receiver.internal))
        return replace(self, flow=flow)

    def seen(self, steps: list[Step]) -> _Way:
        """As whom others see a workload that leaves its host."""
        workload = self.sender.workload
        if workload is None:
            return self
        found = seen_as(self.world, workload, self.sender.address, self.receiver.address)
        if found is None:
            return self
        text = f"{workload.name} leaves as {found[0]}, {found[1]}"
        steps.append(Step(f"host {workload.node}", None, None, None, "Pass", text))
        sender = _End(found[0], self.sender.node, None)
        return replace(self, flow=replace(self.flow, source=str(found[0])), sender=sender)


def _judge_way(way: _Way) -> Judgement:
    """What each evaluation on the way says, in order; the first that denies ends it."""
    steps: list[Step] = []
    reason = ""
    for outcome in _evaluations(way, steps):
        reason = outcome.reason
        if not outcome.allowed:
            return Judgement("DENIED", reason, tuple(steps))
    if not reason:
        reason = "not-policed"
        node = way.sender.node or way.receiver.node
        where = f"host {node}" if node else "outside"
        steps.append(Step(where, None, None, None, "ALLOWED", REASONS[reason]))
    return Judgement("ALLOWED", reason, tuple(steps))


def _evaluations(way: _Way, steps: list[Step]) -> Iterator[Outcome]:
    """On the host where it begins, and on the one where it ends."""
    begin, end = way.sender.node, way.receiver.node
    if begin is not None and begin == end:
        yield from _within_host(way.translated(steps), begin, steps)
        return
    if begin is not None:
        yield from _leaving(way, begin, steps)
        way = way.seen(steps)
    if end is not None:
        yield from _arriving(way, end, steps)


# --- one host ---------------------------------------------------------------------------------


def _within_host(way: _Way, node: str, steps: list[Step]) -> Iterator[Outcome]:
    """Between workloads of one host, and between them and the host itself."""
    sender, receiver = way.sender.workload, way.receiver.workload
    if sender is not None and receiver is None:
        yield from _to_own_host(way, sender, steps)
        return
    if sender is not None:
        yield from _from_workload(way, sender, steps)
    if receiver is not None and sender is None:
        yield _said(steps, "ALLOWED", "from-own-host", f"ingress of {receiver.name}")
    elif receiver is not None:
        yield from _of_workload(way, receiver, "Ingress", steps)


def _leaving(way: _Way, node: str, steps: list[Step]) -> Iterator[Outcome]:
    """From a workload or the host itself, out by an interface of the host."""
    sender = way.sender.workload
    own = None if sender else way.sender.address
    host = way.world.governor(node, way.receiver.address, own)
    if sender is not None:
        yield from _from_workload(way, sender, steps)
        if host is not None:
            yield from _of_host(way, host, "forward", "Egress", steps)
    elif host is not None:
        settings = way.world.settings(node)
        if not settings.open_outbound(way.flow, stateless=True):
            for outcome in _of_host(way, host, "untracked", "Egress", steps):
                yield outcome
                return  # what is not tracked, nobody else judges
        opened = settings.open_outbound(way.flow)
        yield from _normal(way, host, "Egress", opened, steps)


def _arriving(way: _Way, node: str, steps: list[Step]) -> Iterator[Outcome]:
    """In by an interface of the host, to a workload or the host itself."""
    receiver = way.receiver.workload
    own = None if receiver else way.receiver.address
    host = way.world.governor(node, way.sender.address, own)
    exempt = host is None
    if host is not None:
        for outcome in _before_routing(way, node, host, steps):
            yield outcome
            exempt = True  # what one of these allows, no other of this host endpoint judges
            if outcome.reason == "untracked" and way.receiver.internal is not None:
                yield _said(steps, "DENIED", "not-translated", f"host {node}")
                return
    way = way.translated(steps)
    if receiver is not None:
        if host is not None and not exempt:
            yield from _of_host(way, host, "forward", "Ingress", steps)
        yield from _of_workload(way, receiver, "Ingress", steps)
    elif host is not None and not exempt:
        opened = way.world.settings(node).open_inbound(way.flow)
        yield from _normal(way, host, "Ingress", opened, steps)


def _before_routing(way: _Way, node: str, host: Entity, steps: list[Step]) -> Iterator[Outcome]:
    """Untracked policies, then pre-DNAT ones, unless a failsafe port is meant; one decision."""
    settings = way.world.settings(node)
    stages: tuple[tuple[Stage, str | None], ...] = (
        ("untracked", settings.open_inbound(way.flow, stateless=True)),
        ("pre-DNAT", settings.open_inbound(way.flow)),
    )
    for stage, opened in stages:
        if opened is None:
            for outcome in _of_host(way, host, stage, "Ingress", steps):
                yield outcome
                return


# --- workloads --------------------------------------------------------------------------------


def _from_workload(way: _Way, sender: Entity, steps: list[Step]) -> Iterator[Outcome]:
    """What no workload may send; then its egress policy."""
    never = way.world.settings(sender.node).never(way.flow)
    if never:
        yield _said(steps, "DENIED", "never-from-workloads", f"egress of {sender.name}", never)
        return
    yield from _of_workload(way, sender, "Egress", steps)


def _of_workload(
    way: _Way, workload: Entity, direction: r.Direction, steps: list[Step]
) -> Iterator[Outcome]:
    where = f"{direction.lower()} of {workload.name}"
    outcome = Evaluation(way.world, workload, "normal", direction, way.flow, where, steps).decide()
    if outcome is not None:
        yield outcome


def _to_own_host(way: _Way, sender: Entity, steps: list[Step]) -> Iterator[Outcome]:
    """Its own host answers a workload's ping to the gateway, and what settings open.

    Host endpoints do not judge it (Calico v3).
    """
    flow, where = way.flow, f"{sender.name} to its own host"
    settings = way.world.settings(sender.node)
    kind = flow.icmp[0] if flow.icmp else None
    if way.receiver.address in GATEWAYS and kind == ECHO_REQUEST.get(flow.protocol, -1):
        yield _said(steps, "ALLOWED", "gateway-echo", where)
    elif flow.protocol == 58 and kind in ND_TO_HOST:
        yield _said(steps, "ALLOWED", "neighbour-discovery", where)
    elif settings.open_to_workloads(flow):
        text = f"port {flow.port} of the host is open to its workloads"
        yield _said(steps, "ALLOWED", "to-host-port", where, text)
    elif settings.policy_to_host:
        yield from _from_workload(way, sender, steps)
    else:
        yield _said(steps, "DENIED", "own-host", where)


# --- host endpoints ---------------------------------------------------------------------------


def _normal(
    way: _Way, host: Entity, direction: r.Direction, opened: str | None, steps: list[Step]
) -> Iterator[Outcome]:
    """What begins or ends on the host: failsafe ports, then policy, then profiles, then no."""
    if opened:
        where = _where(host, "normal", direction)
        yield _said(steps, "ALLOWED", "failsafe", where, opened)
        return
    yield from _of_host(way, host, "normal", direction, steps)


def _of_host(
    way: _Way, host: Entity, stage: Stage, direction: r.Direction, steps: list[Step]
) -> Iterator[Outcome]:
    """One evaluation of a host endpoint, if it decides."""
    where = _where(host, stage, direction)
    outcome = Evaluation(way.world, host, stage, direction, way.flow, where, steps).decide()
    if outcome is not None:
        yield outcome


def _where(host: Entity, stage: Stage, direction: r.Direction) -> str:
    what = direction.lower() if stage == "normal" else f"{stage} {direction.lower()}"
    return f"{what} of host {host.node} (HostEndpoint {host.name})"


def _said(steps: list[Step], verdict: Verdict, reason: str, where: str, text: str = "") -> Outcome:
    """A rule of the house, as a step and an outcome."""
    steps.append(Step(where, None, None, None, verdict, text or REASONS[reason]))
    return Outcome(verdict, reason)
