"""The resources: what an operator writes and the store keeps.

The shapes are those of `projectcalico.org/v3` (and `v1` Namespace); field names on the wire are
theirs. The types are plain frozen data; what a value must satisfy beyond its type is in `validate`.
Fields that no code enforces yet are still declared, so that a manifest round-trips unchanged;
`validate` refuses those whose silence would be unsafe.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

ActionName = Literal["Allow", "Deny", "Log", "Pass"]
Direction = Literal["Ingress", "Egress"]
Port = int | str
Protocol = int | str
UInt32 = Annotated[int, Meta(ge=0, le=4294967295)]
AsNumber = Annotated[int, Meta(ge=1, le=4294967295)]
Encapsulation = Literal["Never", "Always", "CrossSubnet"]


class Plain(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """The settings that all resource types share (msgspec keeps them on the base)."""


class Metadata(Plain, frozen=True):
    """Kubernetes-style metadata. What a server writes (uid and the like) is accepted and kept."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    generate_name: str | None = None
    finalizers: list[str] | None = None
    self_link: str | None = None
    # Written by Kubernetes; opaque to us.
    owner_references: list[dict[str, object]] | None = None
    managed_fields: list[dict[str, object]] | None = None


# --- rules ------------------------------------------------------------------------------------


class Icmp(Plain, frozen=True):
    """ICMP type (0-254) and code (0-255); a code needs a type."""

    type: int | None = None
    code: int | None = None


class ServiceAccounts(Plain, frozen=True):
    """Service accounts by name and by selector (both must hold)."""

    names: list[str] = []
    selector: str = ""


class ServiceMatch(Plain, frozen=True):
    """A Kubernetes Service."""

    name: str
    namespace: str | None = None


class EntityRule(Plain, frozen=True):
    """One end of a rule; every field that is present must match."""

    nets: list[str] = []
    not_nets: list[str] = []
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: list[Port] = []
    not_ports: list[Port] = []
    service_accounts: ServiceAccounts | None = None
    services: ServiceMatch | None = None


class HttpPath(Plain, frozen=True):
    exact: str | None = None
    prefix: str | None = None


class Http(Plain, frozen=True):
    methods: list[str] = []
    paths: list[HttpPath] = []


class RuleMetadata(Plain, frozen=True):
    annotations: dict[str, str] = {}


class Rule(Plain, frozen=True):
    """One rule of a policy or profile; see Calico v3 `Rule`."""

    action: ActionName
    ip_version: Literal[4, 6] | None = None
    protocol: Protocol | None = None
    not_protocol: Protocol | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = field(default=None, name="notICMP")
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: Http | None = None
    metadata: RuleMetadata | None = None


# --- policy -----------------------------------------------------------------------------------


class TierSpec(Plain, frozen=True):
    order: float | None = None
    default_action: Literal["Deny", "Pass"] | None = None


class NetworkPolicySpec(Plain, frozen=True):
    tier: str = "default"
    order: float | None = None
    ingress: list[Rule] = []
    egress: list[Rule] = []
    selector: str = ""
    types: list[Direction] = []
    service_account_selector: str = ""
    performance_hints: list[Literal["AssumeNeededOnEveryNode"]] = []


class GlobalNetworkPolicySpec(Plain, frozen=True):
    tier: str = "default"
    order: float | None = None
    ingress: list[Rule] = []
    egress: list[Rule] = []
    selector: str = ""
    types: list[Direction] = []
    service_account_selector: str = ""
    performance_hints: list[Literal["AssumeNeededOnEveryNode"]] = []
    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = field(default=False, name="preDNAT")
    apply_on_forward: bool = False


class ProfileSpec(Plain, frozen=True):
    ingress: list[Rule] = []
    egress: list[Rule] = []
    labels_to_apply: dict[str, str] = {}


class NetworkSetSpec(Plain, frozen=True):
    nets: list[str] = []


# --- endpoints --------------------------------------------------------------------------------


class EndpointPort(Plain, frozen=True):
    """A named port of an endpoint."""

    name: str
    protocol: Protocol
    port: int
    host_port: int | None = None
    host_ip: str | None = field(default=None, name="hostIP")


class IpNat(Plain, frozen=True):
    internal_ip: str = field(name="internalIP")
    external_ip: str = field(name="externalIP")


class QosControls(Plain, frozen=True):
    ingress_bandwidth: int | None = None
    egress_bandwidth: int | None = None
    ingress_burst: int | None = None
    egress_burst: int | None = None
    ingress_peakrate: int | None = None
    egress_peakrate: int | None = None
    ingress_minburst: int | None = None
    egress_minburst: int | None = None
    ingress_packet_rate: int | None = None
    egress_packet_rate: int | None = None
    ingress_packet_burst: int | None = None
    egress_packet_burst: int | None = None
    ingress_max_connections: int | None = None
    egress_max_connections: int | None = None
    dscp: int | str | None = None


