"""Packets that are translated get the verdicts that the oracle reads in the resources, and arrive
under the addresses that a plain reading of the pools and endpoints gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest
from anyworld import INTERFACES, TOWARDS, anyflows, anyworlds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kernel.test_oracle_in_kernel import can_be_sent, distinct, untracks
from msgspec.structs import replace as changed
from twonodes import DATAPLANES, OUTER, TwoNodes
from worlds import (
    CALICO,
    GATEWAY,
    NODE_ADDRESSES,
    SLOTS,
    meta,
    namespace,
    node,
    policy,
    rule,
    workload,
)

from tortie.calc import World, desired_for
from tortie.explain.oracle import Flow, Reading, judge_in
from tortie.kernel import process
from tortie.model import resources as r

pytestmark = pytest.mark.kernel

HOME = {address: slot.node for slot in SLOTS for address in (slot.four, slot.six)}
NODES = {by[family]: name for name, by in NODE_ADDRESSES.items() for family in (4, 6)}
POOLS = ("10.65.0.0/16", "fd65::/64")
OUT = ("203.0.113.0/24", "2001:db8:f::/64")
"""Where floating addresses are."""


def external(internal: str) -> str:
    """Each place for a workload has its own."""
    number = int(ip_address(internal)) & 0xFF
    return f"2001:db8:f::{number:x}" if ":" in internal else f"203.0.113.{number}"


@pytest.fixture(scope="module", params=DATAPLANES)
def nodes(request):
    rig = TwoNodes(request.param)
    try:
        lead_to_floating(rig)
        yield rig
    finally:
        rig.close()


def lead_to_floating(rig: TwoNodes) -> None:
    """As the agent (at home), BGP (elsewhere) and the fabric would."""
    lines: dict[str, list[str]] = {place: [] for place in (*NODE_ADDRESSES, "out")}
    for slot in SLOTS:
        away = next(one for one in NODE_ADDRESSES if one != slot.node)
        for family, internal in ((4, slot.four), (6, slot.six)):
            address, own = external(internal), NODE_ADDRESSES[slot.node][family]
            outer = OUTER[slot.node]
            lines[slot.node].append(f"route add {address} dev {slot.interface} src {own}")
            lines[away].append(f"route add {address} via {own}")
            way = f"via {outer.gateway[family]} dev {outer.device} onlink"
            lines["out"].append(f"route add {address} {way}")
    for place, some in lines.items():
        process.run(["ip", "-n", rig.name(place), "-batch", "-"], stdin="\n".join(some) + "\n")


# --- worlds that translate ------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    resources: Sequence[r.Resource]
    flows: Sequence[Flow]
    external: Mapping[str, str]
    """by internal"""
    inside: tuple[str, ...]
    leaves: tuple[str, ...]
    """pools with natOutgoing"""
    exempt: bool
    """to nodes all go as themselves"""

    def seen(self, flow: Flow) -> Flow:
        """Who is seen by the receiver, and by which address it is reached."""
        behind = {outer: inner for inner, outer in self.external.items()}
        target = behind.get(flow.destination, flow.destination)
        return replace(flow, source=self._source(flow, target), destination=target)

    def _source(self, flow: Flow, target: str) -> str:
        home = HOME.get(flow.source)
        if target == flow.source:
            return self.external[target]
        to_gateway = flow.destination in GATEWAY.values()
        beyond = HOME.get(target, NODES.get(target)) != home and not to_gateway
        if home is None or not beyond or _within(flow.destination, self.inside):
            return flow.source
        if flow.source in self.external:
            return self.external[flow.source]
        if self.exempt and target in NODES:
            return flow.source
        hides = _within(flow.source, self.leaves)
        return NODE_ADDRESSES[home][6 if ":" in flow.source else 4] if hides else flow.source


def _within(address: str, nets: Sequence[str]) -> bool:
    return any(ip_address(address) in ip_network(net) for net in nets)


@st.composite
def cases(draw) -> Case:
    world = draw(anyworlds())
    floating = {
        internal: external(internal)
        for one in world
        if isinstance(one, r.WorkloadEndpoint) and draw(st.booleans())
        for internal in (net.partition("/")[0] for net in one.spec.ip_networks)
        if internal in HOME
    }
    made = [with_floating(one, floating) for one in world]
    leaves = draw(st.sampled_from(((), POOLS, POOLS)))
    inside = (*POOLS, *draw(st.sampled_from(((), OUT))))
    exempt = draw(st.booleans())
    made += [pool(net, net in leaves, disabled=net in OUT) for net in inside]
    made = with_settings(made, exempt)
    flows = [
        replace(flow, destination=floating[flow.destination])
        if flow.destination in floating and draw(st.booleans())
        else flow
        for flow in draw(st.lists(anyflows(world), min_size=60, max_size=60))
    ]
    case = Case(made, (), floating, inside, leaves, exempt)
    return replace(case, flows=apart(case, filter(can_be_sent, flows)))


def apart(case: Case, flows: Iterable[Flow]) -> list[Flow]:
    """Those that look like no other's packet or answer anywhere on the way, translated or not."""
    found = list(flows)
    for ends in ((), ("destination",), ("source",), ("source", "destination")):
        looks = {
            replace(one, **{end: getattr(case.seen(one), end) for end in ends}): one
            for one in found
        }
        found = [looks[one] for one in distinct(looks)]
    return found


