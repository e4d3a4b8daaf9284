"""From a lab file to everything that is to be built, as plain data. Pure.

A lab is namespaces (Space), cables between them, and what runs in them. Every host, router and
machine outside is a namespace `tortie-LAB-NAME`, every workload `tortie-LAB-NAMESPACE.NAME`. Cables
are made straight between namespaces, so the machine's own is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tortie.lab import numbers, routers
from tortie.lab.document import (
    Dataplane,
    Lab,
    Service,
    Store,
    Workload,
    outside_machines,
    router_name,
)

ETCD_SOCKET = "etcd:2379"
"""The file of etcd's Unix socket in the lab's directory: etcd wants HOST:PORT for its name."""


class Space(Struct, frozen=True):
    """A network namespace; `script` are the lines for `ip -batch` inside it, once its cables are
    there, `sysctls` (name under net, value) come before them."""

    name: str
    script: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()


class Cable(Struct, frozen=True):
    """A veth pair; each end is (namespace, interface)."""

    near: tuple[str, str]
    far: tuple[str, str]


class Host(Struct, frozen=True):
    """`address` is ADDRESS/LENGTH in the rack's subnet; `management` an address or None."""

    name: str
    space: str
    rack: str
    as_number: int
    address: str
    router: str
    """the router's address"""
    management: str | None = None


class Router(Struct, frozen=True):
    """A rack's router; `config` is BIRD's."""

    name: str
    space: str
    rack: str
    as_number: int
    address: str
    subnet: str
    config: str


class OutsideMachine(Struct, frozen=True):
    name: str
    space: str
    address: str
    serve: tuple[Service, ...] = ()


class LabWorkload(Struct, frozen=True):
    """`wanted` is as the file has it."""

    name: str
    """NAMESPACE/NAME"""
    space: str
    wanted: Workload
    serve: tuple[Service, ...] = ()


class Plan(Struct, frozen=True):
    """A whole lab. `spaces` hold all namespaces, in the order to make them."""

    name: str
    store: Store
    hosts: tuple[Host, ...]
    routers: tuple[Router, ...]
    outside: tuple[OutsideMachine, ...]
    workloads: tuple[LabWorkload, ...]
    spaces: tuple[Space, ...]
    cables: tuple[Cable, ...]
    pools: tuple[str, ...]
    """CIDRs that the lab itself makes an IPPool of"""
    dataplane: Dataplane | None = None
    """what guards the hosts; None: what the store says"""

    def store_url(self, directory: Path) -> str:
        """The store as the hosts reach it; `directory` is the lab's."""
        if self.store == "etcd":
            return f"etcd://{store_address()}:{numbers.ETCD_PORT}"
        return f"sqlite://{directory}/store.db"

    def outer_store_url(self, directory: Path) -> str:
        """The store as it is reached from outside the lab's namespaces."""
        if self.store == "etcd":
            return f"etcd+unix://{directory}/{ETCD_SOCKET}"
        return self.store_url(directory)

    @property
    def store_space(self) -> str | None:
        """The namespace of the lab's etcd server."""
        return space_name(self.name, "store") if self.store == "etcd" else None


