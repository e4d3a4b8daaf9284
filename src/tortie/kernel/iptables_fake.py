"""iptables in memory: the scripts that the driver writes, and whom else it may meet."""

from __future__ import annotations

import shlex
from copy import deepcopy
from itertools import pairwise

from tortie.errors import KernelError
from tortie.kernel.iptables import Family, Stamp, Variant

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
Tables = dict[str, dict[str, list[str]]]


class FakeIptables:
    """Tables by family: chains with rules, kept as they were written.

    `scripts` is what was run; `refuse` the tables whose next commits fail, each once.
    """

    def __init__(self, variant: Variant = "nft") -> None:
        self.variant: Variant = variant
        self.tables: dict[int, Tables] = {4: {}, 6: {}}
        self.scripts: list[tuple[int, str]] = []
        self.refuse: list[str] = []
        self.saves = 0
        """how often a family was listed"""
        self._generation = 1

    def restore(self, family: Family, script: str) -> None:
        """Run a script, table by table, or raise KernelError."""
        for part in script.split("COMMIT\n")[:-1]:
            lines = part.splitlines()
            table = lines[0].removeprefix("*")
            if table in self.refuse:
                self.refuse.remove(table)
                raise KernelError(f"iptables-restore failed: {table}, as told")
            made = deepcopy(self.tables[family])
            chains = made.setdefault(table, {name: [] for name in BUILT_IN[table]})
            for line in lines[1:]:
                _run(chains, table, line)
            _check(chains)
            self.tables[family] = made
            self._generation += 1
        self.scripts.append((family, script))

    def save(self, family: Family) -> str:
        """All tables, as `iptables-save` writes them; it names protocols of which it has names."""
        self.saves += 1
        lines = []
        for table, chains in sorted(self.tables[family].items()):
            lines += ["# Generated", f"*{table}"]
            for name in chains:
                policy = "ACCEPT" if name in BUILT_IN[table] else "-"
                lines.append(f":{name} {policy} [0:0]")
            lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
            lines += ["COMMIT", "# Completed"]
        return "".join(f"{line.replace('-p 47 ', '-p gre ')}\n" for line in lines)

    def stamp(self) -> Stamp:
        """The generation; in legacy how many rules and chains there are."""
        if self.variant == "nft":
            return (self._generation,)
        return tuple(
            number
            for tables in self.tables.values()
            for _, chains in sorted(tables.items())
            for number in (len(chains), *map(len, chains.values()))
        )

    def close(self) -> None:
        """Nothing to let go of."""


def _run(chains: dict[str, list[str]], table: str, line: str) -> None:
    word, _, rest = line.partition(" ")
    name, _, rule = rest.partition(" ")
    if word.startswith(":"):
        if word[1:] not in BUILT_IN[table]:
            chains[word[1:]] = []
        return
    if name not in chains:
        raise KernelError(f"iptables-restore failed: there is no chain {name}")
    match word:
        case "-A":
            chains[name].append(rule)
        case "-I":
            chains[name].insert(0, rule)
        case "-D":
            if rule not in chains[name]:
                raise KernelError(f"iptables-restore failed: there is no such rule: {line}")
            chains[name].remove(rule)
        case "-X":
            if chains[name] or name in _targets(chains):
                raise KernelError(f"iptables-restore failed: chain {name} is in use")
            del chains[name]
        case _:
            raise KernelError(f"iptables-restore failed: {line}")


def _check(chains: dict[str, list[str]]) -> None:
    missing = sorted(each for each in _targets(chains) - chains.keys() if not each.isupper())
    if missing:
        raise KernelError(f"iptables-restore failed: there is no target {missing[0]}")


def _targets(chains: dict[str, list[str]]) -> set[str]:
    found = set()
    for rules in chains.values():
        for rule in rules:
            words = shlex.split(rule)
            found |= {after for word, after in pairwise(words) if word in ("-j", "-g")}
    return found
