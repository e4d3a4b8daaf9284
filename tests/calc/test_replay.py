"""State is a function of the resources: whatever the order of events, and however often."""

from __future__ import annotations

import pytest
from anyworld import INTERFACES, anyworlds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import kinds

NODES = tuple(INTERFACES)


def everywhere(world: World) -> list[d.Desired]:
    return [desired_for(world, name, interfaces=INTERFACES[name]) for name in NODES]


def referred(firewall: d.Filter) -> tuple[set[str], set[str], set[str]]:
    """All ids of policies, sets and port sets that something names."""
    steps = [
        step
        for each in (*firewall.endpoints, *firewall.hosts)
        for part in each.__struct_fields__
        if isinstance(getattr(each, part), tuple)
        for step in getattr(each, part)
        if isinstance(step, d.TierStep)
    ]
    policies = {name for step in steps for name in step.policies}
    policies |= {name for each in (*firewall.endpoints, *firewall.hosts) for name in each.profiles}
    sides = [
        side
        for policy in firewall.policies
        for rule in (*policy.ingress, *policy.egress)
        for side in (rule.source, rule.destination)
    ]
    sets = {name for side in sides for name in (*side.sets, *side.not_sets)}
    ports = {name for side in sides for name in (*side.port_sets, *side.not_port_sets)}
    return policies, sets, ports


@st.composite
def histories(draw):
    """A world, and events that end in it: others first, all in another order, some twice."""
    world = draw(anyworlds(workloads_at_most=8, policies_at_most=16))
    before = draw(anyworlds(workloads_at_most=8, policies_at_most=8))
    final = {kinds.key(each): each for each in world}
    keys = draw(st.permutations(sorted(final)))
    twice = draw(st.lists(st.sampled_from(keys), max_size=10))
    gone = sorted({kinds.key(each) for each in before} - set(final))
    first = [(kinds.key(each), each) for each in before]
    looks = draw(st.sets(st.integers(0, len(keys)), max_size=3))
    events = [(key, final[key]) for key in keys] + [(key, None) for key in gone]
    return world, first, draw(st.permutations(events)), [(key, final[key]) for key in twice], looks


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # only if it fails
@given(history=histories())
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_history_ends_in_the_same_state(history) -> None:
    world, first, events, twice, looks = history
    plain = everywhere(World.of(world))
    lived = World()
    for key, resource in first:
        lived.put(key, resource)
    for index, (key, resource) in enumerate([*events, *twice]):
        lived.put(key, resource)
        if index in looks:  # what was computed on the way leaves no trace
            everywhere(lived)
    assert everywhere(lived) == plain
    assert everywhere(lived) == plain
    stored = World.of(kinds.decode(kinds.encode(each)) for each in reversed(world))
    assert everywhere(stored) == plain


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # only if it fails
@given(world=anyworlds(workloads_at_most=8, policies_at_most=16))
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_whatever_is_named_is_there_once_and_nothing_else(world) -> None:
    for each in everywhere(World.of(world)):
        firewall = each.filter
        present = (firewall.policies, firewall.sets, firewall.port_sets)
        for named, there in zip(referred(firewall), present, strict=True):
            assert [one.id for one in there] == sorted(named)
        interfaces = [one.interface for one in firewall.hosts]
        assert interfaces == sorted(set(interfaces))
