"""What is ours in an iptables table, read from `iptables-save` or taken from a rule set, and the
commit that leads from the one to the other. Pure.

Ours are the chains that begin with CHAIN_PREFIX, and every rule of a built-in chain that jumps into
one. All other chains and rules are others', and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tortie.dataplane.iptables.ruleset import CHAIN_PREFIX, TABLES, Ruleset, TableName

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_OURS = re.compile(rf"(?:^| )-[jg] ({CHAIN_PREFIX}\S*)")


@dataclass(frozen=True, slots=True)
class Table:
    """What is ours in one table of one family."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """by name: the rules in order"""
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """by built-in chain: our rules at its head, where it has any"""
    strays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """by built-in chain: our rules behind others', where it has any"""
    held: frozenset[str] = frozenset()
    """our chains that chains of others jump into, so that they cannot be deleted"""


Tables = Mapping[TableName, Table]


def wanted_tables(ruleset: Ruleset) -> dict[TableName, Table]:
    """All that is wanted in a family."""
    return {
        name: Table(ruleset.chains.get(name, {}), _some(ruleset.hooks.get(name, {})))
        for name in TABLES
    }


def tables_in(saved: str) -> dict[TableName, Table]:
    """What is ours in the text of `iptables-save`."""
    found = {name: Table() for name in TABLES}
    for part in re.split(r"^(?=\*)", saved, flags=re.MULTILINE)[1:]:
        for name in TABLES:
            if part.startswith(f"*{name}\n"):
                found[name] = _table(part.splitlines())
    return found


def others_rules(saved: str) -> int:
    """How many rules of the text of `iptables-save` are not ours."""
    rules = [line.split(" ", 2) for line in saved.splitlines() if line.startswith("-A ")]
    return sum(
        not name.startswith(CHAIN_PREFIX) and not _target("".join(rule)) for _, name, *rule in rules
    )


def commit(name: TableName, there: Table, wanted: Table) -> str:
    """The script for `iptables-restore --noflush`; "" if there is nothing to do.

    Named, and so emptied, are only chains that change or go.
    """
    changed = [each for each in wanted.chains if there.chains.get(each) != wanted.chains[each]]
    gone = sorted(there.chains.keys() - wanted.chains.keys())
    lines = [f":{each} - [0:0]" for each in (*changed, *gone)]
    lines += [f"-A {each} {rule}" for each in changed for rule in wanted.chains[each]]
    for chain in misplaced(there, wanted):
        ours = (*there.heads.get(chain, ()), *there.strays.get(chain, ()))
        lines += [f"-D {chain} {rule}" for rule in ours]
        lines += [f"-I {chain} {rule}" for rule in reversed(wanted.heads.get(chain, ()))]
    lines += [f"-X {each}" for each in gone if each not in there.held]
    return "".join(f"{line}\n" for line in (f"*{name}", *lines, "COMMIT")) if lines else ""


def changes(there: Table, wanted: Table) -> int:
    """How many of our chains, and built-in chains' heads, differ."""
    names = there.chains.keys() | wanted.chains.keys()
    different = [each for each in names if there.chains.get(each) != wanted.chains.get(each)]
    return len(different) + len(misplaced(there, wanted))


def alike(one: Table, other: Table) -> bool:
    """Whether two differ at most in how rules are spelt."""
    return {name: len(rules) for name, rules in one.chains.items()} == {
        name: len(rules) for name, rules in other.chains.items()
    } and not misplaced(one, other)


def misplaced(there: Table, wanted: Table) -> list[str]:
    """The built-in chains in which our rules are not those that are wanted, or not first."""
    chains = there.heads.keys() | there.strays.keys() | wanted.heads.keys()
    return sorted(
        each
        for each in chains
        if each in there.strays or there.heads.get(each) != wanted.heads.get(each)
    )


def closed(there: Table, wanted: Table) -> Table:
    """What is there, and of what is wanted each chain and head that is missing."""
    heads = {name: there.heads.get(name, rules) for name, rules in wanted.heads.items()}
    return Table({**wanted.chains, **there.chains}, {**there.heads, **heads})


def _table(lines: Iterable[str]) -> Table:
    chains: dict[str, list[str]] = {}
    built_in: dict[str, list[str]] = {}
    held = set()
    for line in lines:
        if line.startswith(":"):
            name, policy, *_ = line[1:].split(" ")
            if name.startswith(CHAIN_PREFIX):
                chains[name] = []
            elif policy != "-":
                built_in[name] = []
        elif line.startswith("-A "):
            _, name, *rest = line.split(" ", 2)
            rule = "".join(rest)
            if name in chains:
                chains[name].append(rule)
            elif name in built_in:
                built_in[name].append(rule)
            else:
                held.add(_target(rule))
    heads, strays = {}, {}
    for name, rules in built_in.items():
        first = next((at for at, rule in enumerate(rules) if not _target(rule)), len(rules))
        heads[name] = tuple(rules[:first])
        strays[name] = tuple(rule for rule in rules[first:] if _target(rule))
    # An empty chain that others jump into does nothing, and is there until they let go.
    ours = {name: tuple(rules) for name, rules in chains.items() if rules or name not in held}
    return Table(ours, _some(heads), _some(strays), frozenset(held - {""}))


def _target(rule: str) -> str:
    """The chain of ours that a rule goes to, or ""."""
    found = _OURS.search(_QUOTED.sub('""', rule))
    return found[1] if found else ""


def _some(rules: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: each for name, each in rules.items() if each}
