"""A lab from its file to running, and back to nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import msgspec
from msgspec.structs import replace

from tortie import client
from tortie.errors import AgentError, LabError, Missing, StoreUnavailable, TortieError
from tortie.kernel import netns
from tortie.lab import control, converge, network, objects, processes, state, supervisor
from tortie.lab.frr import daemons
from tortie.lab.launch import Runner
from tortie.lab.plan import LabWorkload, Plan, make, space_name
from tortie.lab.processes import agent_task
from tortie.lab.spec import LabFile
from tortie.lab.state import Lab
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.base import Store
from tortie.store.memory import MemoryStore
from tortie.store.resources import apply, check

T = TypeVar("T")
Tell = Callable[[str], None]
"""Says which step has begun."""

STORE_SECONDS = 15.0
AGENT_SECONDS = 30.0
ATTACH_SECONDS = 30.0
_WORKERS = 16
_POLL = 0.05
_HOPELESS = 2
"""Restarts of an agent after which nobody waits for it any more."""
_LAST_LINES = 8


class Interrupted(LabError):
    """The process was told to end (SIGTERM, SIGHUP)."""


def up(
    file: LabFile,
    runner: Runner,
    *,
    prepare: Callable[[], None] = lambda: None,
    tell: Tell = lambda _: None,
) -> Lab:
    """Build a lab and wait until everything in it works. One that fails leaves nothing behind.

    `prepare` is called once, in the process that all agents are forked from: to import what they
    need. Raises InvalidInput, LabError, Missing, and what is raised underneath.
    """
    own_pools = any(isinstance(each, r.IPPool) for each in file.resources)
    plan = make(file.lab, own_pools)
    resources = objects.resources(plan, file.resources)
    check(MemoryStore(), resources, file.locate)
    _require_means(plan)
    where = _claim(plan)
    lab = state.write(where, state.first_record(plan, where))
    with _nothing_left_on_failure(lab):
        tell(f"{len(plan.spaces)} network namespaces and {len(plan.cables)} cables")
        network.build(plan)
        tell("routers and servers")
        tasks = processes.tasks(lab, runner)
        supervisor.launch(lab, tasks, prepare)
        agents = [agent_task(host.name) for host in plan.hosts]
        control.start(lab, *(task.name for task in tasks if task.name not in agents))
        tell(f"{len(resources)} resources into the store")
        _fill(lab, resources)
        tell(f"{len(plan.hosts)} agents")
        control.start(lab, *agents)
        _each(_until_ready, lab, [host.name for host in plan.hosts])
        tell(f"{len(plan.workloads)} workloads")
        _each(_attach, lab, plan.workloads)
        tell("routes everywhere")
        converge.wait(lab)
        return state.write(where, replace(lab.record, state="up"))


def down(lab: Lab) -> None:
    """Remove a lab, whole or half, with all processes in it. Raises KernelError."""
    _remove(lab.directory, [space.name for space in lab.plan.spaces])


def sweep(name: str) -> None:
    """Remove what is left of a lab that has no record which this version can read.

    Its namespaces are those that have its prefix and belong to no other lab. Raises KernelError.
    """
    others = {space.name for lab in state.labs() for space in lab.plan.spaces}
    start = space_name(name, "")
    spaces = [each for each in netns.names() if each.startswith(start) and each not in others]
    _remove(state.directory(name), spaces)


def _remove(where: Path, spaces: Sequence[str]) -> None:
    identity = state.supervisor_of(where)

    def left() -> list[int]:
        return [int(identity.partition(":")[0])] if processes.alive(identity) else []

    processes.end(left, supervisor.END_SECONDS + 6.0)
    processes.end(lambda: processes.inside(spaces), supervisor.END_SECONDS)
    network.remove(spaces)
    shutil.rmtree(where, ignore_errors=True)
    with contextlib.suppress(OSError):
        where.parent.rmdir()  # the last lab's directory goes too; not empty is no matter


# --- before anything is made --------------------------------------------------------------------


def _require_means(plan: Plan) -> None:
    if os.geteuid() != 0:
        raise Missing("a lab needs root, to make network namespaces", "run it as root")
    etcd = ["etcd"] if plan.store == "etcd" else []
    # Others than nft are asked for by name only.
    backend = plan.dataplane if plan.dataplane not in (None, "auto", "nft") else None
    iptables = [f"{backend}-restore", "ipset"] if backend else []
    speakers = [f"{each.kind}d" if each.kind == "gobgp" else each.kind for each in plan.speakers]
    others = [name for each in plan.routers if each.kind == "frr" for name in daemons(each.speech)]
    for program in ("ip", "bird", "nft", *etcd, *iptables, *speakers, *others):
        processes.find(program)


def _claim(plan: Plan) -> Path:
    """The lab's directory, made. Raises LabError if the lab is there, or names are taken."""
    where = state.directory(plan.name)
    if not where.exists():
        network.require_free(plan)
    try:
        where.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise LabError(
            f"there is a lab {plan.name} already",
            f"use it, take it down (tortie lab down {plan.name}), or call this one otherwise"
            " (--name)",
        ) from None
    return where


