#!/usr/bin/env python3
"""Two tenants in two racks on four hosts: built, shown by real connections, changed, taken down.

What the demo says is checked: it exits 1 if anything is not as it says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tortie.lab import matrix
from tortie.lab.probe import Result

HERE = Path(__file__).resolve().parent
LAB = "demo"
TORTIE = Path(sys.executable).with_name("tortie")
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
DATABASE = "shop/database"

Pairs = list[Result]


class Untrue(Exception):
    """Something is not as the demo says."""


def main() -> int:
    """Run the demo; 0 if all of it is true."""
    started = time.monotonic()
    # The demo's own lab, whatever else runs on this machine.
    os.environ["TORTIE_LAB"] = LAB
    os.environ.pop("TORTIE_STORE", None)
    try:
        tortie("lab", "up", HERE / "two-tenants.yaml", "--name", LAB)
        show()
    except (Untrue, subprocess.CalledProcessError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        print()
        tortie("lab", "down", LAB, check=False)
    print(f"\nAll of it is true. {time.monotonic() - started:.0f} s.")
    return 0


def show() -> None:
    """What the lab does, before and after a policy."""
    tortie("lab", "status")
    say("Who reaches whom, by real connections:")
    before = probe()
    print(matrix.render(before, colour=COLOUR))
    print()
    check("everything inside a tenant is reachable, across racks too", before, inside, True)
    check("nothing passes between the tenants", before, between, False)
    check("from outside, the shop's web port is reachable", before, public, True)
    check("from outside, nothing else is", before, hidden, False)

    say("Now only the api may reach the shop's database:")
    tortie("apply", "-f", HERE / "db-only-api.yaml", "--wait")
    after = probe()
    print(matrix.render(after, before, colour=COLOUR))
    print()
    check("the api reaches the database", after, lambda one: to_database(one, "shop/api-"), True)
    check("the web servers no longer do", after, lambda one: to_database(one, "shop/web-"), False)
    check("nothing else has changed", *unchanged(before, after))

    say("And why:")
    tortie("can", "shop/api-1", DATABASE, "tcp/5432")
    tortie("why", "shop/web-1", DATABASE, "tcp/5432", check=False)


# --- kinds of pairs -----------------------------------------------------------------------------


def tenant(name: str) -> str:
    """The namespace of a workload; empty for a machine outside."""
    return name.rpartition("/")[0]


def inside(pair: Result) -> bool:
    return bool(tenant(pair.source)) and tenant(pair.source) == tenant(pair.destination)


def between(pair: Result) -> bool:
    return bool(tenant(pair.source)) and tenant(pair.source) != tenant(pair.destination)


def public(pair: Result) -> bool:
    return not tenant(pair.source) and pair.destination.startswith("shop/web-")


def hidden(pair: Result) -> bool:
    return not tenant(pair.source) and not public(pair)


def to_database(pair: Result, source: str) -> bool:
    return pair.destination == DATABASE and pair.source.startswith(source)


def unchanged(before: Pairs, after: Pairs) -> tuple[Pairs, Callable[[Result], bool], bool]:
    """The pairs that the policy is not about, each `connected` if it is as it was before."""
    then = {(one.source, one.destination, one.protocol, one.port): one for one in before}
    same = [
        msgspec.structs.replace(
            one,
            connected=one == then[one.source, one.destination, one.protocol, one.port],
            answered_by=one.destination,
        )
        for one in after
    ]
    return same, lambda one: one.destination != DATABASE or not inside(one), True


# --- running and checking -----------------------------------------------------------------------


def tortie(*arguments: object, check: bool = True) -> None:
    """Run a command of Tortie's, shown as one would type it."""
    words = [str(each) for each in arguments]
    shown = [os.path.relpath(each) if each.startswith("/") else each for each in words]
    print(f"\n$ tortie {' '.join(shown)}", flush=True)
    subprocess.run([TORTIE, *words], check=check)


def probe() -> Pairs:
    """Connections tried from everywhere to everything."""
    print("\n$ tortie lab probe", flush=True)
    done = subprocess.run(
        [TORTIE, "lab", "probe", "-o", "json"], check=True, stdout=subprocess.PIPE
    )
    return msgspec.convert(json.loads(done.stdout), Pairs)


def say(text: str) -> None:
    print(f"\n== {text}")


def check(what: str, pairs: Pairs, about: Callable[[Result], bool], connected: bool) -> None:
    """Say that all pairs of a kind are (or are not) connected. Raises Untrue if that is wrong."""
    chosen = [one for one in pairs if about(one)]
    right = [
        one
        for one in chosen
        if one.connected == connected and (not connected or one.answered_by == one.destination)
    ]
    good = bool(chosen) and len(right) == len(chosen)
    print(f"  {'true' if good else 'NOT TRUE'}: {what} ({len(right)} of {len(chosen)} pairs)")
    if not good:
        wrong = [f"{one.source} to {one.destination}" for one in chosen if one not in right]
        raise Untrue(f"{what}: not so for {', '.join(wrong) or 'want of any pair'}")


if __name__ == "__main__":
    sys.exit(main())
