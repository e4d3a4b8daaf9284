"""Which policies guard which endpoint of this host, in which order: the firewall as data.

Calico v3's semantics (tiers, order, types, profiles) with this house's defaults for namespaces and
for the addresses of nodes; the plain evaluator in `explain.oracle` holds the same rules apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tortie import desired as d
from tortie.calc.members import Query, address_set, host_cidr
from tortie.calc.rules import Sets, convert
from tortie.calc.world import World
from tortie.model import net
from tortie.model import resources as r

AnyPolicy = r.NetworkPolicy | r.GlobalNetworkPolicy
# Calico v3: these tiers are there without a Tier object.
BUILT_IN_TIERS = {
    "kube-admin": r.TierSpec(order=1_000.0, default_action="Pass"),
    "default": r.TierSpec(order=1_000_000.0),
    "kube-baseline": r.TierSpec(order=10_000_000.0, default_action="Pass"),
}
NAMESPACE_DEFAULTS = ("tenant", "open", "isolated")
DEFAULT_ANNOTATION = "tortie.dev/default"
ALLOW_ALL_PROFILE = "projectcalico-default-allow"  # Calico v3: built in
NODES = "nodes"
"""Id of the set of addresses that belong to the fabric: nodes, their BGP peers and store."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the cluster's settings say: the default of namespaces, more addresses to protect."""

    cluster_default: str = "tenant"
    protected: tuple[str, ...] = ()


def firewall(world: World, endpoints: Sequence[r.WorkloadEndpoint], options: Options) -> d.Filter:
    """The filter for these local endpoints."""
    sets = Sets(world.members)
    ordered = _ordered_policies(world)
    used: dict[str, AnyPolicy] = {}
    profiles: dict[str, d.Policy] = {}
    found = []
    for endpoint in endpoints:
        steps = _steps(world, endpoint, ordered, sets, used)
        own = [_profile(world, endpoint, name, sets) for name in endpoint.spec.profiles]
        own = own or [_namespace_default(world, endpoint, options, sets)]
        profiles |= {profile.id: profile for profile in own}
        found.append(_endpoint(endpoint, steps, tuple(profile.id for profile in own)))
    policies = [_policy(policy, sets) for policy in used.values()]
    sets.addresses[NODES] = address_set(NODES, fabric_addresses(world, options))
    named = _referenced([*policies, *profiles.values()])
    world.members.keep_only(sets.queries)
    return d.Filter(
        endpoints=tuple(found),
        policies=tuple(sorted([*policies, *profiles.values()], key=lambda policy: policy.id)),
        sets=tuple(sets.addresses[key] for key in sorted(named & sets.addresses.keys())),
        port_sets=tuple(sets.ports[key] for key in sorted(named & sets.ports.keys())),
    )


def fabric_addresses(world: World, options: Options, peers: bool = True) -> list[str]:
    """The addresses of all nodes, with `peers` of who they speak BGP with, and those that the
    settings protect, as CIDRs."""
    found = [*options.protected, *(peer_addresses(world) if peers else ())]
    for node in world.all(r.Node).values():
        bgp = node.spec.bgp or r.NodeBgp()
        found += [each for each in (bgp.ipv4_address, bgp.ipv6_address) if each]
        found += [each.address for each in node.spec.addresses]
    return sorted({host_cidr(each) for each in found})


def peer_addresses(world: World) -> list[str]:
    """Of the routers and others that nodes speak BGP with by address."""
    peers = [peer.spec.peer_ip for peer in world.all(r.BGPPeer).values()]
    return [net.parse_peer(each)[0].text for each in peers if each]


def policy_id(policy: AnyPolicy | r.Profile) -> str:
    """`KIND/NAMESPACE/NAME`, or without namespace."""
    meta = policy.metadata
    parts = [type(policy).__name__, meta.namespace, meta.name]
    return "/".join(part for part in parts if part)


def directions(policy: AnyPolicy) -> tuple[bool, bool]:
    """Whether a policy judges ingress, egress. Calico v3 infers absent types from the rules."""
    spec = policy.spec
    if spec.types:
        return "Ingress" in spec.types, "Egress" in spec.types
    return bool(spec.ingress) or not spec.egress, bool(spec.egress)


def _ordered_policies(world: World) -> list[tuple[r.Tier, list[AnyPolicy]]]:
    """Tiers in order with their policies in order."""
    tiers = {tier.metadata.name: tier for tier in world.all(r.Tier).values()}
    inside: dict[str, list[AnyPolicy]] = {}
    for policy in world.all(r.NetworkPolicy).values():
        inside.setdefault(policy.spec.tier, []).append(policy)
    for each in world.all(r.GlobalNetworkPolicy).values():
        # Untracked and pre-DNAT policies are for host endpoints only (Calico v3).
        if not each.spec.do_not_track and not each.spec.pre_dnat:
            inside.setdefault(each.spec.tier, []).append(each)
    known = set(tiers) | set(BUILT_IN_TIERS)
    for name in inside:
        tiers.setdefault(name, _implied_tier(name))
    return [
        (tier, sorted(inside.get(tier.metadata.name, ()), key=_policy_order))
        for tier in sorted(tiers.values(), key=lambda tier: _tier_order(tier, known))
    ]


def _implied_tier(name: str) -> r.Tier:
    """A tier that policies name and no resource describes; it denies unless it is built in."""
    return r.Tier(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=name),
        spec=BUILT_IN_TIERS.get(name, r.TierSpec()),
    )


