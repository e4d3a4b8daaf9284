"""All contenders stand side by side and are measured in turn, round after round."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from bench.rig import Contender, contenders, standing
from bench.traffic import Traffic, await_server, traffic

MEASURES = ("throughput", "round_trips", "connections")
LIMIT = "plain"
"""What all others are compared with."""

OVERLAY = "bridge-vxlan"

LOOPBACK = "loopback"
"""No network at all: what the client and the server themselves can do."""

Samples = dict[str, dict[str, list[float]]]
"""By contender and measure: one rate a second for each round."""


def run(
    amounts: tuple[int, ...], rounds: int, seconds: float, tell: Callable[[str], None]
) -> Samples:
    """Measure everybody. A round is each contender's three measurements, A B C ... A B C ...

    Each round begins with another contender, so that nobody always follows the same one. Raises
    KernelError, Stuck.
    """
    with contextlib.ExitStack() as stack:
        everybody: dict[str, Traffic] = {}
        for contender in contenders(amounts):
            tell(f"building {contender.name}")
            everybody |= _build(stack, contender)
        samples: Samples = {name: {each: [] for each in MEASURES} for name in everybody}
        names = list(everybody)
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            start = number % len(names)
            for name in names[start:] + names[:start]:
                for measure in MEASURES:
                    rate = everybody[name].measure(measure, seconds)
                    samples[name][measure].append(rate)
        return samples


def _build(stack: contextlib.ExitStack, contender: Contender) -> dict[str, Traffic]:
    """A contender, and beside the first the loopback of one of its workloads."""
    built = stack.enter_context(standing(contender))
    found = {contender.name: stack.enter_context(traffic(built))}
    if contender.name == LIMIT:
        found[LOOPBACK] = stack.enter_context(traffic(built, loopback=True))
    for each in found.values():
        await_server(each)
    return found
