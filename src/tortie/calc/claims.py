"""Whose an address is, when several endpoints claim it.

Stores refuse a second claim, but two hosts may write at the same moment, and resources may come
from elsewhere. The endpoint that was in the store first has the address, on every host alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Claims:
    """Addresses (text as the endpoints have it) by claimant (store key)."""

    _claims: dict[str, dict[str, int]] = field(default_factory=dict)
    """by address: the claimants, and the revisions at which they came to be"""
    _addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """by claimant"""

    def put(self, claimant: str, addresses: Iterable[str], created: int) -> set[str]:
        """What a claimant claims now (nothing: it is gone). Returns the others who are concerned:
        those who claim one of the addresses that it claims now or did before.
        """
        before, now = self._addresses.pop(claimant, ()), tuple(dict.fromkeys(addresses))
        for address in before:
            there = self._claims[address]
            del there[claimant]
            if not there:
                del self._claims[address]
        for address in now:
            self._claims.setdefault(address, {})[claimant] = created
        if now:
            self._addresses[claimant] = now
        concerned = {
            other for address in (*before, *now) for other in self._claims.get(address, ())
        }
        return concerned - {claimant}

    def owner(self, address: str) -> str | None:
        """Who has an address: the first claimant; of two that came at once, the first by key."""
        there = self._claims.get(address)
        if not there:
            return None
        return min(there, key=lambda claimant: (there[claimant], claimant))

    def lost(self, claimant: str) -> Iterator[tuple[str, str]]:
        """(address, who has it) for each that a claimant claims in vain."""
        for address in self._addresses.get(claimant, ()):
            owner = self.owner(address)
            if owner is not None and owner != claimant:
                yield address, owner
