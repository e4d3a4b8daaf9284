"""The settings of BGP: BGPConfiguration, the cluster's and each node's, with Calico's defaults."""

from __future__ import annotations

from msgspec.structs import replace

from tortie.calc.world import World
from tortie.model import kinds
from tortie.model import resources as r

DEFAULT_AS = 64512  # Calico v3
DEFAULT_PORT = 179
_OF_NODE = (
    "log_severity_screen", "listen_port", "bind_mode", "ignored_interfaces", "communities",
    "prefix_advertisements",
)  # fmt: skip
"""What `node.NAME` may say; the rest is the cluster's."""


def cluster(world: World) -> r.BGPConfigurationSpec:
    """What `default` says."""
    found = world.all(r.BGPConfiguration).get(f"{kinds.WORLD}bgpconfigurations/default")
    return found.spec if found else r.BGPConfigurationSpec()


def of_node(world: World, node: str) -> r.BGPConfigurationSpec:
    """What holds for a node: what `node.NAME` gives stands before `default`, field by field."""
    common = cluster(world)
    own = world.all(r.BGPConfiguration).get(f"{kinds.WORLD}bgpconfigurations/node.{node}")
    if own is None:
        return common
    given = {field: getattr(own.spec, field) for field in _OF_NODE}
    return replace(common, **{field: value for field, value in given.items() if value})


def as_number(world: World, node: r.Node) -> int:
    """The AS of a node: its own, or the cluster's."""
    own = node.spec.bgp.as_number if node.spec.bgp else None
    return own or cluster(world).as_number or DEFAULT_AS


def port(world: World, node: r.Node) -> int:
    """Where a node listens."""
    return of_node(world, node.metadata.name).listen_port or DEFAULT_PORT


def cluster_id(node: r.Node) -> str | None:
    """What makes a node a route reflector."""
    return node.spec.bgp.route_reflector_cluster_id if node.spec.bgp else None
