"""The firewall of a host, whichever dataplane makes it: chosen, switched, swept.

A switch first puts the new rules in force and then removes the old. In between both judge every
packet, and what one drops is dropped. They share the bits of the packet mark: each judgement clears
those that it sets before it asks, and what one hook leaves for a later one (HOST_OK, TRANSLATED)
means the same to both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from msgspec import structs

from tortie.desired import Dataplane, Desired, Report
from tortie.errors import KernelError, Missing

NFT = "nft"
BACKENDS = ("iptables-nft", "iptables-legacy")
"""The drivers of iptables; the first serves where nothing speaks for the second."""


class Guard(Protocol):
    """What is asked of the driver of a dataplane."""

    name: str

    def prepare(self) -> None: ...
    def apply(self, desired: Desired) -> Report: ...
    def drifted(self) -> bool: ...
    def present(self) -> bool: ...
    def sweep(self) -> bool: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """What is asked of a driver of iptables before one is chosen."""

    def others(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Usable:
    """What a host has."""

    drivers: frozenset[str]
    """names of those that can be used"""
    backend: str = BACKENDS[0]
    """the driver of iptables whose rules get on with what others have there"""


class Firewall:
    """The driver that has others make `desired.filter` so: the one that it asks for.

    `forced` is asked for instead, if it is given.
    """

    name = "firewall"

    def __init__(
        self,
        drivers: Mapping[str, Guard],
        detect: Callable[[], Usable],
        forced: Dataplane | None = None,
    ) -> None:
        self._drivers = drivers
        self._detect = detect
        self._forced = forced
        self._usable: Usable | None = None
        """found out once, so that what others do later brings no switch"""
        self._chosen: str | None = None
        self._clean: set[str] = set()
        """drivers of whom nothing is left in the kernel"""

    def prepare(self) -> None:
        """Drop all that our interfaces send and get, unless an earlier run left rules, whichever
        dataplane's. Raises KernelError, Missing."""
        default = self._choose(self._forced or "auto")
        there = [name for name in self._sweepable() if self._drivers[name].present()]
        name = default if default in there or not there else there[0]
        self._drivers[name].prepare()

    def apply(self, desired: Desired) -> Report:
        """Make the firewall equal to `desired.filter`, then remove what other dataplanes have.

        Raises KernelError, Missing: then what was in force is still, at least.
        """
        name = self._choose(self._forced or desired.filter.dataplane)
        self._clean.discard(name)
        report = self._drivers[name].apply(desired)
        self._chosen = name
        for other in self._sweepable():
            # Clean is who had nothing to sweep: IP sets can go only a moment after rules.
            if other not in {name, *self._clean} and not self._drivers[other].sweep():
                self._clean.add(other)
        return structs.replace(report, dataplane=name)

    def drifted(self) -> bool:
        """Whether somebody else changed the rules that are in force. Raises KernelError."""
        return self._chosen is not None and self._drivers[self._chosen].drifted()

    def close(self) -> None:
        """Let go of sockets and helpers. The rules stay."""
        for driver in self._drivers.values():
            driver.close()

    def _choose(self, wanted: Dataplane) -> str:
        usable = self._usable = self._usable or self._detect()
        name = choose(wanted, usable)
        if name not in usable.drivers:
            self._usable = None  # it may be installed meanwhile
            raise Missing(
                f"this host cannot be guarded by {name}",
                "see `tortie node check`, or choose another dataplane",
            )
        return name

    def _sweepable(self) -> list[str]:
        usable = self._usable or Usable(frozenset())
        return [name for name in self._drivers if name in usable.drivers]


def choose(wanted: Dataplane, usable: Usable) -> str:
    """The name of the driver for a dataplane."""
    if wanted == "auto":
        return NFT if NFT in usable.drivers else usable.backend
    return usable.backend if wanted == "iptables" else wanted


def look(nft: Guard, backends: Mapping[str, Backend]) -> Usable:
    """What this host has; the backend is the one where others have more rules, or the first."""
    drivers: set[str] = set()
    with suppress(KernelError, Missing):
        nft.present()
        drivers.add(NFT)
    others: dict[str, int] = {}
    for name, backend in backends.items():
        with suppress(KernelError, Missing):
            others[name] = backend.others()
    best = max(others, key=lambda name: others[name], default=BACKENDS[0])
    return Usable(frozenset(drivers | others.keys()), best)
