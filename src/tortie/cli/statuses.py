"""What the agents last said, as they wrote it into the store."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Store

SILENT_AFTER = 60.0
"""Seconds without a sign of life, of which an agent gives one every 20, until it counts as gone."""


@dataclass(frozen=True, slots=True)
class Said:
    """The state of an endpoint or a node in one word, and why."""

    state: str = "unknown"
    reason: str = "no agent has reported it"
    version: str = ""
    endpoints: int | None = None
    """how many a node serves"""

    @property
    def alive(self) -> bool:
        """Of a node: its agent was heard a short while ago."""
        return self.state not in ("unknown", "silent")


def of_endpoints(store: Store, endpoints: Iterable[r.WorkloadEndpoint]) -> dict[str, Said]:
    """By the endpoint's store key. Raises StoreUnavailable."""
    values = {entry.key: entry.value for entry in store.list(kinds.STATUS).entries}
    return {kinds.key(each): _endpoint(values.get(_status_key(each))) for each in endpoints}


def _status_key(endpoint: r.WorkloadEndpoint) -> str:
    namespace = endpoint.metadata.namespace or "default"
    return kinds.endpoint_status_key(endpoint.spec.node, namespace, endpoint.metadata.name)


def _endpoint(value: bytes | None) -> Said:
    if value is None:
        return Said()
    try:
        status = msgspec.json.decode(value, type=kinds.EndpointStatus)
    except msgspec.MsgspecError:
        return Said(reason="its status cannot be read")
    return Said(status.state, status.reason)


def of_nodes(store: Store, names: Iterable[str], now: float | None = None) -> dict[str, Said]:
    """By the node's name. Raises StoreUnavailable."""
    now = time.time() if now is None else now
    found: dict[str, Said] = {}
    for name in names:
        entry = store.get(kinds.node_status_key(name))
        found[name] = _node(entry.value if entry else None, now)
    return found


def _node(value: bytes | None, now: float) -> Said:
    if value is None:
        return Said()
    try:
        status = msgspec.json.decode(value, type=kinds.NodeStatus)
    except msgspec.MsgspecError:
        return Said(reason="its status cannot be read")
    quiet = now - status.time
    if quiet > SILENT_AFTER:
        return Said("silent", f"its agent was last heard {duration(quiet)} ago", status.version)
    return Said(status.state, status.reason, status.version, status.endpoints)


def duration(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
