"""IP sets through `ipset`, in the caller's network namespace.

A script is no transaction: its lines are done in order until one fails. To swap two sets is one
step for every packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tortie.errors import KernelError
from tortie.kernel import process


@dataclass(frozen=True, slots=True)
class IpSetFound:
    """A set as it is in the kernel; members are as `ipset` writes them."""

    type: str
    family: str
    """inet or inet6"""
    members: frozenset[str] = frozenset()


class IpSetPort(Protocol):
    """What the iptables driver needs of IP sets; `IpSet` and `FakeIpSet` have it."""

    def restore(self, script: str) -> None: ...
    def save(self) -> dict[str, IpSetFound]: ...
    def references(self) -> dict[str, int]: ...


class IpSet:
    """The IP sets of the namespace that the calling thread is in at each call."""

    def restore(self, script: str) -> None:
        """Run lines such as `create`, `add`, `swap`, `destroy`. Raises KernelError, Missing."""
        process.run(["ipset", "restore"], stdin=script)

    def save(self) -> dict[str, IpSetFound]:
        """All sets by name, with their members. Raises KernelError, Missing."""
        return _read(process.run(["ipset", "save"]).stdout)

    def references(self) -> dict[str, int]:
        """How many rules look into each set, by name; costs little however large they are.

        Raises KernelError, Missing.
        """
        found: dict[str, int] = {}
        name = ""
        for line in process.run(["ipset", "list", "-terse"]).stdout.splitlines():
            key, _, value = line.partition(": ")
            if key == "Name":
                name = value
            elif key == "References":
                found[name] = int(value)
        return found


def _read(text: str) -> dict[str, IpSetFound]:
    heads: dict[str, tuple[str, str]] = {}
    members: dict[str, list[str]] = {}
    for line in text.splitlines():
        verb, name, rest = line.split(" ", 2)
        if verb == "create":
            words = rest.split(" ")
            family = words[words.index("family") + 1] if "family" in words else ""
            heads[name], members[name] = (words[0], family), []
        else:
            members[name].append(rest)
    return {name: IpSetFound(*head, frozenset(members[name])) for name, head in heads.items()}


class FakeIpSet:
    """Sets in memory. `held` are the names that rules look into; `scripts` what was run."""

    def __init__(self) -> None:
        self.sets: dict[str, IpSetFound] = {}
        self.held: set[str] = set()
        self.scripts: list[str] = []

    def restore(self, script: str) -> None:
        """Run lines in order, until one fails with KernelError."""
        self.scripts.append(script)
        for line in script.splitlines():
            self._run(line.split())

    def save(self) -> dict[str, IpSetFound]:
        """All sets by name."""
        return dict(self.sets)

    def references(self) -> dict[str, int]:
        """1 for those that are held."""
        return {name: int(name in self.held) for name in self.sets}

    def _run(self, words: list[str]) -> None:
        verb, name, *rest = words
        if (verb == "create") == (name in self.sets):
            raise KernelError(f"ipset failed: {' '.join(words)}")
        match verb:
            case "create":
                self.sets[name] = IpSetFound(rest[0], rest[rest.index("family") + 1])
            case "add":
                there = self.sets[name]
                if rest[0] in there.members:
                    raise KernelError(f"ipset failed: {rest[0]} is in {name} already")
                members = there.members | {rest[0]}
                self.sets[name] = IpSetFound(there.type, there.family, members)
            case "swap":
                one, other = self.sets.get(name), self.sets.get(rest[0])
                if one is None or other is None:
                    raise KernelError(f"ipset failed: no set {rest[0]}")
                if (one.type, one.family) != (other.type, other.family):
                    raise KernelError("ipset failed: the sets are of different types")
                self.sets[name], self.sets[rest[0]] = other, one
            case "destroy":
                if name in self.held:
                    raise KernelError(f"ipset failed: {name} is in use")
                del self.sets[name]
            case _:
                raise KernelError(f"ipset failed: {verb}")