def with_floating(one: r.Resource, floating: Mapping[str, str]) -> r.Resource:
    if not isinstance(one, r.WorkloadEndpoint):
        return one
    own = [net.partition("/")[0] for net in one.spec.ip_networks]
    nats = [r.IpNat(each, floating[each]) for each in own if each in floating]
    return changed(one, spec=changed(one.spec, ip_nats=nats))


def pool(cidr: str, hides: bool, disabled: bool) -> r.IPPool:
    name = cidr.translate(str.maketrans(".:/", "---")).strip("-")
    spec = r.IPPoolSpec(cidr=cidr, nat_outgoing=hides, disabled=disabled)
    return r.IPPool(api_version=CALICO, metadata=meta(name), spec=spec)


def with_settings(made: list[r.Resource], exempt: bool) -> list[r.Resource]:
    """What is set for all nodes, where nothing is set for one of them."""
    word = "IPPoolsAndHostIPs" if exempt else "IPPoolsOnly"
    own = [one for one in made if isinstance(one, r.FelixConfiguration)]
    others = [one for one in made if not isinstance(one, r.FelixConfiguration)]
    if not any(one.metadata.name == "default" for one in own):
        own.append(r.FelixConfiguration(
            api_version=CALICO, metadata=meta("default"), spec=r.FelixConfigurationSpec()
        ))  # fmt: skip
    set_so = [changed(one, spec=changed(one.spec, nat_outgoing_exclusions=word)) for one in own]
    return [*others, *set_so]


@given(case=cases())
@settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_kernel_translates_as_the_resources_say(nodes, case: Case) -> None:
    world, reading = World.of(case.resources), Reading(tuple(case.resources), interfaces=TOWARDS)
    nodes.apply(
        {name: desired_for(world, name, interfaces=INTERFACES[name]) for name in NODE_ADDRESSES}
    )
    said: Callable[[Flow], object] = lambda one: (judge_in(reading, one), case.seen(one))  # noqa: E731
    allowed = {one for one in case.flows if judge_in(reading, one).allowed}
    arrived, answered = nodes.probe(case.flows, allowed, seen=case.seen)
    assert [said(one) for one in arrived - allowed] == [], arrived - allowed
    assert [said(one) for one in allowed - arrived] == [], allowed - arrived
    tcp = {one for one in allowed if one.protocol == 6}
    assert answered <= tcp if untracks(case.resources) else answered == tcp


# --- whom policy sees -----------------------------------------------------------------------------

HERE, THERE = SLOTS[0], SLOTS[4]
# who sends, whether pools hide, whether the sender floats, and whom the receiver's policy allows
SEEN = {
    "hidden behind its host": (HERE, True, False, "host"),
    "not hidden": (HERE, False, False, "itself"),
    "by its floating address": (HERE, True, True, "floating"),
    "itself": (THERE, True, True, "itself"),
}


@pytest.mark.parametrize("what", SEEN)
def test_whom_policy_sees_behind_a_floating_address(nodes, what: str) -> None:
    sender, hides, floats, allowed = SEEN[what]
    own = sender.four, sender.six
    faces = {
        "host": tuple(NODE_ADDRESSES[sender.node].values()),
        "itself": own,
        "floating": tuple(map(external, own)),
    }
    ends = (HERE, THERE) if floats else (THERE,)
    floating = {each: external(each) for one in ends for each in (one.four, one.six)}
    place = [namespace("plaza", "open"), *(pool(net, hides, False) for net in POOLS)]
    place += [node(name, f"{by[4]}/24", f"{by[6]}/64") for name, by in NODE_ADDRESSES.items()]
    for one in (HERE, THERE):
        made = workload(
            f"plaza/w{one.index}", one.four, one.six, on=one.node, interface=one.interface
        )
        place.append(with_floating(made, floating))
    flows = [
        Flow(one, external(to), 17, 80, 1024)
        for one, to in zip(own, (THERE.four, THERE.six), strict=True)
    ]
    case = Case((), (), floating, POOLS, POOLS if hides else (), False)
    for face, addresses in faces.items():
        rules = [rule("Allow", {"nets": [each]}) for each in addresses]
        only = policy("plaza/only", types=["Ingress"], ingress=rules)
        world = World.of([*place, only])
        nodes.apply({name: desired_for(world, name) for name in NODE_ADDRESSES})
        expected = set(flows) if face == allowed else set()
        assert nodes.probe(flows, expected, seen=case.seen)[0] == expected, face
        reading = Reading((*place, only))
        assert {one for one in flows if judge_in(reading, one).allowed} == expected, face
