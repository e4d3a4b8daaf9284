"""The driver of the iptables firewall, of either variant: one verb, apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tortie.dataplane.iptables.render import render
from tortie.dataplane.iptables.ruleset import SET_PREFIX, TABLES, Ruleset, SetSpec
from tortie.dataplane.iptables.tables import (
    Table,
    Tables,
    alike,
    changes,
    closed,
    commit,
    others_rules,
    tables_in,
    wanted_tables,
)
from tortie.desired import INTERFACE_PREFIX, Desired, Family, Filter, Report
from tortie.errors import KernelError
from tortie.kernel.ipset import IpSetFound, IpSetPort
from tortie.kernel.iptables import IptablesPort, Stamp

FAMILIES: tuple[Family, ...] = (4, 6)
_IN, _OUT = f"-i {INTERFACE_PREFIX}+ -j DROP", f"-o {INTERFACE_PREFIX}+ -j DROP"
CLOSED: Tables = {
    "raw": Table({"tor-pre": (_IN,)}, {"PREROUTING": ("-j tor-pre",)}),
    "filter": Table(
        {"tor-input": (_IN,), "tor-forward": (_IN, _OUT), "tor-output": (_OUT,)},
        {
            "INPUT": ("-j tor-input",),
            "FORWARD": ("-j tor-forward",),
            "OUTPUT": ("-j tor-output",),
        },
    ),
}
"""All that our interfaces send and get is dropped; the chains are those that `render` fills."""

_SPARE = "spare"
"""Behind a family's prefix: the set that takes the place of one with wrong members."""

_INET: Mapping[int, str] = {4: "inet", 6: "inet6"}


