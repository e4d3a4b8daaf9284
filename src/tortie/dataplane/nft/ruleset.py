"""An nftables rule set as data, and the scripts that bring the kernel to it. Pure.

A script is meant to be run as one transaction. Names and rule texts are taken as they are:
`render` makes them from validated values only.

Two things that the kernel (6.18) does decide the shape of scripts that run under traffic. An
interval set takes on its elements a moment after the rules of the same transaction count: so those
sets come in a transaction before. And where a table is deleted and made anew at once, packets on
their way see rules of the old and maps of neither: so chains and maps stay, and are refilled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

TABLE = "tortie"
"""The name of our tables, one per family; nothing else in nftables is ours."""

_PER_LINE = 1000  # elements in one command


@dataclass(frozen=True, slots=True)
class Chain:
    """Rule lines in order; `hook` is the text that makes it a base chain."""

    rules: tuple[str, ...]
    hook: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set or a verdict map; elements are as nft writes them, a map's as `key : verdict`.

    The elements of a `dynamic` one are the kernel's own: no script touches them.
    """

    type: str
    elements: frozenset[str] = frozenset()
    kind: Literal["set", "map"] = "set"
    interval: bool = False
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one family with all that is in it, by name."""

    family: Literal["inet", "arp"]
    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, SetSpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Our tables."""

    tables: tuple[Table, ...] = ()

    def objects(self) -> int:
        """How many chains, sets and maps there are."""
        return sum(len(table.chains) + len(table.sets) for table in self.tables)


@dataclass(frozen=True, slots=True)
class Names:
    """What is in a table of the kernel, by name; all of it may be somebody else's doing."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()


def names_in(listing: str) -> Names:
    """The names in a table's listing."""
    found: dict[str, set[str]] = {"chain": set(), "set": set(), "map": set()}
    for sort, name in _HEADING.findall(listing):
        found[sort].add(name)
    return Names(*(frozenset(found[sort]) for sort in ("chain", "set", "map")))


_HEADING = re.compile(r"^\s+(chain|set|map) (\S+) \{$", re.MULTILINE)


def without_dynamic(listing: str) -> str:
    """A table's listing without the elements of dynamic sets: packets put them there."""
    kept, dynamic, elements = [], False, False
    for line in listing.splitlines():
        if line == "\t}":
            dynamic = elements = False
        dynamic = dynamic or line == "\t\tflags dynamic"
        elements = elements or (dynamic and line.startswith("\t\telements = "))
        if not elements:
            kept.append(line)
    return "\n".join(kept)


def script_full(ruleset: Ruleset) -> str:
    """Replace each of our tables as a whole, whatever is in the kernel now. Not for rules that
    look into interval sets: those are blind for a moment."""
    return "".join(_table_script(table) for table in ruleset.tables)


def script_tables(ruleset: Ruleset) -> str:
    """Make our tables, with nothing in them if they are not there."""
    return "".join(f"add table {table.family} {TABLE}\n" for table in ruleset.tables)


def script_sets(ruleset: Ruleset, but: Ruleset = Ruleset()) -> str:
    """Make and fill the interval sets, except those that are in `but`; "" if there are none.

    To be run on its own before the rules that look into them. The tables must be there.
    """
    known = {table.family: table.sets.keys() for table in but.tables}
    lines = []
    for table in ruleset.tables:
        where = f"{table.family} {TABLE}"
        for name in sorted(table.sets.keys() - known.get(table.family, set())):
            spec = table.sets[name]
            if spec.interval:
                lines += _filled(f"{where} {name}", spec)
    return "".join(f"{line}\n" for line in lines)


def script_refill(ruleset: Ruleset, there: Mapping[str, Names]) -> str:
    """From whatever is in our tables, by family, to the rule set; its interval sets are there.

    The kernel refuses it where one name stands for things of different sorts.
    """
    return "".join(_refill_table(table, there[table.family]) for table in ruleset.tables)


def reshaped(old: Ruleset, new: Ruleset) -> bool:
    """Whether a name stands for another sort of thing than before, which no delta can express."""
    before = {table.family: table for table in old.tables}
    return any(
        table.family not in before or _reshaped(before[table.family], table) for table in new.tables
    )


def script_diff(old: Ruleset, new: Ruleset) -> str:
    """Only what differs, from `old` as it is in the kernel to `new`; "" if nothing does.

    The two are not `reshaped`, and the interval sets that are new are there (`script_sets`).
    Order: what will be referred to is made first, what is no longer referred to goes last.
    """
    before = {table.family: table for table in old.tables}
    return "".join(_diff_table(before[table.family], table) for table in new.tables)


def changes(old: Ruleset, new: Ruleset) -> int:
    """How many chains, sets and maps were added, removed or changed."""
    before = {table.family: table for table in old.tables}
    return sum(
        _different(before.get(table.family, Table(table.family)).chains, table.chains)
        + _different(before.get(table.family, Table(table.family)).sets, table.sets)
        for table in new.tables
    )


def _different(old: Mapping[str, object], new: Mapping[str, object]) -> int:
    return sum(old.get(name) != new.get(name) for name in old.keys() | new.keys())


