"""The in-memory twin of `conntrack.Conntrack`, held to it by one contract suite."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tortie.errors import KernelError
from tortie.kernel.conntrack import Choice, Connection, Way, every


class FakeConntrack:
    """Connections in memory, each whole or as the set of the addresses it names.

    `marks` are those of whole ones, by original way; `dumps` counts reads of the table.
    """

    def __init__(self, connections: Iterable[Iterable[str] | Connection] = ()) -> None:
        self.marks: dict[Way, int] = {}
        self._whole: dict[Way, Connection] = {}
        self.named: list[frozenset[str]] = []
        for each in connections:
            if isinstance(each, Connection):
                self.add(each)
            else:
                self.named.append(frozenset(each))
        self.forgotten: list[frozenset[str]] = []
        """what was asked to be forgotten, in order"""
        self.arriving: list[Connection] = []
        """connections that are tracked only when `settle` is called"""
        self.dumps = 0
        self.settled = 0
        self.fail: KernelError | None = None
        """raised once by the next `forget` or `mark`"""

    def add(self, connection: Connection, mark: int = 0) -> None:
        """A connection begins."""
        self._whole[connection.original] = connection
        self.marks[connection.original] = mark

    def connections(
        self,
        bit: int,
        naming: Collection[str] | None = None,
        choose: Choice = every,
    ) -> list[Connection]:
        self.dumps += 1
        found = [
            each._replace(marked=bool(self.marks[way] & bit))
            for way, each in self._whole.items()
            if naming is None or not _ends(each).isdisjoint(naming) or self.marks[way] & bit
        ]
        return [each for each in found if choose(each)]

    def mark(self, connections: Collection[Connection], bit: int, on: bool) -> int:
        self._fail()
        ways = [each.original for each in connections if each.original in self.marks]
        for way in ways:
            self.marks[way] = self.marks[way] & ~bit | (bit if on else 0)
        return len(ways)

    def settle(self) -> None:
        self.settled += 1
        for each in self.arriving:
            self.add(each)
        self.arriving = []

    def addresses(self) -> frozenset[str]:
        self.dumps += 1
        return frozenset().union(*self.named, *map(_ends, self._whole.values()))

    def forget(self, addresses: Collection[str]) -> int:
        self._fail()
        if not addresses:
            return 0
        self.dumps += 1
        self.forgotten.append(frozenset(addresses))
        before = self.count()
        self.named = [each for each in self.named if each.isdisjoint(addresses)]
        for way, each in list(self._whole.items()):
            if not _ends(each).isdisjoint(addresses):
                del self._whole[way], self.marks[way]
        return before - self.count()

    def count(self) -> int:
        return len(self.named) + len(self._whole)

    def close(self) -> None:
        """Nothing to let go of."""

    def _fail(self) -> None:
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure


def _ends(connection: Connection) -> frozenset[str]:
    ways = (connection.original, connection.reply)
    return frozenset(end for way in ways for end in (way.source, way.destination))
