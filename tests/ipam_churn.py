"""Taking and giving back addresses again and again; importable by processes of their own."""

from __future__ import annotations

from tortie.ipam.allocator import Allocator
from tortie.store import open_store
from tortie.store.base import Store


def churn(store: Store, who: str, rounds: int) -> dict[str, list[str]]:
    """Assign and release from one host; what is held at the end, by handle."""
    allocator = Allocator(store, clock=lambda: 0.0)
    held: dict[str, list[str]] = {}
    for turn in range(rounds):
        handle = f"{who}-{turn}"
        held[handle] = allocator.assign(f"host-{turn % 2}", handle, 1 + turn % 3)
        if turn % 3 == 0:
            allocator.release(handle)
            del held[handle]
    return held


def churn_in(url: str, who: str, rounds: int) -> dict[str, list[str]]:
    """churn in a process of its own."""
    store = open_store(url)
    try:
        return churn(store, who, rounds)
    finally:
        store.close()