def _table_script(table: Table) -> str:
    # "add" first, so that the deletion finds a table in any case.
    where = f"{table.family} {TABLE}"
    lines = [f"add table {where}", f"delete table {where}", f"table {where} {{"]
    for name, spec in sorted(table.sets.items()):
        lines.append(f"  {spec.kind} {name} {{")
        lines += [f"    {line}" for line in _set_header(spec)]
        if spec.elements:
            lines.append(f"    elements = {{ {_joined(spec.elements)} }}")
        lines.append("  }")
    for name, chain in sorted(table.chains.items()):
        lines.append(f"  chain {name} {{")
        lines += [f"    {line}" for line in (*_chain_header(chain), *chain.rules)]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _refill_table(table: Table, there: Names) -> str:
    where = f"{table.family} {TABLE}"
    sets = {name: spec for name, spec in table.sets.items() if not spec.interval}
    lines = [_add_chain(where, name, chain) for name, chain in sorted(table.chains.items())]
    lines += [f"flush table {where}"]
    for name, spec in sorted(sets.items()):
        lines += _filled(f"{where} {name}", spec)
    for name, chain in sorted(table.chains.items()):
        lines += [f"add rule {where} {name} {rule}" for rule in chain.rules]
    # A map's verdicts hold on to chains, so maps go before chains.
    lines += [f"delete map {where} {name}" for name in sorted(there.maps - table.sets.keys())]
    lines += [f"delete set {where} {name}" for name in sorted(there.sets - table.sets.keys())]
    lines += [f"delete chain {where} {name}" for name in sorted(there.chains - table.chains.keys())]
    return "".join(f"{line}\n" for line in lines)


def _add_chain(where: str, name: str, chain: Chain) -> str:
    header = " ".join(_chain_header(chain))
    return f"add chain {where} {name}" + (f" {{ {header} }}" if header else "")


def _filled(which: str, spec: SetSpec) -> list[str]:
    """A set or map that may be there or not, with just these elements; `which` is its full name."""
    return [
        f"add {spec.kind} {which} {{ {' '.join(_set_header(spec))} }}",
        *([] if spec.dynamic else [f"flush {spec.kind} {which}"]),
        *_elements("add", which, spec.elements),
    ]


def _reshaped(old: Table, new: Table) -> bool:
    """Whether a name now stands for another sort of object, which no delta can express."""
    sets = old.sets.keys() & new.sets.keys()
    chains = old.chains.keys() & new.chains.keys()
    return any(_set_header(old.sets[each]) != _set_header(new.sets[each]) for each in sets) or any(
        _chain_header(old.chains[each]) != _chain_header(new.chains[each]) for each in chains
    )


def _diff_table(old: Table, new: Table) -> str:
    where = f"{new.family} {TABLE}"
    new_sets, gone_sets = _arrivals(old.sets, new.sets)
    new_chains, gone_chains = _arrivals(old.chains, new.chains)
    changed = [
        each
        for each in sorted(old.chains.keys() & new.chains.keys())
        if old.chains[each].rules != new.chains[each].rules
    ]
    lines = []
    lines += [_add_chain(where, each, new.chains[each]) for each in new_chains]
    made = [each for each in new_sets if not new.sets[each].interval]
    for each in made:
        spec = new.sets[each]
        lines.append(f"add {spec.kind} {where} {each} {{ {' '.join(_set_header(spec))} }}")
    for each in sorted({*made, *(old.sets.keys() & new.sets.keys())}):
        known = old.sets.get(each, SetSpec(new.sets[each].type))
        lines += _set_delta(f"{where} {each}", known, new.sets[each])
    lines += [f"flush chain {where} {each}" for each in (*changed, *gone_chains)]
    for each in (*new_chains, *changed):
        lines += [f"add rule {where} {each} {rule}" for rule in new.chains[each].rules]
    # A gone map's verdicts hold on to chains, so sets go before chains.
    lines += [f"delete {old.sets[each].kind} {where} {each}" for each in gone_sets]
    lines += [f"delete chain {where} {each}" for each in gone_chains]
    return "".join(f"{line}\n" for line in lines)


def _arrivals(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Names that come, names that go."""
    return sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())


def _set_delta(where: str, old: SetSpec, new: SetSpec) -> list[str]:
    if old.elements == new.elements:
        return []
    gone, added = old.elements - new.elements, new.elements - old.elements
    if new.interval and gone:
        # nft 1.0.6 takes seconds to delete from large interval sets; to refill one is quick.
        return [f"flush set {where}", *_elements("add", where, new.elements)]
    return [*_elements("delete", where, gone), *_elements("add", where, added)]


def _elements(verb: str, where: str, elements: Iterable[str]) -> list[str]:
    listed = sorted(elements)
    return [
        f"{verb} element {where} {{ {', '.join(listed[at : at + _PER_LINE])} }}"
        for at in range(0, len(listed), _PER_LINE)
    ]


def _joined(elements: Iterable[str]) -> str:
    return ", ".join(sorted(elements))


def _set_header(spec: SetSpec) -> list[str]:
    flags = "interval" if spec.interval else "dynamic" if spec.dynamic else ""
    return [f"type {spec.type};"] + ([f"flags {flags};"] if flags else [])


def _chain_header(chain: Chain) -> list[str]:
    header = [f"{chain.hook};"] if chain.hook else []
    return header + ([f'comment "{chain.comment}";'] if chain.comment else [])
