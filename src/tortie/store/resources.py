"""Resources in a store: read by kind, written only if the whole still makes sense.

The door that everybody's resources come through: what a single object cannot know of itself (a
policy's tier exists, pools do not overlap) is checked here, against the store and the rest of the
same file, before anything is written.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, get_args

from msgspec.structs import replace

from tortie.errors import Conflict, InvalidInput, Problem, StoreError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.normalise import normalise
from tortie.model.validate import validate
from tortie.model.validate_rules import BUILT_IN_TIERS
from tortie.model.words import quote
from tortie.store.base import MAX_OPS, Delete, Entry, Op, Put, Store
from tortie.store.references import InTier, World, problems_of

R = TypeVar("R", bound=r.Resource)
CLUSTER = kinds.WORLD + "clusterinformations/default"
ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource and the revision at which it was written."""

    resource: r.Resource
    revision: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did: (action, resource) in order, and the store's revision after it."""

    actions: tuple[tuple[str, r.Resource], ...]
    revision: int
    barrier: str = ""
    transactions: int = 1


def read(store: Store, kind: kinds.Kind, node: str | None = None) -> list[Stored]:
    """All resources of a kind, in order of key. Raises StoreUnavailable, Undecodable."""
    listing = store.list(kinds.prefix(kind, node))
    return [Stored(_decode(entry), entry.revision) for entry in listing.entries]


def _decode(entry: Entry) -> r.Resource:
    try:
        return kinds.decode(entry.value)
    except kinds.Undecodable as error:
        raise kinds.Undecodable(f"{quote(entry.key)}: {error.message}") from error


def initialise(store: Store) -> str:
    """Make sure that the store has a ClusterInformation; its GUID. Raises StoreError."""
    entry = store.get(CLUSTER)
    if entry is None:
        information = r.ClusterInformation(
            api_version="projectcalico.org/v3",
            metadata=r.Metadata(name="default"),
            spec=r.ClusterInformationSpec(cluster_guid=uuid.uuid4().hex),
        )
        try:
            store.commit([Put(CLUSTER, kinds.encode(information), expect=0)])
        except Conflict:
            pass
        entry = store.get(CLUSTER)
    found = kinds.decode(entry.value) if entry else None
    if not isinstance(found, r.ClusterInformation):
        raise StoreError(f"what lies under {CLUSTER} is no ClusterInformation")
    return found.spec.cluster_guid


def apply(
    store: Store,
    resources: Sequence[r.Resource],
    *,
    barrier: bool = False,
    problem: Callable[[r.Resource, Problem], Problem] = lambda _, problem: problem,
) -> Applied:
    """Write resources that are not there as they should be; all are checked before any is written.

    Up to MAX_OPS changes are one transaction. More are written in a safe order, kind by kind, in
    several transactions: repeat an interrupted apply to finish it. With `barrier`, a Barrier is
    written last, which every host answers once it enforces all of it. `problem` may add file and
    line. Raises InvalidInput, StoreError.
    """
    wanted = _valid(resources, problem)
    done: dict[str, str] = {}
    for attempt in range(ATTEMPTS):
        try:
            return _apply_once(store, wanted, barrier, problem, done)
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.01 * attempt)
    raise StoreError("unreachable")


