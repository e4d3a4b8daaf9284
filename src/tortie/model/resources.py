"""The resources: what an operator writes and the store keeps.

The shapes are those of `projectcalico.org/v3` (and `v1` Namespace); field names on the wire are
theirs. The types are plain frozen data; what a value must satisfy beyond its type is in `validate`.
Fields that no code enforces yet are still declared, so that a manifest round-trips unchanged;
`validate` refuses those whose silence would be unsafe.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from tortie.model.kubernetes import ClusterEgressPeer as ClusterEgressPeer
from tortie.model.kubernetes import ClusterEgressRule as ClusterEgressRule
from tortie.model.kubernetes import ClusterIngressPeer as ClusterIngressPeer
from tortie.model.kubernetes import ClusterIngressRule as ClusterIngressRule
from tortie.model.kubernetes import ClusterNetworkPolicySpec as ClusterNetworkPolicySpec
from tortie.model.kubernetes import ClusterPort as ClusterPort
from tortie.model.kubernetes import ClusterPortRange as ClusterPortRange
from tortie.model.kubernetes import ClusterProtocol as ClusterProtocol
from tortie.model.kubernetes import ClusterSubject as ClusterSubject
from tortie.model.kubernetes import ClusterTransport as ClusterTransport
from tortie.model.kubernetes import IpBlock as IpBlock
from tortie.model.kubernetes import KubernetesEgressRule as KubernetesEgressRule
from tortie.model.kubernetes import KubernetesIngressRule as KubernetesIngressRule
from tortie.model.kubernetes import KubernetesNetworkPolicySpec as KubernetesNetworkPolicySpec
from tortie.model.kubernetes import KubernetesPeer as KubernetesPeer
from tortie.model.kubernetes import KubernetesPort as KubernetesPort
from tortie.model.kubernetes import LabelRequirement as LabelRequirement
from tortie.model.kubernetes import LabelSelector as LabelSelector
from tortie.model.kubernetes import NamespacedPod as NamespacedPod
from tortie.model.kubernetes import ServicePort as ServicePort
from tortie.model.kubernetes import ServiceSpec as ServiceSpec
from tortie.model.kubernetes import SessionAffinityConfig as SessionAffinityConfig
from tortie.model.kubernetes import SliceConditions as SliceConditions
from tortie.model.kubernetes import SliceEndpoint as SliceEndpoint
from tortie.model.kubernetes import SlicePort as SlicePort
from tortie.model.kubernetes import (
    StagedKubernetesNetworkPolicySpec as StagedKubernetesNetworkPolicySpec,
)
from tortie.model.rules import ActionName as ActionName
from tortie.model.rules import AsNumber as AsNumber
from tortie.model.rules import Direction as Direction
from tortie.model.rules import Encapsulation as Encapsulation
from tortie.model.rules import EntityRule as EntityRule
from tortie.model.rules import GlobalNetworkPolicySpec as GlobalNetworkPolicySpec
from tortie.model.rules import Http as Http
from tortie.model.rules import HttpPath as HttpPath
from tortie.model.rules import Icmp as Icmp
from tortie.model.rules import Metadata as Metadata
from tortie.model.rules import NetworkPolicySpec as NetworkPolicySpec
from tortie.model.rules import NetworkSetSpec as NetworkSetSpec
from tortie.model.rules import Plain as Plain
from tortie.model.rules import Port as Port
from tortie.model.rules import ProfileSpec as ProfileSpec
from tortie.model.rules import Protocol as Protocol
from tortie.model.rules import Rule as Rule
from tortie.model.rules import RuleMetadata as RuleMetadata
from tortie.model.rules import ServiceAccounts as ServiceAccounts
from tortie.model.rules import ServiceMatch as ServiceMatch
from tortie.model.rules import StagedAction as StagedAction
from tortie.model.rules import StagedGlobalNetworkPolicySpec as StagedGlobalNetworkPolicySpec
from tortie.model.rules import StagedNetworkPolicySpec as StagedNetworkPolicySpec
from tortie.model.rules import TierSpec as TierSpec
from tortie.model.rules import UInt32 as UInt32
from tortie.model.settings import FelixConfigurationSpec as FelixConfigurationSpec
from tortie.model.settings import ProtoPort as ProtoPort
from tortie.model.specs import AddCommunity as AddCommunity
from tortie.model.specs import BarrierSpec as BarrierSpec
from tortie.model.specs import Bfd as Bfd
from tortie.model.specs import BGPConfigurationSpec as BGPConfigurationSpec
from tortie.model.specs import BGPFilterRule as BGPFilterRule
from tortie.model.specs import BGPFilterSpec as BGPFilterSpec
from tortie.model.specs import BGPPeerSpec as BGPPeerSpec
from tortie.model.specs import BlockAffinitySpec as BlockAffinitySpec
from tortie.model.specs import ClusterInformationSpec as ClusterInformationSpec
from tortie.model.specs import Community as Community
from tortie.model.specs import EndpointPort as EndpointPort
from tortie.model.specs import FilterCommunities as FilterCommunities
from tortie.model.specs import FilterOperation as FilterOperation
from tortie.model.specs import HostEndpointSpec as HostEndpointSpec
from tortie.model.specs import IPAMConfigurationSpec as IPAMConfigurationSpec
from tortie.model.specs import IpNat as IpNat
from tortie.model.specs import IPPoolSpec as IPPoolSpec
from tortie.model.specs import IPReservationSpec as IPReservationSpec
from tortie.model.specs import NamespaceSpec as NamespaceSpec
from tortie.model.specs import NodeAddress as NodeAddress
from tortie.model.specs import NodeBgp as NodeBgp
from tortie.model.specs import NodeInterface as NodeInterface
from tortie.model.specs import NodeSpec as NodeSpec
from tortie.model.specs import NodeStatus as NodeStatus
from tortie.model.specs import NodeWireguard as NodeWireguard
from tortie.model.specs import OrchRef as OrchRef
from tortie.model.specs import Password as Password
from tortie.model.specs import PrefixAdvertisement as PrefixAdvertisement
from tortie.model.specs import PrefixLength as PrefixLength
from tortie.model.specs import PrependAsPath as PrependAsPath
from tortie.model.specs import QosControls as QosControls
from tortie.model.specs import SecretKeyRef as SecretKeyRef
from tortie.model.specs import ServiceCidr as ServiceCidr
from tortie.model.specs import SetPriority as SetPriority
from tortie.model.specs import WorkloadEndpointSpec as WorkloadEndpointSpec

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


class BGPFilter(Plain, frozen=True, tag_field="kind", tag="BGPFilter"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: BGPFilterSpec = BGPFilterSpec()


class IPReservation(Plain, frozen=True, tag_field="kind", tag="IPReservation"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: IPReservationSpec = IPReservationSpec()


class IPAMConfiguration(Plain, frozen=True, tag_field="kind", tag="IPAMConfiguration"):
    """Its name is `default`."""

    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: IPAMConfigurationSpec = IPAMConfigurationSpec()


class Secret(Plain, frozen=True, tag_field="kind", tag="Secret"):
    """Kubernetes' Secret: `data` is base64, `string_data` (only when written) plain text."""

    api_version: Literal["v1"] = field(name="apiVersion")
    metadata: Metadata
    type: str = "Opaque"
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name})"

    __str__ = __repr__


