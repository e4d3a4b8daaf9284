"""The iptables dataplane: `render` a filter as the rules and IP sets of one family."""

from tortie.dataplane.iptables.render import render
from tortie.dataplane.iptables.ruleset import Ruleset, SetSpec

__all__ = ["Ruleset", "SetSpec", "render"]
