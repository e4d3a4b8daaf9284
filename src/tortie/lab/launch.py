"""How a host's agent is started: the lab says where, whoever wires the program says how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tortie.lab.document import Dataplane

AGENT_SOCKET = "agent.sock"
"""The agent's socket within its run directory."""


class Launch(Struct, frozen=True):
    """One agent of a lab: its node, its store and directories of its own."""

    node: str
    store_url: str
    run_dir: Path
    state_dir: Path
    dataplane: Dataplane | None = None
    """what guards the host, whatever the store says; None: what the store says"""


Runner = Callable[[Launch], int]
"""Runs an agent in the calling process, which is in the host's network namespace, until it is
told to end (SIGTERM); its exit code."""
