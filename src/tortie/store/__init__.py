"""Where resources are kept: one protocol (base), three implementations, and the syncer.

Only what a URL asks for is imported: gRPC alone costs more than a whole command on SQLite.
"""

from __future__ import annotations

from tortie.store import url as _url
from tortie.store.base import Store
from tortie.store.url import endpoints, redact

__all__ = ["endpoints", "open_store", "redact"]


def open_store(url: str) -> Store:
    """Open the store that a URL names; see store.url for the forms.

    A SQLite file that does not exist is made. An etcd store is opened without being reached, so
    that an agent can start before etcd does; open it after forking, never before.
    Raises UsageError (a bad URL), StoreError (not a store of ours, files that cannot be read).
    """
    scheme = _url.scheme(url)
    if scheme == "sqlite":
        from tortie.store.sqlite import SqliteStore

        return SqliteStore(_url.sqlite_path(url))
    if scheme == "etcd":
        from tortie.store.etcd import EtcdStore

        return EtcdStore(_url.parse_etcd(url))
    from tortie.store.memory import MemoryStore

    return MemoryStore()
