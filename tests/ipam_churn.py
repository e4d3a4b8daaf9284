"""Taking and giving back addresses again and again, in processes of their own.

`churn` is a few quiet rounds. `Worker` is what `ipam_faults` starts sixteen of: it does whatever
may be done with addresses, through a store that fails it, writes down what it is about to do and
what came of it, and may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tortie.errors import IpamError, StoreUnavailable
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import Claimed
from tortie.store import open_store
from tortie.store.base import Op, Store


def churn(store: Store, who: str, rounds: int) -> dict[str, list[str]]:
    """Assign and release from one host; what is held at the end, by handle."""
    allocator = Allocator(store, clock=lambda: 0.0)
    held: dict[str, list[str]] = {}
    for turn in range(rounds):
        handle = f"{who}-{turn}"
        held[handle] = allocator.assign(f"host-{turn % 2}", handle, 1 + turn % 3)
        if turn % 3 == 0:
            allocator.release(handle)
            del held[handle]
    return held


def churn_in(url: str, who: str, rounds: int) -> dict[str, list[str]]:
    """churn in a process of its own."""
    store = open_store(url)
    try:
        return churn(store, who, rounds)
    finally:
        store.close()


# --- under fault --------------------------------------------------------------------------------

POOL = "10.9.0.0/25"
POOL6 = "fd00:9::/122"
NODES = tuple(f"node-{number}" for number in range(6))
MOST = 5
"""Handles that a worker has at a time: sixteen workers do not fit into the pool, now and then."""


class Faulty:
    """A store that is away at times, loses the answer to a commit, or is slow to commit."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def commit(self, ops: Sequence[Op]) -> int:
        kind = self._chance.random()
        if kind < 0.01:
            raise StoreUnavailable("refused before it was done")
        if kind < 0.05:
            time.sleep(self._chance.uniform(0, 0.03))  # what was read is old by now
        revision = self._store.commit(ops)
        if kind > 0.98:
            raise StoreUnavailable("done, but the answer was lost")
        return revision

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "list") and self._chance.random() < 0.0005:
            raise StoreUnavailable("not to be read")
        return getattr(self._store, name)


