"""The nftables dataplane: `render` a filter, make scripts of it, `NftDriver`."""

from tortie.dataplane.nft.driver import NftDriver
from tortie.dataplane.nft.render import render
from tortie.dataplane.nft.ruleset import (
    Chain,
    Names,
    Ruleset,
    SetSpec,
    Table,
    names_in,
    reshaped,
    script_diff,
    script_full,
    script_refill,
    script_sets,
)

__all__ = [
    "Chain",
    "Names",
    "NftDriver",
    "Ruleset",
    "SetSpec",
    "Table",
    "names_in",
    "render",
    "reshaped",
    "script_diff",
    "script_full",
    "script_refill",
    "script_sets",
]
