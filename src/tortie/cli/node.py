"""`tortie node`: the agent of this host."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tortie.agent.settings import DATAPLANES, Dataplane, Settings
from tortie.cli.output import (
    FORMS,
    Column,
    Form,
    complain,
    form_option,
    say,
    show,
    show_data,
    slow,
    text_of,
)
from tortie.cli.where import agents, make_default_directory, store_url
from tortie.errors import AgentError, Missing, UsageError

_STATUS_FORMS = [form for form in FORMS if form != "name"]
_ENDPOINT: Sequence[Column[Mapping[str, Any]]] = (
    Column("ENDPOINT", lambda each: each.get("id")),
    Column("INTERFACE", lambda each: each.get("interface")),
    Column("STATE", lambda each: each.get("state")),
    Column("REASON", lambda each: each.get("reason")),
)
_HOST: Sequence[Column[Mapping[str, Any]]] = (
    Column("NODE", lambda each: each.get("node")),
    Column("STATE", lambda each: each.get("state")),
    Column("ENDPOINTS", lambda each: f"{_up(each)}/{len(_endpoints(each))}"),
    Column("REVISION", lambda each: each.get("revision")),
    Column("STORE", lambda each: "lost" if each.get("storeLost") else each.get("storeRevision")),
    Column("REASON", lambda each: each.get("reason")),
)


@click.group()
def node() -> None:
    """The agent of this host: run it, see how it is.

    \b
    tortie node check
    tortie --store etcd://10.0.0.1:2379 node run --name a1
    tortie node status
    """


@node.command()
@click.option("--name", metavar="NODE", help="This host's Node resource; by default its hostname.")
@click.option(
    "--run-dir", type=click.Path(file_okay=False, path_type=Path), default="/run/tortie",
    show_default=True, help="For sockets and generated configuration.",
)  # fmt: skip
@click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), default="/var/lib/tortie",
    show_default=True, help="For what must survive a reboot.",
)  # fmt: skip
@click.option(
    "--metrics-address", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Where metrics and health are served.",
)  # fmt: skip
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), default=9091, show_default=True,
    metavar="PORT", help="The same; 0: nowhere.",
)  # fmt: skip
@click.option(
    "--resync", type=click.FloatRange(min=1), default=30.0, show_default=True, metavar="SECONDS",
    help="How often everything is compared with the kernel.",
)  # fmt: skip
@click.option(
    "--dataplane", type=click.Choice(DATAPLANES), metavar="NAME",
    help=f"Which firewall: {', '.join(DATAPLANES)}; by default as FelixConfiguration says.",
)  # fmt: skip
@click.option(
    "--ip", metavar="HOW", default="",
    help="Find out this host's IPv4 address and write it into its Node: first-found,"
    " interface=NAME, skip-interface=NAME, cidr=CIDR, can-reach=ADDRESS, or the address."
    " By default the Node says it.",
)  # fmt: skip
@click.option("--ip6", metavar="HOW", default="", help="The same for IPv6.")
@click.pass_context
def run(
    ctx: click.Context,
    name: str | None,
    run_dir: Path,
    state_dir: Path,
    metrics_address: str,
    metrics_port: int,
    resync: float,
    dataplane: Dataplane | None,
    ip: str,
    ip6: str,
) -> None:
    """Be the agent of this host, until SIGTERM or SIGINT.

    What is in the kernel, and BIRD, stay when it ends; the next one goes on from there.

    \b
    tortie --store etcd://10.0.0.1:2379 node run --name a1
    """
    chosen = name or os.uname().nodename.lower()
    _check_name(chosen)
    # The store of a lab on this machine is never that of the machine itself.
    url = store_url(labs=False)
    if os.geteuid() != 0:
        raise Missing(
            "the agent needs root: it programs routes and the firewall of this host",
            "run it as root",
        )
    make_default_directory(url)
    settings = Settings(
        node=chosen,
        store=url,
        run_dir=run_dir,
        state_dir=state_dir,
        metrics_address=metrics_address,
        metrics_port=metrics_port,
        dataplane=dataplane,
        ip=ip,
        ip6=ip6,
        resync_seconds=resync,
    )
    ctx.exit(ctx.obj.run_agent(settings))


def _check_name(name: str) -> None:
    from tortie.model import checks

    for problem in checks.name("--name", name):
        raise UsageError(f"no node can have this name: {problem.message}", problem.cure)


@node.command()
@click.option(
    "-o", "--output", "form", type=click.Choice(_STATUS_FORMS), default="table", show_default=True,
    help="How to print it; wide: with the endpoints that are up.",
)  # fmt: skip
@click.pass_context
def status(ctx: click.Context, form: Form) -> None:
    """How this host's agent is; exit 1 unless ready.

    Where no agent runs but a lab does: how all agents of the lab are.

    \b
    tortie node status -o wide
    """
    asked = agents()
    found, failed = ask(asked, "GET", "/status", _told)
    for error in failed:
        complain(f"error: {error}")
    if form in ("json", "yaml"):
        if found or asked[0][0]:
            show_data(form, found if asked[0][0] else found[0])
    elif asked[0][0]:
        show(form, found, _HOST, name=lambda each: str(each.get("node")), data=lambda: found)
    elif found:
        _tell(found[0], form)
    if failed or any(each.get("state") != "ready" for each in found):
        ctx.exit(1)


def _told(host: str, answer: Any) -> list[dict[str, Any]]:
    return [answer] if isinstance(answer, dict) else []


def ask(
    asked: Sequence[tuple[str, Path]],
    method: str,
    path: str,
    read: Callable[[str, Any], list[dict[str, Any]]],
) -> tuple[list[dict[str, Any]], list[AgentError]]:
    """What all these agents answer, as `read` makes it of (host, answer), and who did not answer.

    The errors of several hosts name theirs.
    """
    from concurrent.futures import ThreadPoolExecutor

    from tortie import client

    def one(host: str, socket: Path) -> list[dict[str, Any]] | AgentError:
        try:
            return read(host, client.call(method, path, at=socket, timeout=5.0 if host else 30.0))
        except AgentError as error:
            if not host:
                return error
            away = isinstance(error.__cause__, OSError)
            cure = f"start it: tortie lab agent start {host}" if away else error.cure
            return AgentError(f"{host}: {error.message}", cure)

    with slow("asking the agents"), ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda pair: one(*pair), asked))
    found = [item for answer in answers if isinstance(answer, list) for item in answer]
    return found, [answer for answer in answers if isinstance(answer, AgentError)]


def _endpoints(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = said.get("endpoints")
    return found if isinstance(found, list) else []


def _up(said: Mapping[str, Any]) -> int:
    return sum(each.get("state") == "up" for each in _endpoints(said))


def _tell(said: Mapping[str, Any], form: Form) -> None:
    """One agent's state as a page for people."""
    reason = f": {said['reason']}" if said.get("reason") else ""
    say(f"node {said.get('node', '')} is {said.get('state')}{reason}")
    store = f"lost: {said['storeLost']}" if said.get("storeLost") else "connected"
    say(
        f"store {store}, at revision {said.get('storeRevision')};"
        f" the kernel enforces {said.get('revision')}"
    )
    if said.get("dataplane"):
        say(f"the dataplane is {said['dataplane']}")
    drivers: Mapping[str, Any] = said.get("drivers") or {}
    for name, each in drivers.items():
        say(f"  {name}: {text_of(each.get('error')) if each.get('error') else 'ok'}")
    idle: Mapping[str, Any] = said.get("idleHostEndpoints") or {}
    for name, why in idle.items():
        say(f"host endpoint {text_of(name)} guards nothing: {text_of(why)}")
    for note in said.get("notes") or []:
        say(f"note: {text_of(note)}")
    endpoints = _endpoints(said)
    say(f"endpoints: {_up(said)} of {len(endpoints)} up")
    shown = [each for each in endpoints if form == "wide" or each.get("state") != "up"]
    if shown:
        show("table", shown, _ENDPOINT, name=lambda each: str(each.get("id")), data=lambda: shown)


@node.command("believe-store")
def believe_store() -> None:
    """Say that this host's store is right.

    An agent changes nothing for a store that is empty, restored from a backup, or another one;
    `tortie node status` then says that it is holding.

    \b
    tortie node believe-store
    """
    from tortie import client

    client.call("POST", "/believe-store")
    say("this host believes its store; see `tortie node status`")


@node.command()
@form_option
@click.pass_context
def check(ctx: click.Context, form: Form) -> None:
    """Is this machine fit for an agent?

    Looks and changes nothing; exits 1 if something is missing.

    \b
    tortie node check
    """
    findings = ctx.obj.check_machine()
    shown: Sequence[Column[Any]] = (
        Column("WHAT", lambda each: each.name),
        Column("STATE", lambda each: each.state),
        Column("FOUND", lambda each: each.said),
        Column("CURE", lambda each: each.cure),
    )
    show(
        form,
        findings,
        shown,
        name=lambda each: str(each.name),
        data=lambda: [
            {"name": each.name, "state": each.state, "said": each.said, "cure": each.cure}
            for each in findings
        ],
    )
    if any(each.state == "missing" for each in findings):
        ctx.exit(1)
