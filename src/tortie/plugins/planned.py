"""A planned restart of a host's BGP, told to the other hosts before and after.

BFD ends with BIRD, and to a peer silence means death. So the node says in the store that it is
about to restart, and all hosts take silence on sessions with it as a graceful restart, until it is
back. A router that is no node of ours cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tortie.errors import Conflict, StoreError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store import resources
from tortie.store.base import Put, Store

ANNOTATION = "tortie.dev/bgp-restart"
"""of a Node, `true` while its BGP restarts as planned"""

_ANSWER = 10.0  # seconds for the other hosts to hear of it
_TRIES = 20


def announced(
    store: Store, node: str, restart: Callable[[], None], patience: float = _ANSWER
) -> list[str]:
    """Restart with all hosts knowing of it; the nodes that did not say so within `patience`.

    The node is as before at the end, whatever happens. Raises StoreError, and what `restart` does.
    """
    late = _announce(store, node, patience)
    try:
        restart()
    finally:
        _write(store, node, "")
    return late


def _announce(store: Store, node: str, patience: float) -> list[str]:
    """Say it, and wait for those who must know."""
    _write(store, node, "true")
    barrier = resources.apply(store, (), barrier=True).barrier
    everybody = [each.resource for each in resources.read(store, kinds.BY_NAME["Node"])]
    names = {each.metadata.name for each in everybody}
    try:
        answered = resources.wait_for_receipts(store, barrier, names, patience)
    finally:
        resources.forget_barrier(store, barrier)
    return sorted(names - answered.keys())


def _write(store: Store, node: str, value: str) -> None:
    """Set the node's annotation, or with `value` empty remove it."""
    key = f"{kinds.WORLD}nodes/{node}"
    for _ in range(_TRIES):
        entry = store.get(key)
        if entry is None:
            raise StoreError(f"there is no Node {node} in the store")
        found = kinds.decode(entry.value)
        assert isinstance(found, r.Node)
        annotations = {k: v for k, v in found.metadata.annotations.items() if k != ANNOTATION}
        if value:
            annotations[ANNOTATION] = value
        if annotations == found.metadata.annotations:
            return
        metadata = msgspec.structs.replace(found.metadata, annotations=annotations)
        changed = msgspec.structs.replace(found, metadata=metadata)
        try:
            store.commit([Put(key, kinds.encode(changed), expect=entry.revision)])
        except Conflict:
            continue
        return
    raise StoreError(f"Node {node} changes faster than it can be written")