def _apply_once(
    store: Store,
    wanted: Sequence[r.Resource],
    barrier: bool,
    problem: Callable[[r.Resource, Problem], Problem],
    done: dict[str, str],
) -> Applied:
    """One try; `done` is what tries before this one did, by key, and gains what this one does."""
    listing = store.list(kinds.WORLD)
    there = {entry.key: entry for entry in listing.entries}
    wanted = [_with_ends(each, there.get(kinds.key(each))) for each in wanted]
    _check_together(there.values(), wanted, problem)
    if CLUSTER not in there:
        initialise(store)
    position = {kind.name: index for index, kind in enumerate(kinds.KINDS)}
    ordered = sorted(wanted, key=lambda each: position[kinds.kind_of(each).name])
    actions: dict[str, str] = {}
    ops: list[Op] = []
    for resource in ordered:
        key, value = kinds.key(resource), kinds.encode(resource)
        old = there.get(key)
        if old is not None and old.value == value:
            actions[key] = done.get(key, "unchanged")
            continue
        actions[key] = "created" if old is None else "configured"
        ops.append(Put(key, value, expect=0 if old is None else old.revision))
    token = ""
    if barrier:
        token = uuid.uuid4().hex
        ops.append(_barrier(token))
    count = max(1, -(-len(ops) // MAX_OPS))
    revision = listing.revision
    for start in range(0, len(ops), MAX_OPS):
        part = ops[start : start + MAX_OPS]
        revision = store.commit(part)
        done |= {op.key: actions[op.key] for op in part if op.key in actions}
    told = tuple((actions[kinds.key(each)], each) for each in ordered)
    return Applied(told, revision, token, count)


def _with_ends(resource: r.Resource, there: Entry | None) -> r.Resource:
    """A Node that is written again keeps the tunnel addresses that its agent gave it, unless it
    says others: without them nobody could reach its workloads until the agent wrote them again."""
    if not isinstance(resource, r.Node) or there is None:
        return resource
    try:
        before = kinds.decode(there.value)
    except kinds.Undecodable:
        return resource
    if not isinstance(before, r.Node):
        return resource
    spec, old = resource.spec, before.spec
    return replace(
        resource,
        spec=replace(
            spec,
            ipv4_vxlan_tunnel_addr=spec.ipv4_vxlan_tunnel_addr or old.ipv4_vxlan_tunnel_addr,
            ipv6_vxlan_tunnel_addr=spec.ipv6_vxlan_tunnel_addr or old.ipv6_vxlan_tunnel_addr,
        ),
    )


def _barrier(token: str) -> Put:
    resource = r.Barrier(
        api_version="tortie.dev/v1",
        metadata=r.Metadata(name=token),
        spec=r.BarrierSpec(token=token),
    )
    return Put(kinds.key(resource), kinds.encode(resource), expect=0)


def check(
    store: Store | None,
    resources: Sequence[r.Resource],
    problem: Callable[[r.Resource, Problem], Problem] = lambda _, problem: problem,
) -> None:
    """Refuse what apply would (without a store: as far as objects tell). Raises InvalidInput."""
    wanted = _valid(resources, problem)
    there = store.list(kinds.WORLD).entries if store else ()
    _check_together(there, wanted, problem, complete=store is not None)


def _valid(
    resources: Sequence[r.Resource], problem: Callable[[r.Resource, Problem], Problem]
) -> list[r.Resource]:
    """The resources as they are kept, if each is valid by itself. Raises InvalidInput."""
    found = [problem(each, fault) for each in resources for fault in validate(each)]
    seen: set[str] = set()
    for each in resources:
        key = kinds.key(each)
        if key in seen:
            word = kinds.kind_of(each).word
            fault = Problem(f"{word} {quote(each.metadata.name)} is there twice")
            found.append(problem(each, fault))
        seen.add(key)
    if found:
        raise InvalidInput(found)
    return [normalise(each) for each in resources]


def _check_together(
    there: Iterable[Entry],
    wanted: Sequence[r.Resource],
    problem: Callable[[r.Resource, Problem], Problem],
    complete: bool = True,
) -> None:
    before: dict[str, r.Resource] = {}
    for entry in there:
        try:
            before[entry.key] = kinds.decode(entry.value)
        except kinds.Undecodable:
            continue  # it must not keep anybody from writing what would repair it
    world = World(before | {kinds.key(each): each for each in wanted}, complete)
    found = [
        problem(each, fault)
        for each in wanted
        for fault in problems_of(each, before.get(kinds.key(each)), world)
    ]
    if found:
        raise InvalidInput(found)


def delete(store: Store, resource: r.Resource) -> bool:
    """Remove a resource; whether it was there. Raises InvalidInput (in use), StoreError."""
    key = kinds.key(resource)
    for _ in range(ATTEMPTS):
        entry = store.get(key)
        if entry is None:
            return False
        needed = _needed_by(store, resource)
        if needed:
            name = f"{kinds.kind_of(resource).word} {resource.metadata.name}"
            raise InvalidInput([Problem(f"{name} is in use by {needed}", "remove that first")])
        try:
            store.commit([Delete(key, expect=entry.revision)])
        except Conflict:
            continue
        return True
    raise Conflict(f"{key} keeps changing", "try again")


def _needed_by(store: Store, resource: r.Resource) -> str:
    """What would be left without its ground if this resource went; empty if nothing."""
    match resource:
        case r.Tier() if resource.metadata.name not in BUILT_IN_TIERS:
            for kind in get_args(InTier):
                for each in read(store, kinds.BY_NAME[kind.__name__]):
                    policy = each.resource
                    if isinstance(policy, InTier) and policy.spec.tier == resource.metadata.name:
                        return f"{kind.__name__} {policy.metadata.name}"
        case r.BGPFilter():
            for each in read(store, kinds.BY_NAME["BGPPeer"]):
                peer = each.resource
                if isinstance(peer, r.BGPPeer) and resource.metadata.name in peer.spec.filters:
                    return f"BGPPeer {peer.metadata.name}"
        case r.ClusterInformation() | r.BlockAffinity():
            return "Tortie itself"
        case _:
            pass
    return ""


def wait_for_receipts(
    store: Store, barrier: str, nodes: Iterable[str], timeout: float
) -> dict[str, kinds.Receipt]:
    """The receipts of a barrier by node, as many as come within `timeout` seconds."""
    expected = set(nodes)
    found: dict[str, kinds.Receipt] = {}
    prefix = f"{kinds.RECEIPTS}{barrier}/"
    deadline = time.monotonic() + timeout
    while expected - found.keys() and time.monotonic() < deadline:
        for entry in store.list(prefix).entries:
            receipt = kinds.decode_receipt(entry.value)
            found[receipt.node] = receipt
        if expected - found.keys():
            time.sleep(0.005)
    return found


def forget_barrier(store: Store, barrier: str) -> None:
    """Remove a barrier and its receipts. Raises StoreError."""
    keys = [entry.key for entry in store.list(f"{kinds.RECEIPTS}{barrier}/").entries]
    keys.append(f"{kinds.WORLD}barriers/{barrier}")
    for start in range(0, len(keys), MAX_OPS):
        store.commit([Delete(key) for key in keys[start : start + MAX_OPS]])
