"""What end-to-end tests do with a running lab: ask who reaches whom, change resources, look inside.

A question is "SOURCE DESTINATION tcp/80", workloads as NAMESPACE/NAME.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lab_rig import RunningLab, until

from tortie import client
from tortie.errors import AgentError
from tortie.kernel import netns, process
from tortie.lab import control, names
from tortie.lab.document import Service
from tortie.lab.plan import Plan
from tortie.lab.probe import Pair, attempt, endpoint_addresses
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.manifest import load
from tortie.store.base import Store
from tortie.store.resources import apply, delete, forget_barrier, read, wait_for_receipts

HOSTS = ("a1", "a2", "b1", "b2")
PROMPT = 15.0
"""Seconds within which whatever should happen has happened."""
ALLOWED_SECONDS, DENIED_SECONDS = 4.0, 0.35
"""How long a connection may take that should be made, and one that should not."""


@dataclass
class Site:
    """A running lab."""

    running: RunningLab
    addresses: dict[str, str] = field(init=False)
    """of the workloads as they were at the start, and of machines outside"""

    def __post_init__(self) -> None:
        with self.running.store() as store:
            self.addresses = endpoint_addresses(store)
        self.addresses |= {each.name: each.address for each in self.plan.outside}
        self.addresses |= {each.name: each.address.split("/")[0] for each in self.plan.hosts}
        self.addresses |= {each.name: each.address for each in self.plan.routers}

    @cached_property
    def plan(self) -> Plan:
        return self.running.lab.plan

    @cached_property
    def directory(self) -> Path:
        return self.running.lab.directory

    # --- looking ----------------------------------------------------------------------------

    def space(self, name: str) -> str:
        """The network namespace of a workload, host, router, machine outside, or the store."""
        return names.resolve(self.plan, name).space

    def run(
        self, where: str, *command: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command somewhere in the lab."""
        with netns.entered(self.space(where)):
            return process.run(command, check=check)

    def says(self, where: str, *command: str) -> str:
        return self.run(where, *command).stdout

    def routes(self, where: str) -> list[dict[str, object]]:
        """The routes of the main table."""
        found = json.loads(self.says(where, "ip", "-j", "route", "show"))
        assert isinstance(found, list)
        return found

    def agent(self, host: str) -> dict[str, object]:
        """What a host's agent says of itself; empty if it does not answer."""
        try:
            found = client.call("GET", "/status", at=self.running.lab.agent_socket(host), timeout=5)
        except AgentError:
            return {}
        assert isinstance(found, dict)
        return found

    def agent_state(self, host: str) -> str:
        return str(self.agent(host).get("state", "away"))

    def all_are(self, state: str, hosts: Sequence[str] = HOSTS) -> bool:
        return all(self.agent_state(host) == state for host in hosts)

    def agent_log(self, host: str) -> str:
        return (self.directory / "log" / f"agent-{host}.log").read_text()

    def restarts(self, task: str) -> int:
        return control.running(self.running.lab)[task].restarts

    # --- asking -----------------------------------------------------------------------------

    def pair(self, question: str) -> Pair:
        source, destination, service = question.split()
        protocol, port = service.split("/")
        address = self.addresses.get(destination, destination)
        served = Service("tcp" if protocol == "tcp" else "udp", int(port))
        return Pair(source, self.space(source), destination, address, served)

    def connects(self, question: str) -> bool:
        return attempt([self.pair(question)], ALLOWED_SECONDS)[0].connected

    def refuses(self, *questions: str) -> bool:
        """Whether none of these is connected."""
        tried = attempt([self.pair(each) for each in questions], DENIED_SECONDS)
        return not any(one.connected for one in tried)

    def unlike(self, expected: Mapping[str, bool]) -> list[str]:
        """The questions whose answer is another; [] is what a test hopes for."""
        wrong = []
        for verdict, seconds in ((True, ALLOWED_SECONDS), (False, DENIED_SECONDS)):
            asked = [question for question, wanted in expected.items() if wanted is verdict]
            results = attempt([self.pair(each) for each in asked], seconds)
            wrong += [q for q, one in zip(asked, results, strict=True) if one.connected != verdict]
        return wrong

    def pings(self, source: str, destination: str, *options: str) -> bool:
        address = self.addresses.get(destination, destination)
        done = self.run(source, "ping", "-c1", "-W0.5", "-n", *options, address, check=False)
        return done.returncode == 0

    # --- changing ---------------------------------------------------------------------------

    def apply(self, *resources: r.Resource, hosts: Sequence[str] = HOSTS) -> None:
        """Write resources; returns when these hosts enforce them."""
        with self.running.store() as store:
            self._enforced(store, resources, hosts)

    def remove(self, *resources: r.Resource, hosts: Sequence[str] = HOSTS) -> None:
        """Delete resources; returns when these hosts enforce it."""
        with self.running.store() as store:
            for each in resources:
                delete(store, each)
            self._enforced(store, (), hosts)

    @contextlib.contextmanager
    def with_(self, text: str) -> Iterator[None]:
        """Within the block the resources of a manifest are in force, on top of all others."""
        found = manifest(text)
        self.apply(*found)
        try:
            yield
        finally:
            self.remove(*found)

    def barrier(self, hosts: Sequence[str] = HOSTS) -> None:
        """Returns when these hosts enforce all that is in the store now."""
        with self.running.store() as store:
            self._enforced(store, (), hosts)

    def _enforced(
        self, store: Store, resources: Sequence[r.Resource], hosts: Sequence[str]
    ) -> None:
        barrier = apply(store, resources, barrier=True).barrier
        told = wait_for_receipts(store, barrier, hosts, PROMPT)
        forget_barrier(store, barrier)
        late = {host: self.agent(host) for host in set(hosts) - told.keys()}
        assert late == {}, f"not enforced within {PROMPT} s: {late}"

    def endpoint(self, workload: str) -> r.WorkloadEndpoint:
        """The endpoint of NAMESPACE/NAME as it is in the store."""
        with self.running.store() as store:
            for each in read(store, kinds.BY_NAME["WorkloadEndpoint"]):
                found = each.resource
                assert isinstance(found, r.WorkloadEndpoint)
                if f"{found.metadata.namespace}/{found.spec.workload}" == workload:
                    return found
        raise AssertionError(f"{workload} has no endpoint")

    def ready(self, hosts: Sequence[str] = HOSTS, state: str = "ready") -> None:
        """Returns when these agents are ready, or in another state."""
        assert until(lambda: self.all_are(state, hosts), PROMPT), {
            host: self.agent(host) for host in hosts
        }

    def kill_agents(self, hosts: Sequence[str], then: str = "ready") -> None:
        """Kill agents (-9); returns when the next ones are ready, or in another state."""
        tasks = {host: f"agent/{host}" for host in hosts}
        before = {host: self.restarts(task) for host, task in tasks.items()}
        control.kill(self.running.lab, *tasks.values())
        assert until(lambda: all(self.restarts(tasks[h]) > before[h] for h in hosts), PROMPT)
        self.ready(hosts, then)


def manifest(text: str) -> list[r.Resource]:
    """The resources of a manifest."""
    return [each.resource for each in load(text, "manifest.yaml")]


def seconds_until(holds: object, limit: float) -> float:
    """The seconds that it took until something held; fails if it never does."""
    assert callable(holds)
    began = time.monotonic()
    assert until(holds, limit), f"not within {limit} s"
    return time.monotonic() - began
