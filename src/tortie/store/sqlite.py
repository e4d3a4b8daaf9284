"""The store of one machine: a SQLite file, shared by any number of processes on it.

The file holds the entries, and a log of the last commits with tombstones, from which watches in
every process read what is new. Networked file systems will not do: use etcd for several machines.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tortie.errors import StoreError, StoreUnavailable
from tortie.store.base import Changes, Check, Entry, Event, Listing, Op, Put
from tortie.store.checks import check_key, check_ops, compacted, require
from tortie.store.sqlite_file import FileId, StoreFile

KEEP = 100_000  # revisions of which the log is kept
POLL_SECONDS = 0.005  # one poll costs about 5 microseconds


class SqliteStore:
    """Keeps the contract of base.Store. Makes the file (mode 0600) if there is none.

    Raises StoreError if the file is no store of ours or of a newer Tortie, StoreUnavailable if it
    cannot be opened.
    """

    def __init__(self, path: Path | str, keep: int = KEEP) -> None:
        self._path = Path(path).absolute()
        self._keep = keep
        self._file = StoreFile(self._path, create=True)
        self._watches: set[SqliteWatch] = set()
        self._watches_lock = threading.Lock()
        self.identity()

    def identity(self) -> str:
        """A UUID made with the file; a copy of the file keeps it."""
        with self._file.use() as connection:
            return str(connection.execute("SELECT identity FROM state").fetchone()[0])

    def get(self, key: str) -> Entry | None:
        """See base.Store."""
        check_key(key)
        query = "SELECT value, revision, created FROM entry WHERE key = ?"
        with self._file.use() as connection:
            row = connection.execute(query, (key.encode(),)).fetchone()
        return Entry(key, bytes(row[0]), row[1], row[2]) if row else None

    def list(self, prefix: str) -> Listing:
        """See base.Store."""
        check_key(prefix)
        columns = "key, value, revision, created"
        query = f"SELECT {columns} FROM entry WHERE key >= ? AND key < ? ORDER BY key"
        with self._file.use() as connection:
            connection.execute("BEGIN")
            revision, _ = _state(connection)
            rows = connection.execute(query, _range(prefix)).fetchall()
        entries = (Entry(bytes(key).decode(), bytes(value), *when) for key, value, *when in rows)
        return Listing(tuple(entries), revision)

    def commit(self, ops: Sequence[Op]) -> int:
        """See base.Store. Waits up to five seconds for other processes' commits."""
        check_ops(ops)
        with self._file.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            require(ops, lambda key: _revision_of(connection, key))
            last, trimmed = _state(connection)
            revision = last + 1
            changed = [_apply(connection, op, revision) for op in ops]
            if not any(changed):
                return last
            connection.execute("UPDATE state SET revision = ?", (revision,))
            # Trimmed a hundredth at a time: not in every commit, and never for long in one.
            if revision - trimmed >= self._keep + max(1, self._keep // 100):
                _trim(connection, revision - self._keep)
            connection.execute("COMMIT")
        return revision

    def watch(self, prefix: str, after: int) -> SqliteWatch:
        """See base.Store. The watch ends with StoreUnavailable if the file is replaced."""
        check_key(prefix)
        watch = SqliteWatch(self._path, prefix, after, self._forget)
        with self._watches_lock:
            self._watches.add(watch)
        return watch

    def compact(self, revision: int) -> None:
        """Forget the log up to and including `revision`."""
        with self._file.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            last, trimmed = _state(connection)
            _trim(connection, max(trimmed, min(revision, last)))
            connection.execute("COMMIT")

    def close(self) -> None:
        """See base.Store."""
        with self._watches_lock:
            watches = list(self._watches)
        for watch in watches:
            watch.close()
        self._file.close()

    def _forget(self, watch: SqliteWatch) -> None:
        with self._watches_lock:
            self._watches.discard(watch)


class SqliteWatch:
    """See base.Watch. Has a connection of its own: `data_version` tells only of others' commits."""

    def __init__(
        self, path: Path, prefix: str, after: int, forget: Callable[[SqliteWatch], None]
    ) -> None:
        self._file = StoreFile(path, create=False)
        self._prefix = prefix
        self._after = after
        self._forget = forget
        self._seen: tuple[int, int] | None = None  # connection, data_version
        self._watched: FileId | None = None
        self._failure: StoreError | None = None
        self._closed = threading.Event()

    def next(self, timeout: float | None = None) -> Changes | None:
        """See base.Watch."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed.is_set():
            if self._failure:
                raise self._failure
            try:
                changes = self._poll()
            except StoreError as error:
                # For good: with the file closed, another may come under the same name and inode.
                self._failure = error
                continue
            if changes:
                return changes
            left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            self._closed.wait(min(POLL_SECONDS, left))
        return None

    def close(self) -> None:
        """See base.Watch."""
        self._closed.set()
        self._file.close()
        self._forget(self)

    def _poll(self) -> Changes | None:
        """What is new under the prefix, if anything; moves on over what is new elsewhere."""
        with self._file.use() as connection:
            if self._watched not in (None, self._file.opened):
                raise StoreUnavailable(f"{self._file.path} was replaced", "list again")
            self._watched = self._file.opened
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if self._seen == (self._file.renewed, version):
                return None
            connection.execute("BEGIN")
            revision, trimmed = _state(connection)
            if not trimmed <= self._after <= revision:
                raise compacted(self._after)
            rows = connection.execute(
                "SELECT revision, key, value, created FROM log"
                " WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key",
                (self._after, *_range(self._prefix)),
            ).fetchall()
            self._seen = (self._file.renewed, version)
        self._after = revision
        events = tuple(_event(*row) for row in rows)
        return Changes(revision, events) if events else None


def _state(connection: sqlite3.Connection) -> tuple[int, int]:
    """The store's revision, and up to which the log was trimmed."""
    row = connection.execute("SELECT revision, compacted FROM state").fetchone()
    return row[0], row[1]


def _revision_of(connection: sqlite3.Connection, key: str) -> int:
    query = "SELECT revision FROM entry WHERE key = ?"
    row = connection.execute(query, (key.encode(),)).fetchone()
    return row[0] if row else 0


def _apply(connection: sqlite3.Connection, op: Op, revision: int) -> bool:
    """Do one operation; False if it changes nothing."""
    key = op.key.encode()
    if isinstance(op, Check):
        return False
    value = op.value if isinstance(op, Put) else None
    created = None
    if value is not None:
        query = "SELECT created FROM entry WHERE key = ?"
        there = connection.execute(query, (key,)).fetchone()
        created = there[0] if there else revision
        row = (key, value, revision, created)
        connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", row)
    elif connection.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount == 0:
        return False
    connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (revision, key, value, created))
    return True


def _trim(connection: sqlite3.Connection, revision: int) -> None:
    connection.execute("DELETE FROM log WHERE revision <= ?", (revision,))
    connection.execute("UPDATE state SET compacted = ?", (revision,))


def _range(prefix: str) -> tuple[bytes, bytes]:
    """The first key with the prefix, and the first after all of them. No UTF-8 byte is 0xff."""
    start = prefix.encode()
    return start, start[:-1] + bytes([start[-1] + 1])


def _event(revision: int, key: bytes, value: bytes | None, created: int) -> Event:
    name = bytes(key).decode()
    return Event(name, None if value is None else Entry(name, bytes(value), revision, created))
