"""The syncer: what it has emitted, folded, is what the store holds."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tortie.errors import StoreUnavailable
from tortie.store import syncer as module
from tortie.store.base import Delete, Event, Op, Put, Store
from tortie.store.memory import MemoryStore
from tortie.store.syncer import Batch, Lost, Syncer

P = "/world/"


@dataclass
class Reader:
    """Folds what a syncer emits, and keeps it."""

    news: queue.SimpleQueue[Batch | Lost] = field(default_factory=queue.SimpleQueue)
    state: dict[str, bytes] = field(default_factory=dict)
    revision: int = 0

    def next(self) -> Batch | Lost:
        item = self.news.get(timeout=5)
        if isinstance(item, Batch):
            keys = [event.key for event in item.changes]
            assert len(keys) == len(set(keys))
            for event in item.changes:
                if event.entry:
                    self.state[event.key] = event.entry.value
                else:
                    del self.state[event.key]  # only what was there is said to be gone
            if item.listing is not None:
                assert self.state == {entry.key: entry.value for entry in item.listing}
            self.revision = item.revision
        return item

    def batch(self) -> Batch:
        item = self.next()
        assert isinstance(item, Batch), item
        return item

    def until(self, store: Store) -> None:
        """Read until what was folded is what the store holds."""
        wanted = {entry.key: entry.value for entry in store.list(P).entries}
        deadline = time.monotonic() + 5
        while self.state != wanted:
            assert time.monotonic() < deadline
            self.next()


class Behind:
    """A store that another can be put in place of, as when a file or a cluster is restored."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.down = False

    def replace(self, store: MemoryStore) -> None:
        old, self.store = self.store, store
        old.close()

    def identity(self) -> str:
        return self._up().identity()

    def get(self, key: str):
        return self._up().get(key)

    def list(self, prefix: str):
        return self._up().list(prefix)

    def commit(self, ops: Sequence[Op]) -> int:
        return self._up().commit(ops)

    def watch(self, prefix: str, after: int):
        return self._up().watch(prefix, after)

    def close(self) -> None:
        self.store.close()

    def _up(self) -> MemoryStore:
        if self.down:
            raise StoreUnavailable("down for the test")
        return self.store


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.005)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


Start = Callable[[Store], Reader]


@pytest.fixture
def start() -> Iterator[Start]:
    syncers: list[Syncer] = []

    def begin(store: Store) -> Reader:
        reader = Reader()
        syncers.append(Syncer(store, P, reader.news.put))
        syncers[-1].start()
        return reader

    begin.syncers = syncers  # type: ignore[attr-defined]
    yield begin
    for syncer in syncers:
        syncer.stop()


def keys(batch: Batch) -> list[tuple[str, bool]]:
    return sorted((event.key.removeprefix(P), event.entry is not None) for event in batch.changes)


def test_first_all_there_is_then_what_changes(store: MemoryStore, start: Start) -> None:
    revision = store.commit([Put(P + "a", b"1"), Put("/elsewhere", b"")])
    reader = start(store)
    first = reader.batch()
    entry = store.get(P + "a")
    assert entry is not None
    assert first == Batch(
        (Event(P + "a", entry),), revision, True, store.identity(), True, (entry,)
    )
    later = store.commit([Put(P + "b", b"2"), Delete(P + "a")])
    batch = reader.batch()
    assert (batch.revision, batch.in_sync, batch.relisted) == (later, True, False)
    assert batch.identity == store.identity()
    assert keys(batch) == [("a", False), ("b", True)]


def test_an_empty_store_is_in_sync_too(store: MemoryStore, start: Start) -> None:
    batch = start(store).batch()
    assert (batch.changes, batch.in_sync, batch.listing) == ((), True, ())


def test_what_waits_becomes_one_batch_with_the_last_of_each_key(store: MemoryStore) -> None:
    """While its reader is busy, a syncer emits nothing, and then everything at once."""
    reader = Reader()

    def slow(news: Batch | Lost) -> None:
        if isinstance(news, Batch) and news.relisted:
            for n in range(50):
                store.commit([Put(P + "a", b"%d" % n), Put(f"{P}{n}", b"")])
            store.commit([Delete(P + "7")])
        reader.news.put(news)

    syncer = Syncer(store, P, slow)
    syncer.start()
    reader.batch()
    batch = reader.batch()
    syncer.stop()
    assert len(batch.changes) == 50  # a and 0..49, but not 7, which came and went
    assert reader.state[P + "a"] == b"49" and P + "7" not in reader.state
    assert reader.revision == store.list(P).revision


