"""Talking to a lab's supervisor: one line of JSON each way over its Unix socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from tortie.errors import LabError
from tortie.lab.state import Lab

Verb = Literal["start", "stop", "kill", "list"]
MAX_LINE = 1 << 20


class Ask(Struct, frozen=True):
    """`start`, `stop` (ended, and stays so), `kill` (-9, and comes back), or only `list`."""

    verb: Verb
    names: list[str] = []
    """of tasks; ignored by list"""


class Running(Struct, frozen=True):
    """A process as the supervisor sees it. `pid` 0: it does not run."""

    name: str
    pid: int
    wanted: bool
    restarts: int


class Answer(Struct, frozen=True):
    tasks: list[Running] = []
    error: str = ""


def ask(lab: Lab, verb: Verb, names: Sequence[str] = (), timeout: float = 5.0) -> list[Running]:
    """All processes of the lab, after what was asked has been done. Raises LabError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(str(lab.control))
            sock.sendall(msgspec.json.encode(Ask(verb, list(names))) + b"\n")
            line = sock.makefile("rb").readline(MAX_LINE)
        answer = msgspec.json.decode(line, type=Answer)
    except (OSError, msgspec.MsgspecError) as error:
        raise LabError(
            f"the supervisor of lab {lab.name} does not answer",
            f"take the lab down: tortie lab down {lab.name}",
        ) from error
    if answer.error:
        raise LabError(answer.error)
    return answer.tasks


def running(lab: Lab) -> dict[str, Running]:
    """All processes of the lab by name. Raises LabError."""
    return {each.name: each for each in ask(lab, "list")}


def start(lab: Lab, *names: str) -> None:
    """Start what does not run. Raises LabError."""
    ask(lab, "start", names)


def stop(lab: Lab, *names: str, seconds: float = 10.0) -> None:
    """End processes and keep them ended; returns when they are gone. Raises LabError."""
    ask(lab, "stop", names)
    deadline = time.monotonic() + seconds
    while any(running(lab)[name].pid for name in names):
        if time.monotonic() > deadline:
            ask(lab, "kill", names)
            deadline += seconds
        time.sleep(0.02)


def kill(lab: Lab, *names: str) -> None:
    """Kill processes at once (-9); the supervisor starts them again after a second."""
    ask(lab, "kill", names)
