"""The driver of the nftables firewall: one verb, apply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha256

from tortie.dataplane.nft import nat
from tortie.dataplane.nft.render import render
from tortie.dataplane.nft.ruleset import (
    TABLE,
    Names,
    Ruleset,
    changes,
    names_in,
    reshaped,
    script_diff,
    script_full,
    script_refill,
    script_sets,
    script_tables,
    without_dynamic,
)
from tortie.desired import Desired, Filter, Report
from tortie.errors import KernelError
from tortie.kernel.nft import NftPort


class NftDriver:
    """Makes our nftables tables equal to the filter of a Desired.

    What it remembers only saves work: with nothing remembered it refills our tables as a whole.
    What decides is switched in one transaction, so that no hook judges a packet by less than one
    version. A packet that is between two hooks then is judged by one version in each: what moves
    from one evaluation of a host endpoint to another may miss it.
    """

    name = "nft"

    def __init__(self, nft: NftPort) -> None:
        self._nft = nft
        self._base = render(Filter())
        self._guards = False
        """whether this host was told to be guarded by these rules, and not yet by others"""
        self._filter: Filter | None = None
        """the filter behind `_installed`"""
        self._installed: Ruleset | None = None
        """what our last commit left; None: not known"""
        self._generation = 0
        """the kernel's generation when our tables were last known to be `_installed`"""
        self._hash: str | None = None
        """of the listing of our tables as `_installed`; None: not taken yet"""

    def prepare(self) -> None:
        """Drop all that our interfaces send and get, unless an earlier run left rules: those hold
        until the first apply. Raises KernelError, Missing."""
        self._guards = True
        absent = [
            table
            for table in self._base.tables
            if self._nft.list_table(table.family, TABLE) is None
        ]
        if absent:
            self._nft.run(script_full(Ruleset(tuple(absent))))

    def apply(self, desired: Desired) -> Report:
        """Make the firewall equal to `desired.filter`, all of it or nothing.

        Raises KernelError; then what was in force still is, and the next apply replaces it all.
        """
        if self._installed is not None and self._drifted():
            self._installed = None
        if self._installed is not None and self._filter == desired.filter:
            self._remember_hash()
            return Report()
        try:
            wanted = render(desired.filter)
        except ValueError as error:
            raise KernelError(f"the firewall cannot be written down: {error}") from error
        return Report(changed=self._install(desired.filter, wanted))

    def drifted(self) -> bool:
        """Whether somebody else changed our tables; cheap unless anybody committed anything.

        Raises KernelError.
        """
        return self._installed is not None and self._drifted()

    def present(self) -> bool:
        """Whether any of our tables is there. Raises KernelError, Missing."""
        return bool(self._there())

    def sweep(self) -> bool:
        """Remove our tables and nothing else; whether there was one. Raises KernelError."""
        self._guards, self._installed = False, None
        there = self._there()
        if there:
            self._nft.run("".join(f"delete table {family} {TABLE}\n" for family in there))
        return bool(there)

    def _there(self) -> list[str]:
        """The families of our tables that are there."""
        families = [table.family for table in self._base.tables]
        return [each for each in families if self._nft.list_table(each, TABLE) is not None]

    def close(self) -> None:
        """Let go of libnftables. The rules stay."""
        self._nft.close()

    def _install(self, wanted_filter: Filter, wanted: Ruleset) -> int:
        old, self._installed = self._installed, None
        if old is not None and reshaped(old, wanted):
            old = None
        before = self._nft.generation()
        there = self._names() if old is None else {}
        wanted = nat.kept(wanted, _chains(old, there))
        try:
            sent = self._replace(wanted, there) if old is None else self._change(old, wanted)
            self._guards = True
        except KernelError:
            # What is there is not what it seems, or the kernel takes no such rules at all.
            self._nft.check(script_full(wanted))
            old = None
            before = self._nft.generation()
            sent = self._rebuild(wanted)
        after = self._nft.generation()
        # A foreign commit in between may have touched our tables: then nothing is remembered.
        if after == before + sent and (old is None or before == self._generation):
            self._filter, self._installed, self._generation = wanted_filter, wanted, after
            if sent:
                self._hash = None
        return wanted.objects() if old is None else changes(old, wanted)

    def _change(self, old: Ruleset, wanted: Ruleset) -> int:
        """From what is known to be there; how many scripts that took."""
        return self._run(script_sets(wanted, but=old), script_diff(old, wanted))

    def _names(self) -> dict[str, Names | None]:
        """What is in our tables, by family; None: the table is not there."""
        listings = {
            each.family: self._nft.list_table(each.family, TABLE) for each in self._base.tables
        }
        return {
            family: None if text is None else names_in(text) for family, text in listings.items()
        }

    def _replace(self, wanted: Ruleset, there: Mapping[str, Names | None]) -> int:
        """From whatever is in our tables, which must be there, or else are made anew."""
        known = {family: names for family, names in there.items() if names is not None}
        if not self._guards and not known:
            # Another dataplane guards the host until our rules are there, all at once.
            none: dict[str, Names] = dict.fromkeys(there, Names())
            return self._run(
                script_tables(wanted), script_sets(wanted), script_refill(wanted, none)
            )
        if len(known) < len(there):
            return self._rebuild(wanted)
        return self._run(script_sets(wanted), script_refill(wanted, known))

    def _rebuild(self, wanted: Ruleset) -> int:
        """Our tables deleted and made anew; in between all that is ours is dropped."""
        there: dict[str, Names] = {
            table.family: names_in(script_full(Ruleset((table,)))) for table in self._base.tables
        }
        return self._run(script_full(self._base), script_sets(wanted), script_refill(wanted, there))

    def _run(self, *scripts: str) -> int:
        """Run those that are not empty, each a transaction; how many."""
        sent = [script for script in scripts if script]
        for script in sent:
            self._nft.run(script)
        return len(sent)

    def _drifted(self) -> bool:
        """Whether somebody changed our tables since they were known to be right."""
        now = self._nft.generation()
        if now == self._generation:
            return False
        # Without a listing of ours to compare with, a foreign commit is taken for the worst.
        if self._hash is None or self._listing() != self._hash:
            return True
        if self._nft.generation() != now:
            return True
        self._generation = now
        return False

    def _remember_hash(self) -> None:
        """Take the listing when there is nothing to do, so that commits do not wait for it."""
        if self._hash is None:
            listing = self._listing()
            if self._nft.generation() == self._generation:
                self._hash = listing

    def _listing(self) -> str:
        texts = (self._nft.list_table(table.family, TABLE) for table in self._base.tables)
        lasting = "\0".join(without_dynamic(text or "") for text in texts)
        return sha256(lasting.encode()).hexdigest()


def _chains(old: Ruleset | None, there: Mapping[str, Names | None]) -> Collection[str]:
    """The names of the chains that are in our tables: as they were made, or as they were read."""
    if old is not None:
        return {name for table in old.tables for name in table.chains}
    return {name for names in there.values() if names is not None for name in names.chains}
