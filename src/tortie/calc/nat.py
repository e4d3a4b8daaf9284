"""Address translation of one host as data: what leaves under another address, and floating ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc.members import host_cidr
from tortie.calc.policy import endpoint_id
from tortie.calc.routing import node_addresses
from tortie.calc.world import World, node_cidrs
from tortie.model import kinds, net
from tortie.model import resources as r


class _Asked(NamedTuple):
    """A floating address that an endpoint of this host asks for; `refused`: why it has it not."""

    endpoint: str
    floating: d.Floating
    refused: str = ""


def translate(world: World, node: str, firewall: d.Filter, fabric: Iterable[str]) -> d.Filter:
    """The filter with all that it must know of address translation.

    Nobody's floating address is one of `fabric` (CIDRs of full length): all that is sent to it
    would go astray.
    """
    pools = world.all(r.IPPool).values()
    return replace(
        firewall,
        nat_outgoing=tuple(_outgoing(world, node)),
        floating=tuple(
            each.floating
            for each in _asked(world, node, firewall.endpoints, frozenset(fabric))
            if not each.refused
        ),
        inside=net.collapse(pool.spec.cidr for pool in pools),
    )


def notes(world: World, node: str, firewall: d.Filter, fabric: Iterable[str]) -> tuple[str, ...]:
    """Floating addresses that endpoints of this host ask for and do not have, in words."""
    return tuple(
        f"{each.endpoint} has no floating address {each.floating.external}: {each.refused}"
        for each in _asked(world, node, firewall.endpoints, frozenset(fabric))
        if each.refused
    )


def told(bgp: d.Bgp | None, firewall: d.Filter) -> d.Bgp | None:
    """The BGP of a host that also tells others of the floating addresses here, one by one: those
    that lie in a pool, and in no block of the host, which others know already."""
    if bgp is None:
        return None
    blocks = [net.parse_net(each) for each in bgp.originate]
    pools = [net.parse_net(each) for each in bgp.pools]
    alone = (
        host_cidr(each.external)
        for each in firewall.floating
        if _within(each.external, pools) and not _within(each.external, blocks)
    )
    return replace(bgp, originate=(*bgp.originate, *alone))


def routes(world: World, node: str, firewall: d.Filter) -> Iterator[d.Route]:
    """To the floating addresses here, so that the host itself finds a way to them too."""
    behind = {address: each.interface for each in firewall.endpoints for address in each.addresses}
    source = node_addresses(world.node(node))
    for each in firewall.floating:
        family = net.parse_address(each.external).family
        yield d.Route(host_cidr(each.external), behind[each.internal], source.get(family, ""))


def _within(address: str, nets: Iterable[net.Net]) -> bool:
    own = net.parse_net(address)
    return any(each.covers(own) for each in nets)


# --- outgoing ---------------------------------------------------------------------------------


def _outgoing(world: World, node: str) -> Iterator[d.NatOutgoing]:
    """One for each family in which any pool asks for it. A disabled pool still asks (Calico v3)."""
    pools = world.all(r.IPPool).values()
    spec = world.settings(node)
    exclude = [pool.spec.cidr for pool in pools]
    if spec.nat_outgoing_exclusions == "IPPoolsAndHostIPs":
        exclude += [each for one in world.all(r.Node).values() for each in node_cidrs(one)]
    sources = net.collapse(pool.spec.cidr for pool in pools if pool.spec.nat_outgoing)
    excluded = net.collapse(exclude)
    families: tuple[d.Family, ...] = (4, 6)
    for family in families:
        own = _of_family(sources, family)
        if own:
            yield d.NatOutgoing(
                family=family,
                sources=own,
                exclude=_of_family(excluded, family),
                address=_address(spec.nat_outgoing_address, family),
                ports=_ports(spec.nat_port_range),
            )


def _of_family(nets: Iterable[str], family: d.Family) -> tuple[str, ...]:
    return tuple(each for each in nets if net.parse_net(each).family == family)


def _address(given: str | None, family: d.Family) -> str:
    """FIRST or FIRST-LAST if it is of the family."""
    found = [net.parse_address(part) for part in (given or "").split("-") if part]
    if not found or found[0].family != family:
        return ""
    return "-".join(each.text for each in found)


def _ports(given: str | int | None) -> d.PortRange | None:
    """FIRST:LAST, or one port."""
    if given is None:
        return None
    first, _, last = str(given).partition(":")
    return d.PortRange(int(first), int(last or first))


# --- floating ---------------------------------------------------------------------------------


def _asked(
    world: World, node: str, served: Iterable[d.Endpoint], fabric: Collection[str]
) -> Iterator[_Asked]:
    """What the endpoints that are served here ask for, in their order."""
    if world.settings(node).floating_ips == "Disabled":
        return
    addresses = {each.id: each.addresses for each in served}
    for endpoint in world.endpoints_on(node):
        name = endpoint_id(endpoint)
        taken = set()
        for each in endpoint.spec.ip_nats if name in addresses else ():
            internal = net.parse_address(each.internal_ip)
            external = net.parse_address(each.external_ip)
            if internal.text in addresses[name] and external.text not in taken:
                taken.add(external.text)
                refused = ""
                if internal.family != external.family:
                    refused = f"{internal.text} is of another family"
                elif host_cidr(external.text) in fabric:
                    refused = "it is the fabric's: a node's, a BGP peer's or the store's"
                else:
                    refused = _elsewhere(world, kinds.key(endpoint), external.text)
                yield _Asked(name, d.Floating(external.text, internal.text), refused)


def _elsewhere(world: World, claimant: str, external: str) -> str:
    """Who else has an address, in words; "" if the claimant has it: who claimed it first."""
    owner = world.claims.owner(host_cidr(external))
    if owner in (None, claimant):
        return ""
    other = world.all(r.WorkloadEndpoint)[owner or ""]
    return f"it belongs to {endpoint_id(other)} on host {other.spec.node}"