def make(lab: Lab, own_pools: bool = False) -> Plan:
    """The plan of a valid lab. `own_pools`: the file has IPPool resources of its own."""
    spec, name = lab.spec, lab.metadata.name
    subnets = [IPv4Network(text, strict=False) for text in numbers.rack_subnets(spec)]
    asns = numbers.as_numbers(spec)
    racks = list(zip(spec.racks, subnets, asns, strict=True))
    hosts: list[Host] = []
    for rack, subnet, asn in racks:
        for index, host in enumerate(rack.hosts):
            hosts.append(
                Host(
                    name=host,
                    space=space_name(name, host),
                    rack=rack.name,
                    as_number=asn,
                    address=f"{numbers.host_address(subnet, index)}/{subnet.prefixlen}",
                    router=str(numbers.router_address(subnet)),
                    management=(
                        management_address(len(hosts)) if spec.store == "etcd" else None
                    ),
                )
            )  # fmt: skip
    outside = [
        OutsideMachine(
            name=machine.name,
            space=space_name(name, machine.name),
            address=str(numbers.host_address(numbers.outside_subnet(index), 0)),
            serve=services(machine.serve),
        )
        for index, machine in enumerate(outside_machines(spec))
    ]
    links = _links(len(racks))
    made = [
        _router(name, number, rack.name, asns, subnets, hosts, links, len(outside))
        for number, rack in enumerate(spec.racks)
    ]
    workloads = tuple(_workload(name, wanted) for wanted in spec.workloads)
    default = [] if own_pools else [numbers.DEFAULT_POOL]
    plan = Plan(
        name=name,
        store=spec.store,
        hosts=tuple(hosts),
        routers=tuple(made),
        outside=tuple(outside),
        workloads=workloads,
        spaces=(),
        cables=(),
        pools=tuple(spec.pools or default),
        dataplane=spec.dataplane,
    )
    return _wire(plan, links)


def space_name(lab: str, thing: str) -> str:
    """The network namespace of a thing in a lab."""
    return f"tortie-{lab}-{thing}"


def services(items: Sequence[str]) -> tuple[Service, ...]:
    """Valid `serve` items, read."""
    pairs = [item.split("/") for item in items]
    return tuple(
        Service("tcp" if protocol == "tcp" else "udp", int(port)) for protocol, port in pairs
    )


def store_address() -> str:
    """Where a lab's etcd listens, on the management network."""
    return str(IPv4Network(numbers.MANAGEMENT)[1])


def management_address(index: int) -> str:
    """The address of a host, counted from 0, on the management network."""
    return str(IPv4Network(numbers.MANAGEMENT)[2 + index])


def _workload(lab: str, wanted: Workload) -> LabWorkload:
    return LabWorkload(
        name=f"{wanted.namespace}/{wanted.name}",
        # No label has a dot, so no two workloads share a namespace.
        space=space_name(lab, f"{wanted.namespace}.{wanted.name}"),
        wanted=wanted,
        serve=services(wanted.serve),
    )


# --- routers ----------------------------------------------------------------------------------


class _Link(Struct, frozen=True):
    """A link between two routers, by number: `index` is its own."""

    index: int
    left: int
    right: int


def _links(count: int) -> list[_Link]:
    pairs = combinations(range(count), 2)
    return [_Link(index, left, right) for index, (left, right) in enumerate(pairs)]


def _router(
    lab: str,
    number: int,
    rack: str,
    asns: Sequence[int],
    subnets: Sequence[IPv4Network],
    hosts: Sequence[Host],
    links: Sequence[_Link],
    outside: int,
) -> Router:
    address = str(numbers.router_address(subnets[number]))
    own = [each for each in hosts if each.rack == rack]
    clients = [(each.name, each.address.partition("/")[0]) for each in own]
    peers = []
    for link in links:
        left, right = (str(each) for each in numbers.link(link.index))
        if link.left == number:
            peers.append(routers.Peer(left, right, asns[link.right]))
        elif link.right == number:
            peers.append(routers.Peer(right, left, asns[link.left]))
    outer = [str(numbers.outside_subnet(index)) for index in range(outside)] if not number else []
    config = routers.render(
        address=address,
        as_number=asns[number],
        originate=[str(subnets[number]), *outer],
        clients=[address for _, address in clients],
        peers=peers,
    )
    return Router(
        name=router_name(rack),
        space=space_name(lab, router_name(rack)),
        rack=rack,
        as_number=asns[number],
        address=address,
        subnet=str(subnets[number]),
        config=config,
    )


# --- cables and addresses -------------------------------------------------------------------------

_FORWARDS = (("ipv4.ip_forward", "1"),)
# A bridge would else hand its packets to whatever rules the namespace has.
_NO_BRIDGE_FILTER = tuple(
    (f"bridge.bridge-nf-call-{tables}", "0") for tables in ("iptables", "ip6tables", "arptables")
)
# Packets are taken only from where the answer would go: nobody outside can claim a workload's
# address at a router, and only who is on the management network gets an answer there.
_STRICT = (("ipv4.conf.all.rp_filter", "1"),)


