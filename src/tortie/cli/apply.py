"""`tortie apply` and `tortie validate`: files into the store, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from tortie.cli import notes
from tortie.cli.columns import reference
from tortie.cli.files import files_option, load_all, place
from tortie.cli.output import complain, say, slow
from tortie.cli.where import opened_store
from tortie.errors import Problem
from tortie.model import resources as r


@click.command()
@files_option
@click.option("--wait", is_flag=True, help="Wait until the hosts enforce it; say how long it took.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
    metavar="SECONDS", help="How long to wait.",
)  # fmt: skip
@click.pass_context
def apply(ctx: click.Context, files: Sequence[Path], wait: bool, timeout: float) -> None:
    """Write the resources of files into the store: all of them, or if one is not valid, none.

    Up to 127 changes are one transaction, so that each host goes from the old to the new at once;
    more are said not to be atomic, and an interrupted apply is finished by repeating it.

    With --wait, every host that has a live agent must confirm that its kernel enforces all of it;
    exits 1 if one does not in time. Times are from the moment that the store had it, by the hosts'
    own clocks.

    \b
    tortie apply -f policies/ -f extra.yaml --wait
    """
    from tortie.cli import enforced
    from tortie.ipam.guard import explained
    from tortie.store import resources

    loaded = load_all(files)
    located = place(loaded)
    with opened_store(make=True) as store:

        def problem(resource: r.Resource, found: Problem) -> Problem:
            return located(resource, explained(store, resource, found))

        wanted = [each.resource for each in loaded]
        with slow(f"writing {len(wanted)} resources"):
            done = resources.apply(store, wanted, barrier=wait, problem=problem)
        since = time.time()
        for action, resource in done.actions:
            say(f"{action} {reference(resource)}")
        for note in notes.of_applied(store, wanted):
            complain(note)
        if done.transactions > 1:
            complain(
                f"note: this took {done.transactions} transactions, so it was not atomic;"
                " if it is interrupted, repeat it"
            )
        if wait and not enforced.wait(store, done.barrier, since, timeout):
            ctx.exit(1)


@click.command()
@files_option
def validate(files: Sequence[Path]) -> None:
    """Check the resources of files, as far as they tell without a store; exit 1 if one is wrong.

    \b
    tortie validate -f policies/
    """
    from tortie.store import resources

    loaded = load_all(files)
    given = [each.resource for each in loaded]
    resources.check(None, given, place(loaded))
    for note in notes.of_files(given):
        complain(note)
    say("1 resource is valid" if len(loaded) == 1 else f"{len(loaded)} resources are valid")
