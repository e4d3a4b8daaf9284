"""How a lab is: its hosts, routers, workloads and processes, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct

from tortie import client
from tortie.errors import AgentError, LabError, StoreError
from tortie.lab import control
from tortie.lab.control import Running
from tortie.lab.plan import Host
from tortie.lab.processes import agent_task
from tortie.lab.state import Lab
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.resources import read


class Machine(Struct, frozen=True, rename="camel"):
    """A host, a router, a workload or a machine outside; `state` is "up" if all is well."""

    kind: str
    name: str
    where: str
    """the rack of a host or router, the host of a workload"""
    addresses: list[str]
    state: str
    netns: str
    pid: int = 0
    """of the agent, the router's BIRD, or the servers; 0: none runs"""


class Status(Struct, frozen=True, rename="camel"):
    name: str
    state: str
    """up, building, or broken: the supervisor does not answer"""
    store: str
    """URL, from outside the lab"""
    directory: str
    machines: list[Machine]


def status(lab: Lab) -> Status:
    """How a lab is now; what does not answer is told as such, and never raised."""
    state: str = lab.record.state
    try:
        tasks = control.running(lab)
    except LabError:
        tasks, state = {}, "broken"
    with ThreadPoolExecutor(16) as pool:
        agents = list(pool.map(lambda host: _agent(lab, host), lab.plan.hosts))
    machines = [
        Machine(
            "host", host.name, host.rack, _addresses(host), said, host.space,
            _pid(tasks, agent_task(host.name)),
        )
        for host, said in zip(lab.plan.hosts, agents, strict=True)
    ]  # fmt: skip
    for router in lab.plan.routers:
        pid = _pid(tasks, f"router/{router.name}")
        said = "up" if pid else "down"
        machines.append(
            Machine(
                "router",
                router.name,
                router.rack,
                [*router.addresses.values()],
                said,
                router.space,
                pid,
            )
        )
    for outer in lab.plan.outside:
        pid = _pid(tasks, f"server/{outer.name}")
        said = "up" if pid or not outer.serve else "down"
        machines.append(
            Machine("outside", outer.name, "", [*outer.addresses.values()], said, outer.space, pid)
        )
    machines += _workloads(lab, tasks)
    where = str(lab.directory)
    return Status(lab.name, state, lab.record.outer_store_url, where, machines)


def _addresses(host: Host) -> list[str]:
    management = [host.management] if host.management else []
    return [*host.addresses.values(), *management]


def _pid(tasks: Mapping[str, Running], name: str) -> int:
    found = tasks.get(name)
    return found.pid if found else 0


def _agent(lab: Lab, host: Host) -> str:
    """What a host's agent says of itself."""
    try:
        said = client.call("GET", "/status", at=lab.agent_socket(host.name), timeout=3.0)
    except AgentError:
        return "no agent answers"
    state = str(said.get("state"))
    return "up" if state == "ready" else f"{state}: {said.get('reason')}"


def _workloads(lab: Lab, tasks: Mapping[str, Running]) -> list[Machine]:
    """The workloads of the lab's file, by their endpoints in the store."""
    try:
        endpoints, otherwise = _endpoints(lab), "no endpoint"
    except StoreError as error:
        endpoints, otherwise = {}, error.message
    found = []
    for each in lab.plan.workloads:
        addresses, state = endpoints.get(each.name, ([], otherwise))
        pid = _pid(tasks, f"server/{each.name}")
        if state == "up" and each.serve and not pid:
            state = "its servers are down"
        found.append(
            Machine("workload", each.name, each.wanted.host, addresses, state, each.space, pid)
        )
    return found


def _endpoints(lab: Lab) -> dict[str, tuple[list[str], str]]:
    """(addresses, state) by NAMESPACE/NAME of the workload. Raises StoreError."""
    store = open_store(lab.record.outer_store_url)
    try:
        said = {entry.key: entry.value for entry in store.list(kinds.STATUS).entries}
        stored = read(store, kinds.BY_NAME["WorkloadEndpoint"])
    finally:
        store.close()
    found: dict[str, tuple[list[str], str]] = {}
    for each in stored:
        if not isinstance(each.resource, r.WorkloadEndpoint):
            continue
        metadata, spec = each.resource.metadata, each.resource.spec
        namespace = metadata.namespace or "default"
        value = said.get(kinds.endpoint_status_key(spec.node, namespace, metadata.name))
        addresses = [text.partition("/")[0] for text in spec.ip_networks]
        found[f"{namespace}/{spec.workload}"] = addresses, _state(value)
    return found


def _state(value: bytes | None) -> str:
    if value is None:
        return "waiting: its agent has not reported it"
    try:
        said = msgspec.json.decode(value, type=kinds.EndpointStatus)
    except msgspec.MsgspecError:
        return "its status cannot be read"
    return f"{said.state}: {said.reason}" if said.reason else said.state