class _Wiring:
    """Collects cables and what each namespace does with its ends."""

    def __init__(self) -> None:
        self.cables: list[Cable] = []
        self.scripts: dict[str, list[str]] = {}
        self.sysctls: dict[str, tuple[tuple[str, str], ...]] = {}

    def space(self, name: str, *sysctls: tuple[str, str]) -> None:
        self.scripts[name] = ["link set lo up"]
        self.sysctls[name] = sysctls

    def bridge(self, space: str, name: str, address: str) -> None:
        self.scripts[space] += [
            f"link add {name} type bridge mcast_snooping 0",
            f"addr add {address} dev {name}",
            f"link set {name} up",
        ]

    def connect(
        self, near: tuple[str, str], near_does: Sequence[str], far: tuple[str, str],
        far_does: Sequence[str],
    ) -> None:  # fmt: skip
        """A cable; each end is brought up after its lines."""
        self.cables.append(Cable(near, far))
        for (space, interface), lines in ((near, near_does), (far, far_does)):
            self.scripts[space] += [*lines, f"link set {interface} up"]


def _wire(plan: Plan, links: Sequence[_Link]) -> Plan:
    """The plan with its namespaces and cables."""
    wiring = _Wiring()
    for router in plan.routers:
        wiring.space(router.space, *_FORWARDS, *_STRICT, *_NO_BRIDGE_FILTER)
        length = router.subnet.partition("/")[2]
        wiring.bridge(router.space, "rack", f"{router.address}/{length}")
    for host in plan.hosts:
        wiring.space(host.space)
    by_rack = {router.rack: router.space for router in plan.routers}
    for index, host in enumerate(plan.hosts):
        port = f"host{index}"
        wiring.connect(
            (host.space, "eth0"), [f"addr add {host.address} dev eth0"],
            (by_rack[host.rack], port), [f"link set {port} master rack"],
        )  # fmt: skip
    for link in links:
        left, right = (f"{each}/31" for each in numbers.link(link.index))
        ends = plan.routers[link.left], plan.routers[link.right]
        near, far = f"link{link.right}", f"link{link.left}"
        wiring.connect(
            (ends[0].space, near), [f"addr add {left} dev {near}"],
            (ends[1].space, far), [f"addr add {right} dev {far}"],
        )  # fmt: skip
    _wire_outside(plan, wiring)
    _wire_store(plan, wiring)
    for workload in plan.workloads:
        wiring.space(workload.space)
    spaces = tuple(
        Space(name, tuple(script), wiring.sysctls[name]) for name, script in wiring.scripts.items()
    )
    return replace(plan, spaces=spaces, cables=tuple(wiring.cables))


def _wire_outside(plan: Plan, wiring: _Wiring) -> None:
    for index, machine in enumerate(plan.outside):
        subnet = numbers.outside_subnet(index)
        gateway = numbers.router_address(subnet)
        port = f"out{index}"
        wiring.space(machine.space)
        wiring.connect(
            (plan.routers[0].space, port), [f"addr add {gateway}/29 dev {port}"],
            (machine.space, "eth0"), [f"addr add {machine.address}/29 dev eth0"],
        )  # fmt: skip
        wiring.scripts[machine.space].append(f"route add default via {gateway}")


def _wire_store(plan: Plan, wiring: _Wiring) -> None:
    """The management network: etcd's machine holds the bridge that all hosts are on."""
    space = plan.store_space
    if space is None:
        return
    wiring.space(space, *_STRICT, *_NO_BRIDGE_FILTER)
    wiring.bridge(space, "mgmt", f"{store_address()}/16")
    for index, host in enumerate(plan.hosts):
        port = f"host{index}"
        wiring.connect(
            (host.space, "mgmt0"), [f"addr add {host.management}/16 dev mgmt0"],
            (space, port), [f"link set {port} master mgmt"],
        )  # fmt: skip
