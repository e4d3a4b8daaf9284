"""A run as tables for people and as JSON."""

from __future__ import annotations

from msgspec import Struct
from tabulate import tabulate

from bench import apply
from bench.apply import Applied
from bench.machine import Machine
from bench.rounds import LIMIT, LOOPBACK, MEASURES, OVERLAY, Samples
from bench.stats import Middle, middle, ratios

UNITS = {"throughput": ("Gbit/s", 1e9), "round_trips": ("/s", 1.0), "connections": ("/s", 1.0)}
TITLES = {
    "throughput": "throughput of one TCP stream",
    "round_trips": "round trips on one TCP connection",
    "connections": "new TCP connections (connect, request, answer, close)",
}


class Run(Struct, frozen=True):
    """All of one run. Rates are bits or events a second; times are milliseconds."""

    machine: Machine
    rounds: int
    seconds: float
    """of one measurement"""
    took: float
    """seconds of it all"""
    samples: Samples
    applied: list[Applied]


def tables(run: Run) -> str:
    """The run for people: for each measure the medians and the ratios to plain routing."""
    machine = run.machine
    parts = [
        f"{machine.cores} cores of {machine.processor}, Linux {machine.kernel}, nft"
        f" {machine.nftables}, iptables {machine.iptables} (legacy), Python {machine.python};"
        f" load before the run {machine.load:g}",
    ]
    if run.samples:
        parts.append(
            f"medians of {run.rounds} alternating rounds of {run.seconds:g} s; in brackets the"
            f" {'95 % interval' if run.rounds > 5 else 'range'};\nthe ratio is that to {LIMIT}"
            " routing in the same round"
        )
        parts += [_table(measure, run.samples) for measure in MEASURES]
        parts.append(_duel(run.samples))
    if run.applied:
        head = f"from apply to enforced, ms {'':21} {'p50':>7} {'p99':>8} {'max':>8}"
        parts.append(
            "\n".join([head, *(line for each in run.applied for line in apply.lines(each))])
        )
    parts.append(f"took {run.took:.0f} s")
    return "\n\n".join(parts)


def _table(measure: str, samples: Samples) -> str:
    unit, scale = UNITS[measure]
    limit = samples[LIMIT][measure]
    digits = 2 if scale > 1 else 0
    names = sorted(samples, key=lambda name: name == LOOPBACK)
    rows = []
    for name in names:
        values = samples[name][measure]
        rate = middle([each / scale for each in values])
        rows.append((name, *_cells(rate, digits), *_cells(ratios(values, limit), 2)))
    head = ["", f"{unit}", "", f"of {LIMIT}", ""]
    text = tabulate(
        rows, head, "plain", disable_numparse=True,
        colalign=("left", "right", "left", "right", "left"),
    )  # fmt: skip
    return f"{TITLES[measure]}\n{text}"


def _duel(samples: Samples) -> str:
    """Tortie's rates as ratios to those of each rival, of iptables the one with its policies."""
    rows = []
    for measure in MEASURES:
        for name in (each for each in samples if each.startswith("tortie-")):
            rivals = (LIMIT, OVERLAY, name.replace("tortie", "iptables"))
            cells = [
                _cells(ratios(samples[name][measure], samples[rival][measure]), 2)
                for rival in rivals
            ]
            rows.append((measure, name, *(text for cell in cells for text in cell)))
    head = ["Tortie against", "", LIMIT, "", OVERLAY, "", "iptables", ""]
    align = ("left", "left", *("right", "left") * 3)
    return tabulate(rows, head, "plain", disable_numparse=True, colalign=align)


def _cells(found: Middle, digits: int) -> tuple[str, str]:
    return (
        f"{found.median:.{digits}f}",
        f"[{found.low:.{digits}f}, {found.high:.{digits}f}]",
    )
