"""Changes of a running lab's resources, each written down with the moments at which it came into
force on each host; and traffic meanwhile that is held against them."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from e2e_leak import Attempt, Delta, Findings, Lived, Part, Version
from e2e_prober import Prober, Target
from e2e_rig import HOSTS, PROMPT, Site
from lab_rig import until

from tortie.dataplane.interpreter import Packet
from tortie.kernel import netns
from tortie.kernel.rtnetlink import Netlink
from tortie.lab.document import Service
from tortie.lab.probe import Pair, endpoint_addresses
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.normalise import normalise
from tortie.node import host_facts
from tortie.store.addresses import server_addresses
from tortie.store.base import MAX_OPS, Delete, Op, Put

BARRIERS = f"{kinds.WORLD}barriers/"
UPLINK = "eth0"
HOST_PORTS = (22, 1000)
"""What the hosts answer at: a failsafe port, and one that policy decides about."""
PROTOCOLS = {"tcp": 6, "udp": 17}


class Changes:
    """Commits to the store of a lab, written down. Use as a context manager."""

    def __init__(self, site: Site) -> None:
        """All hosts enforce what is in the store when this returns."""
        site.barrier()
        self._site = site
        self._stack = contextlib.ExitStack()
        self._store = self._stack.enter_context(site.running.store())
        self._barriers: list[str] = [""]
        self.world: dict[str, r.Resource] = {
            entry.key: kinds.decode(entry.value)
            for entry in self._store.list(kinds.WORLD).entries
            if not entry.key.startswith(BARRIERS)
        }
        now = time.time()
        self.versions = [Version("the start", dict(self.world), now, dict.fromkeys(HOSTS, now))]

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Takes away the barriers."""
        with self._stack:
            keys = [entry.key for entry in self._store.list(kinds.RECEIPTS).entries]
            keys += [f"{BARRIERS}{token}" for token in self._barriers if token]
            for start in range(0, len(keys), MAX_OPS):
                self._store.commit([Delete(key) for key in keys[start : start + MAX_OPS]])

    def commit(self, text: str, delta: Delta, hidden: bool = False) -> None:
        """Write and remove in one transaction. `hidden`: as if it were not written down."""
        delta = {key: None if each is None else normalise(each) for key, each in delta.items()}
        token = uuid.uuid4().hex
        barrier = r.Barrier(
            api_version="tortie.dev/v1",
            metadata=r.Metadata(name=token),
            spec=r.BarrierSpec(token=token),
        )
        ops: list[Op] = [
            Delete(key) if each is None else Put(key, kinds.encode(each))
            for key, each in delta.items()
        ]
        ops.append(Put(kinds.key(barrier), kinds.encode(barrier)))
        began = time.time()
        self._store.commit(ops)
        self._barriers.append(token)
        self.versions.append(Version(text, {} if hidden else delta, began))
        for key, each in delta.items():
            self.world.pop(key, None)
            if each is not None:
                self.world[key] = each

    def behind(self) -> int:
        """How many versions the slowest host is behind the last one, as far as it told."""
        missing = 0
        for token in reversed(self._barriers[1:]):
            if len(self._store.list(f"{kinds.RECEIPTS}{token}/").entries) >= len(HOSTS):
                break
            missing += 1
        return missing

    def settle(self) -> None:
        """Returns when all hosts enforce the last version."""
        assert until(lambda: self.behind() == 0, PROMPT), {
            host: self._site.agent(host) for host in HOSTS
        }

    def lived(self) -> Lived:
        """All of it, to hold attempts against."""
        numbers = {token: number for number, token in enumerate(self._barriers)}
        for entry in self._store.list(kinds.RECEIPTS).entries:
            receipt = kinds.decode_receipt(entry.value)
            token = entry.key.removeprefix(kinds.RECEIPTS).partition("/")[0]
            if token in numbers:
                self.versions[numbers[token]].enforced[receipt.node] = receipt.time
        self._check_world()
        site = self._site
        return Lived(
            self.versions,
            {host: interfaces(site, host) for host in HOSTS},
            server_addresses(site.plan.store_url(site.directory))[0],
        )

    def _check_world(self) -> None:
        """Nobody else has written resources meanwhile."""
        found = {
            entry.key: kinds.decode(entry.value)
            for entry in self._store.list(kinds.WORLD).entries
            if not entry.key.startswith(BARRIERS)
        }
        assert found == self.world


