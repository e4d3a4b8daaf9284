"""Whether a live host is behind: then released addresses wait longer before their next use.

A host that still enforces what was true before an address was released would give the rights of
its last owner to the next. It says itself what it enforces, in its status.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from tortie.model import kinds
from tortie.model.kinds import NodeStatus
from tortie.store.base import Store

LIVE = 60.0
"""Seconds: an agent says how it is three times as often, if only that it still runs."""
LATE = 5.0
"""Seconds within which all hosts should have what one of them has."""
EXTRA = 3600.0
"""Seconds that an address waits longer while a host is behind. A bound: one host that is never
right again must not use up the addresses of all others."""
FRESH = 5.0
"""Seconds for which what was read is believed."""


def extra(statuses: Collection[NodeStatus], now: float) -> float:
    """Seconds to add to the cool-down at Unix time `now`; 0 if no live host is behind."""
    live = [status for status in statuses if status.time >= now - LIVE]
    return EXTRA if any(_behind(status, statuses) for status in live) else 0.0


class Hold:
    """`extra` of what the hosts have written to a store; asks it at most every few seconds."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._last = -FRESH, 0.0

    def __call__(self) -> float:
        """Seconds to add to the cool-down. Raises StoreUnavailable."""
        now = self._clock()
        when, seconds = self._last
        if not when <= now < when + FRESH:
            seconds = extra(self._statuses(), now)
            self._last = now, seconds
        return seconds

    def _statuses(self) -> list[NodeStatus]:
        base = kinds.prefix(kinds.BY_NAME["Node"])
        found = []
        for node in self._store.list(base).entries:
            entry = self._store.get(kinds.node_status_key(node.key.removeprefix(base)))
            if entry is not None:
                try:
                    found.append(msgspec.json.decode(entry.value, type=NodeStatus))
                except msgspec.MsgspecError:
                    continue  # of another version: it says nothing that is known here
        return found


def _behind(status: NodeStatus, others: Collection[NodeStatus]) -> bool:
    """It says so itself, or another host had a later revision well before it said its own."""
    return status.state != "ready" or any(
        other.revision > status.revision and other.time + LATE < status.time for other in others
    )
