"""What each kind must satisfy beyond its types, and the one form in which resources are kept.

`validate` finds faults, with field paths; `normalise` turns what is valid into its one spelling.
Both look at one resource alone: what needs others (a tier that is not there, pools that overlap) is
for those who have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tortie.errors import Problem
from tortie.model import checks, kinds
from tortie.model import resources as r
from tortie.model import validate_bgp as bgp
from tortie.model import validate_kubernetes as kubernetes
from tortie.model import validate_network as network
from tortie.model import validate_rules as rules
from tortie.model import validate_services as services
from tortie.model.decode import child
from tortie.model.normalise import normalise
from tortie.model.validate_endpoints import endpoint_name, host_endpoint, workload_endpoint
from tortie.model.validate_filter import bgp_filter
from tortie.model.validate_secret import secret
from tortie.model.validate_settings import felix_configuration
from tortie.model.validate_staged import staged
from tortie.model.words import did_you_mean, quote

__all__ = ["endpoint_name", "normalise", "validate"]

OURS = "tortie.dev/"
_SWITCH = ("true", "false")
# Annotations that mean something to Tortie, by kind: what each may say.
ANNOTATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "Namespace": {"tortie.dev/default": ("tenant", "open", "isolated")},
    "BGPPeer": {"tortie.dev/upstream": _SWITCH},
    "Node": {"tortie.dev/bgp-restart": _SWITCH},
    **{
        kind: {"tortie.dev/revoke": _SWITCH}
        for kind in (
            "NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy",
            "ClusterNetworkPolicy", "Profile", "StagedNetworkPolicy",
            "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
        )
    },
}  # fmt: skip
_SHORT_NAMES = ("Tier", "Namespace", "Service")


def validate(resource: r.Resource) -> list[Problem]:
    """Everything wrong with the resource, by field path; without file and line."""
    return [*_metadata(resource), *_spec(resource)]


def _spec(resource: r.Resource) -> Iterator[Problem]:
    match resource:
        case r.WorkloadEndpoint():
            return workload_endpoint(resource)
        case r.HostEndpoint():
            return host_endpoint(resource)
        case r.NetworkPolicy(spec=spec):
            return rules.network_policy(spec)
        case r.GlobalNetworkPolicy(spec=spec):
            return rules.global_network_policy(spec)
        case r.KubernetesNetworkPolicy(spec=spec):
            return kubernetes.network_policy(spec)
        case r.ClusterNetworkPolicy():
            return kubernetes.cluster_network_policy(resource)
        case (
            r.StagedNetworkPolicy()
            | r.StagedGlobalNetworkPolicy()
            | r.StagedKubernetesNetworkPolicy()
        ):
            return staged(resource)
        case r.Service():
            return services.service(resource)
        case r.EndpointSlice():
            return services.endpoint_slice(resource)
        case r.FelixConfiguration():
            return felix_configuration(resource)
        case r.Profile():
            return rules.profile(resource)
        case r.Tier():
            return rules.tier(resource)
        case r.NetworkSet() | r.GlobalNetworkSet():
            return network.network_set(resource)
        case r.IPPool():
            return network.ip_pool(resource)
        case r.Node():
            return network.node(resource)
        case r.BGPConfiguration():
            return bgp.bgp_configuration(resource)
        case r.BGPPeer():
            return bgp.bgp_peer(resource)
        case r.BGPFilter():
            return bgp_filter(resource)
        case r.IPReservation():
            return network.ip_reservation(resource)
        case r.IPAMConfiguration():
            return network.ipam_configuration(resource)
        case r.Secret():
            return secret(resource)
        case r.Namespace(spec=r.NamespaceSpec() as spec):
            return _finalizers("spec.finalizers", spec.finalizers)
        case _:
            return iter(())


def _metadata(resource: r.Resource) -> Iterator[Problem]:
    kind, metadata = kinds.kind_of(resource), resource.metadata
    if kind.name in _SHORT_NAMES:
        yield from checks.short_name("metadata.name", metadata.name)
    else:
        yield from checks.name("metadata.name", metadata.name)
    if kind.namespaced and metadata.namespace is not None:
        yield from checks.short_name("metadata.namespace", metadata.namespace)
    elif metadata.namespace is not None:
        yield Problem(f"a {kind.word} is in no namespace", "leave it out", "metadata.namespace")
    yield from checks.label_map("metadata.labels", metadata.labels)
    yield from checks.annotation_map("metadata.annotations", metadata.annotations)
    yield from _finalizers("metadata.finalizers", metadata.finalizers or [])
    yield from _annotations(kind, metadata.annotations)


def _annotations(kind: kinds.Kind, given: Mapping[str, str]) -> Iterator[Problem]:
    """What our own annotations say; one that means nothing here is not silently kept."""
    known = ANNOTATIONS.get(kind.name, {})
    for key, value in given.items():
        place = child("metadata.annotations", key)
        if key in known:
            yield from checks.choice(place, value, known[key])
        elif key.startswith(OURS):
            owner = next((name for name, table in ANNOTATIONS.items() if key in table), None)
            cure = f"it belongs to a {owner}" if owner else "leave it out"
            cure = did_you_mean(key, known) if known else cure
            yield Problem(f"there is no annotation {quote(key)} here", cure, place)


def _finalizers(path: str, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        yield from checks.label_key(child(path, index), name)