class ClusterInformation(Plain, frozen=True, tag_field="kind", tag="ClusterInformation"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: ClusterInformationSpec


class Namespace(Plain, frozen=True, tag_field="kind", tag="Namespace"):
    api_version: Literal["v1"] = field(name="apiVersion")
    metadata: Metadata
    spec: NamespaceSpec | None = None
    status: dict[str, object] | None = None


class KubernetesNetworkPolicy(Plain, frozen=True, tag_field="kind", tag="KubernetesNetworkPolicy"):
    """`networking.k8s.io/v1` NetworkPolicy. Files call it so too: its apiVersion tells it apart."""

    api_version: Literal["networking.k8s.io/v1"] = field(name="apiVersion")
    metadata: Metadata
    spec: KubernetesNetworkPolicySpec = KubernetesNetworkPolicySpec()
    status: dict[str, object] | None = None


class ClusterNetworkPolicy(Plain, frozen=True, tag_field="kind", tag="ClusterNetworkPolicy"):
    api_version: Literal["policy.networking.k8s.io/v1alpha2"] = field(name="apiVersion")
    metadata: Metadata
    spec: ClusterNetworkPolicySpec
    status: dict[str, object] | None = None


class Service(Plain, frozen=True, tag_field="kind", tag="Service"):
    api_version: Literal["v1"] = field(name="apiVersion")
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: dict[str, object] | None = None


class EndpointSlice(Plain, frozen=True, tag_field="kind", tag="EndpointSlice"):
    """Its Service is named by the label `kubernetes.io/service-name`."""

    api_version: Literal["discovery.k8s.io/v1"] = field(name="apiVersion")
    metadata: Metadata
    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: list[SliceEndpoint] = []
    ports: list[SlicePort] = []


class StagedNetworkPolicy(Plain, frozen=True, tag_field="kind", tag="StagedNetworkPolicy"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: StagedNetworkPolicySpec = StagedNetworkPolicySpec()


class StagedGlobalNetworkPolicy(
    Plain, frozen=True, tag_field="kind", tag="StagedGlobalNetworkPolicy"
):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: StagedGlobalNetworkPolicySpec = StagedGlobalNetworkPolicySpec()


class StagedKubernetesNetworkPolicy(
    Plain, frozen=True, tag_field="kind", tag="StagedKubernetesNetworkPolicy"
):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: StagedKubernetesNetworkPolicySpec = StagedKubernetesNetworkPolicySpec()


class FelixConfiguration(Plain, frozen=True, tag_field="kind", tag="FelixConfiguration"):
    api_version: CalicoV3 = field(name="apiVersion")
    metadata: Metadata
    spec: FelixConfigurationSpec = FelixConfigurationSpec()


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
    | BGPFilter
    | IPReservation
    | IPAMConfiguration
    | Secret
    | ClusterInformation
    | Namespace
    | KubernetesNetworkPolicy
    | ClusterNetworkPolicy
    | Service
    | EndpointSlice
    | StagedNetworkPolicy
    | StagedGlobalNetworkPolicy
    | StagedKubernetesNetworkPolicy
    | FelixConfiguration
    | Barrier
)
