"""One of many, chosen through the store: who renews a key holds it; who sees it rest takes it over.

No clock is compared with another's: the key holds a name and a count, the holder counts on, and
another takes over when it has itself seen no change for `patience` seconds, by its own clock. For
what is only a waste when two do it: a holder that was stopped may wake and act on a hold it lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from tortie.errors import Conflict, StoreError
from tortie.model import kinds
from tortie.store.base import Delete, Entry, Put, Store

ELECTIONS = kinds.ROOT + "elections/"

SHARE = 3
"""A holder that renews this often within the others' patience survives a lost renewal or two."""


class Hold(Struct, frozen=True):
    """Who holds an election, and how often it has said so."""

    holder: str
    count: int


class Election:
    """One candidate, for one thread. `me` is a name that no other candidate has, not even this
    host's in its next life.

    `clock` is monotonic.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        me: str,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._key = ELECTIONS + name
        self._me = me
        self._patience = patience
        self._clock = clock
        self._seen: tuple[int, float] | None = None
        """the revision of another's hold, and when it was first seen"""
        self._until = 0.0
        self._held = False

    @property
    def pause(self) -> float:
        """Seconds between two calls of `renew`."""
        return self._patience / SHARE

    @property
    def held(self) -> bool:
        """Nobody else can have taken over yet."""
        return self._held and self._clock() < self._until

    def renew(self) -> bool:
        """Stand, or go on holding; whether this one holds now. Call it every `pause` seconds.

        Raises StoreUnavailable; whether it still holds is then told by `held`.
        """
        began = self._clock()
        entry = self._store.get(self._key)
        hold = _read(entry)
        mine = hold is not None and hold.holder == self._me
        if entry is not None and not mine and not self._rests(entry, began):
            self._held = False
            return False
        wanted = Hold(self._me, hold.count + 1 if hold else 1)
        expect = entry.revision if entry else 0
        try:
            self._store.commit([Put(self._key, msgspec.json.encode(wanted), expect)])
        except Conflict:
            self._held = False
            return False
        self._seen = None
        # The others' patience begins when they see this, which is not before it was sent.
        self._until = began + self._patience
        self._held = True
        return True

    def holder(self) -> str:
        """The name of who holds it by the store; empty: nobody. Raises StoreUnavailable."""
        hold = _read(self._store.get(self._key))
        return hold.holder if hold else ""

    def resign(self) -> None:
        """Let another take over at once, if this one holds and the store can be reached."""
        self._held = False
        try:
            entry = self._store.get(self._key)
            hold = _read(entry)
            if entry is not None and hold is not None and hold.holder == self._me:
                self._store.commit([Delete(self._key, entry.revision)])
        except StoreError:
            pass  # then they wait

    def _rests(self, entry: Entry, now: float) -> bool:
        """Whether another's hold has not changed for `patience` seconds before our eyes."""
        if self._seen is None or self._seen[0] != entry.revision:
            self._seen = entry.revision, now
            return False
        return now - self._seen[1] >= self._patience


def _read(entry: Entry | None) -> Hold | None:
    """The hold in a stored value; what cannot be read is nobody's, and is taken over in time."""
    if entry is None:
        return None
    try:
        return msgspec.json.decode(entry.value, type=Hold)
    except msgspec.MsgspecError:
        return None
