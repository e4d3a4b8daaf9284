"""A store in doubt changes nothing, and neither does it leave the host unguarded."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from validation import make

from tortie.agent.belief import Memory
from tortie.agent.events import KernelChanged, Stop
from tortie.agent.loop import Agent, HostFacts
from tortie.agent.metrics import Metrics
from tortie.agent.report import Reporter
from tortie.agent.settings import Settings
from tortie.dataplane.nft import NftDriver
from tortie.kernel.nft import FakeNft
from tortie.model import kinds
from tortie.store.base import Entry, Event
from tortie.store.syncer import Batch

CLUSTER = make("ClusterInformation", {"clusterGUID": "0" * 32}, name="default")


def agent_with(nft: FakeNft, directory: Path) -> Agent:
    driver = NftDriver(nft)
    return Agent(
        Settings("a1", "memory:", directory, directory),
        drivers=(driver,),
        probes=(driver.drifted,),
        facts=HostFacts,
        memory=Memory(directory),
        reporter=Reporter("a1", lambda key, value: None, frozenset()),
        recorder=Metrics("a1"),
    )


def batch(revision: int, key: str, value: bytes) -> Batch:
    return Batch((Event(key, Entry(key, value, revision)),), revision, True, "one")


@contextlib.contextmanager
def running(agent: Agent) -> Iterator[None]:
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.queue.put(Stop())
        thread.join()


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 3
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_rules_deleted_while_the_store_is_in_doubt_come_back(tmp_path: Path) -> None:
    nft = FakeNft()
    agent = agent_with(nft, tmp_path)
    with running(agent):
        agent.queue.put(batch(1, kinds.key(CLUSTER), kinds.encode(CLUSTER)))
        assert eventually(lambda: agent.snapshot.state == "ready")
        agent.queue.put(batch(2, f"{kinds.WORLD}tiers/x", b"no resource"))
        assert eventually(lambda: agent.snapshot.state == "holding")
        nft.tables.clear()
        nft.disturb()
        agent.queue.put(KernelChanged())
        assert eventually(lambda: {family for family, _ in nft.tables} == {"inet", "arp"})
        assert agent.snapshot.state == "holding"


def test_a_host_that_never_had_a_policy_in_force_drops_again(tmp_path: Path) -> None:
    nft = FakeNft()
    agent = agent_with(nft, tmp_path)
    with running(agent):
        agent.queue.put(batch(1, f"{kinds.WORLD}tiers/x", b"no resource"))
        assert eventually(lambda: agent.snapshot.state == "holding")
        nft.tables.clear()
        agent.queue.put(KernelChanged())
        assert eventually(lambda: {family for family, _ in nft.tables} == {"inet", "arp"})
