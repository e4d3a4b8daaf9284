"""The parts of resources: metadata, rules and policies, in the shapes of `projectcalico.org/v3`."""

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
    """The settings that all types of resources share; msgspec keeps settings on a base."""


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


StagedAction = Literal["Set", "Delete", "Learn", "Ignore"]


class StagedNetworkPolicySpec(Plain, frozen=True):
    """A NetworkPolicy that is kept and never enforced."""

    staged_action: StagedAction = "Set"
    tier: str = "default"
    order: float | None = None
    ingress: list[Rule] = []
    egress: list[Rule] = []
    selector: str = ""
    types: list[Direction] = []
    service_account_selector: str = ""
    performance_hints: list[Literal["AssumeNeededOnEveryNode"]] = []


class StagedGlobalNetworkPolicySpec(Plain, frozen=True):
    """A GlobalNetworkPolicy that is kept and never enforced."""

    staged_action: StagedAction = "Set"
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
