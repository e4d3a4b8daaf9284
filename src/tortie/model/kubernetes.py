"""The parts of Kubernetes' own kinds, in the shapes of `networking.k8s.io/v1`, `v1`,
`policy.networking.k8s.io/v1alpha2` and `discovery.k8s.io/v1`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from tortie.model.rules import Direction, Plain, Port, StagedAction

# --- selectors --------------------------------------------------------------------------------


class LabelRequirement(Plain, frozen=True):
    """One expression; `NotIn` also holds where the label is missing."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class LabelSelector(Plain, frozen=True):
    """All of its parts must hold; an empty one selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: list[LabelRequirement] = []


# --- networking.k8s.io/v1 NetworkPolicy -------------------------------------------------------


class IpBlock(Plain, frozen=True):
    """A prefix, and prefixes inside it that are not meant."""

    cidr: str
    except_: list[str] = field(default_factory=list, name="except")


class KubernetesPeer(Plain, frozen=True):
    """`ip_block` alone, or selectors: pods of the policy's own namespace unless a namespace
    selector says otherwise."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


class KubernetesPort(Plain, frozen=True):
    """A number, a pod's name for one, or (None) all; up to `end_port` if that is given."""

    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: Port | None = None
    end_port: int | None = None


class KubernetesIngressRule(Plain, frozen=True):
    """Without peers: from anybody; without ports: to all."""

    from_: list[KubernetesPeer] = field(default_factory=list, name="from")
    ports: list[KubernetesPort] = []


class KubernetesEgressRule(Plain, frozen=True):
    """Without peers: to anybody; without ports: to all."""

    to: list[KubernetesPeer] = []
    ports: list[KubernetesPort] = []


class KubernetesNetworkPolicySpec(Plain, frozen=True):
    """Without types: Ingress, and Egress if there are egress rules."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: list[KubernetesIngressRule] = []
    egress: list[KubernetesEgressRule] = []
    policy_types: list[Direction] = []


class StagedKubernetesNetworkPolicySpec(Plain, frozen=True):
    """A NetworkPolicy of Kubernetes that is kept and never enforced."""

    staged_action: StagedAction = "Set"
    pod_selector: LabelSelector = LabelSelector()
    ingress: list[KubernetesIngressRule] = []
    egress: list[KubernetesEgressRule] = []
    policy_types: list[Direction] = []


# --- policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy -----------------------------------


class NamespacedPod(Plain, frozen=True):
    """Pods by their labels in namespaces by theirs."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class ClusterSubject(Plain, frozen=True):
    """Exactly one of these is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class ClusterIngressPeer(Plain, frozen=True):
    """Exactly one of these is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class ClusterEgressPeer(Plain, frozen=True):
    """Exactly one of these is set. `nodes` means the addresses of nodes by the nodes' labels."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    nodes: LabelSelector | None = None
    networks: list[str] | None = None
    domain_names: list[str] | None = None


class ClusterPortRange(Plain, frozen=True):
    start: int
    end: int


class ClusterPort(Plain, frozen=True):
    """Exactly one of these is set."""

    number: int | None = None
    range: ClusterPortRange | None = None


class ClusterTransport(Plain, frozen=True):
    destination_port: ClusterPort | None = None


class ClusterProtocol(Plain, frozen=True):
    """Exactly one of these is set. A named port is meant for every protocol that has it."""

    tcp: ClusterTransport | None = None
    udp: ClusterTransport | None = None
    sctp: ClusterTransport | None = None
    destination_named_port: str = ""


ClusterAction = Literal["Accept", "Deny", "Pass"]


class ClusterIngressRule(Plain, frozen=True):
    action: ClusterAction
    from_: list[ClusterIngressPeer] = field(name="from")
    protocols: list[ClusterProtocol] = []
    name: str = ""


class ClusterEgressRule(Plain, frozen=True):
    action: ClusterAction
    to: list[ClusterEgressPeer]
    protocols: list[ClusterProtocol] = []
    name: str = ""


class ClusterNetworkPolicySpec(Plain, frozen=True):
    """Tier Admin is evaluated as `kube-admin`, Baseline as `kube-baseline`, by `priority`."""

    tier: Literal["Admin", "Baseline"]
    priority: Annotated[int, Meta(ge=0, le=1000)]
    subject: ClusterSubject
    ingress: list[ClusterIngressRule] = []
    egress: list[ClusterEgressRule] = []


# --- v1 Service, discovery.k8s.io/v1 EndpointSlice --------------------------------------------


class ServicePort(Plain, frozen=True):
    port: int
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    target_port: Port | None = None
    node_port: int | None = None
    app_protocol: str | None = None


class ClientIpConfig(Plain, frozen=True):
    """`timeout_seconds`: 10800 if not given."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Plain, frozen=True):
    client_ip: ClientIpConfig | None = field(default=None, name="clientIP")


class ServiceSpec(Plain, frozen=True):
    """A service's frontend. Who is behind it is in its EndpointSlices."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    ports: list[ServicePort] = []
    selector: dict[str, str] = {}
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str] = field(default_factory=list, name="clusterIPs")
    external_ips: list[str] = field(default_factory=list, name="externalIPs")
    load_balancer_ip: str | None = field(default=None, name="loadBalancerIP")
    load_balancer_source_ranges: list[str] = []
    load_balancer_class: str | None = None
    external_name: str | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    internal_traffic_policy: Literal["Cluster", "Local"] | None = None
    traffic_distribution: str | None = None
    health_check_node_port: int | None = None
    publish_not_ready_addresses: bool = False
    session_affinity: Literal["None", "ClientIP"] | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    ip_families: list[Literal["IPv4", "IPv6"]] = []
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    allocate_load_balancer_node_ports: bool | None = None


class SliceConditions(Plain, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Plain, frozen=True):
    addresses: list[str]
    conditions: SliceConditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    # Written by Kubernetes; opaque to us.
    target_ref: dict[str, object] | None = None
    hints: dict[str, object] | None = None
    deprecated_topology: dict[str, str] | None = None


class SlicePort(Plain, frozen=True):
    """Without a port: all ports."""

    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: int | None = None
    app_protocol: str | None = None
