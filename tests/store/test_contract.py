"""What every store must do, whichever it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from store.conftest import World

from tortie.errors import Compacted, Conflict, StoreUnavailable
from tortie.store.base import MAX_OPS, Check, Delete, Event, Op, Put, Store, Watch

ODD = ["a b", "é", "a\nb", "a\0b", "a%_*?[]\\", "'\";--", "\U0001f63a", "\uffff", "..", "a//"]


@contextmanager
def watching(store: Store, prefix: str, after: int) -> Iterator[Watch]:
    watch = store.watch(prefix, after)
    try:
        yield watch
    finally:
        watch.close()


def events_until(watch: Watch, revision: int) -> list[Event]:
    """All events up to the commit `revision`."""
    events: list[Event] = []
    while changes := watch.next(5):
        events += changes.events
        if changes.revision >= revision:
            return events
    raise AssertionError(f"revision {revision} never came; {events}")


def named(events: list[Event]) -> list[tuple[str, bytes | None]]:
    return [(event.key[-1], event.entry.value if event.entry else None) for event in events]


def test_what_is_put_is_got_and_listed_at_its_revision(world: World, store: Store) -> None:
    key = world.prefix + "a"
    assert store.get(key) is None
    revision = store.commit([Put(key, b"\0\xff")])
    entry = store.get(key)
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == (key, b"\0\xff", revision)
    assert store.list(world.prefix).entries == (entry,)
    assert store.list(world.prefix).revision >= revision


def test_what_is_written_again_keeps_the_revision_at_which_it_came_to_be(
    world: World, store: Store
) -> None:
    key = world.prefix + "a"
    before = store.list(world.prefix).revision
    first = store.commit([Put(key, b"1")])
    second = store.commit([Put(key, b"2", first)])
    store.commit([Delete(key)])
    third = store.commit([Put(key, b"3")])
    last = store.commit([Put(key, b"4")])
    entry = store.get(key)
    assert entry is not None and (entry.created, entry.revision) == (third, last)
    assert store.list(world.prefix).entries == (entry,)
    with watching(store, world.prefix, before) as watch:
        seen = [event.entry for event in events_until(watch, last)]
    told = [(each.created, each.revision) if each else None for each in seen]
    assert told == [(first, first), (first, second), None, (third, third), (third, last)]


def test_an_empty_value_is_a_value(world: World, store: Store) -> None:
    before = store.list(world.prefix).revision
    revision = store.commit([Put(world.prefix + "a", b"")])
    entry = store.get(world.prefix + "a")
    assert entry is not None and entry.value == b""
    with watching(store, world.prefix, before) as watch:
        assert events_until(watch, revision) == [Event(entry.key, entry)]


@pytest.mark.parametrize("kind", [Put, Delete, Check])
@pytest.mark.parametrize(
    ("there", "expect", "holds"),
    [
        (True, "current", True),
        (True, "older", False),
        (True, 0, False),
        (False, 0, True),
        (False, "current", False),
    ],
)
def test_compare_and_swap(
    world: World, store: Store, kind: type, there: bool, expect: str | int, holds: bool
) -> None:
    key, other = world.prefix + "key", world.prefix + "other"
    older = store.commit([Put(key, b"1")])
    current = store.commit([Put(key, b"2")])
    if not there:
        store.commit([Delete(key)])
    expected = {"current": current, "older": older, 0: 0}[expect]
    op: Op = Put(key, b"3", expected) if kind is Put else kind(key, expect=expected)
    if holds:
        store.commit([op, Put(other, b"x")])
    else:
        with pytest.raises(Conflict, match=r"key' was expected .* but is"):
            store.commit([op, Put(other, b"x")])
    assert (store.get(other) is not None) == holds
    found = store.get(key)
    after = {Put: b"3", Delete: None, Check: b"2" if there else None}[kind]
    before = b"2" if there else None
    assert (found.value if found else None) == (after if holds else before)


def test_a_commit_is_one_revision_and_all_or_nothing(world: World, store: Store) -> None:
    keys = [f"{world.prefix}{n:03}" for n in range(MAX_OPS)]
    revision = store.commit([Put(key, b"x", 0) for key in keys])
    assert {entry.revision for entry in store.list(world.prefix).entries} == {revision}
    with pytest.raises(Conflict):
        store.commit([Delete(key) for key in keys[:-1]] + [Put(keys[-1], b"y", 0)])
    assert [entry.key for entry in store.list(world.prefix).entries] == keys


def test_too_many_operations_or_a_key_twice_is_a_programming_error(
    world: World, store: Store
) -> None:
    with pytest.raises(ValueError, match="129 operations"):
        store.commit([Put(f"{world.prefix}{n}", b"") for n in range(MAX_OPS + 1)])
    with pytest.raises(ValueError, match="twice"):
        store.commit([Put(world.prefix, b""), Delete(world.prefix)])
    for bad in ("", "a", "/\ud800"):
        with pytest.raises(ValueError):
            store.commit([Put(bad, b"")])
        with pytest.raises(ValueError):
            store.list(bad)
    assert store.list(world.prefix).entries == ()


def test_what_changes_nothing_makes_no_revision(world: World, store: Store) -> None:
    revision = store.commit([Put(world.prefix + "a", b"")])
    assert store.commit([Delete(world.prefix + "absent")]) == revision
    assert store.commit([Check(world.prefix + "a", revision)]) == revision
    assert store.commit([]) == revision
    assert store.commit([Put(world.prefix + "a", b"")]) == revision + 1  # the same value is a write


def test_keys_may_be_any_text_and_come_in_order(world: World, store: Store) -> None:
    keys = sorted(world.prefix + odd for odd in ODD)
    before = store.list(world.prefix).revision
    revision = store.commit([Put(key, key.encode()) for key in keys])
    listing = store.list(world.prefix)
    assert [entry.key for entry in listing.entries] == keys
    assert all(entry.value == entry.key.encode() for entry in listing.entries)
    assert [store.get(key) for key in keys] == list(listing.entries)
    with watching(store, world.prefix, before) as watch:
        assert sorted(event.key for event in events_until(watch, revision)) == keys


def test_a_prefix_is_a_world_of_its_own(world: World, store: Store) -> None:
    before = store.list(world.prefix).revision
    inside, beside = world.prefix + "a/", world.prefix + "a0"
    store.commit([Put(world.prefix + "a", b""), Put(beside, b""), Put(inside + "x", b"")])
    store.commit([Put(beside, b"2")])
    last = store.commit([Put(inside + "y", b"")])
    assert [entry.key for entry in store.list(inside).entries] == [inside + "x", inside + "y"]
    with watching(store, inside, before) as watch:
        assert named(events_until(watch, last)) == [("x", b""), ("y", b"")]


def test_a_watch_gives_the_past_and_then_the_present_in_order(world: World, store: Store) -> None:
    a, b = world.prefix + "a", world.prefix + "b"
    seen = store.commit([Put(a, b"1")])
    store.commit([Put(a, b"2")])
    past = store.commit([Delete(a)])
    with watching(store, world.prefix, seen) as watch:
        assert named(events_until(watch, past)) == [("a", b"2"), ("a", None)]
        store.commit([Put(b, b"1")])
        last = store.commit([Put(a, b"3", 0)])
        events = events_until(watch, last)
        assert named(events) == [("b", b"1"), ("a", b"3")]
        assert events[-1].entry == store.get(a)
        assert watch.next(0.05) is None


def test_a_watch_never_splits_a_commit(world: World, store: Store) -> None:
    start = store.list(world.prefix).revision
    with watching(store, world.prefix, start) as watch:
        for n in range(30):
            last = store.commit([Put(f"{world.prefix}{k}", b"%d" % n) for k in range(20)])
        revision = 0
        while revision < last:
            changes = watch.next(5)
            assert changes is not None
            assert len(changes.events) % 20 == 0
            revision = changes.revision
    with watching(store, world.prefix, start) as late:
        assert len(events_until(late, last)) == 600


def test_another_process_is_seen_and_sees(world: World, store: Store) -> None:
    key = world.prefix + "k"
    with watching(store, world.prefix, store.commit([Put(key, b"here")])) as watch:
        revision = world.put_elsewhere(key, b"there")
        assert named(events_until(watch, revision)) == [("k", b"there")]
    entry = store.get(key)
    assert entry is not None and (entry.value, entry.revision) == (b"there", revision)
    assert world.open().identity() == store.identity()


def test_concurrent_increments_lose_nothing(world: World, store: Store) -> None:
    key = world.prefix + "counter"
    start = store.commit([Put(key, b"0")])

    def increment(own: Store) -> None:
        done = 0
        while done < 20:
            entry = own.get(key)
            assert entry is not None
            try:
                own.commit([Put(key, b"%d" % (int(entry.value) + 1), entry.revision)])
                done += 1
            except Conflict:
                pass

    stores = [store, store, world.open(), world.open()]
    threads = [threading.Thread(target=increment, args=[own]) for own in stores]
    with watching(store, world.prefix, start) as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entry = store.get(key)
        assert entry is not None and entry.value == b"80"
        values = [
            event.entry and event.entry.value for event in events_until(watch, entry.revision)
        ]
        assert values == [b"%d" % n for n in range(1, 81)]


def test_a_watch_behind_the_compaction_says_so(world: World, store: Store) -> None:
    first = store.commit([Put(world.prefix + "a", b"1")])
    last = store.commit([Put(world.prefix + "a", b"2")])
    world.compact(last)
    with watching(store, world.prefix, first - 1) as watch:
        for _ in range(2):  # and says so again
            with pytest.raises(Compacted):
                watch.next(5)
    with watching(store, world.prefix, last) as watch:
        assert watch.next(0.05) is None
        later = store.commit([Put(world.prefix + "a", b"3")])
        assert named(events_until(watch, later)) == [("a", b"3")]


def test_a_watch_of_a_revision_that_is_yet_to_come_is_of_another_history(
    world: World, store: Store
) -> None:
    with watching(store, world.prefix, store.commit([Put(world.prefix, b"")]) + 1000) as watch:
        with pytest.raises(Compacted):
            watch.next(5)


@pytest.mark.parametrize("what", ["watch", "store"])
def test_closing_wakes_a_waiting_watch(world: World, store: Store, what: str) -> None:
    watch = store.watch(world.prefix, store.list(world.prefix).revision)
    answers: list[object] = []
    reader = threading.Thread(target=lambda: answers.append(watch.next()))
    reader.start()
    time.sleep(0.05)
    watch.close() if what == "watch" else store.close()
    reader.join(2)
    assert answers == [None]
    assert watch.next(1) is None


def test_a_closed_store_is_unavailable(world: World, store: Store) -> None:
    store.close()
    for use in (store.identity, lambda: store.get("/a"), lambda: store.commit([Put("/a", b"")])):
        if use == store.identity and world.open() is store:
            continue  # the identity of memory needs no store
        with pytest.raises(StoreUnavailable, match="closed"):
            use()
