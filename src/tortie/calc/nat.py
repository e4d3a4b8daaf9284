"""Address translation of one host as data: outgoing NAT of pools, and floating addresses."""

from __future__ import annotations

from tortie import desired as d
from tortie.calc.world import World


def translate(world: World, node: str, firewall: d.Filter) -> d.Filter:
    """The filter with the host's address translation."""
    return firewall
