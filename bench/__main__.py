"""`python -m bench`: everything in one run. Needs root; works in network namespaces of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import click
import msgspec

from bench import apply, report, rig, rounds
from bench.apply import Failed
from bench.machine import machine
from bench.traffic import Stuck
from tortie.errors import TortieError

ROUNDS, SECONDS, CHANGES = 31, 0.3, 20
QUICK_ROUNDS, QUICK_SECONDS, QUICK_CHANGES = 6, 0.2, 5


class _Amounts(click.ParamType[tuple[int, ...]]):
    """Numbers with commas between them."""

    name = "N,N,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(each) for each in str(value).split(","))
        except ValueError:
            found = (0,)
        if not all(1 <= each <= 10_000 for each in found):
            self.fail(f"{value!r} is no list of numbers from 1 to 10000, such as 1,100", param, ctx)
        return tuple(dict.fromkeys(found))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="About a minute, and coarse, instead of about six.")
@click.option("--runs", type=click.IntRange(1, 1000), help="Rounds to measure.")
@click.option("--policies", type=_Amounts(), default=(1, 100, 1000), help="By default 1,100,1000.")
@click.option(
    "--only", type=click.Choice(["traffic", "apply"]), help="Leave the other half of it out."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write all samples to this file too, as JSON.",
)  # fmt: skip
def main(
    quick: bool, runs: int | None, policies: tuple[int, ...], only: str | None, output: Path | None
) -> None:
    """Measure what Tortie's path costs, against plain routing, an overlay and iptables.

    \b
    python -m bench --quick
    python -m bench -o run.json
    """
    if os.geteuid() != 0:
        raise click.ClickException("run as root: this makes network namespaces")
    # Ended politely, everything is still taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    amount = runs or (QUICK_ROUNDS if quick else ROUNDS)
    seconds = QUICK_SECONDS if quick else SECONDS
    changes = QUICK_CHANGES if quick else CHANGES
    begin, here = time.monotonic(), machine()
    try:
        rig.sweep()
        samples = {} if only == "apply" else rounds.run(policies, amount, seconds, _tell)
        stores = () if only == "traffic" else apply.STORES
        applied = [apply.run(store, changes, _tell) for store in stores]
    except (TortieError, Stuck, Failed) as error:
        raise click.ClickException(str(error)) from error
    done = report.Run(here, amount, seconds, time.monotonic() - begin, samples, applied)
    click.echo(report.tables(done))
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(done)) + b"\n")


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