def _tier_order(tier: r.Tier, known: set[str]) -> tuple[bool, float, str]:
    """By order, none last, ties by name; a tier that does not exist comes after all (Calico v3)."""
    name, order = tier.metadata.name, tier.spec.order
    if order is None and name in BUILT_IN_TIERS:
        order = BUILT_IN_TIERS[name].order
    return (name not in known, math.inf if order is None else order, name)


def _policy_order(policy: AnyPolicy) -> tuple[float, str]:
    meta, order = policy.metadata, policy.spec.order
    tie = f"{meta.name}/{meta.namespace or ''}/{type(policy).__name__}"
    return (math.inf if order is None else order, tie)


def _subjects(policy: AnyPolicy) -> Query:
    spec = policy.spec
    everywhere = isinstance(spec, r.GlobalNetworkPolicySpec)
    return Query(
        selector=spec.selector,
        namespace=None if everywhere else policy.metadata.namespace or "default",
        namespaces=spec.namespace_selector if isinstance(spec, r.GlobalNetworkPolicySpec) else "",
        account_selector=spec.service_account_selector,
    )


def _steps(
    world: World,
    endpoint: r.WorkloadEndpoint,
    ordered: Iterable[tuple[r.Tier, list[AnyPolicy]]],
    sets: Sets,
    used: dict[str, AnyPolicy],
) -> tuple[tuple[d.TierStep, ...], tuple[d.TierStep, ...]]:
    """The tiers that apply to an endpoint, for ingress and for egress."""
    item = world.item(endpoint)
    ingress: list[d.TierStep] = []
    egress: list[d.TierStep] = []
    for tier, policies in ordered:
        applied = [policy for policy in policies if _subjects(policy).matches(item)]
        used |= {policy_id(policy): policy for policy in applied}
        default: d.Action = "pass" if tier.spec.default_action == "Pass" else "deny"
        for steps, which in ((ingress, 0), (egress, 1)):
            ids = tuple(policy_id(policy) for policy in applied if directions(policy)[which])
            if ids:
                steps.append(
                    d.TierStep(tier.metadata.name, ids, "pass" if default == "pass" else "deny")
                )
    return tuple(ingress), tuple(egress)


def _endpoint(
    endpoint: r.WorkloadEndpoint,
    steps: tuple[tuple[d.TierStep, ...], tuple[d.TierStep, ...]],
    profiles: tuple[str, ...],
) -> d.Endpoint:
    spec = endpoint.spec
    return d.Endpoint(
        id=endpoint_id(endpoint),
        interface=spec.interface_name,
        addresses=tuple(each.partition("/")[0] for each in spec.ip_networks),
        mac=spec.mac.lower() if spec.mac else None,
        allowed_sources=tuple(
            net.parse_net(each).text for each in spec.allow_spoofed_source_prefixes
        ),
        ingress=steps[0],
        egress=steps[1],
        profiles=profiles,
    )


def endpoint_id(endpoint: r.WorkloadEndpoint) -> str:
    """NAMESPACE/NAME."""
    return f"{endpoint.metadata.namespace or 'default'}/{endpoint.metadata.name}"


def _policy(policy: AnyPolicy, sets: Sets) -> d.Policy:
    namespace = None
    if isinstance(policy, r.NetworkPolicy):
        namespace = policy.metadata.namespace or "default"
    ingress, egress = directions(policy)
    return d.Policy(
        policy_id(policy),
        convert(policy.spec.ingress, namespace, sets) if ingress else (),
        convert(policy.spec.egress, namespace, sets) if egress else (),
    )


def _profile(world: World, endpoint: r.WorkloadEndpoint, name: str, sets: Sets) -> d.Policy:
    """A listed profile; one that does not exist denies all (Calico v3: fail-safe)."""
    if name == ALLOW_ALL_PROFILE:
        allow = (d.Rule("allow"),)
        return d.Policy(f"Profile/{name}", allow, allow)
    profile = world.profile(name)
    if profile is None:
        deny = (d.Rule("deny"),)
        return d.Policy(f"Profile/{name}", deny, deny)
    return d.Policy(
        policy_id(profile),
        convert(profile.spec.ingress, None, sets),
        convert(profile.spec.egress, None, sets),
    )


def namespace_mode(world: World, namespace: str, options: Options) -> str:
    """tenant, open or isolated: the Namespace's annotation, else the cluster's default.

    A word that is none of them means isolated: it gives the least.
    """
    found = world.namespace(namespace)
    annotations = found.metadata.annotations if found else {}
    wanted = annotations.get(DEFAULT_ANNOTATION, options.cluster_default)
    return wanted if wanted in NAMESPACE_DEFAULTS else "isolated"


def _namespace_default(
    world: World, endpoint: r.WorkloadEndpoint, options: Options, sets: Sets
) -> d.Policy:
    """What an endpoint that lists no profile may do; the fabric itself is never part of it."""
    namespace = endpoint.metadata.namespace or "default"
    mode = namespace_mode(world, namespace, options)
    mates = d.Side(sets=(sets.of(Query(namespace=namespace, endpoints_only=True)),))
    anybody = d.Side()
    nodes = d.Rule("deny", destination=d.Side(sets=(NODES,)))
    source = anybody if mode == "open" else mates
    target = mates if mode == "isolated" else anybody
    return d.Policy(
        f"Default/{mode}/{namespace}",
        (d.Rule("allow", source=source),),
        (nodes, d.Rule("allow", destination=target)),
    )


def _referenced(policies: Iterable[d.Policy]) -> set[str]:
    sides = [
        side
        for policy in policies
        for rule in (*policy.ingress, *policy.egress)
        for side in (rule.source, rule.destination)
    ]
    return {
        name
        for side in sides
        for names in (side.sets, side.not_sets, side.port_sets, side.not_port_sets)
        for name in names
    }
