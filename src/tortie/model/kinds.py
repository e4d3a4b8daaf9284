"""The kinds as a table, and where each is kept in the store.

Everything that calc reads lies under WORLD, so that one watch in revision order sees it all.
Endpoints and affinities carry the node in their key, so that a host may be given rights to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from tortie.errors import TortieError
from tortie.model import resources as r

ROOT = "/tortie/v1/"
WORLD = ROOT + "world/"
STATUS = ROOT + "status/"
RECEIPTS = ROOT + "receipts/"
IPAM = ROOT + "ipam/"

CALICO = "projectcalico.org/v3"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row: how a kind is called, and whether people or only Tortie itself write it."""

    name: str
    type: type[r.Resource]
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = False
    api_version: str = CALICO
    internal: bool = False
    node_in_key: bool = False
    written: str = ""
    """what files call it, where another kind has that name too: the apiVersion tells them apart"""

    @property
    def word(self) -> str:
        """What people call it in their files, and messages after them."""
        return self.written or self.name


# The order is a safe order to apply in: what is referred to comes before what refers to it.
KINDS: tuple[Kind, ...] = (
    Kind(
        "ClusterInformation",
        r.ClusterInformation,
        "clusterinformations",
        ("clusterinfo",),
        internal=True,
    ),
    Kind("Namespace", r.Namespace, "namespaces", ("ns",), api_version="v1"),
    Kind("Node", r.Node, "nodes", ("no",)),
    Kind("FelixConfiguration", r.FelixConfiguration, "felixconfigurations", ("felixconfig",)),
    Kind("BGPConfiguration", r.BGPConfiguration, "bgpconfigurations", ("bgpconfig",)),
    Kind("Secret", r.Secret, "secrets", (), namespaced=True, api_version="v1"),
    Kind("BGPFilter", r.BGPFilter, "bgpfilters", ()),
    Kind("BGPPeer", r.BGPPeer, "bgppeers", ()),
    Kind("IPAMConfiguration", r.IPAMConfiguration, "ipamconfigurations", ("ipamconfig",)),
    Kind("IPReservation", r.IPReservation, "ipreservations", ()),
    Kind("IPPool", r.IPPool, "ippools", ("pool",)),
    Kind(
        "BlockAffinity",
        r.BlockAffinity,
        "blockaffinities",
        ("affinity",),
        internal=True,
        node_in_key=True,
    ),
    Kind("Tier", r.Tier, "tiers", ()),
    Kind("NetworkSet", r.NetworkSet, "networksets", ("netset",), namespaced=True),
    Kind("GlobalNetworkSet", r.GlobalNetworkSet, "globalnetworksets", ("gns",)),
    Kind("Service", r.Service, "services", ("svc",), namespaced=True, api_version="v1"),
    Kind(
        "EndpointSlice",
        r.EndpointSlice,
        "endpointslices",
        (),
        namespaced=True,
        api_version="discovery.k8s.io/v1",
    ),
    Kind("Profile", r.Profile, "profiles", ()),
    Kind("GlobalNetworkPolicy", r.GlobalNetworkPolicy, "globalnetworkpolicies", ("gnp",)),
    Kind("NetworkPolicy", r.NetworkPolicy, "networkpolicies", ("np",), namespaced=True),
    Kind(
        "ClusterNetworkPolicy",
        r.ClusterNetworkPolicy,
        "clusternetworkpolicies",
        ("cnp",),
        api_version="policy.networking.k8s.io/v1alpha2",
    ),
    Kind(
        "KubernetesNetworkPolicy",
        r.KubernetesNetworkPolicy,
        "kubernetesnetworkpolicies",
        ("knp", "netpol", "networkpolicies.networking.k8s.io"),
        namespaced=True,
        api_version="networking.k8s.io/v1",
        written="NetworkPolicy",
    ),
    Kind(
        "StagedGlobalNetworkPolicy",
        r.StagedGlobalNetworkPolicy,
        "stagedglobalnetworkpolicies",
        ("sgnp",),
    ),
    Kind(
        "StagedNetworkPolicy",
        r.StagedNetworkPolicy,
        "stagednetworkpolicies",
        ("snp",),
        namespaced=True,
    ),
    Kind(
        "StagedKubernetesNetworkPolicy",
        r.StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        ("sknp",),
        namespaced=True,
    ),
    Kind("HostEndpoint", r.HostEndpoint, "hostendpoints", ("hep",)),
    Kind(
        "WorkloadEndpoint",
        r.WorkloadEndpoint,
        "workloadendpoints",
        ("wep",),
        namespaced=True,
        node_in_key=True,
    ),
    Kind("Barrier", r.Barrier, "barriers", (), api_version="tortie.dev/v1", internal=True),
)

BY_NAME = {kind.name: kind for kind in KINDS}
BY_PLURAL = {kind.plural: kind for kind in KINDS}

_decoder: msgspec.json.Decoder[r.Resource] = msgspec.json.Decoder(r.Resource)


class Undecodable(TortieError):
    """A stored value is no resource that this version knows."""


def kind_of(resource: r.Resource) -> Kind:
    """The kind's row for a resource."""
    return BY_NAME[type(resource).__name__]


def key(resource: r.Resource) -> str:
    """The store key of a resource."""
    kind = kind_of(resource)
    parts = [kind.plural]
    if isinstance(resource, r.WorkloadEndpoint | r.BlockAffinity):
        parts.append(resource.spec.node)
    if kind.namespaced:
        parts.append(resource.metadata.namespace or "default")
    return WORLD + "/".join([*parts, resource.metadata.name])


def prefix(kind: Kind, node: str | None = None) -> str:
    """The store prefix under which a kind (of one node, where the key has it) lies."""
    base = f"{WORLD}{kind.plural}/"
    return f"{base}{node}/" if node and kind.node_in_key else base


def encode(resource: r.Resource) -> bytes:
    """The stored form: JSON on one line."""
    return msgspec.json.encode(resource)


def decode(value: bytes) -> r.Resource:
    """The resource of a stored value.

    Raises Undecodable if the value is not one that this version knows.
    """
    try:
        return _decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"stored object cannot be read: {error}") from error


def endpoint_status_key(node: str, namespace: str, name: str) -> str:
    """Where a host's agent says whether a workload endpoint is in the kernel."""
    return f"{STATUS}{node}/endpoints/{namespace}/{name}"


def node_status_key(node: str) -> str:
    """Where a host's agent says how it is."""
    return f"{STATUS}{node}/agent"


def receipt_key(barrier: str, node: str) -> str:
    """Where a host says that it enforces everything up to a barrier."""
    return f"{RECEIPTS}{barrier}/{node}"


class EndpointStatus(msgspec.Struct, frozen=True, rename="camel"):
    """`up`: policy, route and interface are in the kernel; else `reason` says what is missing."""

    state: Literal["up", "waiting", "error"]
    reason: str = ""
    interface: str = ""
    revision: int = 0
    host: str = ""


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How an agent is. `revision`: what its kernel enforces; `time`: Unix seconds."""

    state: Literal["starting", "ready", "holding", "error"]
    revision: int
    time: float
    reason: str = ""
    version: str = ""
    endpoints: int = 0


class Receipt(msgspec.Struct, frozen=True, rename="camel"):
    """`time`: Unix seconds at which the host enforced the barrier's revision."""

    node: str
    revision: int
    time: float


def decode_receipt(value: bytes) -> Receipt:
    """A stored receipt. Raises Undecodable."""
    try:
        return msgspec.json.decode(value, type=Receipt)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"stored receipt cannot be read: {error}") from error
