"""One of many holds: the same on every store, whatever is lost on the way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from store.conftest import World

from tortie.errors import StoreUnavailable
from tortie.store.base import Check, Entry, Op, Put, Store
from tortie.store.election import ELECTIONS, Election
from tortie.store.memory import MemoryStore

PATIENCE = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Flaky:
    """A store of which calls are lost: before they are done, or after (the reply is)."""

    store: Store
    chance: random.Random
    lost: float = 0.0
    away: bool = False
    seen: list[str] = field(default_factory=list)

    def get(self, key: str) -> Entry | None:
        self._maybe()
        return self.store.get(key)

    def commit(self, ops: Sequence[Op]) -> int:
        self._maybe()
        revision = self.store.commit(ops)
        self._maybe()
        return revision

    def _maybe(self) -> None:
        if self.away or self.chance.random() < self.lost:
            raise StoreUnavailable("lost")


def candidate(store: object, name: str, me: str, clock: Clock) -> Election:
    return Election(store, name, me, PATIENCE, clock)  # type: ignore[arg-type]


@pytest.fixture
def name(world: World) -> str:
    return world.prefix.strip("/")


def test_the_first_holds_until_it_has_been_silent_for_the_others_patience(
    store: Store, name: str
) -> None:
    clock = Clock()
    one, two = (candidate(store, name, me, clock) for me in ("one", "two"))
    assert one.renew() and not two.renew()
    assert (one.held, two.held, two.holder()) == (True, False, "one")
    for _ in range(10):  # far beyond the patience, but renewed
        clock.now += one.pause
        assert one.renew() and not two.renew()
    clock.now += PATIENCE - 1
    assert not two.renew()
    clock.now += 1
    assert not one.held  # it may have been taken over, so it acts no more
    assert two.renew()
    assert not one.renew() and one.holder() == "two"


def test_the_patience_counts_from_what_one_has_seen_oneself(store: Store, name: str) -> None:
    clock = Clock()
    one, late = (candidate(store, name, me, clock) for me in ("one", "late"))
    assert one.renew()
    clock.now += 10 * PATIENCE  # it was not there: it cannot know that nobody renewed meanwhile
    assert not late.renew()
    clock.now += PATIENCE
    assert late.renew()


def test_who_resigns_leaves_it_to_the_next_at_once(store: Store, name: str) -> None:
    clock = Clock()
    one, two = (candidate(store, name, me, clock) for me in ("one", "two"))
    assert one.renew() and not two.renew()
    two.resign()  # it does not hold: nothing happens
    assert one.holder() == "one"
    one.resign()
    assert not one.held
    assert two.renew()


def test_a_host_in_its_next_life_waits_like_the_others(store: Store, name: str) -> None:
    clock = Clock()
    assert candidate(store, name, "a1/first", clock).renew()
    again = candidate(store, name, "a1/second", clock)
    assert not again.renew()
    clock.now += PATIENCE
    assert again.renew()


def test_of_two_who_grasp_at_once_one_holds(store: Store, name: str) -> None:
    class Between:
        """Another takes it between this one's look and its grasp."""

        def get(self, key: str) -> Entry | None:
            found = store.get(key)
            if found is None:
                assert candidate(store, name, "two", clock).renew()
            return found

        def commit(self, ops: Sequence[Op]) -> int:
            return store.commit(ops)

    clock = Clock()
    one = candidate(Between(), name, "one", clock)
    assert not one.renew() and not one.held
    assert one.holder() == "two"


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"holder":3,"count":1}', b"\xff"])
def test_what_cannot_be_read_is_taken_over_in_time(value: bytes) -> None:
    store, clock = MemoryStore(), Clock()
    store.commit([Put(ELECTIONS + "x", value)])
    one = candidate(store, "x", "one", clock)
    assert not one.renew()
    clock.now += PATIENCE
    assert one.renew() and one.holder() == "one"


def test_a_lost_reply_is_no_lost_hold_and_an_outage_ends_it_in_time() -> None:
    store, clock = MemoryStore(), Clock()
    flaky = Flaky(store, random.Random(1))
    one, two = candidate(flaky, "x", "one", clock), candidate(store, "x", "two", clock)
    assert one.renew() and not two.renew()
    flaky.away = True
    clock.now += 20
    with pytest.raises(StoreUnavailable):
        one.renew()
    assert one.held
    clock.now += 10
    assert not one.held and two.renew()
    flaky.away = False
    assert not one.renew()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_lost_no_two_hold_at_once_and_somebody_does(seed: int) -> None:
    chance = random.Random(seed)
    store = MemoryStore()
    clock = Clock()
    flaky = [Flaky(store, chance, lost=0.3) for _ in range(3)]
    all_of = [candidate(each, "x", f"n{n}", clock) for n, each in enumerate(flaky)]
    idle, longest = 0.0, 0.0
    for _ in range(2000):
        step = chance.uniform(0, 8)
        clock.now += step
        for one in chance.sample(all_of, 2):
            try:
                one.renew()
            except StoreUnavailable:
                continue
        holders = sum(one.held for one in all_of)
        assert holders <= 1
        idle = 0.0 if holders else idle + step
        longest = max(longest, idle)
    assert longest < 5 * PATIENCE


def test_a_renewal_changes_nothing_that_hosts_watch() -> None:
    store, clock = MemoryStore(), Clock()
    assert candidate(store, "x", "one", clock).renew()
    (entry,) = store.list("/").entries
    assert entry.key == "/tortie/v1/elections/x"
    store.commit([Check(entry.key, entry.revision)])
