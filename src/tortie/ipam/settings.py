"""What IPAMConfiguration `default` says, with the defaults in place of what it does not. Pure."""

from __future__ import annotations

from typing import NamedTuple

from tortie.ipam import block as blk
from tortie.model import resources as r

MAX_BLOCKS = 20
"""Blocks of one family that a node has, unless the configuration says otherwise (Calico v3)."""


class Settings(NamedTuple):
    """How addresses are assigned."""

    strict: bool = False
    """a node assigns from its own blocks only"""
    max_blocks: int = MAX_BLOCKS
    """blocks of one family that a node claims by itself"""
    auto_allocate: bool = True
    """nodes claim blocks by themselves"""
    cool_down: float = blk.COOL_DOWN
    """seconds"""


def of(spec: r.IPAMConfigurationSpec) -> Settings:
    """The settings of a configuration."""
    seconds = spec.ip_cooldown_seconds
    return Settings(
        strict=bool(spec.strict_affinity),
        max_blocks=spec.max_blocks_per_host or MAX_BLOCKS,
        auto_allocate=spec.auto_allocate_blocks is not False,
        cool_down=blk.COOL_DOWN if seconds is None else float(seconds),
    )
