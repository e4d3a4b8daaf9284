"""The agent of a host, put together from its real parts. Part of the composition root."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
import uuid
from functools import partial
from pathlib import Path

import msgspec

from tortie.agent import api, server
from tortie.agent.belief import Memory
from tortie.agent.events import KernelChanged, Stop
from tortie.agent.loop import Agent, HostFacts
from tortie.agent.metrics import Metrics
from tortie.agent.periodic import Periodic
from tortie.agent.report import Reporter, Writer
from tortie.agent.settings import Settings
from tortie.bgp import doors
from tortie.bgp.bird import BirdDriver
from tortie.dataplane.connections import ConnectionDriver
from tortie.dataplane.firewall import Firewall, look
from tortie.dataplane.iptables.driver import IptablesDriver
from tortie.dataplane.links import LinkDriver
from tortie.dataplane.nft.driver import NftDriver
from tortie.dataplane.routes import RouteDriver
from tortie.dataplane.vxlan import VxlanDriver
from tortie.desired import INTERFACE_PREFIX, ROUTE_PROTOCOL, Dataplane, Family
from tortie.errors import BgpError, StoreError
from tortie.ipam.allocator import Allocator
from tortie.ipam.behind import Hold
from tortie.ipam.collector import Collector, Leak
from tortie.kernel import process
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.ipset import IpSet
from tortie.kernel.iptables import Iptables
from tortie.kernel.monitor import Monitor
from tortie.kernel.nflog import Logged, LogReader
from tortie.kernel.nft import Nft
from tortie.kernel.rtnetlink import Netlink, NetlinkPort
from tortie.kernel.sysctl import Sysctl
from tortie.model import kinds
from tortie.plugins import node_address, planned, tunnel, workload
from tortie.plugins.request import Request
from tortie.store import open_store, url
from tortie.store.addresses import server_addresses
from tortie.store.base import Store
from tortie.store.election import Election
from tortie.store.syncer import Syncer

_log = logging.getLogger("tortie")

COLLECTOR_PATIENCE = 45.0
"""Seconds of silence after which another agent collects addresses."""
ADDRESS_SECONDS = 30.0
"""How often the host's address is found out again."""
TUNNEL_SECONDS = 5.0
"""How often it is looked whether pools ask for a tunnel."""


