"""One SQLite connection to a store file: made, opened, checked, translated, safe over fork.

The file is replaced or removed by people (restore, clean-up) while we have it open, so every use
first asks whether the path still means the file that we opened.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tortie.errors import StoreError, StoreUnavailable

APPLICATION = 0x746F7274  # PRAGMA application_id: "tort"
SCHEMA = 2  # PRAGMA user_version
BUSY_SECONDS = 5.0

# Keys are blobs: text with a NUL inside would be cut short in comparisons. A log row without a
# value is a tombstone. `compacted`: the log holds the commits after this revision. `created`: the
# revision at which the key came to be.
TABLES = """
CREATE TABLE state (identity TEXT NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
CREATE TABLE entry (key BLOB PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL,
  created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log (revision INTEGER, key BLOB, value BLOB, created INTEGER,
  PRIMARY KEY (revision, key)) WITHOUT ROWID;
"""

# A file of schema 1 did not say when a key came to be: when it was last written is the best guess.
_FROM_1 = (
    "ALTER TABLE entry ADD COLUMN created INTEGER NOT NULL DEFAULT 0",
    "UPDATE entry SET created = revision",
    "ALTER TABLE log ADD COLUMN created INTEGER",
    "UPDATE log SET created = revision WHERE value IS NOT NULL",
    "PRAGMA user_version = 2",
)

# Primary result codes after which trying again may help; the rest means a file that is no good.
PASSING = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another process",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "may not be read",
    sqlite3.SQLITE_READONLY: "may not be written",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_FULL: "cannot be written: the disk is full",
}

FileId = tuple[int, int]


class StoreFile:
    """A connection that is opened when first used, and again when the path means another file.

    `renewed` counts the times it was opened, `opened` tells which file it was the last time. May be
    used from several threads.
    """

    def __init__(self, path: Path, create: bool) -> None:
        self.path = path
        self.renewed = 0
        self._create = create
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.opened: FileId | None = None
        self._log: FileId | None = None  # the write-ahead log that belongs to `opened`
        self._closed = False
        with _registry_lock:
            _registry.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone until the block ends.

        A transaction left open is rolled back. Raises StoreUnavailable, StoreError.
        """
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            with _translated(self.path):
                connection = self._current()
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.rollback()

    def close(self) -> None:
        """Close for good."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _current(self) -> sqlite3.Connection:
        if self._connection and file_id(self.path) == self.opened:
            return self._connection
        # While the old connection is open, its inodes are not given to new files.
        _drop_stale_log(self.path, self._log)
        self._disconnect()
        if self._create:
            _make_if_absent(self.path)
        self.opened = file_id(self.path)
        connection = _connect(self.path)
        if file_id(self.path) != self.opened:
            connection.close()
            raise StoreUnavailable(f"{self.path} was replaced while it was opened")
        self._log = file_id(_wal(self.path))
        self._connection = connection
        self.renewed += 1
        return connection

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
            self._log = None  # from here on another file may get its inode


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a file that somebody removed between making and this is not made anew, untyped.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION:
            raise _foreign(path)
        if schema > SCHEMA:
            raise StoreError(
                f"{path} was written by a newer Tortie (schema {schema}, known up to {SCHEMA})",
                "upgrade Tortie on this machine",
            )
        if schema < SCHEMA:
            _upgrade(connection)
        # WAL without a sync per commit: a power cut may take back the last commits, not tear one.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT revision FROM state").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an older version up to this one; whoever comes first does it."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
        for statement in _FROM_1:
            connection.execute(statement)
    connection.execute("COMMIT")


def _drop_stale_log(path: Path, log: FileId | None) -> None:
    """Remove the write-ahead log of the file that had this name before, if it lies there still.

    SQLite would replay it into whatever file has the name now.
    """
    if log and file_id(_wal(path)) == log:
        with _directory_lock(path.parent):
            if file_id(_wal(path)) == log:
                _remove_log(path)


def _make_if_absent(path: Path) -> None:
    if not path.exists():
        with _directory_lock(path.parent):
            if not path.exists():
                _remove_log(path)
                _make(path)


def _make(path: Path) -> None:
    """Make the file whole under another name, so that nobody ever opens half a store."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.executescript(TABLES)
            connection.execute("INSERT INTO state VALUES (?, 1, 1)", (str(uuid.uuid4()),))
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _directory_lock(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in PASSING:
            raise StoreUnavailable(
                f"{path} {PASSING[code]} ({error})",
                "see that the directory exists, is writable, and has space",
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise _foreign(path) from error
        raise StoreError(
            f"{path} is damaged or no Tortie store ({error})", "restore it from a backup"
        ) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be opened ({error.strerror})",
            "see that the directory exists and is writable",
        ) from error


def _foreign(path: Path) -> StoreError:
    return StoreError(f"{path} is not a Tortie store", "give the path of a new or a Tortie file")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _remove_log(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def file_id(path: Path) -> FileId | None:
    """Which file the path means now; None if there is none."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


# SQLite forbids a connection to be used, or even to exist, on both sides of a fork: the child
# would take the parent's file locks for its own. So all are closed just before, and opened again
# when next used. Programs started by subprocess do not come this way and inherit nothing.
_registry: weakref.WeakSet[StoreFile] = weakref.WeakSet()
_registry_lock = threading.Lock()
_held: list[StoreFile] = []


def _before_fork() -> None:
    _registry_lock.acquire()
    for file in list(_registry):
        file._lock.acquire()
        file._disconnect()
        _held.append(file)


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _registry_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
