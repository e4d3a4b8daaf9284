"""The processes of a lab: what runs where. And how those in a lab's namespaces are ended."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tortie.kernel import netns, process
from tortie.lab import frr, numbers, plan, routers, server, speakers
from tortie.lab.document import Service
from tortie.lab.launch import Launch, Runner
from tortie.lab.speakers import Speaker
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
    found = [*_routers(lab), *_speakers(lab), *_servers(lab)]
    if lab.plan.store_space is not None:
        for member in range(lab.plan.etcd_members):
            name = f"store/etcd-{member}" if member else "store/etcd"
            found.append(Task(name, lab.plan.store_space, _etcd(lab, member)))
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
        if router.kind == "frr":
            yield from _frr(router, where)
            continue
        config = routers.render(router.speech)

        def action(again: bool, where: Path = where, config: str = config) -> int:
            where.mkdir(parents=True, exist_ok=True)
            (where / "bird.conf").write_text(config)
            files = ["-c", "bird.conf", "-s", routers.CONTROL, "-P", "bird.pid"]
            # A router that comes back keeps what its predecessor left in the kernel.
            return _become(["bird", "-f", *files, *(["-R"] if again else [])], where)

        yield Task(f"router/{router.name}", router.space, action)


def _frr(router: plan.Router, where: Path) -> Iterator[Task]:
    """FRR is several programs, as a user of its own; that which speaks BGP counts as the router."""
    for daemon, config in frr.render(router.speech).items():

        def action(again: bool, daemon: str = daemon, config: str = config) -> int:
            _give_to_frr(where)
            file = where / f"{daemon}.conf"
            file.write_text(config)
            files = ["-f", str(file), "-i", f"{daemon}.pid", "-z", str(where / "zserv")]
            more = {"zebra": ["-r", "-K", "30"], "bfdd": ["--bfdctl", str(where / "bfdd.sock")]}
            command = [daemon, *files, "--vty_socket", str(where), *more.get(daemon, [])]
            if daemon != "zebra":
                _until_there(where / "zserv")
            return _become(command, where)

        kind = "router" if daemon == "bgpd" else daemon
        yield Task(f"{kind}/{router.name}", router.space, action)


def _give_to_frr(where: Path) -> None:
    """Make a directory that FRR's user may write to, and reach; nobody may list those above it."""
    where.mkdir(parents=True, exist_ok=True)
    user = pwd.getpwnam("frr")
    os.chown(where, user.pw_uid, user.pw_gid)
    for above in (where.parent, where.parent.parent):
        above.chmod(0o711)


def _speakers(lab: Lab) -> Iterator[Task]:
    for speaker in lab.plan.speakers:
        where = lab.directory / "speakers" / speaker.name
        run = _gobgp if speaker.kind == "gobgp" else _exabgp

        def action(again: bool, run: _Speak = run, it: Speaker = speaker, at: Path = where) -> int:
            at.mkdir(parents=True, exist_ok=True)
            return run(it, at)

        yield Task(f"speaker/{speaker.name}", speaker.space, action)
        if speaker.kind == "gobgp" and speaker.originate:

            def tell(again: bool, it: Speaker = speaker) -> int:
                return _tell_gobgp(it)

            yield Task(f"routes/{speaker.name}", speaker.space, tell)


_Speak = Callable[[Speaker, Path], int]


def _gobgp(speaker: Speaker, where: Path) -> int:
    (where / "gobgpd.toml").write_text(speakers.gobgp(speaker))
    listen = f"127.0.0.1:{speakers.GOBGP_PORT}"
    command = ["gobgpd", "-f", "gobgpd.toml", "--api-hosts", listen, "--pprof-disable"]
    return _become(command, where)


def _exabgp(speaker: Speaker, where: Path) -> int:
    (where / "exabgp.conf").write_text(speakers.exabgp(speaker))
    os.environ.update({"exabgp.daemon.user": "root", "exabgp.log.level": "WARNING"})
    os.environ.update({"exabgp.api.cli": "false", "exabgp.tcp.attempts": "0"})
    return _become(["exabgp", "exabgp.conf"], where)


def _tell_gobgp(speaker: Speaker) -> int:
    """Tell GoBGP its routes, again and again: one that was killed has forgotten them."""
    while True:
        for command in speakers.gobgp_routes(speaker):
            process.run(command, check=False)
        time.sleep(1.0)


def _until_there(path: Path, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _servers(lab: Lab) -> Iterator[Task]:
    every = [(each.name, each.space, each.serve) for each in lab.plan.workloads]
    every += [(each.name, each.space, each.serve) for each in lab.plan.outside]
    for name, space, serve in every:
        if serve:

            def action(again: bool, name: str = name, serve: Iterable[Service] = serve) -> int:
                return server.serve(name, serve)

            yield Task(f"server/{name}", space, action)


def _etcd(lab: Lab, member: int) -> Action:
    """A member of the lab's etcd: all of them share a namespace, each has its own ports."""
    port, peer_port = numbers.etcd_ports(member)
    inside, peer = f"http://{plan.store_address()}:{port}", f"http://127.0.0.1:{peer_port}"
    socket = plan.etcd_socket(member)
    cluster = ",".join(
        f"lab-{each}=http://127.0.0.1:{numbers.etcd_ports(each)[1]}"
        for each in range(lab.plan.etcd_members)
    )

    def action(again: bool) -> int:
        command = [
            "etcd", f"--name=lab-{member}", f"--data-dir={_data_of(member)}", "--unsafe-no-fsync",
            "--log-level=warn", "--logger=zap", f"--listen-client-urls={inside},unix://{socket}",
            f"--advertise-client-urls={inside}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster={cluster}",
        ]  # fmt: skip
        (lab.directory / socket).unlink(missing_ok=True)
        return _become(command, lab.directory)

    return action


def _data_of(member: int) -> str:
    """The directory of an etcd member's data, in the lab's."""
    return f"etcd-{member}" if member else "etcd"


def _become(command: list[str], where: Path) -> int:
    os.chdir(where)
    os.execv(find(command[0]), command)


def find(name: str) -> str:
    """Where a program of a lab is: FRR's are not on the PATH. Raises Missing."""
    own = Path("/usr/lib/frr", name)
    return str(own) if own.exists() else process.find(name)


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