class IptablesDriver:
    """Makes our chains, their hooks and our IP sets equal to the filter of a Desired.

    Each table of each family is one commit, in the order of TABLES, in which only chains that
    differ are named: the counters of all others go on. What it remembers only saves work: with
    nothing remembered, what is there is read. New sets are filled before any rule looks into
    them, and a set's name stands for its members, so no packet is judged by half a set.
    """

    def __init__(
        self,
        iptables: IptablesPort,
        ipset: IpSetPort,
        families: tuple[Family, ...] = FAMILIES,
        render: Callable[[Filter, Family], Ruleset] = render,
    ) -> None:
        self.name = f"iptables-{iptables.variant}"
        self._iptables = iptables
        self._ipset = ipset
        self._families = families
        self._render = render
        self._filter: Filter | None = None
        """the filter behind `_installed`"""
        self._installed: dict[Family, Ruleset] | None = None
        """what our last commits left; None: not known"""
        self._stamp: Stamp = ()
        """the kernel's when that was last known to be there"""
        self._seen: dict[Family, Tables] | None = None
        """how it reads, for iptables may spell a rule otherwise; None: not read yet"""

    def prepare(self) -> None:
        """Drop all that our interfaces send and get, unless an earlier run left rules: those hold
        until the first apply, and only hooks that are missing are put back.

        Raises KernelError, Missing.
        """
        for family in self._families:
            there = self._read(family)
            wanted = {name: closed(there[name], CLOSED.get(name, Table())) for name in TABLES}
            self._commit(family, there, wanted)

    def apply(self, desired: Desired) -> Report:
        """Make the firewall equal to `desired.filter`, table by table.

        Raises KernelError: then the tables that were not reached are as they were, and the next
        apply goes over all of them.
        """
        idle = self._installed is not None and desired.filter == self._filter
        # With something to do, a look at whether rules are as they were can wait (`drifted`).
        if idle or self._iptables.stamp() != self._stamp:
            self._installed = self._installed if self._stands(closely=True) else None
        known = self._installed
        if known is not None and idle:
            changed = self._fill(None, known)
            self._tidy(known)
            return Report(changed=changed)
        return Report(changed=self._install(known, desired.filter))

    def drifted(self) -> bool:
        """Whether somebody else changed our rules; cheap unless anybody changed any.

        Raises KernelError.
        """
        if self._installed is None or self._stands(closely=False):
            return False
        self._installed = None
        return True

    def present(self) -> bool:
        """Whether any of our chains or hooks is there. Raises KernelError, Missing."""
        return any(
            changes(table, Table())
            for family in self._families
            for table in self._read(family).values()
        )

    def others(self) -> int:
        """How many rules others have in this variant.

        Raises KernelError, Missing: also if this host has no IP sets.
        """
        self._ipset.references()
        return sum(others_rules(self._iptables.save(family)) for family in self._families)

    def sweep(self) -> bool:
        """Remove our hooks, chains and sets and nothing else; whether there was anything.

        Sets that rules still look into stay: of the other variant, or of a moment ago.
        Raises KernelError, Missing.
        """
        self._installed = None
        found = 0
        for family in self._families:
            found += self._commit(family, self._read(family), dict.fromkeys(TABLES, Table()))[1]
        return bool(found + self._tidy({}))

    def close(self) -> None:
        """Let go of sockets. The rules stay."""
        self._iptables.close()

    def _rendered(self, wanted: Filter) -> dict[Family, Ruleset]:
        try:
            return {family: self._render(wanted, family) for family in self._families}
        except ValueError as error:
            raise KernelError(f"the firewall cannot be written down: {error}") from error

    def _install(self, known: Mapping[Family, Ruleset] | None, wanted_filter: Filter) -> int:
        """From the rule sets that are known to be there, or what is read; how much differed."""
        wanted = self._rendered(wanted_filter)
        self._installed = self._seen = None
        before = self._iptables.stamp()
        if known is None:
            there = {family: self._read(family) for family in wanted}
        else:
            there = {family: wanted_tables(ruleset) for family, ruleset in known.items()}
        changed, commits = self._fill(known, wanted), 0
        for family, ruleset in wanted.items():
            differed, sent = self._commit(family, there[family], wanted_tables(ruleset))
            changed, commits = changed + differed, commits + sent
        self._tidy(wanted)
        after = self._iptables.stamp()
        self._filter, self._installed = wanted_filter, wanted
        # Who committed in between may have touched ours: the next look will say that this moved.
        foreign = self._iptables.variant == "nft" and after != (before[0] + commits,)
        self._stamp = () if foreign else after
        return changed

    def _stands(self, closely: bool) -> bool:
        """Whether what our last commits left is there still.

        `closely`: also where others' changes may leave no mark on the stamp.
        """
        if self._installed is None:
            return False
        stamp = self._iptables.stamp()
        moved = stamp != self._stamp
        if not moved and self._seen and (self._iptables.variant == "nft" or not closely):
            return True
        there = {family: self._read(family) for family in self._installed}
        if self._seen is None:
            wanted = {family: wanted_tables(each) for family, each in self._installed.items()}
            if moved or any(
                not alike(there[family][name], wanted[family][name])
                for family in wanted
                for name in TABLES
            ):
                return False
        elif any(
            changes(self._seen[family][name], there[family][name])
            for family in there
            for name in TABLES
        ):
            return False
        if self._iptables.stamp() == stamp:
            self._stamp, self._seen = stamp, there
        return True

    def _read(self, family: Family) -> Tables:
        return tables_in(self._iptables.save(family))

    def _commit(self, family: Family, there: Tables, wanted: Tables) -> tuple[int, int]:
        """From what is there to what is wanted; how much differed, and in how many commits."""
        changed = commits = 0
        for name in TABLES:
            script = commit(name, there[name], wanted[name])
            if script:
                self._iptables.restore(family, script)
                changed += changes(there[name], wanted[name])
                commits += 1
        return changed, commits

    def _fill(
        self, known: Mapping[Family, Ruleset] | None, wanted: Mapping[Family, Ruleset]
    ) -> int:
        """Make the sets that are not there with just their members; how many.

        Those of the rule sets `known` are right; None: all that are there are looked at.
        """
        there: Mapping[str, IpSetFound | None] = (
            self._ipset.save() if known is None else dict.fromkeys(self._ipset.references())
        )
        lines, changed = [], 0
        for family, ruleset in wanted.items():
            right = {} if known is None else known[family].sets
            spare = f"{SET_PREFIX[family]}{_SPARE}"
            lines += [f"destroy {spare}"] if spare in there else []
            for name, spec in ruleset.sets.items():
                found = IpSetFound(spec.type, _INET[family], spec.members)
                if name not in there:
                    lines += _made(name, family, spec)
                elif there[name] != found and name not in right:
                    lines += [*_made(spare, family, spec), f"swap {spare} {name}"]
                    lines += [f"destroy {spare}"]
                else:
                    continue
                changed += 1
        if lines:
            self._ipset.restore("".join(f"{line}\n" for line in lines))
        return changed

    def _tidy(self, wanted: Mapping[Family, Ruleset]) -> int:
        """Destroy our sets that nobody wants or looks into; how many."""
        used = {name for ruleset in wanted.values() for name in ruleset.sets}
        gone = sorted(
            name
            for name, references in self._ipset.references().items()
            if name.startswith(tuple(SET_PREFIX.values())) and name not in used and not references
        )
        if gone:
            self._ipset.restore("".join(f"destroy {name}\n" for name in gone))
        return len(gone)


def _made(name: str, family: Family, spec: SetSpec) -> Iterable[str]:
    """Lines that make a set; it never gets more members than these."""
    most = max(1, len(spec.members))
    yield f"create {name} {spec.type} family {_INET[family]} maxelem {most}"
    for member in sorted(spec.members):
        yield f"add {name} {member}"
