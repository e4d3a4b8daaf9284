"""An agent between fakes, on a time of its own: waiting takes no time, and nothing comes by chance.

`host.at(2.5, thing)` plans an event for the agent's queue, or a function to call; `host.run(9)`
lives through the first nine seconds.
"""

from __future__ import annotations

import heapq
import math
import queue
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from worlds import CALICO, meta, node, workload

from tortie.agent.belief import Memory
from tortie.agent.events import Event, Stop
from tortie.agent.loop import Agent, HostFacts
from tortie.agent.metrics import Metrics
from tortie.agent.report import Reporter
from tortie.agent.settings import Settings
from tortie.desired import Desired, Report
from tortie.errors import KernelError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store import base
from tortie.store.syncer import Batch

ME = "alpha"
MINE = f"{kinds.WORLD}workloadendpoints/{ME}/"


def cluster(guid: str = "g1") -> r.Resource:
    spec = r.ClusterInformationSpec(cluster_guid=guid)
    return r.ClusterInformation(api_version=CALICO, metadata=meta("default"), spec=spec)


def barrier(name: str) -> r.Resource:
    spec = r.BarrierSpec(token=name)
    return r.Barrier(api_version="tortie.dev/v1", metadata=meta(name), spec=spec)


def web(address: str = "10.65.0.1", name: str = "web", interface: str = "tor1") -> r.Resource:
    return workload(f"shop/{name}", address, on=ME, interface=interface)


def status_key(name: str = "web") -> str:
    return kinds.endpoint_status_key(ME, "shop", f"{ME}-tortie-{name}-eth0")


BASE = (cluster(), node(ME, "172.16.0.1/24"), web())


def batch(
    revision: int,
    *resources: r.Resource,
    gone: Iterable[r.Resource] = (),
    raw: dict[str, bytes | None] | None = None,
    identity: str = "store-1",
    in_sync: bool = True,
) -> Batch:
    """What a syncer emits for these resources, written at `revision`."""
    values = {kinds.key(each): kinds.encode(each) for each in resources}
    changes: dict[str, bytes | None] = values | {kinds.key(each): None for each in gone}
    events = [
        base.Event(key, None if value is None else base.Entry(key, value, revision))
        for key, value in (changes | (raw or {})).items()
    ]
    return Batch(tuple(events), revision, in_sync, identity)


class Timeline:
    """The agent's queue and clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._plan: list[tuple[float, int, Any]] = []
        self._count = 0

    def at(self, when: float, *things: Any) -> None:
        for thing in things:
            self._count += 1
            heapq.heappush(self._plan, (when, self._count, thing))

    def put(self, event: Event) -> None:
        self.at(self.now, event)

    def get(self, timeout: float) -> Event:
        end = max(self.now + timeout, math.nextafter(self.now, math.inf))
        while self._plan and self._plan[0][0] <= end:
            when, _, thing = heapq.heappop(self._plan)
            self.now = max(self.now, when)
            if not callable(thing):
                return thing
            thing()
        self.now = end
        raise queue.Empty

    def get_nowait(self) -> Event:
        return self.get(0.0) if self._plan and self._plan[0][0] <= self.now else self._nothing()

    def _nothing(self) -> Event:
        raise queue.Empty


class Driver:
    """Remembers when it was told what; fails while it has an `error`."""

    def __init__(self, name: str, time: Timeline, journal: list[str]) -> None:
        self.name = name
        self.error = ""
        self.missing: frozenset[str] = frozenset()
        self.dataplane = "nft" if name == "firewall" else ""
        self.prepared = 0
        self.applied: list[tuple[float, Desired]] = []
        self._time = time
        self._journal = journal

    def prepare(self) -> None:
        self.prepared += 1

    def apply(self, desired: Desired) -> Report:
        self.applied.append((self._time.now, desired))
        self._journal.append(self.name)
        if self.error:
            raise KernelError(self.error)
        return Report(1, self.missing, self.dataplane)

    def close(self) -> None:
        pass

    def fails(self, error: str) -> Callable[[], None]:
        """To be planned: from now on it fails (with nothing: it works)."""

        def change() -> None:
            self.error = error

        return change

    @property
    def times(self) -> list[float]:
        return [round(when, 3) for when, _ in self.applied]

    @property
    def revisions(self) -> list[int]:
        """What it was told, by revision; the same again, for repair, counts once."""
        told: list[Desired] = []
        for _, desired in self.applied:
            if not told or told[-1] != desired:
                told.append(desired)
        return [desired.revision for desired in told]

    @property
    def last(self) -> Desired:
        return self.applied[-1][1]


class Host:
    """An agent and all that is around it. A second one in the same directory is a restart."""

    def __init__(
        self,
        directory: Path,
        probe: Callable[[], bool] = lambda: False,
        stale: Iterable[str] = (),
        resync: float = 1000.0,
    ) -> None:
        self.time = Timeline()
        self.journal: list[str] = []
        self.written: list[tuple[str, Any]] = []
        """(key, decoded value) in order; None: deleted"""
        self.filter, self.links, self.routes, self.bird = (
            Driver(name, self.time, self.journal)
            for name in ("firewall", "links", "routes", "bird")
        )
        self.metrics = Metrics(ME)
        self.interfaces: dict[str, tuple[str, ...]] = {"eth0": ("172.16.0.1",)}
        """what the kernel says of the host's own interfaces"""
        self.blind = ""
        """why it says nothing"""
        self.agent = Agent(
            Settings(node=ME, store="memory:", resync_seconds=resync),
            drivers=(self.filter, self.links, self.routes, self.bird),
            probes=(probe,),
            facts=self._facts,
            memory=Memory(directory),
            reporter=Reporter(ME, self._write, frozenset(stale)),
            recorder=self.metrics,
            clock=lambda: self.time.now,
        )
        self.agent.queue = self.time  # type: ignore[assignment]

    def _write(self, key: str, value: bytes | None) -> None:
        self.written.append((key, None if value is None else msgspec.json.decode(value)))

    def _facts(self) -> HostFacts:
        if self.blind:
            raise KernelError(self.blind)
        return HostFacts(dict(self.interfaces))

    def at(self, when: float, *things: Any) -> None:
        self.time.at(when, *things)

    def run(self, until: float) -> None:
        self.at(until, Stop())
        self.agent.run()

    def look(self, into: list[Any], what: Callable[[], object]) -> Callable[[], None]:
        """To be planned: note something as it is then."""
        return lambda: into.append(what())

    @property
    def state(self) -> tuple[str, str]:
        return self.agent.snapshot.state, self.agent.snapshot.reason

    def said(self, key: str) -> list[Any]:
        """All that was written under a key."""
        return [value for name, value in self.written if name == key]

    @property
    def own(self) -> list[Any]:
        """What the agent said of itself."""
        return self.said(kinds.node_status_key(ME))