def run(settings: Settings) -> int:
    """Be the agent of this host until SIGTERM or SIGINT; the exit code.

    What is in the kernel, and BIRD, stay when it ends. Raises KernelError, Missing, StoreError.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process.call_me("tortie-agent")
    methods = address_methods(settings)
    _log.info("agent of node %s, store %s", settings.node, url.redact(settings.store))
    store = open_store(settings.store)
    writer = Writer(store)
    guard, bird = firewall(settings.dataplane), BirdDriver(settings.run_dir)
    netlink, metrics = Netlink(), Metrics(settings.node)
    agent = Agent(
        settings,
        # The filter comes first: nothing is routed before it is guarded.
        drivers=(
            guard,
            LinkDriver(netlink, Sysctl()),
            VxlanDriver(netlink, Sysctl()),  # before the routes that lead by it
            RouteDriver(netlink),
            ConnectionDriver(Conntrack(), netlink),
            bird,
        ),
        probes=(guard.drifted, lambda: not bird.alive()),
        facts=lambda: host_facts(netlink, settings.secrets_dir),
        memory=Memory(settings.state_dir),
        reporter=Reporter(settings.node, writer.write, _stale(store, settings.node)),
        recorder=metrics,
        protected=_store_addresses(settings.store),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.queue.put(Stop()))
    # Routes that BGP learns are BIRD's business.
    monitor = Monitor(lambda event: agent.queue.put(KernelChanged()), ROUTE_PROTOCOL)
    syncer = Syncer(store, kinds.WORLD, agent.queue.put)
    log_reader = LogReader(_print_logged)
    _open_doors(settings, agent, metrics, _host_routes(store, settings.node, bird))
    tasks = [*_tasks(settings, store, methods), _collection(settings.node, store, metrics)]
    for start in (writer.start, monitor.start, log_reader.start, syncer.start):
        start()
    for task in tasks:
        task.start()
    try:
        agent.run()
    finally:
        for task in tasks:
            task.stop()
        for stop in (syncer.stop, monitor.stop, log_reader.stop, writer.stop, store.close):
            stop()
    return 0


def address_methods(settings: Settings) -> dict[Family, node_address.Method]:
    """How this host's addresses are found out, by family; none: its Node says them.

    Raises UsageError.
    """
    given: dict[Family, str] = {4: settings.ip, 6: settings.ip6}
    return {family: node_address.parse(text, family) for family, text in given.items() if text}


def _tasks(
    settings: Settings, store: Store, methods: dict[Family, node_address.Method]
) -> list[Periodic]:
    """What this agent does beside its loop."""
    own_tunnels = partial(tunnel.keep, store, settings.node)
    tasks = [Periodic("tunnel addresses", own_tunnels, TUNNEL_SECONDS)]
    if methods:
        netlink = Netlink()
        find = partial(node_address.keep, store, settings.node, netlink, methods)
        tasks.append(Periodic("address of this host", find, ADDRESS_SECONDS))
    return tasks


def _collection(node: str, store: Store, metrics: Metrics) -> Periodic:
    """The collector of addresses: every agent stands for it, one of them does it."""

    def tell(leak: Leak) -> None:
        metrics.collected(len(leak.claims))
        _log.info("freed %s of %s: %s", ", ".join(leak.addresses), leak.handle, leak.why)

    allocator = Allocator(store, hold=Hold(store, time.time))
    collector = Collector(store, allocator, tell)
    election = Election(store, "ipam-collector", f"{node}/{uuid.uuid4().hex}", COLLECTOR_PATIENCE)

    def step() -> None:
        if election.renew():
            collector.collect()
        else:
            collector.forget()

    return Periodic("address collection", step, election.pause)


def firewall(forced: Dataplane | None = None) -> Firewall:
    """The firewall of this host: by the dataplane that is `forced`, or that the store asks for."""
    families: tuple[Family, ...] = (4, 6)
    if Sysctl().read("net/ipv6/conf/all/forwarding") is None:
        families = (4,)
    nft = NftDriver(Nft())
    backends = {
        driver.name: driver
        for driver in (
            IptablesDriver(Iptables("nft"), IpSet(), families),
            IptablesDriver(Iptables("legacy"), IpSet(), families),
        )
    }
    return Firewall({nft.name: nft, **backends}, lambda: look(nft, backends), forced)


def _open_doors(
    settings: Settings,
    agent: Agent,
    metrics: Metrics,
    more: dict[tuple[str, str], server.Handler],
) -> None:
    server.serve_unix(settings.run_dir / "agent.sock", api.routes(agent, metrics, more))
    if settings.metrics_port:
        server.serve_tcp(
            settings.metrics_address, settings.metrics_port, api.monitoring(agent, metrics)
        )


def _host_routes(
    store: Store, node: str, bird: BirdDriver
) -> dict[tuple[str, str], server.Handler]:
    """What the parts beside the loop answer."""

    def add(rest: str, body: object) -> object:
        request = msgspec.convert(body, Request)
        with contextlib.closing(Netlink()) as netlink:
            mtu = tunnel.mtu(store, node, netlink)
        return msgspec.to_builtins(workload.add(store, node, request, mtu=mtu))

    def remove(rest: str, body: object) -> object:
        namespace, _, name = rest.partition("/")
        return {"released": workload.remove(store, node, namespace, name)}

    def bgp(rest: str, body: object) -> object:
        what, _, prefix = rest.partition("/")
        match what:
            case "":
                return doors.sessions(bird)
            case "routes":
                return doors.routes(bird)
            case "why":
                return doors.reason(bird, prefix)
        raise BgpError(f"there is no /bgp/{what} here")

    def restart(rest: str, body: object) -> object:
        if rest != "restart":
            raise BgpError(f"there is no /bgp/{rest} here")
        return {"late": planned.announced(store, node, bird.restart)}

    return {
        ("POST", "workloads"): add,
        ("DELETE", "workloads"): remove,
        ("GET", "bgp"): bgp,
        ("POST", "bgp"): restart,
    }


def host_facts(netlink: NetlinkPort, secrets_dir: Path) -> HostFacts:
    """The interfaces of this host that are no workload's, with their addresses and MTUs (`lo` is
    not one), and its files of secrets. Raises KernelError.
    """
    mine = [
        link
        for link in netlink.links()
        if link.name != "lo" and not link.name.startswith(INTERFACE_PREFIX)
    ]
    found: dict[int, list[str]] = {link.index: [] for link in mine}
    for address in netlink.addresses():
        if address.index in found:
            found[address.index].append(address.prefix.partition("/")[0])
    return HostFacts(
        interfaces={link.name: tuple(sorted(found[link.index])) for link in mine},
        mtus={link.name: link.mtu for link in mine},
        secrets=secrets_in(secrets_dir),
    )


def secrets_in(directory: Path) -> dict[str, str]:
    """The texts of the files in a directory, by name, without the line end; none if it is absent.

    A file that others than its owner may read, or that is no text, is left out and said so.
    """
    found: dict[str, str] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        try:
            if path.stat().st_mode & 0o077:
                _log.warning("%s is not used: others may read it (chmod 600)", path)
            elif path.is_file():
                found[path.name] = path.read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            _log.warning("%s is not used: %s", path, type(error).__name__)
    return found


def _stale(store: Store, node: str) -> frozenset[str]:
    """Status keys that an earlier run of this host's agent left; none if the store is away."""
    try:
        entries = store.list(f"{kinds.STATUS}{node}/endpoints/").entries
    except StoreError as error:
        _log.warning("the status of an earlier run cannot be read: %s", error)
        return frozenset()
    return frozenset(entry.key for entry in entries)


def _store_addresses(store: str) -> tuple[str, ...]:
    """The addresses of the store's servers: no tenant reaches them by default."""
    found, lost = server_addresses(store)
    for host in lost:
        _log.warning("the store's host %s has no address now, so it is not protected", host)
    return found


def _print_logged(logged: Logged) -> None:
    """A packet that met a Log rule; every part is generated or an address."""
    _log.info(
        "packet %s: %s -> %s protocol %s port %s, in %s out %s",
        logged.prefix,
        logged.source,
        logged.destination,
        logged.protocol,
        logged.destination_port,
        logged.interface_in,
        logged.interface_out,
    )
