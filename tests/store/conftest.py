from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from store.etcd_server import EtcdServer

from tortie.store import open_store
from tortie.store.base import Put, Store
from tortie.store.memory import MemoryStore
from tortie.store.sqlite import SqliteStore

PUT_ELSEWHERE = """
import sys
from tortie.store import open_store
from tortie.store.base import Put
store = open_store(sys.argv[1])
print(store.commit([Put(sys.argv[2], sys.argv[3].encode())]))
store.close()
"""


@dataclass
class World:
    """One kind of store, and a part of it that is this test's own."""

    prefix: str
    open: Callable[[], Store]
    put_elsewhere: Callable[[str, bytes], int]
    compact: Callable[[int], object]


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd")).start()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    opened: list[Store] = []

    def keep(store: Store) -> Store:
        opened.append(store)
        return store

    prefix = f"/{uuid.uuid4().hex}/"
    if request.param == "memory":
        memory = MemoryStore()
        yield World(
            prefix,
            lambda: memory,
            lambda key, value: memory.commit([Put(key, value)]),
            memory.compact,
        )
        memory.close()
        return
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path}/store.db"
        compact = lambda revision: SqliteStore(tmp_path / "store.db").compact(revision)  # noqa: E731
    else:
        server = request.getfixturevalue("etcd")
        url = server.url
        compact = lambda revision: server.ctl("compact", str(revision))  # noqa: E731

    def put_elsewhere(key: str, value: bytes) -> int:
        command = [sys.executable, "-c", PUT_ELSEWHERE, url, key, value.decode()]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    yield World(prefix, lambda: keep(open_store(url)), put_elsewhere, compact)
    for store in opened:
        store.close()


@pytest.fixture
def store(world: World) -> Store:
    return world.open()
