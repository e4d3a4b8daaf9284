"""Medians and what surrounds them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Middle:
    """A median and an interval around it; of fewer than six values the interval is their range."""

    median: float
    low: float
    high: float


def middle(values: Sequence[float]) -> Middle:
    """The median of values and the order statistics that hold the true one with 95 % confidence.

    Assumes nothing of the distribution: the number of values below the true median is binomial.
    """
    ordered = sorted(values)
    rank = 0
    while 2 * _below(rank + 1, len(ordered)) <= 1 - CONFIDENCE and 2 * rank + 3 < len(ordered):
        rank += 1
    return Middle(median(ordered), ordered[rank], ordered[-1 - rank])


def _below(rank: int, amount: int) -> float:
    """The chance that at most `rank` of so many values lie below the true median."""
    return float(sum(comb(amount, each) for each in range(rank + 1)) / 2**amount)


def ratios(values: Sequence[float], limit: Sequence[float]) -> Middle:
    """The middle of the ratios of values to those of the limit measured in the same round."""
    return middle([each / whole for each, whole in zip(values, limit, strict=True)])


def percentile(values: Sequence[float], part: int) -> float:
    """The nearest-rank percentile: the least value that `part` % of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * part // 100) - 1)]
