"""`tortie bgp`: sessions and routes as BIRD reports them to the agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tortie.cli.node import ask
from tortie.cli.output import Column, Form, complain, form_option, say, show
from tortie.cli.routes import routes, why
from tortie.cli.where import agents, hosts_of
from tortie.errors import UsageError

Session = Mapping[str, Any]
_NODE: Column[Session] = Column("NODE", lambda each: each.get("node"))
_COLUMNS: Sequence[Column[Session]] = (
    Column("PEER", lambda each: each.get("peer") or each.get("name")),
    Column("ADDRESS", lambda each: each.get("peerAddress")),
    Column("AS", lambda each: each.get("remoteAs")),
    Column("STATE", lambda each: each.get("state")),
    Column("SINCE", lambda each: each.get("since")),
    Column("IMPORTED", lambda each: each.get("imported")),
    Column("REFUSED", lambda each: each.get("filtered")),
    Column("EXPORTED", lambda each: each.get("exported")),
    Column("PREFERRED", lambda each: each.get("preferred"), wide=True),
    Column("KIND", lambda each: each.get("kind"), wide=True),
    Column("BFD", lambda each: each.get("bfd"), wide=True),
    Column("SESSION", lambda each: each.get("name"), wide=True),
    Column("LAST ERROR", lambda each: each.get("lastError")),
)


@click.group()
def bgp() -> None:
    """BGP sessions and routes.

    \b
    tortie bgp status
    tortie bgp why 10.65.1.0/26
    """


bgp.add_command(routes)
bgp.add_command(why)


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
    asked = hosts_of(agents(), node)
    several = bool(asked[0][0])

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


@bgp.command()
@click.option("--node", metavar="NAME", help="Of this host of the lab.")
def restart(node: str | None) -> None:
    """Restart BIRD on this host without losing a route.

    Peers and the kernel keep all routes meanwhile (graceful restart). The other hosts are told
    before, so that BFD does not take it for a failure; a router that is no node of ours cannot be
    told, and where it speaks BFD with this host it forgets its routes for a second or two.

    \b
    tortie bgp restart
    """
    from tortie import client

    asked = hosts_of(agents(), node)
    if len(asked) > 1:
        raise UsageError("this is a lab of several hosts", "say which: --node NAME")
    ((_, socket),) = asked
    answer = client.call("POST", "/bgp/restart", at=socket, timeout=60.0)
    for name in answer["late"]:
        complain(f"note: node {name} did not say that it knew of it")
    say("BIRD was restarted; all its sessions are up again")
