"""The resources that a lab writes for itself, joined with those of its file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from tortie.lab.document import Family
from tortie.lab.plan import Host, Plan, Router
from tortie.model import kinds
from tortie.model import resources as r

RACK_LABEL = "rack"
REFLECTOR_LABEL = "reflector"
UPSTREAM = "tortie.dev/upstream"


def resources(plan: Plan, written: Sequence[r.Resource] = ()) -> list[r.Resource]:
    """All resources of a lab, in a safe order to apply.

    One of the file's stands instead of the lab's of the same kind and name; a Node of the file
    adds its labels and annotations to the lab's.
    """
    own = {kinds.key(each): each for each in _own(plan)}
    for resource in written:
        key = kinds.key(resource)
        if isinstance(resource, r.Node) and key in own:
            resource = _merged(own[key].metadata, resource, own[key])
        own[key] = resource
    order = list(kinds.BY_NAME)
    return sorted(own.values(), key=lambda each: order.index(type(each).__name__))


def _own(plan: Plan) -> Iterable[r.Resource]:
    bfd = r.Bfd() if plan.bfd else None
    mesh = plan.bgp == "mesh"
    yield r.BGPConfiguration(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name="default"),
        spec=r.BGPConfigurationSpec(
            node_to_node_mesh_enabled=mesh, node_mesh_bfd=bfd if mesh else None
        ),
    )
    if plan.bgp == "routers":
        for router in plan.routers:
            yield from _router_peers(router, bfd)
    if plan.bgp == "reflectors":
        spec = r.BGPPeerSpec(
            node_selector="all()", peer_selector=f"has({REFLECTOR_LABEL})", bfd=bfd
        )
        yield _peer("reflectors", spec)
    for speaker in plan.speakers:
        for family, address in speaker.addresses.items():
            yield _peer(
                _name(speaker.name, family),
                r.BGPPeerSpec(
                    node_selector=f"{RACK_LABEL} == '{speaker.rack}'",
                    peer_ip=address,
                    as_number=speaker.as_number,
                ),
            )
    for host in plan.hosts:
        yield _node(host)
    for index, cidr in enumerate(plan.pools):
        name = f"lab-{index}" if index else "lab"
        yield r.IPPool(
            api_version="projectcalico.org/v3",
            metadata=r.Metadata(name=name),
            spec=r.IPPoolSpec(cidr=cidr),
        )
    for name in sorted({each.wanted.namespace for each in plan.workloads}):
        yield r.Namespace(api_version="v1", metadata=r.Metadata(name=name))


def _router_peers(router: Router, bfd: r.Bfd | None) -> Iterable[r.Resource]:
    for family, address in router.addresses.items():
        spec = r.BGPPeerSpec(
            node_selector=f"{RACK_LABEL} == '{router.rack}'",
            peer_ip=address,
            as_number=router.as_number,
            bfd=bfd,
        )
        yield _peer(_name(router.name, family), spec, {UPSTREAM: "true"})


def _name(name: str, family: Family) -> str:
    return name if family == 4 else f"{name}-v6"


def _peer(name: str, spec: r.BGPPeerSpec, annotations: dict[str, str] | None = None) -> r.BGPPeer:
    return r.BGPPeer(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=name, annotations=annotations or {}),
        spec=spec,
    )


def _node(host: Host) -> r.Node:
    found = [r.NodeAddress(address=host.management, type="InternalIP")] if host.management else []
    labels = {RACK_LABEL: host.rack}
    if host.cluster_id:
        labels[REFLECTOR_LABEL] = "true"
    return r.Node(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=host.name, labels=labels),
        spec=r.NodeSpec(
            bgp=r.NodeBgp(
                ipv4_address=host.address,
                ipv6_address=host.address6,
                as_number=host.as_number,
                route_reflector_cluster_id=host.cluster_id,
            ),
            addresses=found,
        ),
    )


def _merged(metadata: r.Metadata, written: r.Node, own: r.Resource) -> r.Resource:
    """The lab's node with what the file says of it; the rack stays the lab's to say."""
    labels = {**written.metadata.labels, **metadata.labels}
    both = replace(metadata, labels=labels, annotations=written.metadata.annotations)
    return replace(own, metadata=both)
