"""What calc makes of a world gives every flow the verdict that the oracle reads in it."""

from __future__ import annotations

from anyworld import INTERFACES, TOWARDS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tracer import Tracer
from worlds import NODE_ADDRESSES, OUTSIDE, SLOTS, flows, worlds

from tortie.calc import World, desired_for
from tortie.explain.oracle import Reading, judge_in

HOSTS = {name: tuple(by.values()) for name, by in NODE_ADDRESSES.items()}
PROTECTED = ("198.51.100.7", "2001:db8:51::7")


def topology(node: str, address: str) -> str:
    """The same as TOWARDS says."""
    return "wan" if address in OUTSIDE.values() else "core"


@st.composite
def cases(draw):
    world = draw(worlds())
    return world, draw(st.lists(flows(world), min_size=20, max_size=20))


@given(
    case=cases(),
    default=st.sampled_from(("tenant", "open", "isolated")),
    protected=st.sampled_from(((), (), PROTECTED)),
)
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_host_does_what_the_resources_say(case, default, protected):
    resources, probes = case
    world = World.of(resources)
    filters = {
        name: desired_for(
            world,
            name,
            cluster_default=default,
            protected=protected,
            interfaces=INTERFACES[name],
        ).filter
        for name in HOSTS
    }
    tracer = Tracer(filters, HOSTS, topology)
    reading = Reading(resources, default, protected, interfaces=TOWARDS)
    for probe in probes:
        judged = judge_in(reading, probe)
        assert tracer.trace(probe) == judged.allowed, (probe, judged)
        for slot in SLOTS[::3]:
            own = probe.source in tracer.addresses(slot.node, slot.interface)
            sent = tracer.trace(probe, slot.node, slot.interface)
            assert sent == (own and judged.allowed), (probe, slot)
