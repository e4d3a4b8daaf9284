"""The final state counts, and not the way to it: events doubled, merged, reordered, or stale."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from agent.rig import BASE, ME, Host, batch
from anyworld import anyworlds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tortie.desired import Desired
from tortie.model import kinds

History = list[dict[str, bytes | None]]
BROKEN = b'{"kind": "WorkloadEndpoint"'
ENDPOINTS = f"{kinds.WORLD}workloadendpoints/"


def values(draw) -> dict[str, bytes | None]:
    return {kinds.key(each): kinds.encode(each) for each in (*BASE[:2], *draw(anyworlds(8, 12)))}


@st.composite
def histories(draw) -> tuple[History, History]:
    """Two ways to one world: all at once, and by detours through another world."""
    end, other = values(draw), values(draw)
    for key in draw(st.sets(st.sampled_from(sorted(end)), max_size=2)):
        if key.startswith(ENDPOINTS):
            end[key] = BROKEN
    other |= {key: BROKEN for key in other if key.startswith(ENDPOINTS) and draw(st.booleans())}
    gone = dict.fromkeys(other.keys() - end.keys())
    steps = [(key, value) for source in (other, end) for key, value in source.items()]
    final = [*end.items(), *gone.items()]
    way = [*draw(st.permutations(steps)), *draw(st.permutations(final))]
    cuts = draw(st.sets(st.integers(1, len(way) - 1), max_size=4))
    parts = [dict(way[start:stop]) for start, stop in pairwise([0, *sorted(cuts), len(way)])]
    return [end], parts


def outcome(history: History) -> Desired:
    """What the filter is told last; each part of the history is a batch and a pass of its own."""
    with tempfile.TemporaryDirectory() as directory:
        host = Host(Path(directory))
        for index, part in enumerate(history):
            # The last batch comes at the same revision, however many came before it.
            revision = 100 - len(history) + index + 1
            host.at(index, batch(revision, raw=part))
        host.run(len(history))
        assert host.state == ("ready", ""), host.state
        return host.filter.last


@given(two_ways=histories())
@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
def test_every_way_to_a_world_ends_in_the_same_desired_state(two_ways) -> None:
    direct, detour = two_ways
    expected = outcome(direct)
    assert expected.node == ME and expected.revision == 100
    assert outcome(detour) == expected
