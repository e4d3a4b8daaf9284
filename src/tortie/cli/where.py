"""Which store, and which agents, a command is about."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tortie.cli.output import complain
from tortie.errors import AgentError, StoreError, UsageError

if TYPE_CHECKING:
    from tortie.lab.state import Lab
    from tortie.store.base import Store

# What these need is imported in them: `tortie validate` opens no store.

DEFAULT_STORE = "sqlite:///var/lib/tortie/store.db"
_HOW = "give --store URL or TORTIE_STORE; the first `tortie apply` makes a store"


def store_url(*, labs: bool = True) -> str:
    """--store, TORTIE_STORE, the store of the running lab (if `labs`), or the default, in order.

    A --lab on the command line goes before TORTIE_STORE. Raises UsageError, LabError.
    """
    root = click.get_current_context().find_root()
    given = root.params.get("store")
    typed = ParameterSource.COMMANDLINE
    lab_typed = root.get_parameter_source("lab") is typed
    if lab_typed and root.get_parameter_source("store") is typed:
        raise UsageError("--store and --lab both name a store", "give one of them")
    if given and not lab_typed:
        return str(given)
    found = None
    if labs:
        from tortie.lab.state import running_store

        found = running_store()
    return found or DEFAULT_STORE


@contextmanager
def opened_store(*, make: bool = False) -> Iterator[Store]:
    """The store that the command is about, closed at the end; only with `make` is a file made.

    Raises UsageError, LabError, StoreError.
    """
    from tortie.store import open_store, redact, url

    wanted = store_url()
    if url.scheme(wanted) == "sqlite" and not url.sqlite_path(wanted).exists():
        if not make:
            raise StoreError(f"there is no store {redact(wanted)}", _HOW)
        make_default_directory(wanted)
        complain(f"a new store is made: {redact(wanted)}")
    store = open_store(wanted)
    try:
        yield store
    finally:
        store.close()


def make_default_directory(url: str) -> None:
    """Make the directory of the default store, and of no other; the store tells if it cannot be."""
    if url == DEFAULT_STORE:
        directory = Path(DEFAULT_STORE.removeprefix("sqlite://")).parent
        with suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def agents() -> list[tuple[str, Path]]:
    """(host, socket) of the agents to ask: this host's, with no name, or all those of a lab.

    On a host (there is a socket, or TORTIE_SOCKET names one) it is asked, unless --lab was given.
    Raises LabError.
    """
    from tortie.client import socket_path

    root = click.get_current_context().find_root()
    lab_typed = root.get_parameter_source("lab") is ParameterSource.COMMANDLINE
    own = socket_path()
    if not lab_typed and ("TORTIE_SOCKET" in os.environ or own.exists()):
        return [("", own)]
    lab = _lab()
    if lab is None:
        return [("", own)]
    return [(host.name, lab.agent_socket(host.name)) for host in lab.plan.hosts]


def _lab() -> Lab | None:
    from tortie.lab import state

    if not os.environ.get(state.VARIABLE) and not state.labs():
        return None
    return state.choose()


def hosts_of(asked: Sequence[tuple[str, Path]], node: str | None) -> Sequence[tuple[str, Path]]:
    """Of the agents to ask, that of the host of this name; all if None.

    Raises UsageError, AgentError.
    """
    if node is None:
        return asked
    from tortie.model.words import did_you_mean, quote

    hosts = [host for host, _ in asked]
    if hosts == [""]:
        return [(own, socket) for own, socket in asked if _is_here(socket, node)]
    if node not in hosts:
        raise UsageError(f"there is no host {quote(node)} in this lab", did_you_mean(node, hosts))
    return [(host, socket) for host, socket in asked if host == node]


def _is_here(socket: Path, node: str) -> bool:
    from tortie import client
    from tortie.model.words import quote

    here = client.call("GET", "/status", at=socket).get("node")
    if here != node:
        raise AgentError(f"this host is {here}, not {quote(node)}", "ask on that host")
    return True
