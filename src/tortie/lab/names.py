"""What people call the things in a lab, and where each is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from tortie.errors import LabError
from tortie.lab.plan import Plan
from tortie.model.words import nearest, quote

Kind = Literal["host", "router", "outside", "workload", "speaker", "store"]


class Target(Struct, frozen=True):
    """A thing in a lab and its network namespace; a workload's name is NAMESPACE/NAME."""

    kind: Kind
    name: str
    space: str


def targets(plan: Plan) -> Iterator[Target]:
    """Everything that has a network namespace."""
    for host in plan.hosts:
        yield Target("host", host.name, host.space)
    for router in plan.routers:
        yield Target("router", router.name, router.space)
    for machine in plan.outside:
        yield Target("outside", machine.name, machine.space)
    for workload in plan.workloads:
        yield Target("workload", workload.name, workload.space)
    for speaker in plan.speakers:
        yield Target("speaker", speaker.name, speaker.space)
    if plan.store_space is not None:
        yield Target("store", "store", plan.store_space)


def resolve(plan: Plan, name: str) -> Target:
    """The thing of this name; a workload's namespace, and a router's `tor-`, may be left out.

    Raises LabError if there is none, or more than one.
    """
    every = list(targets(plan))
    for target in every:
        if target.name == name:
            return target
    racks = {router.rack: router.name for router in plan.routers}
    found = [
        target
        for target in every
        if target.name == racks.get(name)
        or (target.kind == "workload" and target.name.partition("/")[2] == name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(target.name for target in found)
        raise LabError(f"{quote(name)} may mean {names}", "write NAMESPACE/NAME")
    short = {target.name.rpartition("/")[2]: target.name for target in every}
    near = nearest(name, [target.name for target in every]) or short.get(nearest(name, short) or "")
    known = ", ".join(target.name for target in every)
    cure = f"did you mean {near}?" if near else f"known: {known}"
    raise LabError(f"there is nothing called {quote(name)} in lab {plan.name}", cure)