def interfaces(site: Site, host: str) -> dict[str, tuple[str, ...]]:
    """The interfaces of a host as its agent knows them."""
    with netns.entered(site.space(host)), contextlib.closing(Netlink()) as netlink:
        return dict(host_facts(netlink, Path("/nonexistent")).interfaces)


@dataclass
class Stage:
    """A running lab, everything that may be tried there, and the source ports used so far."""

    site: Site
    dataplane: str
    targets: list[Target]
    ports: dict[str, int] = field(default_factory=dict)

    def asked(self, questions: Sequence[str]) -> list[Target]:
        """What some questions (see `e2e_rig`) are about."""
        found = {
            f"{one.pair.source} {one.pair.destination} {one.pair.service}": one
            for one in self.targets
        }
        return [found[each] for each in questions]

    def guarded_by(self, dataplane: str) -> bool:
        """Do all hosts say so?"""
        return all(self.site.agent(host).get("dataplane") == dataplane for host in HOSTS)


# --- traffic --------------------------------------------------------------------------------------


def targets(site: Site) -> list[Target]:
    """Every workload, host and machine outside to all that every other one serves."""
    plan = site.plan
    with site.running.store() as store:
        addresses = endpoint_addresses(store)
    addresses |= {each.name: each.address for each in plan.outside}
    addresses |= {each.name: each.address.split("/")[0] for each in plan.hosts}
    homes = {each.name: _home(site, each.name) for each in plan.workloads}
    homes |= {each.name: (each.name, None) for each in plan.hosts}
    served = {each.name: each.serve for each in (*plan.workloads, *plan.outside)}
    host_services = tuple(Service("tcp", port) for port in HOST_PORTS)
    served |= {each.name: host_services for each in plan.hosts[::3]}
    spaces = {each.name: each.space for each in (*plan.workloads, *plan.outside)}
    spaces |= {each.name: each.space for each in plan.hosts[::3]}
    found = []
    for source, space in spaces.items():
        for destination, services in served.items():
            for service in services if source != destination else ():
                pair = Pair(source, space, destination, addresses[destination], service)
                protocol = PROTOCOLS[service.protocol]
                packet = Packet(
                    addresses[source], addresses[destination], protocol, service.port, 1024
                )
                way = _way(homes.get(source), homes.get(destination))
                if way:
                    found.append(Target(pair, packet, way))
    return found


_Home = tuple[str, str | None]
"""A host, and the interface there; None: the host itself."""


def _home(site: Site, workload: str) -> _Home:
    spec = site.endpoint(workload).spec
    return spec.node, spec.interface_name


def _way(source: _Home | None, destination: _Home | None) -> tuple[Part, ...]:
    if source and destination and source[0] == destination[0]:
        return (Part(source[0], source[1], destination[1]),)
    out = (Part(source[0], source[1], UPLINK),) if source else ()
    return out + ((Part(destination[0], UPLINK, destination[1]),) if destination else ())


class Watched:
    """Attempts under way, and after the block what is to be said of them."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self.findings = Findings()
        self.told = ""
        """leaks and wrong refusals in words; empty if there are none"""

    @property
    def attempts(self) -> list[Attempt]:
        return self._prober.attempts

    def examine(self, lived: Lived) -> None:
        found = self.findings = lived.examine(self.attempts)
        self.told = ""
        if found.leaks:
            self.told += f"LEAKED: {lived.tell(found.leaks)}\n"
        if found.refused:
            self.told += f"REFUSED: {lived.tell(found.refused)}\n"


@contextlib.contextmanager
def watched(
    site: Site, changes: Changes, some: Sequence[Target], ports: dict[str, int], rate: float
) -> Iterator[Watched]:
    """Within the block targets are tried; after it all of that is held against the changes."""
    listen = [(site.space(each.name), port) for each in site.plan.hosts for port in HOST_PORTS]
    with Prober(some, rate, ports, listen) as prober:
        found = Watched(prober)
        yield found
        changes.settle()
    found.examine(changes.lived())
