"""What the agent tells the store: each endpoint's state, its own, and receipts for barriers.

A thread of its own writes, so that a store that is away never holds up the loop. Only the latest
value of each key counts; what could not be written is written when the store is back.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from tortie import __version__
from tortie.calc import World
from tortie.errors import StoreError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import MAX_OPS, Delete, Op, Put, Store

_log = logging.getLogger(__name__)
AGAIN = 0.5  # seconds between two tries to write while the store is away
HEARTBEAT = 20.0  # seconds between two signs of life if nothing changes
_NEEDED = ("firewall", "links", "routes", "calc")
"""An endpoint is up only if all of these drivers succeeded."""


@dataclass(frozen=True)
class Outcome:
    """What one pass came to."""

    revision: int
    endpoints: tuple[tuple[str, str], ...]
    """(id, interface) of each endpoint served"""
    errors: Mapping[str, str]
    """by driver"""
    changed: Mapping[str, int]
    """by driver: how many objects it had to change"""
    missing: frozenset[str] = frozenset()
    """interfaces that are not on this host"""
    refused: Mapping[str, str] = field(default_factory=dict)
    """endpoints that are not served, and why"""
    dataplane: str = ""
    """which one guards the host; "" before any does"""
    notes: tuple[str, ...] = ()
    """what else is not as somebody asked for"""
    idle: Mapping[str, str] = field(default_factory=dict)
    """host endpoints that guard no interface, and why"""


def endpoint_states(outcome: Outcome) -> dict[str, tuple[str, str, str]]:
    """(state, reason, interface) by endpoint id."""
    broken = next((outcome.errors[name] for name in _NEEDED if name in outcome.errors), "")
    found: dict[str, tuple[str, str, str]] = {}
    for name, interface in outcome.endpoints:
        if broken:
            found[name] = ("error", broken, interface)
        elif interface in outcome.missing:
            found[name] = ("waiting", f"interface {interface} is not on this host", interface)
        else:
            found[name] = ("up", "", interface)
    return found | {name: ("error", why, "") for name, why in outcome.refused.items()}


class Reporter:
    """Decides what is worth writing; called from the loop's thread only."""

    def __init__(
        self, node: str, write: Callable[[str, bytes | None], None], stale: frozenset[str]
    ) -> None:
        self._node = node
        self._write = write
        self._stale = stale
        """status keys of an earlier run: gone unless this run says something of them"""
        self._revisions: dict[str, int] = {}
        self._told: dict[str, tuple[object, ...]] = {}
        self._receipts: set[str] = set()
        self._own: tuple[object, ...] = ()
        self._beat = 0.0

    def seen(self, key: str, revision: int | None) -> None:
        """A key of the world now has this revision (None: gone)."""
        if revision is None:
            self._revisions.pop(key, None)
        elif key.startswith(f"{kinds.WORLD}workloadendpoints/{self._node}/"):
            self._revisions[key] = revision

    def forget(self) -> None:
        """Tell everything again: the store is another one than what was told was written to."""
        self._stale |= self._told.keys()
        self._told, self._receipts, self._own = {}, set(), ()

    def report(self, world: World, outcome: Outcome) -> None:
        """Tell what a pass has done for each endpoint, and answer barriers."""
        states = endpoint_states(outcome)
        now: dict[str, tuple[object, ...]] = {}
        for name, (state, reason, interface) in states.items():
            namespace, _, own = name.partition("/")
            key = kinds.endpoint_status_key(self._node, namespace, own)
            at = self._revisions.get(f"{kinds.WORLD}workloadendpoints/{self._node}/{name}", 0)
            now[key] = (state, reason, interface, at)
            if self._told.get(key) != now[key]:
                status = {"state": state, "reason": reason, "interface": interface}
                value = {**status, "revision": outcome.revision, "host": self._node}
                self._write(key, msgspec.json.encode(value))
        for key in (self._told.keys() | self._stale) - now.keys():
            self._write(key, None)
        self._told, self._stale = now, frozenset()
        if not outcome.errors:
            self._answer(world, outcome.revision)

    def _answer(self, world: World, revision: int) -> None:
        barriers = {each.metadata.name for each in world.all(r.Barrier).values()}
        for name in self._receipts - barriers:
            # Whoever waited has taken the receipts away, but perhaps before ours was written.
            self._write(kinds.receipt_key(name, self._node), None)
        for name in barriers - self._receipts:
            receipt = kinds.Receipt(self._node, revision, time.time())
            self._write(kinds.receipt_key(name, self._node), msgspec.json.encode(receipt))
        self._receipts = barriers

    def node_state(self, state: str, reason: str, revision: int, endpoints: int) -> None:
        """Tell how the agent is, when that changes and now and then."""
        own = (state, reason, endpoints)
        if own == self._own and time.monotonic() < self._beat + HEARTBEAT:
            return
        self._own, self._beat = own, time.monotonic()
        status = {
            "state": state,
            "reason": reason,
            "revision": revision,
            "time": time.time(),
            "version": __version__,
            "endpoints": endpoints,
        }
        self._write(kinds.node_status_key(self._node), msgspec.json.encode(status))


class Writer:
    """Writes what it is given, latest value per key, and goes on trying while the store is away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[tuple[str, bytes | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="status-writer", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def write(self, key: str, value: bytes | None) -> None:
        """Put, or (None) delete, soon."""
        self._queue.put((key, value))

    def stop(self) -> None:
        """Write what is left if the store takes it at once, then end."""
        self._queue.put(None)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        pending: dict[str, bytes | None] = {}
        said = ""
        stopping = False
        while not stopping:
            stopping = self._collect(pending)
            try:
                self._flush(pending)
                said = ""
            except StoreError as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("status is not written yet: %s", said)
                if not stopping:
                    time.sleep(AGAIN)

    def _collect(self, pending: dict[str, bytes | None]) -> bool:
        """Add what waits to `pending`; whether the end was among it."""
        block = not pending
        while True:
            try:
                item = self._queue.get(block)
            except queue.Empty:
                return False
            if item is None:
                return True
            pending[item[0]] = item[1]
            block = False

    def _flush(self, pending: dict[str, bytes | None]) -> None:
        while pending:
            keys = list(pending)[:MAX_OPS]
            ops: list[Op] = []
            for key in keys:
                value = pending[key]
                ops.append(Delete(key) if value is None else Put(key, value))
            self._store.commit(ops)
            for key in keys:
                del pending[key]
