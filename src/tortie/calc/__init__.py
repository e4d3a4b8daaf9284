"""What should hold on one host: a pure function of the world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tortie import desired as d
from tortie.calc import hosts, nat, peering, policy, routing, tunnels
from tortie.calc.policy import Options
from tortie.calc.world import World
from tortie.model import kinds
from tortie.model import resources as r

NO_INTERFACES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
NO_MTUS: Mapping[str, int] = MappingProxyType({})
NO_SECRETS: Mapping[str, str] = MappingProxyType({})

__all__ = ["Options", "World", "desired_for"]


def desired_for(
    world: World,
    node: str,
    revision: int = 0,
    cluster_default: str = "tenant",
    protected: tuple[str, ...] = (),
    interfaces: Mapping[str, tuple[str, ...]] = NO_INTERFACES,
    mtus: Mapping[str, int] = NO_MTUS,
    secrets: Mapping[str, str] = NO_SECRETS,
) -> d.Desired:
    """All that should hold on host `node` of this world.

    `interfaces` are those of the host that are no workload's, with their addresses (without mask),
    `mtus` their MTUs in bytes. `secrets` are the texts of the host's own files of secrets, by name.
    `protected` are addresses (such as the store's) that no namespace default reaches.
    """
    options = Options(cluster_default, protected)
    local, refused = _local(world, node, options)
    firewall = policy.firewall(world, node, local, options, interfaces)
    fabric = policy.fabric_addresses(world, options)
    firewall = tunnels.guard(world, node, nat.translate(world, node, firewall, fabric))
    bgp = nat.told(peering.bgp(world, node, firewall.endpoints, secrets), firewall)
    routes = (
        *routing.routes(world, node, firewall.endpoints),
        *tunnels.routes(world, node, firewall, fabric),
        *nat.routes(world, node, firewall),  # before a blackhole of the same prefix
    )
    owned = {each.prefix: each for each in routes}
    return d.Desired(
        node=node,
        revision=revision,
        filter=firewall,
        routes=tuple(owned[prefix] for prefix in sorted(owned)),
        links=routing.links(firewall.endpoints),
        vxlan=tunnels.vxlan(world, node, interfaces, mtus),
        bgp=bgp,
        refused=refused,
        notes=(
            *peering.notes(world, node, bgp),
            *nat.notes(world, node, firewall, fabric),
            *tunnels.notes(world, node, interfaces, mtus),
        ),
        idle=hosts.idle(world.hosts_on(node), interfaces),
    )


def _local(
    world: World, node: str, options: Options
) -> tuple[list[r.WorkloadEndpoint], tuple[tuple[str, str], ...]]:
    """The endpoints that this host can serve, and why it cannot serve the others.

    An address has the endpoint that claimed it first, on whichever host (see `claims`); of two that
    claim one interface of this host, the first by name has it.
    One that claims a node's address or the store's would draw the fabric's traffic to itself.
    """
    fabric = policy.fabric_addresses(world, options, peers=False)
    taken: dict[str, str] = {}
    served, refused = [], []
    for endpoint in world.endpoints_on(node):
        name = policy.endpoint_id(endpoint)
        spec = endpoint.spec
        lost = {
            address: owner
            for address, owner in world.claims.lost(kinds.key(endpoint))
            if address in spec.ip_networks
        }
        if not spec.interface_name.startswith(d.INTERFACE_PREFIX):
            refused.append((name, f"interface names begin with {d.INTERFACE_PREFIX!r} here"))
        elif stolen := sorted(set(fabric) & set(spec.ip_networks)):
            refused.append((name, f"{stolen[0]} is the fabric's: a node's or the store's"))
        elif lost:
            refused.append((name, _belongs(world, *min(lost.items()))))
        elif spec.interface_name in taken:
            refused.append((name, f"{spec.interface_name} belongs to {taken[spec.interface_name]}"))
        else:
            taken[spec.interface_name] = name
            served.append(endpoint)
    return served, tuple(refused)


def _belongs(world: World, address: str, owner: str) -> str:
    """That an address is another endpoint's, which claimed it first."""
    other = world.all(r.WorkloadEndpoint)[owner]
    return f"{address} belongs to {policy.endpoint_id(other)} on host {other.spec.node}"
