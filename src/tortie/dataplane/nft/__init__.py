"""The nftables dataplane: `render` a filter, `script_full` or `script_diff` it, `NftDriver`."""

from tortie.dataplane.nft.driver import NftDriver
from tortie.dataplane.nft.render import render
from tortie.dataplane.nft.ruleset import Chain, Ruleset, SetSpec, Table, script_diff, script_full

__all__ = [
    "Chain",
    "NftDriver",
    "Ruleset",
    "SetSpec",
    "Table",
    "render",
    "script_diff",
    "script_full",
]