class WorkloadEndpointSpec(Plain, frozen=True):
    """A workload's interface on a node. `ip_networks` are /32 and /128 only."""

    node: str
    orchestrator: str
    interface_name: str
    workload: str = ""
    endpoint: str = ""
    container_id: str = field(default="", name="containerID")
    pod: str = ""
    service_account_name: str = ""
    ip_networks: list[str] = []
    ip_nats: list[IpNat] = field(default_factory=list, name="ipNATs")
    ipv4_gateway: str | None = None
    ipv6_gateway: str | None = None
    profiles: list[str] = []
    mac: str | None = None
    ports: list[EndpointPort] = []
    allow_spoofed_source_prefixes: list[str] = []
    qos_controls: QosControls | None = None


class HostEndpointSpec(Plain, frozen=True):
    node: str
    interface_name: str = ""
    expected_ips: list[str] = field(default_factory=list, name="expectedIPs")
    profiles: list[str] = []
    ports: list[EndpointPort] = []


# --- nodes, addresses, BGP --------------------------------------------------------------------


class NodeBgp(Plain, frozen=True):
    """Addresses are CIDRs (the node's address with its subnet) or bare addresses."""

    as_number: AsNumber | None = None
    ipv4_address: str | None = None
    ipv6_address: str | None = None
    ipv4_ipip_tunnel_addr: str | None = field(default=None, name="ipv4IPIPTunnelAddr")
    route_reflector_cluster_id: str | None = field(default=None, name="routeReflectorClusterID")


class OrchRef(Plain, frozen=True):
    node_name: str
    orchestrator: str


class NodeAddress(Plain, frozen=True):
    address: str
    type: Literal["CalicoNodeIP", "InternalIP", "ExternalIP"] | None = None


class NodeInterface(Plain, frozen=True):
    name: str
    addresses: list[str] = []


class NodeWireguard(Plain, frozen=True):
    interface_ipv4_address: str | None = field(default=None, name="interfaceIPv4Address")
    interface_ipv6_address: str | None = field(default=None, name="interfaceIPv6Address")


class NodeSpec(Plain, frozen=True):
    bgp: NodeBgp | None = None
    ipv4_vxlan_tunnel_addr: str | None = field(default=None, name="ipv4VXLANTunnelAddr")
    ipv6_vxlan_tunnel_addr: str | None = field(default=None, name="ipv6VXLANTunnelAddr")
    vxlan_tunnel_mac_addr: str | None = field(default=None, name="vxlanTunnelMACAddr")
    vxlan_tunnel_mac_addr_v6: str | None = field(default=None, name="vxlanTunnelMACAddrV6")
    orch_refs: list[OrchRef] = []
    wireguard: NodeWireguard | None = None
    addresses: list[NodeAddress] = []
    interfaces: list[NodeInterface] = []


class NodeStatus(Plain, frozen=True):
    wireguard_public_key: str | None = None
    wireguard_public_key_v6: str | None = field(default=None, name="wireguardPublicKeyV6")
    pod_cidrs: list[str] = field(default_factory=list, name="podCIDRs")


class IPPoolSpec(Plain, frozen=True):
    """`cidr` and `block_size` (prefix length of a block: 26 / 122 by default) never change."""

    cidr: str
    vxlan_mode: Encapsulation = "Never"
    ipip_mode: Encapsulation = "Never"
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = field(default=False, name="disableBGPExport")
    block_size: int | None = None
    node_selector: str = "all()"
    namespace_selector: str = ""
    allowed_uses: list[Literal["Workload", "Tunnel", "LoadBalancer"]] = []
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"


class BlockAffinitySpec(Plain, frozen=True):
    """A host's claim on a block of addresses. Written by IPAM, read by the host's agent."""

    cidr: str
    node: str
    state: Literal["pending", "confirmed", "pendingDeletion"]
    type: Literal["host", "virtual"] = "host"
    deleted: bool = False


class SecretKeyRef(Plain, frozen=True):
    name: str
    key: str
    optional: bool | None = None


class Password(Plain, frozen=True):
    secret_key_ref: SecretKeyRef | None = None


class ServiceCidr(Plain, frozen=True):
    cidr: str


class Community(Plain, frozen=True):
    name: str
    value: str


class PrefixAdvertisement(Plain, frozen=True):
    cidr: str
    communities: list[str] = []


