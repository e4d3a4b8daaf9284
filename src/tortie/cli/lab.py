"""`tortie lab`: a data centre on one machine."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tortie.cli.output import coloured
from tortie.errors import TortieError, UsageError

if TYPE_CHECKING:
    from tortie.lab.state import Lab

# What the commands need is imported in them: help should not wait for it.

OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="How to print it.",
)  # fmt: skip
LAB = click.option("--lab", "name", metavar="NAME", help="Which lab, if there are several.")


@click.group()
def lab() -> None:
    """A data centre on one machine: racks, hosts, workloads in network namespaces.

    \b
    tortie lab up examples/two-tenants.yaml
    tortie lab probe
    tortie lab exec shop/web-1 -- ip route
    tortie lab down
    """


@lab.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", metavar="NAME", help="Call it so, instead of what the file says.")
@click.pass_context
def up(ctx: click.Context, file: Path, name: str | None) -> None:
    """Build the lab of FILE, and wait until everything in it works."""
    from tortie.lab import build, spec

    started = time.monotonic()
    read = spec.load(file.read_bytes(), str(file), name)
    with _steps() as tell:
        built = build.up(read, ctx.obj.run_lab_agent, prepare=ctx.obj.load_agent, tell=tell)
    plan = built.plan
    click.echo(
        f"lab {built.name} is up: {len(plan.hosts)} hosts, {len(plan.workloads)} workloads,"
        f" {time.monotonic() - started:.1f} s"
    )


@lab.command()
@LAB
@OUTPUT
def status(name: str | None, output: str) -> None:
    """Show hosts, routers, workloads, and how they are."""
    import msgspec
    from tabulate import tabulate

    from tortie.lab import state
    from tortie.lab.status import status as look

    found = look(state.choose(name))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    click.echo(f"lab {found.name}: {found.state}, store {found.store}\n")
    rows = [
        (each.kind, each.name, each.where, ",".join(each.addresses), each.state, each.pid or "")
        for each in found.machines
    ]
    click.echo(tabulate(rows, ["KIND", "NAME", "WHERE", "ADDRESS", "STATE", "PID"], "plain"))


@lab.command("exec", context_settings={"allow_interspersed_args": False})
@LAB
@click.argument("target", metavar="NAME|NAMESPACE/NAME")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def execute(ctx: click.Context, name: str | None, target: str, command: Sequence[str]) -> None:
    """Run COMMAND in a workload, a host, a router or a machine outside.

    \b
    tortie lab exec shop/web-1 -- ping -c1 169.254.1.1
    tortie lab exec a1 -- tortie bgp status
    """
    from tortie.lab import execute as execution
    from tortie.lab import names, state

    chosen = state.choose(name)
    _require_root("lab exec")
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise UsageError("there is no command", "write it after --: tortie lab exec a1 -- ip route")
    ctx.exit(execution.run(chosen, names.resolve(chosen.plan, target), words))


@lab.command()
@LAB
@OUTPUT
@click.option("--from", "sources", multiple=True, metavar="NAME", help="Only from these.")
@click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only to these.")
def probe(
    name: str | None, output: str, sources: Sequence[str], destinations: Sequence[str]
) -> None:
    """Connect for real from every workload and machine outside to everything that is served.

    Nobody is probed against itself. NAME is a workload (NAMESPACE/NAME), a namespace (NAMESPACE/)
    or a machine outside. Exits 0 whatever the answers are.
    """
    import msgspec

    from tortie.lab import matrix, state
    from tortie.lab.probe import probe as attempt

    chosen = state.choose(name)
    _require_root("lab probe")
    if sys.stderr.isatty():
        click.echo("connecting from everywhere to everything that is served ...", err=True)
    results = attempt(chosen, _filter(chosen, sources), _filter(chosen, destinations))
    if output == "json":
        click.echo(json.dumps(msgspec.to_builtins(results), indent=1))
    else:
        click.echo(matrix.render(results, colour=coloured()))


@lab.command()
@click.argument("name", required=False)
def down(name: str | None) -> None:
    """Remove a lab and everything in it; one that is not there is no error."""
    from tortie.lab import build, state

    wanted = name or os.environ.get(state.VARIABLE)
    every = state.names()
    if not every or (wanted and wanted not in every):
        what = f"there is no lab {wanted}" if wanted else "no lab is running"
        others = f" (running: {', '.join(every)})" if every else ""
        click.echo(f"{what}: nothing to do{others}")
        return
    _require_root("lab down")
    if wanted and state.read(state.directory(wanted)) is None:
        build.sweep(wanted)
    else:
        chosen = state.choose(name)
        wanted = chosen.name
        build.down(chosen)
    click.echo(f"lab {wanted} is gone")


# --- agents of a lab ----------------------------------------------------------------------------


@lab.group()
def agent() -> None:
    """Stop, start or kill the agent of a host, to see what happens."""


def _agent_command(verb: str, help_: str, act: Callable[[Lab, str], None]) -> None:
    @agent.command(verb, help=help_)
    @LAB
    @click.argument("host")
    def command(name: str | None, host: str) -> None:
        from tortie.lab import state
        from tortie.lab.processes import agent_task

        chosen = state.choose(name)
        _require_host(chosen, host)
        act(chosen, agent_task(host))


def _stop(chosen: Lab, task: str) -> None:
    from tortie.lab import control

    control.stop(chosen, task)


def _start(chosen: Lab, task: str) -> None:
    from tortie.lab import control

    control.start(chosen, task)


def _kill(chosen: Lab, task: str) -> None:
    from tortie.lab import control

    control.kill(chosen, task)


_agent_command("stop", "End a host's agent; it stays away until started.", _stop)
_agent_command("start", "Start a host's agent if it does not run.", _start)
_agent_command("kill", "Kill a host's agent (-9); a new one starts after a second.", _kill)


# --- small things -------------------------------------------------------------------------------


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        raise TortieError(f"{command} needs root, to enter network namespaces", "run it as root")


def _require_host(chosen: Lab, host: str) -> None:
    from tortie.model.words import did_you_mean, quote

    hosts = [each.name for each in chosen.plan.hosts]
    if host not in hosts:
        raise UsageError(f"there is no host {quote(host)}", did_you_mean(host, hosts))


def _filter(chosen: Lab, wanted: Sequence[str]) -> Callable[[str], bool]:
    """Whether a source or destination is wanted; all are if none is named."""
    from tortie.lab import names

    if not wanted:
        return lambda name: True
    exact = {names.resolve(chosen.plan, each).name for each in wanted if not each.endswith("/")}
    starts = tuple(each for each in wanted if each.endswith("/"))
    return lambda name: name in exact or (bool(starts) and name.startswith(starts))


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Tells each step on standard error, with the seconds that the one before it took."""
    began = time.monotonic()

    def tell(step: str) -> None:
        click.echo(f"[{time.monotonic() - began:4.1f} s] {step}", err=True)

    yield tell