class Log:
    """One JSON object a line, in the file before the next thing is done: it outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **what: Any) -> None:
        os.write(self._file, json.dumps({"t": time.monotonic(), **what}).encode() + b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """What a worker has written; a last line that a kill cut off is passed over."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line.endswith("}") and line[0] == "{"]


CHANGES = {"assign", "address", "again", "release"}


def known(lines: Sequence[dict[str, Any]]) -> tuple[dict[str, list[Claimed]], dict[str, str]]:
    """(what each handle has, for sure; what was begun with each other handle, and not answered)."""
    held: dict[str, list[Claimed]] = {}
    unsure: dict[str, str] = {}
    for line in lines:
        handle = line["handle"]
        if "got" in line:
            held[handle] = [Claimed(*each) for each in line["got"]]
            unsure.pop(handle, None)
        elif line["op"] == "leave":
            unsure.pop(handle, None)
        elif line["op"] in CHANGES:
            held.pop(handle, None)
            unsure[handle] = line["op"]
    return {handle: got for handle, got in held.items() if got}, unsure


class Worker:
    """Handles are WORKER/NUMBER; no two workers share one."""

    def __init__(self, url: str, directory: Path, index: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._store = open_store(url)
        faulty: Any = Faulty(self._store, self._chance)
        self._allocator = Allocator(faulty)
        path = directory / f"worker-{index}"
        lines = read_log(path)
        self._log = Log(path)
        self._log.write(op="read", handle="")  # a line that was cut off ends here
        self._held, self._unsure = known(lines)
        self._index = index
        self._count = sum(1 for line in lines if "op" in line)
        self._old: list[Claimed] = []
        """was released: to release it again must change nothing"""

    def run(self, stop: Path) -> None:
        """Go on until there is a file `stop`."""
        while not stop.exists():
            if self._unsure:
                self._resolve(self._chance.choice(sorted(self._unsure)))
                continue
            verbs = [self._assign] if len(self._held) < MOST else []
            if self._held:
                verbs += [self._release, self._release_listed, self._release_one]
            verbs += [self._stale] * bool(self._old)
            if self._chance.random() < 0.02:
                verbs = [self._housekeeping]
            self._chance.choice(verbs)()
        self._store.close()

    # Before a change the log says which handle is in doubt; after it, what the handle has.

    def _do(self, verb: str, handle: str, change: Callable[[], object]) -> bool:
        self._log.write(op=verb, handle=handle)
        self._held.pop(handle, None)
        self._unsure[handle] = verb
        try:
            change()
            self._settle(handle)
        except IpamError as error:
            self._log.write(failed=error.message[:60], op="read", handle=handle)
            self._quietly(lambda: self._settle(handle))
            return False
        except StoreUnavailable as error:
            self._log.write(failed=error.message[:60], op="read", handle=handle)
            time.sleep(self._chance.uniform(0, 0.5))
            return False
        return True

    def _settle(self, handle: str) -> None:
        """All commits of the handle were answered, so what is read now is what it has."""
        got = self._allocator.claimed(handle)
        self._log.write(got=[list(each) for each in got], handle=handle)
        self._unsure.pop(handle, None)
        if got:
            self._held[handle] = got

    def _quietly(self, change: Callable[[], object]) -> None:
        try:
            change()
        except StoreUnavailable:
            pass  # it stays in doubt

    def _resolve(self, handle: str) -> None:
        """A reply was lost, or the worker was killed: ask for the same again, or leave it behind.

        Reading what the handle has is not enough: the lost commit may still be under way, and only
        another commit of the handle keeps it from being done.
        """
        if self._chance.random() < 0.3:
            # Nobody knows of it any more. What it has, if anything, is for the collector.
            self._log.write(op="leave", handle=handle)
            self._unsure.pop(handle, None)
        elif self._unsure[handle] == "release":
            self._do("release", handle, lambda: self._allocator.release(handle))
        else:
            node = self._chance.choice(NODES)
            self._do("again", handle, lambda: self._allocator.assign(node, handle, reuse=True))

    def _assign(self) -> None:
        self._count += 1
        handle, node = f"{self._index}/{self._count}", self._chance.choice(NODES)
        notes = {"namespace": "load", "workload": f"w{self._index}"}
        kind = self._chance.random()
        if kind < 0.2:
            address = f"10.9.0.{self._chance.randrange(128)}"
            self._do(
                "address",
                handle,
                lambda: self._allocator.assign_address(address, node, handle, notes),
            )
        else:
            count = self._chance.choice([1, 1, 1, 2, 3])
            family: Any = 6 if kind > 0.9 else 4
            self._do(
                "assign",
                handle,
                lambda: self._allocator.assign(node, handle, count, family, attributes=notes),
            )

    def _some(self) -> tuple[str, list[Claimed]]:
        handle = self._chance.choice(sorted(self._held))
        return handle, self._held[handle]

    def _release(self) -> None:
        handle, got = self._some()
        if self._do("release", handle, lambda: self._allocator.release(handle)):
            self._remember(got)

    def _release_one(self) -> None:
        handle, got = self._some()
        address = self._chance.choice(got)
        change = lambda: self._allocator.release_address(address.address, handle)  # noqa: E731
        if self._do("release", handle, change):
            self._remember([address])

    def _release_listed(self) -> None:
        handle, got = self._some()
        some = self._chance.sample(got, self._chance.randint(1, len(got)))

        def change() -> None:
            done = self._allocator.release_all([*some, *some])
            # After a lost reply they may be gone already, but nobody else may have come by them.
            assert not done.refused, done

        if self._do("release", handle, change):
            self._remember(some)

    def _remember(self, released: Sequence[Claimed]) -> None:
        self._old = [*self._old, *released][-50:]

    def _stale(self) -> None:
        """A release that comes late, of what was released and may be somebody's again."""
        claim = self._chance.choice(self._old)
        claim = self._chance.choice([claim, claim._replace(handle=None)])
        self._log.write(op="stale", handle=f"stale-{self._index}")
        try:
            done = self._allocator.release_all([claim])
        except StoreUnavailable:
            return
        assert not done.released, f"{claim} was released twice"
        self._log.write(op="read", late=claim.address, handle="")

    def _housekeeping(self) -> None:
        node = self._chance.choice(NODES)
        verbs: list[Callable[[], object]] = [
            lambda: self._allocator.give_back_empty(node),
            self._allocator.give_back_empty,
            lambda: self._allocator.repair(node),
            lambda: self._allocator.release_node(node),
        ]
        verb = self._chance.choices(verbs, [5, 2, 3, 1])[0]
        self._log.write(op="keep", handle=f"keep-{self._index}")
        self._quietly(verb)


def main() -> None:
    url, directory, index, seed = sys.argv[1:]
    where = Path(directory)
    Worker(url, where, int(index), int(seed)).run(where / "stop")


if __name__ == "__main__":
    main()
