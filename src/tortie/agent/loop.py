"""The loop: changes in, one world, one desired state, every driver makes it so.

Start, restart, upgrade and repair are the same path. The loop owns all its state and runs in one
thread; everything else talks to it through its queue and reads its latest `snapshot`.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from msgspec import structs

from tortie.agent import belief
from tortie.agent.events import BelieveStore, Event, KernelChanged, Stop
from tortie.agent.report import Outcome, Reporter
from tortie.agent.settings import Settings
from tortie.calc import World, desired_for
from tortie.desired import Desired, Driver
from tortie.errors import TortieError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.syncer import Batch, Lost

_log = logging.getLogger(__name__)

SETTLE = 0.05  # seconds: kernel events come in swarms, most of them our own doing
LOOK = 1.0  # seconds between cheap looks at whether somebody changed what is ours
RETRY = (0.5, 10.0)  # seconds: the first and the longest pause after a failed pass
GUID_KEY = f"{kinds.WORLD}clusterinformations/default"
_TOLERATED = f"{kinds.WORLD}workloadendpoints/"
"""An endpoint that cannot be read is simply not served; anything else might be what forbids."""

Probe = Callable[[], bool]


@dataclass(frozen=True)
class HostFacts:
    """What the agent must know of its host: see `calc.desired_for`."""

    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mtus: Mapping[str, int] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


Facts = Callable[[], HostFacts]
"""Raises KernelError."""


class Recorder(Protocol):
    """Counts what the loop does (the metrics)."""

    def passed(self, seconds: float, outcome: Outcome) -> None: ...
    def lost(self) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """What the agent last knew of itself."""

    state: str = "starting"
    reason: str = "the store has not been read yet"
    revision: int = 0
    """the latest that is wholly in force"""
    store_revision: int = 0
    store_lost: str = ""
    cluster: str = ""
    """GUID of the cluster that the store holds, believed or not"""
    outcome: Outcome = field(default_factory=lambda: Outcome(0, (), {}, {}))


class Agent:
    """One host's agent. `drivers` run in order; a failing first one (the filter) stops the pass."""

    def __init__(
        self,
        settings: Settings,
        drivers: Sequence[Driver],
        probes: Sequence[Probe],
        facts: Facts,
        memory: belief.Memory,
        reporter: Reporter,
        recorder: Recorder,
        protected: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.snapshot = Snapshot()
        self.node = settings.node
        self._settings = settings
        self._drivers = drivers
        self._probes = probes
        self._facts = facts
        self._memory = memory
        self._reporter = reporter
        self._recorder = recorder
        self._protected = protected
        self._clock = clock
        self._world = World()
        self._desired: Desired | None = None
        """what the drivers were last told; it stands while the store is in doubt"""
        self._kept = memory.load()
        self._identity = ""
        self._revision = 0
        self._read = False
        self._lost = ""
        self._due: float | None = None
        self._pause = RETRY[0]
        self._next_resync = 0.0

    def run(self) -> None:
        """Follow the queue until Stop. Raises KernelError, Missing: the host cannot be prepared."""
        for driver in self._drivers:
            driver.prepare()
        self._next_resync = self._clock() + self._settings.resync_seconds
        while True:
            events = self._gather()
            if any(isinstance(event, Stop) for event in events):
                return
            for event in events:
                self._take(event)
            now = self._clock()
            if not events and self._disturbed():
                self._want(now)
            if now >= self._next_resync:
                self._next_resync = now + self._settings.resync_seconds
                self._want(now)
            if self._due is not None and now >= self._due:
                self._pass()

    # --- events -------------------------------------------------------------------------------

    def _gather(self) -> list[Event]:
        """All that waits in the queue; at most LOOK seconds are spent waiting for the first."""
        wait = LOOK if self._due is None else max(0.0, min(LOOK, self._due - self._clock()))
        try:
            events = [self.queue.get(timeout=wait)] if wait else [self.queue.get_nowait()]
        except queue.Empty:
            return []
        while True:
            try:
                events.append(self.queue.get_nowait())
            except queue.Empty:
                return events

    def _take(self, event: Event) -> None:
        now = self._clock()
        match event:
            case Batch():
                self._fold(event)
                self._want(now)
            case Lost(reason=reason):
                self._lost = reason
                self._recorder.lost()
                _log.warning("the store is lost (%s); the last policy stays in force", reason)
                self.snapshot = replace(self.snapshot, store_lost=reason)
            case BelieveStore():
                self._believe()
                self._want(now)
            case KernelChanged():
                self._want(now + SETTLE)
            case Stop():
                pass

    def _fold(self, batch: Batch) -> None:
        for event in batch.changes:
            entry = event.entry
            if entry is None:
                self._world.fold(event.key, None)
            else:
                self._world.fold(event.key, entry.value, entry.created)
            self._reporter.seen(event.key, None if entry is None else entry.revision)
        self._read, self._lost = batch.in_sync, ""
        self._identity, self._revision = batch.identity, batch.revision
        back = self._kept and belief.back_in_time(self._kept, batch.identity, batch.revision)
        # One that was emptied, or another cluster's, is told by its GUID for good.
        if self._kept and back and self._guid() == self._kept.guid:
            self._remember(structs.replace(self._kept, doubt=back))

    def _want(self, when: float) -> None:
        """A pass is wanted at `when` or earlier."""
        self._due = when if self._due is None else min(self._due, when)

    def _disturbed(self) -> bool:
        """A cheap look at whether somebody changed what the drivers made."""
        for probe in self._probes:
            try:
                if probe():
                    return True
            except TortieError:
                return True
        return False

    # --- belief -------------------------------------------------------------------------------

    def _guid(self) -> str | None:
        found = self._world.all(r.ClusterInformation).get(GUID_KEY)
        return found.spec.cluster_guid if found else None

    def _believe(self) -> None:
        guid = self._guid()
        if guid is not None:
            _log.warning("the operator believes this store: cluster %s", guid)
            self._remember(belief.Kept(guid, self._identity, self._revision))
            self._reporter.forget()

    def _remember(self, kept: belief.Kept) -> None:
        """Keep how far this host has followed its store."""
        if kept != self._kept:
            self._kept = kept
            try:
                self._memory.save(kept)
            except OSError as error:
                _log.error("what was seen of the store is lost at a restart: %s", error)

    def _doubt(self) -> str:
        """Why nothing may be changed on this host now; empty if it may."""
        if not self._read:
            return "the store has not been read yet"
        reason = belief.doubt(self._kept, self._guid(), self._identity, self._revision)
        if reason:
            return f"{reason}; {belief.CURE}"
        for key, problem in self._world.unreadable.items():
            if not key.startswith(_TOLERATED):
                return _plain(f"{key}: {problem}")
        return ""

    def _unserved(self) -> dict[str, str]:
        """The endpoints (ids) of this host that cannot be read, and why."""
        prefix = f"{_TOLERATED}{self.node}/"
        return {
            key.removeprefix(prefix): _plain(problem)
            for key, problem in self._world.unreadable.items()
            if key.startswith(prefix) and key.isprintable()
        }

    # --- the pass -----------------------------------------------------------------------------

    def _pass(self) -> None:
        self._due = None
        doubt = self._doubt()
        if doubt:
            if doubt != self.snapshot.reason:
                _log.warning("holding what is in force: %s", doubt)
            self._hold()
            self._publish(doubt)
            return
        started = self._clock()
        try:
            facts = self._facts()
            desired = desired_for(
                self._world,
                self._settings.node,
                self._revision,
                protected=self._protected,
                interfaces=facts.interfaces,
                mtus=facts.mtus,
                secrets=facts.secrets,
            )
        except TortieError as error:
            outcome = replace(
                self.snapshot.outcome, revision=self._revision, errors={"calc": str(error)}
            )
            self._hold()
        else:
            outcome = self._drive(desired)
        self._recorder.passed(self._clock() - started, outcome)
        if outcome.errors:
            self._want(self._clock() + self._pause)
            self._pause = min(self._pause * 2, RETRY[1])
        else:
            self._pause = RETRY[0]
        self._publish(outcome=outcome)
        self._reporter.report(self._world, outcome)
        # Also if a driver failed: what this host has begun to follow, it goes on with.
        self._remember(belief.Kept(self._guid() or "", self._identity, self._revision))

    def _hold(self) -> None:
        """See that what was in force still is: doubt of the store repairs no deleted rule."""
        errors: object = None
        if self._desired is not None:
            errors = self._drive(self._desired).errors
        elif self._drivers:
            try:
                self._drivers[0].prepare()
            except TortieError as error:
                _log.error("%s: %s", self._drivers[0].name, error)
                errors = error
        if errors:
            self._want(self._clock() + RETRY[1])

    def _drive(self, desired: Desired) -> Outcome:
        """Every driver in order. If the filter fails nothing else moves: no route before policy."""
        self._desired = desired
        errors: dict[str, str] = {}
        changed: dict[str, int] = {}
        missing: set[str] = set()
        dataplane = self.snapshot.outcome.dataplane
        for position, driver in enumerate(self._drivers):
            try:
                report = driver.apply(desired)
            except TortieError as error:
                _log.error("%s: %s", driver.name, error)
                errors[driver.name] = str(error)
                if position == 0:
                    break
            else:
                changed[driver.name] = report.changed
                missing |= report.missing
                dataplane = report.dataplane or dataplane
        endpoints = tuple((each.id, each.interface) for each in desired.filter.endpoints)
        refused = dict(desired.refused) | self._unserved()
        gone = frozenset(missing)
        notes = tuple(_plain(each) for each in desired.notes)
        for each in set(notes) - set(self.snapshot.outcome.notes):
            _log.warning("%s", each)
        idle = dict(desired.idle)
        for name, why in idle.items() - self.snapshot.outcome.idle.items():
            _log.warning("host endpoint %s guards nothing: %s", name, why)
        return Outcome(
            desired.revision, endpoints, errors, changed, gone, refused, dataplane, notes, idle
        )

    def _publish(self, doubt: str = "", outcome: Outcome | None = None) -> None:
        """Say how the agent is, to whoever looks at `snapshot` and to the store."""
        outcome = outcome or self.snapshot.outcome
        in_force = self.snapshot.revision
        if doubt:
            state, reason = ("holding" if self._read else "starting"), doubt
        elif outcome.errors:
            state = "error"
            reason = "; ".join(f"{name}: {text}" for name, text in outcome.errors.items())
        else:
            state, reason, in_force = "ready", "", outcome.revision
        if state == "ready" and self.snapshot.state != "ready":
            _log.info("ready: revision %d is in force", in_force)
        self.snapshot = Snapshot(
            state, reason, in_force, self._revision, self._lost, self._guid() or "", outcome
        )
        self._reporter.node_state(state, reason, in_force, len(outcome.endpoints))


def _plain(text: str) -> str:
    """Text from the store as it may stand in a log: on one line, nothing invisible."""
    return text if text.isprintable() else ascii(text)[1:-1]
