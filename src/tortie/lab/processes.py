"""The processes of a lab: what runs where. And how those in a lab's namespaces are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tortie.kernel import netns, process
from tortie.lab import numbers, plan, routers, server
from tortie.lab.document import Service
from tortie.lab.launch import Launch, Runner
from tortie.lab.state import Lab, run_dir

Action = Callable[[bool], int]
"""What a child does in its namespace until it ends; told whether it is started again after it
died; its exit code."""


class Task(Struct, frozen=True):
    """A process to keep running: `name` is KIND/NAME, such as agent/a1."""

    name: str
    space: str
    action: Action


def agent_task(host: str) -> str:
    """The name of a host's agent among a lab's processes."""
    return f"agent/{host}"


def tasks(lab: Lab, runner: Runner) -> list[Task]:
    """All processes of a lab."""
    found = [*_routers(lab), *_servers(lab)]
    if lab.plan.store_space is not None:
        found.append(Task("store/etcd", lab.plan.store_space, _etcd(lab.directory)))
    for host in lab.plan.hosts:
        launch = Launch(
            node=host.name,
            store_url=lab.record.store_url,
            run_dir=run_dir(lab.directory, host.name),
            state_dir=lab.directory / "state" / host.name,
            dataplane=lab.plan.dataplane,
        )
        found.append(Task(agent_task(host.name), host.space, _agent(runner, launch)))
    return found


def _agent(runner: Runner, launch: Launch) -> Action:
    def action(again: bool) -> int:
        launch.run_dir.mkdir(parents=True, exist_ok=True)
        launch.state_dir.mkdir(parents=True, exist_ok=True)
        return runner(launch)

    return action


def _routers(lab: Lab) -> Iterator[Task]:
    for router in lab.plan.routers:
        where = lab.directory / "routers" / router.rack
        config = router.config

        def action(again: bool, where: Path = where, config: str = config) -> int:
            where.mkdir(parents=True, exist_ok=True)
            (where / "bird.conf").write_text(config)
            files = ["-c", "bird.conf", "-s", routers.CONTROL, "-P", "bird.pid"]
            # A router that comes back keeps what its predecessor left in the kernel.
            return _become(["bird", "-f", *files, *(["-R"] if again else [])], where)

        yield Task(f"router/{router.name}", router.space, action)


def _servers(lab: Lab) -> Iterator[Task]:
    every = [(each.name, each.space, each.serve) for each in lab.plan.workloads]
    every += [(each.name, each.space, each.serve) for each in lab.plan.outside]
    for name, space, serve in every:
        if serve:

            def action(again: bool, name: str = name, serve: Iterable[Service] = serve) -> int:
                return server.serve(name, serve)

            yield Task(f"server/{name}", space, action)


def _etcd(directory: Path) -> Action:
    inside = f"http://{plan.store_address()}:{numbers.ETCD_PORT}"
    peer = "http://127.0.0.1:2380"

    def action(again: bool) -> int:
        command = [
            "etcd", "--name=lab", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn",
            "--logger=zap", f"--listen-client-urls={inside},unix://{plan.ETCD_SOCKET}",
            f"--advertise-client-urls={inside}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=lab={peer}",
        ]  # fmt: skip
        (directory / plan.ETCD_SOCKET).unlink(missing_ok=True)
        return _become(command, directory)

    return action


def _become(command: list[str], where: Path) -> int:
    os.chdir(where)
    os.execv(process.find(command[0]), command)


# --- ending them ------------------------------------------------------------------------------


def start_of(pid: int) -> str | None:
    """PID:START of a process that lives, so that its number alone is never believed."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def alive(identity: str) -> bool:
    """Whether the process of this PID:START lives."""
    pid = identity.partition(":")[0]
    return pid.isdecimal() and start_of(int(pid)) == identity


def inside(spaces: Iterable[str]) -> list[int]:
    """The processes in any of these namespaces, but for the calling one."""
    wanted = set()
    for space in spaces:
        with contextlib.suppress(OSError):
            status = netns.path(space).stat()
            wanted.add((status.st_dev, status.st_ino))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                status = (entry / "ns/net").stat()
                if (status.st_dev, status.st_ino) in wanted:
                    found.append(int(entry.name))
    return found


def end(
    pids: Callable[[], Iterable[int]], seconds: float, reap: Callable[[], object] = lambda: None
) -> None:
    """End processes: asked first, then killed after so many seconds; `pids` says which are left."""
    for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        asked: set[int] = set()
        deadline = time.monotonic() + wait
        while left := set(pids()):
            for pid in left - asked:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            asked |= left
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
            reap()
