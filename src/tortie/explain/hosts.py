"""Hosts: which interface a packet takes, and which host endpoint governs it (Calico v3).

One host endpoint governs an interface: of those that name it, or name none and expect an address of
it, the first by name; else the first that names "*". None governs `lo` or a workload's interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tortie.explain.entity import Address, Entity, Interface, address_of, network
from tortie.explain.known import Known, node_addresses, of_kind
from tortie.explain.settings import Settings
from tortie.model import resources as r

EVERY = "*"
WORKLOAD_PREFIX = "tor"
ALLOW_ALL_PROFILE = "projectcalico-default-allow"
CREATED_BY = {"projectcalico.org/created-by": "tortie"}


def host_endpoints(
    resources: Sequence[r.Resource], settings: Mapping[str, Settings]
) -> Iterator[r.HostEndpoint]:
    """Those that are written, and an automatic one for each node that has none, if settings say so.

    `settings` are by the names of all nodes.
    """
    written = of_kind(resources, r.HostEndpoint)
    yield from written
    named = {host.spec.node for host in written}
    for node in of_kind(resources, r.Node):
        name = node.metadata.name
        if name not in named and settings[name].automatic_hosts:
            yield r.HostEndpoint(
                api_version="projectcalico.org/v3",
                metadata=r.Metadata(
                    name=f"{name}-auto-hep", labels={**node.metadata.labels, **CREATED_BY}
                ),
                spec=r.HostEndpointSpec(
                    node=name,
                    interface_name=EVERY,
                    expected_ips=[str(one) for one in node_addresses(node)],
                    profiles=[ALLOW_ALL_PROFILE],
                ),
            )


def interface_towards(
    known: Known, interfaces: Mapping[str, Sequence[Interface]], node: str, other: Address
) -> Interface:
    """The interface of a node by which packets to and from an address go.

    The longest prefix that has the address wins, then the first. Of a node whose interfaces nobody
    tells, the one that has its address.
    """
    if node not in interfaces:
        return _likely_interface(known.node(node))
    lengths = [(max(_lengths(each.towards, other), default=-1), each) for each in interfaces[node]]
    best = max((length for length, _ in lengths), default=-1)
    return next((each for length, each in lengths if length == best >= 0), Interface(""))


def _lengths(nets: Iterable[str], address: Address) -> Iterator[int]:
    return (network(net).prefixlen for net in nets if address in network(net))


def _likely_interface(node: r.Node | None) -> Interface:
    """The interface that has the node's BGP address, its first; "" if none says so."""
    addresses = node_addresses(node) if node else ()
    for each in node.spec.interfaces if node else ():
        own = [address_of(text) for text in each.addresses]
        if addresses and addresses[0] in own:
            return Interface(each.name, tuple(map(str, own)))
    return Interface("", tuple(map(str, addresses)))


def governor(
    known: Known, node: str, interface: Interface, own: Address | None = None
) -> Entity | None:
    """The host endpoint that governs an interface of a node.

    If nobody knows the interface's name, it is taken to be the one that has an expected address:
    `own`, the host's address in the packet, before others; else the only one that is named.
    """
    name = interface.name
    if name == "lo" or name.startswith(WORKLOAD_PREFIX):
        return None
    here = sorted((one for one in known.hosts if one.node == node), key=lambda one: one.name)
    exact = [one for one in here if one.interface != EVERY]
    every = [one for one in here if one.interface == EVERY]
    addresses = [address_of(text) for text in interface.addresses]
    if name:
        fitting = [
            one
            for one in exact
            if one.interface == name or (not one.interface and _expects(one, addresses))
        ]
    else:
        named = [one for one in exact if one.interface]
        fitting = [one for one in exact if own is not None and _expects(one, [own])]
        fitting += [one for one in exact if _expects(one, addresses)]
        fitting += named if len(named) == 1 else []
    return next(iter((*fitting, *every)), None)


def _expects(host: Entity, addresses: Iterable[Address]) -> bool:
    return any(address_of(text) in addresses for text in host.nets)
