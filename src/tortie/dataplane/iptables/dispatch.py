"""Finding an interface's rules by its name, letter by letter.

A packet meets a bounded number of rules for each place at which the names part, so their number
grows as the logarithm of the number of interfaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

_FEW = 4  # names that are listed rather than told apart

Flag = Literal["-i", "-o"]


def tree(
    name: str, flag: Flag, targets: Mapping[str, str], otherwise: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The chain `name`, and those below it `name.LETTERS`.

    `targets` says by interface what follows, such as "-g tor-from-tor1"; `otherwise` are the rules
    for all other interfaces; without any they return. All chains below are entered by goto.
    """
    chains: dict[str, tuple[str, ...]] = {}

    def grow(chain: str, names: list[str]) -> None:
        lines = []
        for start, group in _parted(names):
            if len(group) == 1:
                lines.append(f"{flag} {group[0]} {targets[group[0]]}")
            else:
                lines.append(f"{flag} {start}+ -g {name}.{start}")
                grow(f"{name}.{start}", group)
        chains[chain] = (*lines, *otherwise)

    grow(name, sorted(targets))
    return chains


def _parted(names: list[str]) -> list[tuple[str, list[str]]]:
    """Names in order, by the first letter in which they differ; a name that has no such letter is
    the first."""
    if len(names) <= _FEW:
        return [(each, [each]) for each in names]
    common = 0
    for first, last in zip(names[0], names[-1], strict=False):
        if first != last:
            break
        common += 1
    return [
        (start, list(group)) for start, group in groupby(names, lambda each: each[: common + 1])
    ]
