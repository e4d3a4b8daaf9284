"""Sixteen processes take and give back addresses on a real etcd, while everything fails.

    PYTHONPATH=tests python -m ipam_faults --operations 1000000

Workers are killed, answers to commits are lost, etcd stands still or is killed, pools are disabled
and enabled, nodes change their labels, settings change. All the while every commit is replayed
through a plain model; at the end the books must agree with what the workers know. Exit 0: they do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ipam_churn import NODES, POOL, POOL6, known, read_log
from ipam_replay import Replay, overlaps
from store.etcd_server import EtcdServer

from tortie.errors import StoreError
from tortie.ipam.allocator import Allocator
from tortie.ipam.books import read
from tortie.ipam.check import check
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.base import Put, Store

V3 = "projectcalico.org/v3"
COOL_DOWN = 1
COMPACT_SECONDS = 10.0


def pool(name: str, cidr: str, size: int, disabled: bool = False) -> r.IPPool:
    """Pool `small` serves the nodes with the label."""
    select = "has(small)" if name == "small" else "all()"
    spec = r.IPPoolSpec(cidr=cidr, block_size=size, disabled=disabled, node_selector=select)
    return r.IPPool(api_version=V3, metadata=r.Metadata(name=name), spec=spec)


def node(name: str, **labels: str) -> r.Node:
    return r.Node(api_version=V3, metadata=r.Metadata(name=name, labels=labels))


def settings(strict: bool, most: int) -> r.IPAMConfiguration:
    spec = r.IPAMConfigurationSpec(
        strict_affinity=strict, max_blocks_per_host=most, ip_cooldown_seconds=COOL_DOWN
    )
    return r.IPAMConfiguration(api_version=V3, metadata=r.Metadata(name="default"), spec=spec)


def reservation() -> r.IPReservation:
    spec = r.IPReservationSpec(reserved_cidrs=["10.9.0.16/30"])
    return r.IPReservation(api_version=V3, metadata=r.Metadata(name="kept"), spec=spec)


@dataclass
class Run:
    """One run in a directory of its own. `faults`: what was done to whom, how often."""

    directory: Path
    workers: int
    operations: int
    seconds: float
    seed: int
    chance: random.Random = field(init=False)
    etcd: EtcdServer = field(init=False)
    store: Store = field(init=False)
    replay: Replay = field(init=False)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0
    _operations: int = 0
    _counted: dict[Path, int] = field(default_factory=dict)
    """of each log, how many bytes"""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        options = ("--quota-backend-bytes=8000000000",)
        self.etcd = EtcdServer(self.directory / "etcd", options=options)
        self.replay = Replay(COOL_DOWN)

    def run(self) -> None:
        """Everything, until so many operations or seconds are over; then `wrong` is complete."""
        self.etcd.start()
        self.store = open_store(self.etcd.url)
        watcher = threading.Thread(target=self._watch, daemon=True)
        try:
            self._seen = self._prepare()
            watcher.start()
            for index in range(self.workers):
                self._start(index)
            self._trouble()
            self._stop_workers()
            self._judge()
        finally:
            self._over.set()
            for process in self.processes.values():
                process.kill()
                process.wait()
            watcher.join(30)
            self.store.close()
            self.etcd.stop()

    def done(self) -> int:
        """Operations of the workers that came to an end, well or refused."""
        for path in self.directory.glob("worker-*"):
            with path.open("rb") as log:
                log.seek(self._counted.get(path, 0))
                text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._counted[path] = self._counted.get(path, 0) + len(whole)
            self._operations += whole.count(b'"got": ') + whole.count(b'"late": ')
        return self._operations

    # --- the world ------------------------------------------------------------------------

    def _prepare(self) -> int:
        world: list[r.Resource] = [
            pool("main", POOL, 28), pool("small", "10.9.1.0/28", 30), pool("six", POOL6, 124),
            settings(False, 0), reservation(), *(node(name) for name in NODES),
        ]  # fmt: skip
        before = self.store.list(kinds.ROOT).revision
        self._put(*world)
        return before

    def _put(self, *resources: r.Resource) -> None:
        self.store.commit([Put(kinds.key(each), kinds.encode(each)) for each in resources])

    def _start(self, index: int) -> None:
        seed = str(self.chance.randrange(1 << 30))
        command = [sys.executable, "-m", "ipam_churn", self.etcd.url, str(self.directory)]
        with (self.directory / f"errors-{index}").open("ab") as errors:
            self.processes[index] = subprocess.Popen(
                [*command, str(index), seed],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd=Path(__file__).parent,
            )

    # --- trouble --------------------------------------------------------------------------

    def _trouble(self) -> None:
        deadline = time.monotonic() + self.seconds
        kinds_of = {
            "a worker killed": (self._kill_worker, 10.0),
            "etcd stood still": (self._freeze_etcd, 1.0),
            "etcd killed": (self._kill_etcd, 0.5),
            "a pool switched": (self._switch_pool, 1.0),
            "labels changed": (self._label, 3.0),
            "settings changed": (self._configure, 2.0),
        }
        weights = [weight for _, weight in kinds_of.values()]
        counted = 0.0
        while time.monotonic() < deadline and not self.replay.wrong and not self.wrong:
            time.sleep(self.chance.uniform(0.2, 1.0))
            self._look_after_workers()
            (name,) = self.chance.choices(list(kinds_of), weights)
            with contextlib.suppress(StoreError):
                kinds_of[name][0]()
                self.faults[name] = self.faults.get(name, 0) + 1
            if time.monotonic() > counted + 5:
                counted = time.monotonic()
                if self.done() >= self.operations:
                    return

    def _look_after_workers(self) -> None:
        """A worker that ended by itself found something wrong."""
        for index, process in self.processes.items():
            if process.poll() is not None:
                said = (self.directory / f"errors-{index}").read_text()[-2000:]
                self.wrong.append(f"worker {index} ended with {process.returncode}: {said}")

    def _kill_worker(self) -> None:
        index = self.chance.randrange(self.workers)
        self.processes[index].kill()
        self.processes[index].wait()
        self._start(index)

    def _freeze_etcd(self) -> None:
        assert self.etcd.process
        self.etcd.process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.choice([0.3, 1.0, 6.0]))  # calls give up after 5 s
        self.etcd.process.send_signal(signal.SIGCONT)

    def _kill_etcd(self) -> None:
        self.etcd.stop()
        time.sleep(self.chance.uniform(0, 1))
        self.etcd.start()

    def _switch_pool(self) -> None:
        self._put(pool("main", POOL, 28, disabled=True))
        time.sleep(0.2)
        while True:
            with contextlib.suppress(StoreError):
                return self._put(pool("main", POOL, 28))

    def _label(self) -> None:
        name = self.chance.choice(NODES)
        self._put(node(name, small="") if self.chance.random() < 0.7 else node(name))

    def _configure(self) -> None:
        strict = self.chance.random() < 0.3
        self._put(settings(strict, self.chance.choice([2, 20]) if strict else 0))

    # --- judgement ------------------------------------------------------------------------

    def _watch(self) -> None:
        """Replay every commit; what was replayed may be forgotten by etcd."""
        compacted = time.monotonic()
        while not self._over.is_set():
            watch = self.store.watch(kinds.ROOT, self._seen)
            with contextlib.suppress(StoreError):
                while not self._over.is_set():
                    changes = watch.next(0.2)
                    if changes is not None:
                        self.replay.take(changes)
                        self._seen = changes.revision
                    if time.monotonic() > compacted + COMPACT_SECONDS:
                        compacted = time.monotonic()
                        self._compact()
            watch.close()
            time.sleep(0.2)

    def _compact(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.etcd.ctl("compact", str(self._seen), check=False)

    def _stop_workers(self) -> None:
        self._look_after_workers()
        (self.directory / "stop").touch()
        deadline = time.monotonic() + 60
        for index, process in self.processes.items():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.wrong.append(f"worker {index} does not stop")
        self._look_after_workers_at_end()

    def _look_after_workers_at_end(self) -> None:
        for index, process in self.processes.items():
            if process.poll() not in (0, None):
                said = (self.directory / f"errors-{index}").read_text()[-2000:]
                self.wrong.append(f"worker {index} ended with {process.returncode}: {said}")

    def _judge(self) -> None:
        """What the workers know, the collector's work, and what is then in the store."""
        paths = sorted(self.directory.glob("worker-*"))
        self.wrong += overlaps(map(read_log, paths))
        expected: dict[str, tuple[str, int]] = {}
        for path in paths:
            held, _ = known(read_log(path))
            for handle, claims in held.items():
                expected |= {each.address: (handle, each.sequence or 0) for each in claims}
        allocator = Allocator(self.store)
        allocator.repair()
        self._catch_up()
        used = self.replay.used()
        self.wrong += [
            f"{where} is {who}'s, but the store says {used.get(where)}"
            for where, who in expected.items()
            if used.get(where) != who
        ]
        leaked = [handle for where, (handle, _) in used.items() if where not in expected]
        for handle in sorted(set(leaked)):
            allocator.release_all(
                [each for each in allocator.claimed(handle) if each.address not in expected]
            )
        time.sleep(COOL_DOWN + 0.1)
        allocator.repair()
        allocator.give_back_empty()
        self._catch_up()
        self.faults["addresses collected"] = len(leaked)
        if self.replay.used() != expected:
            self.wrong.append(f"after collection {self.replay.used()} is used, not {expected}")
        idle = [each for each in self.replay.blocks.values() if not each["allocations"]]
        if len(idle) > 3 * len(NODES):
            self.wrong.append(f"{len(idle)} empty blocks are left")
        # Nobody here writes endpoints, so all that is assigned counts as leaked.
        found = check(read(self.store), time.time())
        self.wrong += [
            f"{each.what}: {each.problem}"
            for each in found
            if each.kind != "leaked" and not each.note
        ]
        self.wrong += self.replay.wrong

    def _catch_up(self) -> None:
        """Wait until all that is in the store was replayed."""
        last = self.store.list(kinds.ROOT).entries
        wanted = max(entry.revision for entry in last)
        deadline = time.monotonic() + 60
        while self._seen < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)  # deletions have no entry to wait for
        if self._seen < wanted:
            self.wrong.append("the watch did not come to the end")


@contextlib.contextmanager
def directory(kept: Path | None) -> Iterator[Path]:
    """Where a run writes: kept, or gone with it."""
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="ipam_faults", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="end after so long, at the least"
    )
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--directory", type=Path, help="a new one, to keep the workers' logs")
    given = parser.parse_args()
    with directory(given.directory) as where:
        run = Run(where, given.workers, given.operations, given.seconds, given.seed)
        began = time.monotonic()
        run.run()
        report = {
            "seed": given.seed,
            "operations": run.done(),
            "seconds": round(time.monotonic() - began),
            "commits": run.replay.commits,
            "assigned": run.replay.assigned,
            "released": run.replay.released,
            **run.faults,
        }
    print(json.dumps(report, indent=1))
    for each in run.wrong:
        print(each, file=sys.stderr)
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
