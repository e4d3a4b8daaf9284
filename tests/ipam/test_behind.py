"""Whether a live host is behind, as the hosts themselves say."""

from __future__ import annotations

import msgspec
import pytest
from ipam_world import Clock, node, put, world

from tortie.ipam import behind
from tortie.model import kinds
from tortie.model.kinds import NodeStatus
from tortie.store.base import Put

READY = NodeStatus("ready", 50, 1000)


@pytest.mark.parametrize(
    ("others", "late"),
    [
        ([], False),
        ([NodeStatus("ready", 50, 990)], False),
        ([NodeStatus("holding", 50, 1000)], True),
        ([NodeStatus("error", 50, 970)], True),
        ([NodeStatus("starting", 0, 1000)], True),
        ([NodeStatus("holding", 50, 930)], False),  # it is dead
        ([NodeStatus("ready", 40, 990)], False),  # it has not had a reason to say more
        ([NodeStatus("ready", 40, 1004)], False),
        ([NodeStatus("ready", 40, 1006)], True),  # six seconds after another had 50
        ([NodeStatus("ready", 60, 994)], True),  # and so has the first
        ([NodeStatus("ready", 60, 900)], True),
    ],
)
def test_which_hosts_hold_back_addresses(others: list[NodeStatus], late: bool) -> None:
    assert behind.extra([READY, *others], 1010) == (behind.EXTRA if late else 0)


def test_what_hosts_have_written_is_believed_for_a_few_seconds() -> None:
    store, clock = world(node("a1"), node("b1"), node("new")), Clock()

    def says(name: str, value: bytes) -> None:
        store.commit([Put(kinds.node_status_key(name), value)])

    hold = behind.Hold(store, clock)
    says("a1", msgspec.json.encode(NodeStatus("ready", 5, clock.now)))
    says("b1", b'{"from": "another version"}')
    says("stranger", msgspec.json.encode(NodeStatus("error", 5, clock.now)))
    assert hold() == 0
    says("b1", msgspec.json.encode(NodeStatus("holding", 5, clock.now)))
    assert hold() == 0
    clock.now += behind.FRESH
    assert hold() == behind.EXTRA
    put(store, node("a1"))
    says("b1", msgspec.json.encode(NodeStatus("ready", 5, clock.now)))
    clock.now += behind.FRESH
    assert hold() == 0
