"""A store in this process's memory: for tests, and for questions about resources in files."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence

from tortie.errors import StoreUnavailable
from tortie.store.base import Changes, Check, Entry, Event, Listing, Op, Put
from tortie.store.checks import check_key, check_ops, compacted, require

KEEP = 10_000  # commits of which the events are kept for watches that are behind


class MemoryStore:
    """Keeps the contract of base.Store for the threads of one process."""

    def __init__(self, keep: int = KEEP) -> None:
        self._identity = str(uuid.uuid4())
        self._entries: dict[str, Entry] = {}
        self._revision = 1
        self._compacted = 1  # watches after a lesser revision have lost changes
        self._log: deque[Changes] = deque()
        self._keep = keep
        self._closed = False
        self._changed = threading.Condition()

    def identity(self) -> str:
        """A UUID made with the store."""
        return self._identity

    def get(self, key: str) -> Entry | None:
        """See base.Store."""
        check_key(key)
        with self._changed:
            self._require_open()
            return self._entries.get(key)

    def list(self, prefix: str) -> Listing:
        """See base.Store."""
        check_key(prefix)
        with self._changed:
            self._require_open()
            keys = sorted(key for key in self._entries if key.startswith(prefix))
            return Listing(tuple(self._entries[key] for key in keys), self._revision)

    def commit(self, ops: Sequence[Op]) -> int:
        """See base.Store."""
        check_ops(ops)
        with self._changed:
            self._require_open()
            require(ops, self._revision_of)
            events = self._events(ops, self._revision + 1)
            if events:
                self._revision += 1
                self._log.append(Changes(self._revision, events))
                if len(self._log) > self._keep:
                    self._compacted = self._log.popleft().revision
                self._changed.notify_all()
            return self._revision

    def watch(self, prefix: str, after: int) -> MemoryWatch:
        """See base.Store."""
        check_key(prefix)
        return MemoryWatch(self, prefix, after)

    def compact(self, revision: int) -> None:
        """Forget the changes up to and including `revision`, as a real store does in time."""
        with self._changed:
            self._compacted = max(self._compacted, min(revision, self._revision))
            while self._log and self._log[0].revision <= self._compacted:
                self._log.popleft()
            self._changed.notify_all()

    def close(self) -> None:
        """End all watches; the data is gone with the object."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _revision_of(self, key: str) -> int:
        entry = self._entries.get(key)
        return entry.revision if entry else 0

    def _events(self, ops: Sequence[Op], revision: int) -> tuple[Event, ...]:
        events = []
        for op in ops:
            if isinstance(op, Put):
                there = self._entries.get(op.key)
                entry = Entry(op.key, op.value, revision, there.created if there else revision)
                self._entries[op.key] = entry
                events.append(Event(op.key, entry))
            elif not isinstance(op, Check) and op.key in self._entries:
                del self._entries[op.key]
                events.append(Event(op.key, None))
        return tuple(events)

    def _since(self, prefix: str, after: int) -> Changes:
        """The events after a revision, and how far that goes. Call with the lock held."""
        if after < self._compacted or after > self._revision:
            raise compacted(after)
        recent = []
        for changes in reversed(self._log):
            if changes.revision <= after:
                break
            recent.append(changes.events)
        events = (event for group in reversed(recent) for event in group)
        return Changes(self._revision, tuple(e for e in events if e.key.startswith(prefix)))


class MemoryWatch:
    """See base.Watch."""

    def __init__(self, store: MemoryStore, prefix: str, after: int) -> None:
        self._store = store
        self._prefix = prefix
        self._after = after
        self._closed = False

    def next(self, timeout: float | None = None) -> Changes | None:
        """See base.Watch."""
        deadline = None if timeout is None else time.monotonic() + timeout
        store = self._store
        with store._changed:
            while not self._closed and not store._closed:
                changes = store._since(self._prefix, self._after)
                self._after = changes.revision
                if changes.events:
                    return changes
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                store._changed.wait(left)
        return None

    def close(self) -> None:
        """See base.Watch."""
        with self._store._changed:
            self._closed = True
            self._store._changed.notify_all()
