"""A planned restart of BGP is told to every host before, and taken back after, whatever happens."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from tortie.errors import BgpError, StoreError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.plugins import planned
from tortie.store import resources
from tortie.store.base import Put
from tortie.store.memory import MemoryStore


def store_with(*names: str) -> MemoryStore:
    store = MemoryStore()
    nodes = [
        r.Node(
            api_version="projectcalico.org/v3",
            metadata=r.Metadata(name=name, annotations={"mine": "kept"}),
            spec=r.NodeSpec(),
        )
        for name in names
    ]
    resources.apply(store, nodes)
    return store


def marks(store: MemoryStore, name: str) -> dict[str, str]:
    entry = store.get(f"{kinds.WORLD}nodes/{name}")
    assert entry is not None
    return dict(kinds.decode(entry.value).metadata.annotations)


def answering(store: MemoryStore, *names: str) -> threading.Thread:
    """Hosts that say, once, that they enforce what is in the store."""

    def answer() -> None:
        while not (barriers := store.list(f"{kinds.WORLD}barriers/").entries):
            time.sleep(0.001)
        token = barriers[0].key.rpartition("/")[2]
        for name in names:
            receipt = kinds.Receipt(node=name, revision=1, time=0.0)
            store.commit([Put(kinds.receipt_key(token, name), msgspec.json.encode(receipt))])

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_all_know_while_it_restarts_and_nothing_is_left_after() -> None:
    store = store_with("one", "two")
    hosts = answering(store, "one", "two")
    seen: list[dict[str, str]] = []
    late = planned.announced(store, "one", lambda: seen.append(marks(store, "one")))
    hosts.join()
    assert seen == [{"mine": "kept", planned.ANNOTATION: "true"}]
    assert late == []
    assert marks(store, "one") == marks(store, "two") == {"mine": "kept"}
    assert not store.list(f"{kinds.WORLD}barriers/").entries


def test_who_does_not_answer_is_named_and_not_waited_for_longer() -> None:
    store = store_with("one", "two", "three")
    hosts = answering(store, "one", "three")
    assert planned.announced(store, "one", lambda: None, patience=0.3) == ["two"]
    hosts.join()


def test_a_restart_that_fails_is_taken_back_too() -> None:
    store = store_with("one")

    def fail() -> None:
        raise BgpError("no")

    with pytest.raises(BgpError):
        planned.announced(store, "one", fail, patience=0.01)
    assert marks(store, "one") == {"mine": "kept"}


def test_a_node_that_is_not_there_restarts_nothing() -> None:
    with pytest.raises(StoreError, match="no Node"):
        planned.announced(MemoryStore(), "one", lambda: pytest.fail("restarted"))