def test_after_a_compaction_only_the_differences_come(store: MemoryStore, start: Start) -> None:
    store.commit([Put(P + key, b"") for key in "abc"])
    reader = start(store)
    reader.batch()
    with store._changed:  # the syncer's thread sees nothing until it is all over
        store.commit([Put(P + "a", b"2"), Delete(P + "b"), Put(P + "d", b"")])
        store.compact(store.list(P).revision)
    assert isinstance(reader.next(), Lost)
    batch = reader.batch()
    assert batch.relisted
    assert keys(batch) == [("a", True), ("b", False), ("d", True)]


def test_an_outage_is_told_once(store: MemoryStore, start: Start) -> None:
    behind = Behind(store)
    behind.down = True
    reader = start(behind)
    assert reader.next() == Lost("down for the test")
    time.sleep(0.05)  # several attempts
    assert reader.news.empty()
    behind.down = False
    assert reader.batch().relisted


def test_a_store_that_was_replaced_is_compared_by_what_it_holds(
    store: MemoryStore, start: Start
) -> None:
    """Even where the two happen to use the same revisions."""
    behind = Behind(store)
    for key in "abc":
        store.commit([Put(P + key, b"old")])
    reader = start(behind)
    reader.batch()
    other = MemoryStore()
    other.commit([Put(P + "a", b"old")])
    other.commit([Put(P + "b", b"new")])
    behind.replace(other)
    batch = reader.batch()
    assert (batch.identity, batch.revision, batch.relisted) == (other.identity(), 3, True)
    assert keys(batch) == [("b", True), ("c", False)]


def test_asked_to_list_again_it_does(store: MemoryStore, start: Start) -> None:
    reader = start(store)
    reader.batch()
    start.syncers[0].relist()  # type: ignore[attr-defined]
    batch = reader.batch()
    assert (batch.changes, batch.relisted) == ((), True)


def test_it_stops_promptly_and_says_nothing_afterwards(store: MemoryStore) -> None:
    reader = Reader()
    syncer = Syncer(store, P, reader.news.put)
    syncer.start()
    reader.batch()
    began = time.monotonic()
    syncer.stop()
    assert time.monotonic() - began < 1
    store.commit([Put(P + "a", b"")])
    assert reader.news.empty()


def test_a_reader_that_fails_is_told_and_served_again(store: MemoryStore) -> None:
    reader = Reader()
    failures = iter([RuntimeError("oops")])

    def emit(news: Batch | Lost) -> None:
        for failure in failures:
            raise failure
        reader.news.put(news)

    syncer = Syncer(store, P, emit)
    syncer.start()
    assert reader.next() == Lost("RuntimeError: oops")
    assert reader.batch().relisted
    syncer.stop()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcde"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.sampled_from("abcde"), st.just(0)),
        st.tuples(st.just("pair"), st.just(""), st.integers(0, 9)),
        st.tuples(st.just("compact"), st.just(""), st.just(0)),
        st.tuples(st.just("replace"), st.sampled_from("abcde"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["down", "up", "relist", "catch up"]), st.just(""), st.just(0)),
    ),
    max_size=25,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_whatever_happens_the_reader_ends_with_what_the_store_holds(steps) -> None:
    behind = Behind(MemoryStore(keep=3))
    reader = Reader()
    syncer = Syncer(behind, P, reader.news.put)
    syncer.start()
    for what, key, value in steps:
        match what:
            case "put":
                behind.store.commit([Put(P + key, b"%d" % value)])
            case "delete":
                behind.store.commit([Delete(P + key)])
            case "pair":
                behind.store.commit([Put(P + side, b"%d" % value) for side in ("x1", "x2")])
            case "compact":
                behind.store.compact(behind.store.list(P).revision)
            case "replace":
                other = MemoryStore(keep=3)
                other.commit([Put(P + key, b"%d" % value)])
                behind.replace(other)
            case "down" | "up":
                behind.down = what == "down"
            case "relist":
                syncer.relist()
            case "catch up" if not behind.down:
                reader.until(behind.store)
        while not reader.news.empty():
            reader.next()
            assert reader.state.get(P + "x1") == reader.state.get(P + "x2")
    behind.down = False
    reader.until(behind.store)
    syncer.stop()
