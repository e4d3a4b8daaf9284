"""The resources: what an operator writes and the store keeps.

The shapes are those of `projectcalico.org/v3` (and `v1` Namespace); field names on the wire are
theirs. The types are plain frozen data; what a value must satisfy beyond its type is in `validate`.
Fields that no code enforces yet are still declared, so that a manifest round-trips unchanged;
`validate` refuses those whose silence would be unsafe.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

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
from tortie.model.rules import TierSpec as TierSpec
from tortie.model.rules import UInt32 as UInt32
from tortie.model.specs import BarrierSpec as BarrierSpec
from tortie.model.specs import BGPConfigurationSpec as BGPConfigurationSpec
from tortie.model.specs import BGPPeerSpec as BGPPeerSpec
from tortie.model.specs import BlockAffinitySpec as BlockAffinitySpec
from tortie.model.specs import ClusterInformationSpec as ClusterInformationSpec
from tortie.model.specs import Community as Community
from tortie.model.specs import EndpointPort as EndpointPort
from tortie.model.specs import HostEndpointSpec as HostEndpointSpec
from tortie.model.specs import IpNat as IpNat
from tortie.model.specs import IPPoolSpec as IPPoolSpec
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
from tortie.model.specs import QosControls as QosControls
from tortie.model.specs import SecretKeyRef as SecretKeyRef
from tortie.model.specs import ServiceCidr as ServiceCidr
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
