"""The generated worlds are valid, and their one spelling means what they mean as written."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import flows, worlds

from tortie.explain.oracle import Reading, judge_in
from tortie.model.validate import normalise, validate


@st.composite
def cases(draw):
    world = draw(worlds())
    return world, draw(st.lists(flows(world), min_size=8, max_size=8))


@given(case=cases())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_worlds_are_valid_and_keep_their_meaning_when_normalised(case):
    resources, probes = case
    assert [problem for one in resources for problem in validate(one)] == []
    written = Reading(resources)
    kept = Reading(tuple(normalise(one) for one in resources))
    for probe in probes:
        assert judge_in(written, probe) == judge_in(kept, probe)
