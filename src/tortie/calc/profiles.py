"""What decides when no tier has: listed profiles, else the default of the namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tortie import desired as d
from tortie.calc.members import Query
from tortie.calc.placed import policy_id, revokes
from tortie.calc.rules import Sets, convert
from tortie.calc.world import ALLOW_ALL_PROFILE, World

NAMESPACE_DEFAULTS = ("tenant", "open", "isolated")
DEFAULT_ANNOTATION = "tortie.dev/default"
NODES = "nodes"
"""Id of the set of addresses that belong to the fabric: nodes, their BGP peers and store."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles of one endpoint in order, and whether one asks for revocation."""

    policies: tuple[d.Policy, ...]
    revoke: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.policies)


def listed(world: World, names: Iterable[str], sets: Sets) -> Profiles:
    """The profiles that an endpoint lists."""
    every = list(dict.fromkeys(names))
    found = [world.profile(name) for name in every if name != ALLOW_ALL_PROFILE]
    return Profiles(
        tuple(_profile(world, name, sets) for name in every),
        any(each is not None and revokes(each.metadata) for each in found),
    )


def _profile(world: World, name: str, sets: Sets) -> d.Policy:
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


def namespace_mode(world: World, namespace: str, cluster_default: str) -> str:
    """tenant, open or isolated: the Namespace's annotation, else the cluster's default.

    A word that is none of them means isolated: it gives the least.
    """
    found = world.namespace(namespace)
    annotations = found.metadata.annotations if found else {}
    wanted = annotations.get(DEFAULT_ANNOTATION, cluster_default)
    return wanted if wanted in NAMESPACE_DEFAULTS else "isolated"


def namespace_default(world: World, namespace: str, cluster_default: str, sets: Sets) -> Profiles:
    """What an endpoint that lists no profile may do; the fabric itself is never part of it."""
    mode = namespace_mode(world, namespace, cluster_default)
    mates = d.Side(sets=(sets.of(Query(namespace=namespace, only="workload")),))
    anybody = d.Side()
    nodes = d.Rule("deny", destination=d.Side(sets=(NODES,)))
    source = anybody if mode == "open" else mates
    target = mates if mode == "isolated" else anybody
    default = d.Policy(
        f"Default/{mode}/{namespace}",
        (d.Rule("allow", source=source),),
        (nodes, d.Rule("allow", destination=target)),
    )
    return Profiles((default,))
