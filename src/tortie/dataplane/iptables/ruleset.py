"""An iptables rule set of one family, with its IP sets, as data. Pure.

A set's name is made from its content, so a changed set is another set under another name: rules
that look into it are changed rules, and the commit of their table switches both at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tortie.desired import Family

TableName = Literal["raw", "mangle", "nat", "filter"]
TABLES: tuple[TableName, ...] = ("filter", "mangle", "raw", "nat")
"""In the order in which they are committed: what is judged last is in place first, and translated
is what is judged by then."""

CHAIN_PREFIX = "tor-"
"""Every chain of ours begins so; iptables takes names of up to 28 characters."""

SET_PREFIX = {4: "tor4_", 6: "tor6_"}
"""Every IP set of ours begins so; ipset takes names of up to 31 characters."""

SetType = Literal["hash:ip", "hash:net", "hash:ip,port", "hash:net,iface"]


@dataclass(frozen=True, slots=True)
class SetSpec:
    """An IP set; members are as `ipset` writes them, such as "10.0.0.1,tcp:80"."""

    type: SetType
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What is ours in one family."""

    family: Family
    sets: Mapping[str, SetSpec] = field(default_factory=dict)
    """by name"""
    chains: Mapping[TableName, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """by table and name: the rules in order, each without `-A CHAIN`"""
    hooks: Mapping[TableName, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """by table and built-in chain: the rules that stand at its head, such as `-j tor-forward`"""
