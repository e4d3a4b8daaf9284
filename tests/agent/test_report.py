"""What the agent tells the store: endpoints, itself, receipts; and that it goes on trying."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from agent.rig import BASE, ME, Host, barrier, batch, status_key, web
from worlds import policy

from tortie.agent import report
from tortie.agent.report import Reporter, Writer
from tortie.errors import StoreUnavailable
from tortie.model import kinds
from tortie.store.base import MAX_OPS, Op
from tortie.store.memory import MemoryStore


def states(host: Host, name: str = "web") -> list[tuple[str, int] | None]:
    return [each and (each["state"], each["revision"]) for each in host.said(status_key(name))]


# --- endpoints ------------------------------------------------------------------------------------


def test_an_endpoint_is_up_once_all_is_in_the_kernel(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    host.run(1)
    assert host.said(status_key()) == [
        {"state": "up", "reason": "", "interface": "tor1", "revision": 7, "host": ME}
    ]


def test_an_endpoint_waits_for_its_interface(host: Host) -> None:
    host.links.missing = frozenset({"tor1"})
    host.at(0, batch(7, *BASE))
    host.run(1)
    (said,) = host.said(status_key())
    assert (said["state"], said["reason"]) == ("waiting", "interface tor1 is not on this host")


def test_an_endpoint_that_is_refused_hears_why(host: Host) -> None:
    twin = web("10.65.0.1", "zz-twin", "tor2")
    host.at(0, batch(7, *BASE, twin))
    host.run(1)
    (said,) = host.said(status_key("zz--twin"))
    assert said["state"] == "error"
    assert said["reason"].startswith("10.65.0.1/32 belongs to shop/")
    assert states(host) == [("up", 7)]


def test_every_write_of_an_endpoint_is_answered_with_its_revision(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    host.at(1, batch(8, web()))
    host.at(2, batch(9, policy("shop/p")))  # nothing that the endpoint's owner waits for
    host.run(3)
    assert states(host) == [("up", 7), ("up", 8)]


def test_a_deleted_endpoint_has_no_status(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    host.at(1, batch(8, gone=[web()]))
    host.at(2, batch(9, web()))
    host.run(3)
    assert states(host) == [("up", 7), None, ("up", 9)]


def test_what_an_earlier_run_has_left_is_removed_unless_it_still_holds(tmp_path: Path) -> None:
    host = Host(tmp_path, stale=[status_key("web"), status_key("old")])
    host.at(1, batch(7, *BASE))
    host.at(2, batch(8, policy("shop/p")))
    host.run(3)
    assert states(host, "old") == [None]
    assert states(host) == [("up", 7)]


def test_nothing_is_said_of_endpoints_while_the_store_is_in_doubt(tmp_path: Path) -> None:
    before = Host(tmp_path)
    before.at(0, batch(7, *BASE))
    before.run(1)
    host = Host(tmp_path, stale=[status_key("old")])
    host.at(0, batch(6, BASE[0], barrier("b")))
    host.run(40)
    assert {key for key, _ in host.written} == {kinds.node_status_key(ME)}


# --- receipts -------------------------------------------------------------------------------------


def receipts(host: Host, name: str = "b") -> list[int | None]:
    return [each and each["revision"] for each in host.said(kinds.receipt_key(name, ME))]


def test_a_barrier_is_answered_once(host: Host) -> None:
    host.at(0, batch(7, *BASE, barrier("b")))
    host.at(1, batch(8, policy("shop/p")))
    host.at(2, batch(9, barrier("c")))
    host.run(3)
    assert receipts(host) == [7]
    assert receipts(host, "c") == [9]


@pytest.mark.parametrize("name", ["filter", "links", "routes", "bird"])
def test_a_barrier_is_answered_only_when_every_driver_has_done_it(host: Host, name: str) -> None:
    driver = getattr(host, name)
    early: list[object] = []
    host.at(0, batch(6, *BASE))
    host.at(1, driver.fails("not yet"), batch(7, barrier("b")))
    host.at(2, host.look(early, lambda: receipts(host)), driver.fails(""))
    host.run(9)
    assert early == [[]]
    assert receipts(host) == [7]


def test_a_barrier_is_answered_with_nothing_older_than_itself(host: Host) -> None:
    host.at(0, batch(7, barrier("b"), in_sync=False), batch(9, *BASE))
    host.run(1)
    assert receipts(host) == [9]


def test_the_answer_to_a_barrier_goes_with_it(host: Host) -> None:
    host.at(0, batch(7, *BASE, barrier("b")))
    host.at(1, batch(8, gone=[barrier("b")]))
    host.run(2)
    assert receipts(host) == [7, None]


# --- the agent itself -----------------------------------------------------------------------------


def test_the_agent_says_now_and_then_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, time=lambda: 1_700_000_000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(report, "time", clock)
    written: list[str] = []
    reporter = Reporter(ME, lambda key, value: written.append(key), frozenset())
    told = []
    for clock.now, state in (
        (1000, "ready"), (1001, "ready"), (1002, "error"), (1010, "error"), (1023, "error"),
        (1024, "error"),
    ):  # fmt: skip
        reporter.node_state(state, "", 7, 1)
        told.append(len(written))
    assert told == [1, 1, 2, 2, 3, 3]
    assert set(written) == {kinds.node_status_key(ME)}


# --- the writer -----------------------------------------------------------------------------------


class Flaky(MemoryStore):
    """Refuses commits while it is `away`; `seen` are those that it took."""

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()
        self.refused = threading.Semaphore(0)
        self.seen: list[list[Op]] = []

    def commit(self, ops: Sequence[Op]) -> int:
        if self.away.is_set():
            self.refused.release()
            raise StoreUnavailable("no answer")
        revision = super().commit(ops)
        self.seen.append(list(ops))
        return revision


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def writer(store: Flaky, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(report, "AGAIN", 0.01)
    writer = Writer(store)
    yield writer
    if writer._thread.ident:
        writer.stop()


def kept(store: MemoryStore) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.list("/").entries}


def test_the_writer_writes_and_deletes(store: Flaky, writer: Writer) -> None:
    writer.start()
    writer.write("/a", b"1")
    writer.write("/b", b"1")
    until(lambda: kept(store) == {"/a": b"1", "/b": b"1"})
    writer.write("/a", None)
    until(lambda: kept(store) == {"/b": b"1"})


def test_only_the_latest_value_of_a_key_is_written(store: Flaky, writer: Writer) -> None:
    for index in range(100):
        writer.write("/a", b"%d" % index)
    writer.write("/b", b"1")
    writer.write("/b", None)
    writer.start()
    writer.stop()
    assert kept(store) == {"/a": b"99"}
    assert [len(ops) for ops in store.seen] == [2]


def test_a_great_many_keys_are_written_in_commits_that_a_store_takes(store, writer) -> None:
    for index in range(300):
        writer.write(f"/{index}", b"1")
    writer.start()
    writer.stop()
    assert len(kept(store)) == 300
    assert [len(ops) for ops in store.seen] == [MAX_OPS, MAX_OPS, 300 - 2 * MAX_OPS]


def test_what_a_lost_store_misses_it_gets_when_it_is_back(store, writer, caplog) -> None:
    store.away.set()
    writer.start()
    writer.write("/a", b"old")
    for _ in range(3):
        assert store.refused.acquire(timeout=5)
    writer.write("/a", b"new")
    writer.write("/b", b"1")
    assert store.refused.acquire(timeout=5)
    store.away.clear()
    until(lambda: kept(store) == {"/a": b"new", "/b": b"1"})
    assert len(caplog.records) == 1, "one word for one outage"


def test_the_end_does_not_wait_for_a_lost_store(store: Flaky, writer: Writer) -> None:
    store.away.set()
    writer.start()
    writer.write("/a", b"1")
    assert store.refused.acquire(timeout=5)
    writer.stop()
    assert not writer._thread.is_alive()
    assert kept(store) == {}
