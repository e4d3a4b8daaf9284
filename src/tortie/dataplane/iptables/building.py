"""What the chains of workloads and of host endpoints are built with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.dispatch import Flag, tree
from tortie.dataplane.iptables.lookups import Lookups
from tortie.dataplane.iptables.policies import PolicyChains
from tortie.dataplane.iptables.ruleset import TABLES, TableName
from tortie.dataplane.safe import interface
from tortie.desired import INTERFACE_PREFIX, Family, Filter

OURS = f"{INTERFACE_PREFIX}+"
ANY = "*"
"""The interface of a host endpoint that guards all that no other does."""


class Building:
    """A rule set of one family that grows; `foreign` are the interfaces of workloads that have not
    our prefix."""

    def __init__(self, wanted: Filter, family: Family) -> None:
        self.wanted = wanted
        self.family = family
        self.lookups = Lookups(wanted, family)
        self.policies = {table: PolicyChains(wanted, self.lookups) for table in TABLES}
        claimed = [interface(each.interface) for each in wanted.endpoints]
        guarded = [each.interface for each in wanted.hosts]
        _refuse_twins("endpoints", claimed)
        _refuse_twins("host endpoints", guarded)
        self.foreign = sorted(each for each in claimed if not each.startswith(INTERFACE_PREFIX))
        not_hosts = {*claimed, "lo"}
        self.hosts = tuple(
            each
            for each in sorted(wanted.hosts, key=lambda one: one.interface)
            if each.interface == ANY
            or (
                interface(each.interface) not in not_hosts
                and not each.interface.startswith(INTERFACE_PREFIX)
            )
        )

    def put(self, table: TableName, name: str, rules: Sequence[str]) -> None:
        """A chain."""
        self.policies[table].chains[name] = tuple(rules)

    def dispatch(
        self,
        table: TableName,
        name: str,
        flag: Flag,
        workloads: Mapping[str, str],
        hosts: Mapping[str, str],
        ours: str,
    ) -> None:
        """The chain `name`, which finds what follows by interface.

        `workloads` and `hosts` say it by interface; `ours` for all others with our prefix. A host
        endpoint on any interface (ANY) gets what is left, but never the loopback.
        """
        targets = {each: target for each, target in hosts.items() if each != ANY}
        otherwise = [f"{flag} {OURS} {ours}"]
        if ANY in hosts:
            otherwise += [f"{flag} lo -j RETURN", hosts[ANY]]
        self.tree(table, name, flag, {**targets, **workloads}, otherwise)

    def tree(
        self,
        table: TableName,
        name: str,
        flag: Flag,
        targets: Mapping[str, str],
        otherwise: Sequence[str] = (),
    ) -> None:
        """As `dispatch.tree`, in a table."""
        self.policies[table].chains.update(tree(name, flag, targets, otherwise))

    def known(self, verdict: str = "-j ACCEPT") -> tuple[str, ...]:
        """What comes before every judgement of a tracked packet."""
        invalid = (f"{words.INVALID} -j DROP",) if self.wanted.drop_invalid else ()
        return (words.CUT, f"{words.KNOWN} {verdict}", *invalid)


def _refuse_twins(what: str, interfaces: Sequence[str]) -> None:
    twice = sorted(each for each, times in Counter(interfaces).items() if times > 1)
    if twice:
        raise ValueError(f"two {what} claim the interface {twice[0]}")
