"""The store's protocol: keys and values under revisions, compare-and-swap, and a watch.

Every implementation (memory, sqlite, etcd) keeps one contract, held to by one test suite:

* The store has one revision, a positive integer that grows by one or more with each commit.
* A commit is all or nothing, of at most MAX_OPS operations on distinct keys.
* A watch gives every commit after a revision, whole, once and in order.
* Keys are text that starts with `/`; values are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_OPS = 128  # etcd's default --max-txn-ops


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value; `revision` is that of the commit that wrote it last, `created` of the one
    that made it, since the key was last absent."""

    key: str
    value: bytes
    revision: int
    created: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries in order of key, as they all were at `revision`."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write. `expect` None: whatever is there; 0: only if absent; n: only if its revision is n."""

    key: str
    value: bytes
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove; deleting what is absent does nothing. `expect` as in Put."""

    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Only require that the key is at `expect` (0: absent)."""

    key: str
    expect: int


Op = Put | Delete | Check


@dataclass(frozen=True, slots=True)
class Event:
    """A key has a new entry, or (None) is gone."""

    key: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened up to `revision`: whole commits, in order."""

    revision: int
    events: tuple[Event, ...]


class Watch(Protocol):
    """An open watch. Not shared between threads, but close() may come from any."""

    def next(self, timeout: float | None = None) -> Changes | None:
        """The next changes; None when `timeout` seconds passed without any, or when closed.

        Raises Compacted if changes were lost, StoreUnavailable if the connection is.
        """

    def close(self) -> None:
        """End the watch and wake next()."""


class Store(Protocol):
    """A store. Its methods may be called from several threads."""

    def identity(self) -> str:
        """What tells this store from another: the same as long as it is the same data's line."""

    def get(self, key: str) -> Entry | None:
        """The entry of a key. Raises StoreUnavailable."""

    def list(self, prefix: str) -> Listing:
        """All entries whose key begins with prefix. Raises StoreUnavailable."""

    def commit(self, ops: Sequence[Op]) -> int:
        """Do all of ops or nothing; returns the store's revision after it.

        Raises Conflict (an `expect` did not hold), StoreUnavailable (it may or may not have been
        done), ValueError (more than MAX_OPS operations, or one key twice).
        """

    def watch(self, prefix: str, after: int) -> Watch:
        """Watch the commits with a revision greater than `after` that touch `prefix`."""

    def close(self) -> None:
        """Release connections and files; open watches end."""
