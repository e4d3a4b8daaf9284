"""VXLAN of one host as data: its interfaces, the other hosts' ends, and the routes over them."""

from __future__ import annotations

from collections.abc import Mapping

from tortie import desired as d
from tortie.calc.world import World


def vxlan(
    world: World, node: str, interfaces: Mapping[str, tuple[str, ...]], mtus: Mapping[str, int]
) -> tuple[d.Vxlan, ...]:
    """The host's VXLAN interfaces; none unless a pool asks for VXLAN."""
    return ()


def routes(world: World, node: str) -> tuple[d.Route, ...]:
    """To the blocks of other hosts that lie in pools with VXLAN."""
    return ()


def carried(world: World) -> tuple[str, ...]:
    """The prefixes of pools that VXLAN carries."""
    return ()


def guard(world: World, node: str, firewall: d.Filter) -> d.Filter:
    """The filter with what it must know of VXLAN."""
    return firewall
