"""The SQLite store as a file: shared, forked over, replaced, damaged."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tortie.errors import Compacted, StoreError, StoreUnavailable
from tortie.store import sqlite_file
from tortie.store.base import Delete, Put
from tortie.store.sqlite import SqliteStore

INCREMENT = """
import sys
from tortie.errors import Conflict
from tortie.store.base import Put
from tortie.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
done = 0
while done < 40:
    entry = store.get("/counter")
    number, expect = (int(entry.value), entry.revision) if entry else (0, 0)
    try:
        store.commit([Put("/counter", b"%d" % (number + 1), expect)])
        done += 1
    except Conflict:
        pass
"""

FORK = """
import os, sys
from tortie.store.base import Put
from tortie.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
watch = store.watch("/", store.commit([Put("/parent", b"1")]))
assert watch.next(0) is None
child = os.fork()
if child == 0:
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    inherited = any(link.startswith(sys.argv[1]) for link in links)
    store.commit([Put("/child", b"1")])
    os._exit(inherited)
assert os.waitpid(child, 0)[1] == 0
assert [event.key for event in watch.next(5).events] == ["/child"]
store.commit([Put("/parent", b"2")])
assert [event.key for event in watch.next(5).events] == ["/parent"]
assert store.list("/").revision == 4
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> SqliteStore:
    return SqliteStore(path)


def run(script: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.DEVNULL)


def test_processes_that_increment_lose_nothing_and_a_watch_sees_each(
    store: SqliteStore, path: Path
) -> None:
    watch = store.watch("/", 1)
    processes = [run(INCREMENT, path) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    values = []
    while changes := watch.next(0):
        values += [int(event.entry.value) for event in changes.events if event.entry]
    assert values == list(range(1, 121))


def test_a_fork_inherits_no_connection_and_both_sides_go_on(path: Path) -> None:
    assert run(FORK, path).wait(30) == 0


def test_only_its_owner_may_read_it(store: SqliteStore, path: Path) -> None:
    store.commit([Put("/a", b"secret")])
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"store.db", "store.db-wal", "store.db-shm"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_store_outlives_its_processes(path: Path) -> None:
    first = SqliteStore(path)
    identity, revision = first.identity(), first.commit([Put("/a", b"1")])
    first.close()
    second = SqliteStore(path)
    assert second.identity() == identity
    assert second.list("/").revision == revision


def test_a_deleted_file_is_a_new_store_and_watches_hear_of_it(
    store: SqliteStore, path: Path
) -> None:
    identity = store.identity()
    watch = store.watch("/", store.commit([Put("/a", b"1")]))
    assert watch.next(0) is None
    path.unlink()
    with pytest.raises(StoreUnavailable):
        watch.next(1)
    assert store.list("/").entries == ()
    assert store.identity() != identity
    assert store.commit([Put("/b", b"1")]) == 2
    with pytest.raises(StoreUnavailable):
        watch.next(1)


def test_a_restored_file_is_read_as_it_was_saved(store: SqliteStore, path: Path) -> None:
    """Not with the write-ahead log of the file before it, which lies there still."""
    store.commit([Put("/kept", b"1")])
    store.close()
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    store, other = SqliteStore(path), SqliteStore(path)
    revision = store.commit([Put("/later", b"1")])
    assert other.get("/later")
    watch = store.watch("/", revision)
    assert watch.next(0) is None
    backup.rename(path)
    with pytest.raises(StoreUnavailable, match="replaced"):
        watch.next(1)
    for reader in (store, other, SqliteStore(path)):
        assert [entry.key for entry in reader.list("/").entries] == ["/kept"]
    with pytest.raises(Compacted):
        store.watch("/", revision).next(1)
    store.commit([Put("/new", b"1")])
    assert other.get("/new")


def test_the_log_is_trimmed_but_not_what_it_made(path: Path) -> None:
    store = SqliteStore(path, keep=10)
    first = store.commit([Put("/0", b"")])
    behind = store.watch("/", first)
    for n in range(1, 30):
        last = store.commit([Put(f"/{n}", b"")])
    with sqlite3.connect(path) as connection:
        assert 10 <= connection.execute("SELECT count(*) FROM log").fetchone()[0] <= 11
    connection.close()
    assert len(store.list("/").entries) == 30
    with pytest.raises(Compacted):
        behind.next(1)
    changes = store.watch("/", last - 10).next(1)
    assert changes is not None and len(changes.events) == 10


def text(path: Path) -> None:
    path.write_text("nothing of ours " * 100)


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mail (text)")
    connection.close()


def newer_schema(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def first_schema(path: Path) -> None:
    """The file as it is, in the tables of the first version."""
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE entry DROP COLUMN created")
        connection.execute("ALTER TABLE log DROP COLUMN created")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_file_of_the_first_schema_goes_on(path: Path) -> None:
    store = SqliteStore(path)
    first = store.commit([Put("/a", b"1")])
    store.commit([Put("/b", b"1")])
    gone = store.commit([Delete("/b")])
    store.close()
    first_schema(path)
    store, other = SqliteStore(path), SqliteStore(path)
    entry = store.get("/a")
    assert entry is not None and (entry.value, entry.revision, entry.created) == (
        b"1",
        first,
        first,
    )
    last = other.commit([Put("/a", b"2")])
    seen = store.watch("/", first - 1).next(1)
    assert seen is not None and seen.revision == last
    assert [each.entry and each.entry.created for each in seen.events] == [
        first, first + 1, None, first
    ]  # fmt: skip
    assert gone == last - 1
    store.close()
    other.close()


def damaged(path: Path) -> None:
    SqliteStore(path).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (text, "is not a Tortie store"),
        (other_database, "is not a Tortie store"),
        (newer_schema, "newer Tortie"),
        (damaged, "damaged"),
    ],
)
def test_a_file_that_is_no_good_is_refused_and_left_alone(path: Path, spoil, says: str) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=says) as caught:
        SqliteStore(path)
    assert not isinstance(caught.value, StoreUnavailable)
    assert caught.value.cure
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "store.db", tmp_path):
        with pytest.raises(StoreUnavailable, match="directory"):
            SqliteStore(path)


def test_a_lock_held_too_long_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    store = SqliteStore(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.commit([Put("/a", b"")])
    assert store.get("/a") is None
    holder.execute("ROLLBACK")
    holder.close()
    assert store.commit([Put("/a", b"")]) == 2
