"""`tortie bgp routes` and `tortie bgp why`: what hosts have heard by BGP, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from tortie.cli.node import ask
from tortie.cli.output import Column, Form, complain, form_option, say, show, show_data, text_of
from tortie.cli.where import agents, hosts_of, opened_store
from tortie.errors import LabError, StoreError, UsageError
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.words import quote

Heard = Mapping[str, Any]
_NODE: Column[Heard] = Column("NODE", lambda each: each.get("node"))
_ROUTES: Sequence[Column[Heard]] = (
    Column("PREFIX", lambda each: each.get("prefix")),
    Column("FROM", lambda each: each.get("peer") or "this host"),
    Column("VIA", lambda each: _hops(each)),
    Column("AS PATH", lambda each: each.get("asPath")),
    Column("PREFERENCE", lambda each: each.get("localPref"), wide=True),
    Column("SESSION", lambda each: each.get("session"), wide=True),
    Column("STATE", lambda each: _state(each)),
)


def _hops(route: Heard) -> str:
    hops = route.get("nextHops") or []
    shown = [str(hop.get("gateway") or hop.get("interface")) for hop in hops]
    return ", ".join(shown) or (str(route.get("kind")) if route.get("kind") != "unicast" else "")


def _state(route: Heard) -> str:
    if route.get("refused"):
        return f"refused: {route['refused']}"
    return "best" if route.get("best") else "taken"


@click.command()
@click.argument("prefix", required=False)
@click.option("--peer", metavar="NAME", help="Only what came from this BGPPeer or node.")
@click.option("--refused", is_flag=True, help="Only what was refused, with the reason.")
@click.option("--node", metavar="NAME", help="Only of this host of the lab.")
@form_option
@click.pass_context
def routes(
    ctx: click.Context,
    prefix: str | None,
    peer: str | None,
    refused: bool,
    node: str | None,
    form: Form,
) -> None:
    """What this host's BIRD has heard and announces; what it refused, and why.

    With PREFIX: only that prefix and what lies in it.

    \b
    tortie bgp routes --refused
    tortie bgp routes 10.65.0.0/16 --peer tor-rack-a
    """
    whole = net.parse_net(prefix) if prefix else None
    asked = hosts_of(agents(), node)
    several = bool(asked[0][0])

    def wanted(each: Heard) -> bool:
        here = net.parse_net(str(each.get("prefix")))
        return (
            (whole is None or whole.covers(here))
            and (peer is None or each.get("peer") == peer)
            and (not refused or bool(each.get("refused")))
        )

    def read(host: str, answer: Any) -> list[dict[str, Any]]:
        found = [each for each in answer if wanted(each)] if isinstance(answer, list) else []
        return [{"node": host, **each} if host else each for each in found]

    found, failed = ask(asked, "GET", "/bgp/routes", read)
    for error in failed:
        complain(f"error: {error}")
    if found or not failed:
        show(
            form,
            found,
            [_NODE, *_ROUTES] if several else _ROUTES,
            name=lambda each: str(each.get("prefix")),
            data=lambda: found,
            none="no such routes",
        )
    if failed:
        ctx.exit(1)


@click.command()
@click.argument("prefix")
@click.option("--node", metavar="NAME", help="On this host of the lab; by default on all.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to print it.",
)  # fmt: skip
@click.pass_context
def why(ctx: click.Context, prefix: str, node: str | None, form: Form) -> None:
    """Why PREFIX (or the way to an address) is or is not in the kernel of this host.

    Who should announce it, which peer told it, why it was refused, whose route stands before it,
    and to whom this host tells it. Exits 1 if it is not in the kernel by BGP.

    \b
    tortie bgp why 10.65.1.0/26
    tortie bgp why 10.65.1.7
    """
    wanted = net.parse_net(prefix)
    asked = hosts_of(agents(), node)
    owners = _announcers(wanted)

    def read(host: str, answer: Any) -> list[dict[str, Any]]:
        if not isinstance(answer, dict):
            return []
        return [{**({"node": host} if host else {}), **answer, "announcedBy": owners}]

    path = wanted.address if wanted.single else wanted.text
    found, failed = ask(asked, "GET", f"/bgp/why/{path}", read)
    for error in failed:
        complain(f"error: {error}")
    if form in ("json", "yaml"):
        if found:
            show_data(form, found if asked[0][0] else found[0])
    else:
        _tell(found, owners)
    if failed or not all(each.get("inKernel") for each in found):
        ctx.exit(1)


def _tell(found: Sequence[Mapping[str, Any]], owners: Sequence[str]) -> None:
    for each in found:
        word = "IN THE KERNEL" if each.get("inKernel") else "NOT IN THE KERNEL"
        where = f" of {each['node']}" if each.get("node") else ""
        say(f"{word}{where}: {each.get('prefix')}: {text_of(each.get('reason'))}")
        for route in each.get("kernel") or []:
            say(f"  kernel: {route.get('kind')} {_hops(route)} proto {route.get('protocol')}"
                f" metric {route.get('metric')}")  # fmt: skip
        for route in each.get("heard") or []:
            path = f", AS path {route['asPath']}" if route.get("asPath") else ""
            source = text_of(route.get("peer")) or "this host"
            say(f"  from {source}: {_hops(route) or 'no next hop'}{path}: {text_of(_state(route))}")
        if each.get("told"):
            say(f"  told to {', '.join(text_of(name) for name in each['told'])}")
    said = ", ".join(owners) or "nobody: no block, endpoint or service of the store has it"
    say(f"to be announced by {said}")


def _announcers(wanted: net.Net) -> list[str]:
    """Who should announce a prefix or address, as far as the store says; empty if it is away."""
    try:
        with opened_store() as store:
            entries = [entry.value for entry in store.list(kinds.WORLD).entries]
    except (StoreError, LabError, UsageError) as error:
        complain(f"note: {error.message}: who should announce {quote(wanted.text)} is not known")
        return []
    found = []
    for value in entries:
        try:
            found += list(_announces(kinds.decode(value), wanted))
        except kinds.Undecodable:
            continue
    return sorted(set(found))


def _announces(resource: r.Resource, wanted: net.Net) -> Iterator[str]:
    match resource:
        case r.BlockAffinity(spec=spec) if spec.state == "confirmed" and not spec.deleted:
            block = net.parse_net(spec.cidr)
            if block.covers(wanted):
                yield f"node {spec.node} (its block {block.text})"
        case r.WorkloadEndpoint(spec=endpoint):
            own = [*endpoint.ip_networks, *(each.external_ip for each in endpoint.ip_nats)]
            if any(net.parse_net(each) == wanted for each in own):
                name = f"{resource.metadata.namespace or 'default'}/{resource.metadata.name}"
                yield f"node {endpoint.node} (endpoint {name})"
        case r.BGPConfiguration(spec=config):
            given = (
                *config.service_cluster_ips,
                *config.service_external_ips,
                *config.service_load_balancer_ips,
            )
            if any(net.parse_net(each.cidr).covers(wanted) for each in given):
                yield f"nodes that serve it (services, BGPConfiguration {resource.metadata.name})"
        case _:
            pass
