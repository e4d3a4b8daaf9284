"""What whoever applies resources should know, though nothing is wrong with them.

Kubernetes' policies are written for namespaces in which everything that no policy judges is open.
Here a namespace keeps its tenants apart unless it is annotated (see docs/policy.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.validate_rules import BUILT_IN_PROFILE
from tortie.model.validate_secret import PASSWORDS_IN

if TYPE_CHECKING:
    from tortie.store.base import Store

DEFAULT_ANNOTATION = "tortie.dev/default"
USUAL, OPEN = "tenant", "open"
SAYING = (r.KubernetesNetworkPolicy, r.ClusterNetworkPolicy, r.Namespace, r.FelixConfiguration)
"""What may make such a note necessary."""


def of_applied(store: Store, given: Sequence[r.Resource]) -> list[str]:
    """The notes on resources that have just been written. Raises StoreError."""
    found = _without_profile(store, given) + _without_password(store, given)
    if not any(isinstance(each, SAYING) for each in given):
        return found
    world = []
    for kind in SAYING:
        for entry in store.list(kinds.prefix(kinds.BY_NAME[kind.__name__])).entries:
            try:
                world.append(kinds.decode(entry.value))
            except kinds.Undecodable:
                continue  # hosts hold because of it; what was written is written
    return found + _notes(given, world, complete=True)


def _without_profile(store: Store, given: Sequence[r.Resource]) -> list[str]:
    """Endpoints that list a profile that does not exist: it denies what policies leave to it."""
    ends = [each for each in given if isinstance(each, r.HostEndpoint | r.WorkloadEndpoint)]
    if not any(each.spec.profiles for each in ends):
        return []
    there = store.list(kinds.prefix(kinds.BY_NAME["Profile"])).entries
    known = {BUILT_IN_PROFILE, *(entry.key.rpartition("/")[2] for entry in there)}
    return [
        f"note: {kinds.kind_of(each).name} {each.metadata.name} lists a profile that does not"
        f" exist ({name}): what its policies leave undecided is denied; apply a Profile {name}"
        for each in ends
        for name in each.spec.profiles
        if name not in known
    ]


def _without_password(store: Store, given: Sequence[r.Resource]) -> list[str]:
    """Sessions whose password's Secret does not exist: they are not run."""
    wanted = [(each, found) for each in given if (found := _reference(each))]
    if not wanted:
        return []
    known = set()
    for entry in store.list(kinds.prefix(kinds.BY_NAME["Secret"])).entries:
        try:
            secret = kinds.decode(entry.value)
        except kinds.Undecodable:
            continue  # hosts hold because of it, and say so
        if isinstance(secret, r.Secret) and secret.metadata.namespace in PASSWORDS_IN:
            known |= {(secret.metadata.name, key) for key in secret.data}
    return [
        f"note: {kinds.kind_of(each).name} {each.metadata.name} waits for a Secret"
        f" {reference.name} with the key {reference.key}, in namespace {' or '.join(PASSWORDS_IN)}:"
        " until then its sessions are left out"
        for each, reference in wanted
        if (reference.name, reference.key) not in known
    ]


def _reference(resource: r.Resource) -> r.SecretKeyRef | None:
    """The Secret that its password must be in."""
    match resource:
        case r.BGPPeer(spec=peer):
            password = peer.password
        case r.BGPConfiguration(spec=configuration):
            password = configuration.node_mesh_password
        case _:
            return None
    found = password.secret_key_ref if password else None
    return None if found is None or found.optional else found


def of_files(given: Sequence[r.Resource]) -> list[str]:
    """The notes on resources of which files alone tell: a namespace that is not there is not
    spoken of."""
    return _notes(given, given, complete=False)


def _notes(given: Sequence[r.Resource], world: Sequence[r.Resource], complete: bool) -> list[str]:
    usual = _usual(world)
    modes = {
        each.metadata.name: each.metadata.annotations.get(DEFAULT_ANNOTATION, usual)
        for each in world
        if isinstance(each, r.Namespace)
    }
    found = []
    for space in _concerned(given, world):
        mode = modes.get(space, usual if complete else OPEN)
        if mode != OPEN:
            found.append(
                f"note: namespace {space} has Kubernetes' policies and is {mode}, not open as in"
                f" Kubernetes: what none of them judges stays so; {_cure(space in modes)}"
            )
    if any(isinstance(each, r.ClusterNetworkPolicy) for each in given):
        found += _on_cluster_policies(modes, usual if complete else OPEN)
    return found


def _usual(world: Iterable[r.Resource]) -> str:
    """The default of namespaces that say nothing."""
    for each in world:
        if isinstance(each, r.FelixConfiguration) and each.metadata.name == "default":
            return each.spec.namespace_default or USUAL
    return USUAL


def _concerned(given: Iterable[r.Resource], world: Iterable[r.Resource]) -> list[str]:
    """The namespaces with policies of Kubernetes, if one of the two is new, or what both follow."""
    new = {(type(each), each.metadata.namespace, each.metadata.name) for each in given}
    every = (r.FelixConfiguration, None, "default") in new
    found = set()
    for each in world:
        if isinstance(each, r.KubernetesNetworkPolicy):
            space = each.metadata.namespace or "default"
            policy = (type(each), each.metadata.namespace, each.metadata.name)
            if every or policy in new or (r.Namespace, None, space) in new:
                found.add(space)
    return sorted(found)


def _on_cluster_policies(modes: Mapping[str, str], usual: str) -> list[str]:
    """One note for all namespaces: a ClusterNetworkPolicy may mean any of them."""
    closed = sorted(name for name, mode in modes.items() if mode != OPEN)
    if not closed and usual == OPEN:
        return []
    which = ", ".join(closed[:5]) + (" and others" if len(closed) > 5 else "")
    who = which or f"those that say nothing are {usual}"
    return [
        f"note: namespaces are not open as in Kubernetes ({who}): what a ClusterNetworkPolicy"
        f" leaves undecided stays so; annotate them {DEFAULT_ANNOTATION}: {OPEN}"
        " for Kubernetes' default"
    ]


def _cure(there: bool) -> str:
    what = "annotate it" if there else "apply a Namespace annotated"
    return f"{what} {DEFAULT_ANNOTATION}: {OPEN} for Kubernetes' default"
