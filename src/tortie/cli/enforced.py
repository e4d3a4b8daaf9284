"""Waiting until the hosts enforce what was applied, and how long it took them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tortie.cli import statuses
from tortie.cli.output import complain, say
from tortie.cli.statuses import Said
from tortie.model import kinds
from tortie.store import resources
from tortie.store.base import Store

_TELL = (1.0, 5.0)
"""Seconds until the first word on who is waited for, and between the next ones."""


def wait(store: Store, barrier: str, since: float, timeout: float) -> bool:
    """Wait for every host with a live agent, print the times, and say whether all answered.

    `since` is when the store had it (Unix seconds). Agents that hold on to an older state are not
    waited for, though they count: their hosts do not enforce it. Raises StoreError.
    """
    nodes = [each.resource.metadata.name for each in resources.read(store, kinds.BY_NAME["Node"])]
    said = statuses.of_nodes(store, nodes)
    live = {name: each for name, each in said.items() if each.alive}
    try:
        receipts = _receipts(store, barrier, live, timeout)
    finally:
        resources.forget_barrier(store, barrier)
    gone = sorted(said.keys() - live.keys())
    if gone:
        complain(f"note: no live agent, so not waited for: {_few(gone)}")
    if not live:
        complain("error: no host has a live agent, so none enforces this yet")
        return False
    took = {name: receipt.time - since for name, receipt in receipts.items() if name in live}
    say(summary(took, len(live)))
    late = sorted(live.keys() - took.keys())
    for name, each in statuses.of_nodes(store, late).items():
        complain(f"error: {name} does not enforce it yet: {_why(each, timeout)}")
    return len(took) == len(live)


def summary(took: Mapping[str, float], of: int) -> str:
    """One line on the seconds that each host took, of so many hosts."""
    head = f"enforced on {len(took)}/{of} hosts"
    if not took:
        return head
    # A host may have it in force before the command has heard of its own commit.
    times = sorted(max(0.0, seconds) for seconds in took.values())
    slowest = max(took, key=lambda name: took[name])
    middle, high = (_milliseconds(percentile(times, part)) for part in (50, 99))
    return f"{head}, p50 {middle}, p99 {high}, slowest {slowest}"


def percentile(ordered: Sequence[float], part: int) -> float:
    """The nearest-rank percentile: the least value that `part` % of all do not exceed."""
    return ordered[max(0, -(-len(ordered) * part // 100) - 1)]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _receipts(
    store: Store, barrier: str, live: Mapping[str, Said], timeout: float
) -> dict[str, kinds.Receipt]:
    able = {name for name, said in live.items() if said.state != "holding"}
    deadline = time.monotonic() + timeout
    pause, later = _TELL
    while True:
        left = deadline - time.monotonic()
        found = resources.wait_for_receipts(store, barrier, able, min(pause, left))
        missing = sorted(able - found.keys())
        if not missing or time.monotonic() >= deadline:
            return found
        complain(f"waiting for {_few(missing)} ...")
        pause = later


def _why(said: Said, timeout: float) -> str:
    if said.state == "ready":
        return f"no answer within {timeout:g} s; see `tortie node status` there"
    return f"its agent is {said.state}" + (f": {said.reason}" if said.reason else "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
