"""What becomes of a lab's store: gone, silent, empty, restored from a copy. For both stores."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from e2e_rig import PROMPT, Site
from lab_rig import until

from tortie.errors import StoreError
from tortie.lab import control
from tortie.store.sqlite import SqliteStore

ETCD = "store/etcd"


def kind(site: Site) -> str:
    return site.plan.store


@contextlib.contextmanager
def gone(site: Site, how: str) -> Iterator[None]:
    """Within the block nobody can read or write the store; afterwards it is as it was.

    `how`: sqlite: unreadable. etcd: stopped, killed (comes back by itself), silent.
    """
    with {
        "unreadable": _sqlite_unreadable, "stopped": _etcd_stopped, "killed": _etcd_killed,
        "silent": _etcd_silent,
    }[how](site):  # fmt: skip
        yield


@contextlib.contextmanager
def emptied(site: Site) -> Iterator[None]:
    """Within the block the store is a new one with nothing in it; afterwards it is as it was."""
    with _sqlite_emptied(site) if kind(site) == "sqlite" else _etcd_emptied(site):
        yield


@contextlib.contextmanager
def copied(site: Site) -> Iterator[Callable[[], None]]:
    """A copy of the store as it is now; calling it puts the copy in the place of the store."""
    with tempfile.TemporaryDirectory() as directory:
        backup = Path(directory, "backup")
        if kind(site) == "sqlite":
            file = _file(site)
            with contextlib.closing(sqlite3.connect(file)) as source:
                source.execute("VACUUM INTO ?", (str(backup),))
            yield lambda: _put(backup, file)
            return
        data = site.directory / "etcd"
        with _etcd_stopped(site):
            shutil.copytree(data, backup)

        def restore() -> None:
            with _etcd_stopped(site):
                shutil.rmtree(data)
                shutil.copytree(backup, data)

        yield restore


# --- sqlite ---------------------------------------------------------------------------------------


def _file(site: Site) -> Path:
    return site.directory / "store.db"


def _put(source: Path, file: Path) -> None:
    """As an operator restores: the write-ahead log of the old file must not stay."""
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    source.replace(file)


@contextlib.contextmanager
def _aside(site: Site) -> Iterator[Path]:
    """The whole file under another name, and back again."""
    file = _file(site)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    aside = file.with_name("aside.db")
    file.replace(aside)
    try:
        yield file
    finally:
        if file.is_dir():
            file.rmdir()
        _put(aside, file)


@contextlib.contextmanager
def _sqlite_unreadable(site: Site) -> Iterator[None]:
    with _aside(site) as file:

        def blocked() -> bool:
            # Whoever finds no file makes one.
            file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                file.mkdir()
            return file.is_dir()

        assert until(blocked, PROMPT)
        yield


@contextlib.contextmanager
def _sqlite_emptied(site: Site) -> Iterator[None]:
    with _aside(site) as file:
        SqliteStore(file).close()
        yield


# --- etcd -----------------------------------------------------------------------------------------


def _answers(site: Site) -> bool:
    with site.running.store() as store, contextlib.suppress(StoreError):
        store.get("/")
        return True
    return False


@contextlib.contextmanager
def _etcd_stopped(site: Site) -> Iterator[None]:
    control.stop(site.running.lab, ETCD)
    try:
        yield
    finally:
        control.start(site.running.lab, ETCD)
        assert until(lambda: _answers(site), PROMPT)


@contextlib.contextmanager
def _etcd_killed(site: Site) -> Iterator[None]:
    before = site.restarts(ETCD)
    control.kill(site.running.lab, ETCD)
    yield
    assert until(lambda: site.restarts(ETCD) > before and _answers(site), PROMPT)


@contextlib.contextmanager
def _etcd_silent(site: Site) -> Iterator[None]:
    pid = control.running(site.running.lab)[ETCD].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _etcd_emptied(site: Site) -> Iterator[None]:
    data = site.directory / "etcd"
    aside = site.directory / "etcd.aside"
    with _etcd_stopped(site):
        data.rename(aside)
    try:
        yield
    finally:
        with _etcd_stopped(site):
            shutil.rmtree(data)
            aside.rename(data)
