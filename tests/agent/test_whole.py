"""The agent with a real store, syncer and writer; only the drivers are fakes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from agent.rig import ME, Driver, Timeline, status_key, web
from worlds import node, policy

from tortie.agent import loop, report
from tortie.agent.belief import Memory
from tortie.agent.events import BelieveStore, Stop
from tortie.agent.loop import Agent, HostFacts
from tortie.agent.metrics import Metrics
from tortie.agent.report import Reporter, Writer
from tortie.agent.settings import Settings
from tortie.errors import StoreUnavailable
from tortie.model import kinds
from tortie.store import resources, syncer
from tortie.store.base import Listing
from tortie.store.memory import MemoryStore
from tortie.store.syncer import Syncer


class Remote(MemoryStore):
    """A store that may be out of reach."""

    away = False

    def list(self, prefix: str) -> Listing:
        if self.away:
            raise StoreUnavailable("no answer")
        return super().list(prefix)


class Running:
    """An agent that runs, with its syncer and writer, and what they can be seen to do."""

    def __init__(self, store: MemoryStore, directory: Path) -> None:
        self.store = store
        journal: list[str] = []
        self.filter, self.bird = (Driver(n, Timeline(), journal) for n in ("firewall", "bird"))
        self.writer = Writer(store)
        stale = frozenset(e.key for e in store.list(f"{kinds.STATUS}{ME}/endpoints/").entries)
        self.agent = Agent(
            Settings(node=ME, store="memory:"),
            drivers=(self.filter, self.bird),
            probes=(),
            facts=HostFacts,
            memory=Memory(directory),
            reporter=Reporter(ME, self.writer.write, stale),
            recorder=Metrics(ME),
        )
        self.syncer = Syncer(store, kinds.WORLD, self.agent.queue.put)

    def status(self, name: str = "web") -> str:
        entry = self.store.get(status_key(name))
        return "" if entry is None else entry.value.decode()


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


@contextmanager
def running(store: MemoryStore, directory: Path) -> Iterator[Running]:
    whole = Running(store, directory)
    thread = Thread(target=whole.agent.run)
    whole.writer.start()
    whole.syncer.start()
    thread.start()
    try:
        yield whole
    finally:
        whole.syncer.stop()
        whole.agent.queue.put(Stop())
        thread.join(5)
        whole.writer.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETRY", (0.02, 0.1))
    monkeypatch.setattr(report, "AGAIN", 0.02)
    monkeypatch.setattr(syncer, "FIRST_DELAY_SECONDS", 0.02)


def test_what_is_applied_is_answered_by_the_host_once_it_holds_there(tmp_path: Path) -> None:
    store = MemoryStore()
    with running(store, tmp_path) as host:
        until(lambda: "empty" in host.agent.snapshot.reason)
        done = resources.apply(store, [node(ME, "172.16.0.1/24"), web()], barrier=True)
        found = resources.wait_for_receipts(store, done.barrier, [ME], 5)
        assert found[ME].revision >= done.revision
        assert host.filter.last.revision >= done.revision
        until(lambda: '"up"' in host.status())
        host.filter.error = "no memory"
        done = resources.apply(store, [policy("shop/p")], barrier=True)
        until(lambda: '"error"' in host.status())
        assert resources.wait_for_receipts(store, done.barrier, [ME], 0.1) == {}
        host.filter.error = ""
        assert resources.wait_for_receipts(store, done.barrier, [ME], 5)[ME].revision
        resources.forget_barrier(store, done.barrier)
        resources.delete(store, web())
        until(lambda: host.status() == "")
    assert host.agent.snapshot.state == "ready"


def test_a_store_that_was_away_is_caught_up_with(tmp_path: Path) -> None:
    store = Remote()
    resources.apply(store, [node(ME, "172.16.0.1/24"), web()])
    with running(store, tmp_path) as host:
        until(lambda: host.agent.snapshot.state == "ready")
        store.away = True
        host.syncer.relist()
        until(lambda: host.agent.snapshot.store_lost == "no answer")
        assert host.agent.snapshot.state == "ready"
        store.away = False
        revision = resources.apply(store, [web("10.65.0.2")]).revision
        until(lambda: host.agent.snapshot.revision >= revision)
        assert host.agent.snapshot.store_lost == ""
        assert host.filter.last.filter.endpoints[0].addresses == ("10.65.0.2",)


def test_a_restarted_agent_takes_up_where_the_last_one_was(tmp_path: Path) -> None:
    store = MemoryStore()
    old = web("10.65.0.9", "old", "tor9")
    resources.apply(store, [node(ME, "172.16.0.1/24"), web(), old])
    with running(store, tmp_path) as host:
        until(lambda: '"up"' in host.status("old"))
    before = host.filter.last.filter
    with running(store, tmp_path) as host:
        until(lambda: bool(host.filter.applied))
        assert host.filter.last.filter == before
    resources.delete(store, old)
    with running(store, tmp_path) as host:
        until(lambda: host.status("old") == "")
        assert '"up"' in host.status()


def test_another_store_waits_for_the_operators_word(tmp_path: Path) -> None:
    mine, other = MemoryStore(), MemoryStore()
    for store in (mine, other):
        resources.apply(store, [node(ME, "172.16.0.1/24"), web()])
    with running(mine, tmp_path) as host:
        until(lambda: host.agent.snapshot.state == "ready")
    with running(other, tmp_path) as host:
        until(lambda: host.agent.snapshot.state == "holding")
        assert "another cluster's" in host.agent.snapshot.reason
        assert host.filter.applied == []
        assert host.status() == ""
        host.agent.queue.put(BelieveStore())
        until(lambda: '"up"' in host.status())
    assert host.filter.last.revision == host.agent.snapshot.revision
