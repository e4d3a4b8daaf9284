"""The labs on this machine: each is a directory under /run/tortie/lab with a `lab.json`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from tortie.errors import LabError
from tortie.lab.launch import AGENT_SOCKET
from tortie.lab.plan import Plan
from tortie.model.words import nearest, quote

ROOT = Path("/run/tortie/lab")
VARIABLE = "TORTIE_LAB"
SUPERVISOR = "supervisor.pid"


class Record(Struct, frozen=True):
    """What `lab.json` says. Written before anything is built, and again when all is up."""

    plan: Plan
    state: Literal["building", "up"]
    store_url: str
    """as the hosts reach it"""
    outer_store_url: str
    """as it is reached from outside the lab"""
    sockets: dict[str, str]
    """of the agents, by host"""
    created: float = 0.0
    """Unix seconds"""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab on this machine."""

    directory: Path
    record: Record

    @property
    def name(self) -> str:
        return self.record.plan.name

    @property
    def plan(self) -> Plan:
        return self.record.plan

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.directory / "control.sock"

    @property
    def supervisor(self) -> str:
        """Which process keeps the others running, as PID:START; empty if none was started."""
        return supervisor_of(self.directory)

    def agent_socket(self, host: str) -> Path:
        return Path(self.record.sockets[host])


def directory(name: str) -> Path:
    """Where a lab of this (valid) name keeps its files."""
    return ROOT / name


def run_dir(lab: Path, host: str) -> Path:
    """Where a host's agent keeps sockets and configuration."""
    return lab / "hosts" / host


def supervisor_of(lab: Path) -> str:
    """PID:START of the supervisor of the lab in this directory; empty if none was started."""
    try:
        return (lab / SUPERVISOR).read_text()
    except OSError:
        return ""


def first_record(plan: Plan, where: Path) -> Record:
    """The record of a lab that is about to be built."""
    return Record(
        plan=plan,
        state="building",
        store_url=plan.store_url(where),
        outer_store_url=plan.outer_store_url(where),
        sockets={host.name: str(run_dir(where, host.name) / AGENT_SOCKET) for host in plan.hosts},
        created=time.time(),
    )


def write(where: Path, record: Record) -> Lab:
    """Write a lab's record, all or nothing."""
    new = where / "lab.json.new"
    new.write_bytes(msgspec.json.encode(record))
    new.replace(where / "lab.json")
    return Lab(where, record)


def read(where: Path) -> Lab | None:
    """The lab of a directory; None if it has no record, or none of this version.

    Raises LabError if only root may read it.
    """
    try:
        return Lab(where, msgspec.json.decode((where / "lab.json").read_bytes(), type=Record))
    except PermissionError:
        raise LabError(f"the lab {where.name} is root's", "run this as root") from None
    except (OSError, msgspec.MsgspecError):
        return None


def names() -> list[str]:
    """The names of all labs on this machine, in order; also of those that have no record."""
    try:
        return sorted(where.name for where in ROOT.iterdir())
    except OSError:
        return []


def labs() -> list[Lab]:
    """All labs on this machine that have a record, in order of name. Raises LabError."""
    return [lab for name in names() if (lab := read(directory(name))) is not None]


def choose(name: str | None = None) -> Lab:
    """The lab of this name, or that TORTIE_LAB names, or the only one. Raises LabError."""
    wanted = name or os.environ.get(VARIABLE)
    found = labs()
    if wanted:
        return _named(wanted, found)
    if not found:
        raise LabError("no lab is running", "build one: tortie lab up examples/two-tenants.yaml")
    if len(found) > 1:
        names = ", ".join(lab.name for lab in found)
        raise LabError(f"there are several labs: {names}", "say which: --lab NAME or TORTIE_LAB")
    return found[0]


def _named(wanted: str, found: Iterable[Lab]) -> Lab:
    by_name = {lab.name: lab for lab in found}
    if wanted in by_name:
        return by_name[wanted]
    near = nearest(wanted, by_name)
    running = ", ".join(by_name) or "none"
    cure = f"did you mean {near}?" if near else f"labs that are running: {running}"
    raise LabError(f"there is no lab {quote(wanted)}", cure)


def running_store() -> str | None:
    """The store of the lab that TORTIE_LAB names or of the only one; None if no lab runs.

    Raises LabError if there are several, or none of the name that is wanted.
    """
    if not os.environ.get(VARIABLE) and not labs():
        return None
    return choose().record.outer_store_url