@contextlib.contextmanager
def _nothing_left_on_failure(lab: Lab) -> Iterator[None]:
    """Whatever ends the block too soon, Ctrl-C and SIGTERM included, the lab is removed."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted("the lab was interrupted while it was built", "nothing of it is left")

    main = threading.current_thread() is threading.main_thread()
    caught = (signal.SIGTERM, signal.SIGHUP) if main else ()
    before = {number: signal.signal(number, leave) for number in caught}
    try:
        yield
    except BaseException as error:
        log = _last_words(lab)
        everything = (*caught, signal.SIGINT) if main else ()
        during = {number: signal.signal(number, signal.SIG_IGN) for number in everything}
        try:
            down(lab)
        finally:
            for number, handler in during.items():
                signal.signal(number, handler)
        if log and isinstance(error, TortieError):
            error.cure = f"{error.cure}\n{log}"
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_words(lab: Lab) -> str:
    """What processes that died said last; their logs go with the lab."""
    found = []
    with contextlib.suppress(LabError):
        for name, task in control.running(lab).items():
            log = lab.directory / "log" / f"{name.replace('/', '-')}.log"
            if task.restarts and log.exists():
                lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
                found.append("\n  ".join([f"{name} died; it said last:", *lines]))
    return "\n".join(found[:2])


# --- store, agents, workloads -------------------------------------------------------------------


def _fill(lab: Lab, resources: list[r.Resource]) -> None:
    """Write the resources, as soon as the store answers."""
    store = open_store(lab.record.outer_store_url)
    try:
        _until_answers(store)
        apply(store, resources)
    finally:
        store.close()


def _until_answers(store: Store) -> None:
    deadline = time.monotonic() + STORE_SECONDS
    while True:
        try:
            store.get("/")
            return
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)


def _each(do: Callable[[Lab, T], object], lab: Lab, items: Sequence[T]) -> None:
    """Do something for all items at once; raises the first error, without waiting for the rest."""
    if not items:
        return
    pool = ThreadPoolExecutor(min(len(items), _WORKERS))
    try:
        for done in as_completed([pool.submit(do, lab, item) for item in items]):
            done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _until_ready(lab: Lab, host: str) -> None:
    """Wait until a host's agent has read the store and enforces it."""
    deadline = time.monotonic() + AGENT_SECONDS
    said = "it does not answer"
    while time.monotonic() < deadline and _restarts(lab, host) < _HOPELESS:
        try:
            status = client.call("GET", "/status", at=lab.agent_socket(host), timeout=5.0)
            if status.get("state") == "ready":
                return
            said = f"it is {status.get('state')}: {status.get('reason') or 'no reason given'}"
        except AgentError as error:
            said = error.message
        time.sleep(_POLL)
    raise LabError(
        f"the agent of host {host} does not get ready: {said}",
        "`tortie node check` says what this machine lacks",
    )


def _restarts(lab: Lab, host: str) -> int:
    return control.running(lab)[agent_task(host)].restarts


def _attach(lab: Lab, workload: LabWorkload) -> None:
    """Attach a workload by its host's agent; returns once its policy is in force."""
    wanted = workload.wanted
    request = {
        "name": wanted.name,
        "namespace": wanted.namespace,
        "netns": workload.space,
        "labels": wanted.labels,
        "annotations": wanted.annotations,
        "ports": msgspec.to_builtins(wanted.ports),
        "addresses": wanted.addresses,
        "families": list(lab.plan.families),
        "waitSeconds": ATTACH_SECONDS,
    }
    try:
        at = lab.agent_socket(wanted.host)
        client.call("POST", "/workloads", request, at=at, timeout=ATTACH_SECONDS + 10.0)
    except AgentError as error:
        message = f"workload {workload.name} cannot be attached to {wanted.host}: {error.message}"
        raise LabError(message, error.cure) from error
