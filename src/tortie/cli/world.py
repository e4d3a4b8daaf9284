"""The world that a question is about: the resources of files, of a lab's file, or of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tortie.cli.files import load_all, load_lab, place
from tortie.cli.output import complain, slow
from tortie.cli.where import opened_store, store_url
from tortie.errors import LabError
from tortie.explain.entity import Interface
from tortie.model import kinds
from tortie.model import resources as r

if TYPE_CHECKING:
    from tortie.lab.plan import Plan
    from tortie.lab.state import Lab
    from tortie.store.base import Store

NOT_ASKED = frozenset(
    kinds.BY_NAME[name].plural
    for name in (
        "BGPConfiguration", "BGPFilter", "BlockAffinity", "ClusterInformation", "Barrier",
        "IPAMConfiguration", "IPReservation", "Secret",
        "StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
    )
)  # fmt: skip
"""Kinds (plural) that have no say in who may talk to whom: they are not even decoded."""


@dataclass(frozen=True, slots=True)
class World:
    """Resources, and what a question needs to know besides them.

    `protected` are the store's addresses; `machines` are names and addresses of a lab's machines
    outside; `interfaces` are a lab's hosts' own, by host.
    """

    resources: Sequence[r.Resource]
    protected: tuple[str, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    interfaces: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)


def of_files(files: Sequence[Path]) -> World:
    """What files say, checked as `tortie validate` does. A lab among them is drawn on paper.

    Raises InvalidInput, UsageError, LabError.
    """
    from tortie.store import resources

    lab = load_lab(files)
    if lab is None:
        loaded = load_all(files)
        found = [each.resource for each in loaded]
        resources.check(None, found, place(loaded))
        return World(found)
    from tortie.lab import paper

    resources.check(None, lab.resources, lab.locate)
    plan, drawn = paper.draw(lab)
    return _in_lab(plan, drawn)


def of_store() -> World:
    """What the store of the command says; if it is a running lab's, with the lab's machines.

    Raises UsageError, LabError, StoreError, Undecodable.
    """
    from tortie.store.addresses import server_addresses

    with opened_store() as store, slow("reading the store"):
        found = _read(store)
    lab = _lab(store_url())
    if lab is not None:
        return _in_lab(lab.plan, found)
    protected, lost = server_addresses(store_url())
    for host in lost:
        complain(f"note: the store's host {host} has no address now, so it is not protected")
    return World(found, protected)


def _read(store: Store) -> list[r.Resource]:
    """All that matters, as of one revision. An endpoint that cannot be read is left out, as hosts
    do; anything else might be what forbids."""
    found: list[r.Resource] = []
    owners: dict[str, r.WorkloadEndpoint] = {}
    # In the order in which hosts see claims on one address: the first has it.
    for entry in sorted(store.list(kinds.WORLD).entries, key=lambda each: (each.created, each.key)):
        plural = entry.key.removeprefix(kinds.WORLD).partition("/")[0]
        if plural in NOT_ASKED:
            continue
        try:
            resource = kinds.decode(entry.value)
        except kinds.Undecodable as error:
            if plural != kinds.BY_NAME["WorkloadEndpoint"].plural:
                raise kinds.Undecodable(f"{entry.key}: {error.message}") from error
            complain(f"note: {entry.key} cannot be read, so it is left out")
            continue
        if isinstance(resource, r.WorkloadEndpoint) and not _claims(resource, owners):
            continue
        found.append(resource)
    return found


def _claims(endpoint: r.WorkloadEndpoint, owners: dict[str, r.WorkloadEndpoint]) -> bool:
    """Whether an endpoint has all the addresses that it claims: if not, its host refuses it."""
    lost = [address for address in endpoint.spec.ip_networks if address in owners]
    for address in endpoint.spec.ip_networks:
        owners.setdefault(address, endpoint)
    if not lost:
        return True
    name, other = endpoint.metadata.name, owners[lost[0]].metadata.name
    complain(f"note: {name} is refused by its host: {lost[0]} belongs to {other}")
    return False


def _lab(url: str) -> Lab | None:
    """The running lab whose store this is, if it is one's."""
    from tortie.lab.state import labs

    try:
        return next((lab for lab in labs() if lab.record.outer_store_url == url), None)
    except LabError:
        return None


def _in_lab(plan: Plan, found: Sequence[r.Resource]) -> World:
    from tortie.lab import numbers
    from tortie.lab.plan import store_address

    interfaces = {}
    for host in plan.hosts:
        own = [Interface("eth0", (host.address.partition("/")[0],))]
        if host.management:
            own.append(Interface("mgmt0", (host.management,), (numbers.MANAGEMENT,)))
        interfaces[host.name] = tuple(own)
    return World(
        resources=found,
        protected=(store_address(),) if plan.store_space else (),
        machines={machine.name: machine.address for machine in plan.outside},
        interfaces=interfaces,
    )
