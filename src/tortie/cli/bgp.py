"""`tortie bgp`: sessions as BIRD reports them to the agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tortie.cli.node import ask
from tortie.cli.output import Column, Form, complain, form_option, show
from tortie.cli.where import agents
from tortie.errors import AgentError, UsageError
from tortie.model.words import did_you_mean, quote

Session = Mapping[str, Any]
_NODE: Column[Session] = Column("NODE", lambda each: each.get("node"))
_COLUMNS: Sequence[Column[Session]] = (
    Column("SESSION", lambda each: each.get("name")),
    Column("PEER", lambda each: each.get("peerAddress")),
    Column("AS", lambda each: each.get("remoteAs")),
    Column("STATE", lambda each: each.get("state")),
    Column("SINCE", lambda each: each.get("since")),
    Column("IMPORTED", lambda each: each.get("imported")),
    Column("EXPORTED", lambda each: each.get("exported")),
    Column("PREFERRED", lambda each: each.get("preferred"), wide=True),
    Column("LAST ERROR", lambda each: each.get("lastError")),
)


@click.group()
def bgp() -> None:
    """BGP sessions.

    \b
    tortie bgp status
    """


@bgp.command()
@click.option("--node", metavar="NAME", help="Only of this host of the lab.")
@form_option
@click.pass_context
def status(ctx: click.Context, node: str | None, form: Form) -> None:
    """The BGP sessions of this host, with the routes that each brings and takes.

    Where no agent runs but a lab does: those of all hosts of the lab. Exits 1 if an agent does not
    answer, whatever the sessions' states are.

    \b
    tortie bgp status -o wide
    """
    asked = agents()
    several = bool(asked[0][0])
    if node is not None:
        asked = _only(asked, node)

    def read(host: str, answer: Any) -> list[dict[str, Any]]:
        sessions = answer if isinstance(answer, list) else []
        return [{"node": host, **each} if host else each for each in sessions]

    found, failed = ask(asked, "GET", "/bgp", read)
    for error in failed:
        complain(f"error: {error}")
    if found or not failed:
        show(
            form,
            found,
            [_NODE, *_COLUMNS] if several else _COLUMNS,
            name=lambda each: "/".join(str(each[key]) for key in ("node", "name") if key in each),
            data=lambda: found,
            none="no BGP sessions",
        )
    if failed:
        ctx.exit(1)


def _only(asked: Sequence[tuple[str, Any]], node: str) -> list[tuple[str, Any]]:
    """The one host of this name. Raises UsageError, AgentError."""
    hosts = [host for host, _ in asked]
    if hosts == [""]:
        return [(own, socket) for own, socket in asked if _is_here(socket, node)]
    if node not in hosts:
        raise UsageError(f"there is no host {quote(node)} in this lab", did_you_mean(node, hosts))
    return [(host, socket) for host, socket in asked if host == node]


def _is_here(socket: Any, node: str) -> bool:
    from tortie import client

    here = client.call("GET", "/status", at=socket).get("node")
    if here != node:
        raise AgentError(f"this host is {here}, not {quote(node)}", "ask on that host")
    return True
