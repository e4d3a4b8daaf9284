"""Real packets through a real kernel get the verdicts that the oracle reads in the resources."""

from __future__ import annotations

import pytest
from anyworld import INTERFACES, TOWARDS, anyflows, anyworlds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twonodes import DATAPLANES, TwoNodes
from worlds import GATEWAY, NODE_ADDRESSES, OUTSIDE, SLOTS, namespace, workload

from tortie.calc import World, desired_for
from tortie.explain.oracle import Flow, Reading, judge_in
from tortie.model import resources as r

pytestmark = pytest.mark.kernel
INSIDE = {address for slot in SLOTS for address in (slot.four, slot.six)}


@pytest.fixture(scope="module", params=DATAPLANES)
def nodes(request):
    rig = TwoNodes(request.param)
    yield rig
    rig.close()


@st.composite
def cases(draw):
    world = draw(anyworlds())
    drawn = draw(st.lists(anyflows(world), min_size=60, max_size=60))
    return world, distinct(flow for flow in drawn if can_be_sent(flow))


def untracks(resources) -> bool:
    return any(
        isinstance(one, r.GlobalNetworkPolicy) and one.spec.do_not_track for one in resources
    )


def can_be_sent(flow: Flow) -> bool:
    """Over a wire: not to itself, and to a gateway only by those who have one."""
    to_gateway = flow.destination in GATEWAY.values()
    return flow.source != flow.destination and not (to_gateway and flow.source not in INSIDE)


def distinct(found) -> list[Flow]:
    """No flow twice, and none that a connection of another would make look like an answer."""
    chosen: dict[tuple[object, ...], Flow] = {}
    for flow in found:
        pair = frozenset(((flow.source, flow.source_port), (flow.destination, flow.port)))
        chosen.setdefault((flow.protocol, flow.icmp, pair), flow)
    return list(chosen.values())


@given(case=cases())
@settings(
    max_examples=16,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_kernel_does_what_the_resources_say(nodes, case):
    resources, probes = case
    world, reading = World.of(resources), Reading(resources, interfaces=TOWARDS)
    nodes.apply(
        {name: desired_for(world, name, interfaces=INTERFACES[name]) for name in NODE_ADDRESSES}
    )
    allowed = {probe for probe in probes if judge_in(reading, probe).allowed}
    arrived, answered = nodes.probe(probes, allowed)
    assert [judge_in(reading, one) for one in arrived - allowed] == [], arrived - allowed
    assert [judge_in(reading, one) for one in allowed - arrived] == [], allowed - arrived
    tcp = {probe for probe in allowed if probe.protocol == 6}
    # What is not tracked needs a rule for its answers, too.
    assert answered <= tcp if untracks(resources) else answered == tcp


def test_nobody_sends_from_an_address_that_is_not_theirs(nodes):
    resources = [
        namespace("plaza", "open"),
        *(workload(f"plaza/w{one.index}", one.four, one.six, on=one.node, interface=one.interface)
          for one in SLOTS),
    ]  # fmt: skip
    world = World.of(resources)
    nodes.apply({name: desired_for(world, name) for name in NODE_ADDRESSES})
    sender, target = SLOTS[0], SLOTS[5]
    claimed = [
        *((one.four, target.four) for one in SLOTS if one is not target),
        *((one.six, target.six) for one in SLOTS if one is not target),
        *((by[4], target.four) for by in NODE_ADDRESSES.values()),
        (OUTSIDE[4], target.four),
        (OUTSIDE[6], target.six),
    ]
    probes = [Flow(source, to, 17, 53, 1024) for source, to in claimed]
    own = {probe for probe in probes if probe.source in (sender.four, sender.six)}
    assert nodes.probe(probes, own, place=sender.interface)[0] == own
    assert nodes.probe(probes, set(probes))[0] == set(probes)
