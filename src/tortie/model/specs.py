"""The parts of resources: endpoints, nodes, addresses and BGP, as in `projectcalico.org/v3`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from tortie.model.rules import AsNumber, Encapsulation, Plain, Protocol

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
    """Where a password is: a key of a Secret in the store, or (ours) a file on each host."""

    secret_key_ref: SecretKeyRef | None = None
    file: str | None = None
    """ours; name of a file in the agent's directory of secrets"""


class Bfd(Plain, frozen=True):
    """Ours: a session counts as dead after `multiplier` times `interval` of silence."""

    interval: str = "200ms"
    multiplier: int = 3


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
    node_mesh_bfd: Bfd | None = field(default=None, name="nodeMeshBFD")
    """ours; none: no BFD in the mesh"""


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
    bfd: Bfd | None = None
    """ours"""
    max_prefixes: int | None = None
    """ours; 100000: how many routes of each family are taken from the peer"""


class PrefixLength(Plain, frozen=True):
    min: int | None = None
    max: int | None = None


class FilterCommunities(Plain, frozen=True):
    values: list[str] = []


class AddCommunity(Plain, frozen=True):
    value: str


class PrependAsPath(Plain, frozen=True):
    prefix: list[AsNumber] = []


class SetPriority(Plain, frozen=True):
    value: int


class FilterOperation(Plain, frozen=True):
    """Exactly one of them."""

    add_community: AddCommunity | None = None
    prepend_as_path: PrependAsPath | None = field(default=None, name="prependASPath")
    set_priority: SetPriority | None = None


class BGPFilterRule(Plain, frozen=True):
    action: Literal["Accept", "Reject"]
    cidr: str | None = None
    match_operator: Literal["Equal", "NotEqual", "In", "NotIn"] | None = None
    prefix_length: PrefixLength | None = None
    source: Literal["RemotePeers"] | None = None
    interface: str | None = None
    peer_type: Literal["eBGP", "iBGP"] | None = None
    communities: FilterCommunities | None = None
    as_path_prefix: list[AsNumber] | None = None
    priority: int | None = None
    operations: list[FilterOperation] | None = None


class BGPFilterSpec(Plain, frozen=True):
    """Per direction and family; the first rule that matches decides."""

    export_v4: list[BGPFilterRule] = field(default_factory=list, name="exportV4")
    import_v4: list[BGPFilterRule] = field(default_factory=list, name="importV4")
    export_v6: list[BGPFilterRule] = field(default_factory=list, name="exportV6")
    import_v6: list[BGPFilterRule] = field(default_factory=list, name="importV6")


class IPReservationSpec(Plain, frozen=True):
    """Addresses that are never assigned; those in use stay."""

    reserved_cidrs: list[str] = field(default_factory=list, name="reservedCIDRs")


class IPAMConfigurationSpec(Plain, frozen=True):
    """The settings of address assignment; None: the default."""

    strict_affinity: bool | None = None
    """False: a node may borrow addresses from the blocks of others"""
    max_blocks_per_host: int | None = None
    """0: 20"""
    auto_allocate_blocks: bool | None = None
    """True"""
    kube_virt_vm_address_persistence: Literal["Enabled", "Disabled"] | None = field(
        default=None, name="kubeVirtVMAddressPersistence"
    )
    ip_cooldown_seconds: int | None = None
    """60 (Calico: 0)"""
    leak_grace_period: str | None = None
    """ours; 15m: how long an address must belong to nobody before it is freed; 0s: never freed"""


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