class BGPConfigurationSpec(Plain, frozen=True):
    log_severity_screen: str | None = None
    node_to_node_mesh_enabled: bool | None = None
    as_number: AsNumber | None = None
    service_load_balancer_ips: list[ServiceCidr] = field(
        default_factory=list, name="serviceLoadBalancerIPs"
    )
    service_external_ips: list[ServiceCidr] = field(default_factory=list, name="serviceExternalIPs")
    service_cluster_ips: list[ServiceCidr] = field(default_factory=list, name="serviceClusterIPs")
    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] | None = None
    communities: list[Community] = []
    prefix_advertisements: list[PrefixAdvertisement] = []
    listen_port: int | None = None
    node_mesh_password: Password | None = None
    node_mesh_max_restart_time: str | None = None
    bind_mode: Literal["None", "NodeIP"] | None = None
    ignored_interfaces: list[str] = []
    local_workload_peering_ip_v4: str | None = field(default=None, name="localWorkloadPeeringIPV4")
    local_workload_peering_ip_v6: str | None = field(default=None, name="localWorkloadPeeringIPV6")
    program_cluster_routes: str | None = None
    ipv4_normal_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None


class BGPPeerSpec(Plain, frozen=True):
    node: str = ""
    node_selector: str = ""
    peer_ip: str = field(default="", name="peerIP")
    peer_selector: str = ""
    as_number: AsNumber | None = None
    local_as_number: AsNumber | None = field(default=None, name="localASNumber")
    keep_original_next_hop: bool | None = None
    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None
    password: Password | None = None
    source_address: Literal["UseNodeIP", "None"] | None = None
    max_restart_time: str | None = None
    keepalive_time: str | None = None
    num_allowed_local_as_numbers: int | None = field(default=None, name="numAllowedLocalASNumbers")
    ttl_security: Annotated[int, Meta(ge=0, le=255)] | None = None
    reachable_by: str = ""
    filters: list[str] = []
    local_workload_selector: str = ""
    reverse_peering: Literal["Auto", "Manual"] | None = None


class ClusterInformationSpec(Plain, frozen=True):
    cluster_guid: str = field(name="clusterGUID")
    cluster_type: str = ""
    calico_version: str = ""
    datastore_ready: bool | None = None
    variant: str | None = None


class NamespaceSpec(Plain, frozen=True):
    finalizers: list[str] = []


class BarrierSpec(Plain, frozen=True):
    """`token` makes each barrier a new one; every host writes a receipt once it enforces it."""

    token: str


# --- kinds ------------------------------------------------------------------------------------

CalicoV3 = Literal["projectcalico.org/v3"]


class Node(Plain, frozen=True, tag_field="kind", tag="Node"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


class IPPool(Plain, frozen=True, tag_field="kind", tag="IPPool"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: IPPoolSpec


class BlockAffinity(Plain, frozen=True, tag_field="kind", tag="BlockAffinity"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: BlockAffinitySpec


class WorkloadEndpoint(Plain, frozen=True, tag_field="kind", tag="WorkloadEndpoint"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: WorkloadEndpointSpec


class HostEndpoint(Plain, frozen=True, tag_field="kind", tag="HostEndpoint"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: HostEndpointSpec


class Tier(Plain, frozen=True, tag_field="kind", tag="Tier"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: TierSpec = TierSpec()


class NetworkPolicy(Plain, frozen=True, tag_field="kind", tag="NetworkPolicy"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: NetworkPolicySpec = NetworkPolicySpec()


class GlobalNetworkPolicy(Plain, frozen=True, tag_field="kind", tag="GlobalNetworkPolicy"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: GlobalNetworkPolicySpec = GlobalNetworkPolicySpec()


class Profile(Plain, frozen=True, tag_field="kind", tag="Profile"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: ProfileSpec = ProfileSpec()


class NetworkSet(Plain, frozen=True, tag_field="kind", tag="NetworkSet"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: NetworkSetSpec = NetworkSetSpec()


class GlobalNetworkSet(Plain, frozen=True, tag_field="kind", tag="GlobalNetworkSet"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: NetworkSetSpec = NetworkSetSpec()


class BGPConfiguration(Plain, frozen=True, tag_field="kind", tag="BGPConfiguration"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: BGPConfigurationSpec = BGPConfigurationSpec()


class BGPPeer(Plain, frozen=True, tag_field="kind", tag="BGPPeer"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: BGPPeerSpec = BGPPeerSpec()


class ClusterInformation(Plain, frozen=True, tag_field="kind", tag="ClusterInformation"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: ClusterInformationSpec


class Namespace(Plain, frozen=True, tag_field="kind", tag="Namespace"):
    api_version: Literal["v1"] = field(name="apiVersion")
    metadata: Metadata
    spec: NamespaceSpec | None = None
    status: dict[str, object] | None = None


class Barrier(Plain, frozen=True, tag_field="kind", tag="Barrier"):
    api_version: Literal["tortie.dev/v1"] = field(name="apiVersion")
    metadata: Metadata
    spec: BarrierSpec


Resource = (
    Node
    | IPPool
    | BlockAffinity
    | WorkloadEndpoint
    | HostEndpoint
    | Tier
    | NetworkPolicy
    | GlobalNetworkPolicy
    | Profile
    | NetworkSet
    | GlobalNetworkSet
    | BGPConfiguration
    | BGPPeer
    | ClusterInformation
    | Namespace
    | Barrier
)
