"""What arrives in the agent's one queue."""

from __future__ import annotations

from dataclasses import dataclass

from tortie.store.syncer import Batch, Lost


@dataclass(frozen=True, slots=True)
class KernelChanged:
    """Somebody, perhaps this agent itself, changed links, addresses, routes, settings."""


@dataclass(frozen=True, slots=True)
class BelieveStore:
    """The operator says that the store is the right one."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the loop; what is in the kernel stays."""


Event = Batch | Lost | KernelChanged | BelieveStore | Stop
