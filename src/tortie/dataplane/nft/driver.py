"""The driver of the nftables firewall: one verb, apply."""

from __future__ import annotations

from hashlib import sha256

from tortie.dataplane.nft.render import render
from tortie.dataplane.nft.ruleset import TABLE, Ruleset, changes, script_diff, script_full
from tortie.desired import Desired, Filter, Report
from tortie.errors import KernelError
from tortie.kernel.nft import NftPort


class NftDriver:
    """Makes our nftables tables equal to the filter of a Desired.

    What it remembers only saves work: with nothing remembered it replaces our tables as a whole,
    in one transaction, so that no packet is judged by less than one version.
    """

    name = "nft"

    def __init__(self, nft: NftPort) -> None:
        self._nft = nft
        self._base = render(Filter())
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

    def close(self) -> None:
        """Let go of libnftables. The rules stay."""
        self._nft.close()

    def _install(self, wanted_filter: Filter, wanted: Ruleset) -> int:
        old, self._installed = self._installed, None
        before = self._nft.generation()
        script = script_full(wanted) if old is None else script_diff(old, wanted)
        if script:
            try:
                self._nft.run(script)
            except KernelError:
                if old is None:
                    raise
                old = None
                self._nft.run(script_full(wanted))
        after = self._nft.generation()
        # A foreign commit in between may have touched our tables: then nothing is remembered.
        if after == before + bool(script) and (old is None or before == self._generation):
            self._filter, self._installed, self._generation = wanted_filter, wanted, after
            if script:
                self._hash = None
        return wanted.objects() if old is None else changes(old, wanted)

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
        return sha256("\0".join(text or "" for text in texts).encode()).hexdigest()
