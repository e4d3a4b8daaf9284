"""From a lab file to everything that is to be built, as plain data. Pure.

A lab is namespaces (Space), cables between them, and what runs in them. Every host, router and
machine outside is a namespace `tortie-LAB-NAME`, every workload `tortie-LAB-NAMESPACE.NAME`. Cables
are made straight between namespaces, so the machine's own is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Literal

from msgspec import Struct

from tortie.lab import numbers
from tortie.lab.document import (
    Dataplane,
    Family,
    Lab,
    LabSpec,
    RouterKind,
    Service,
    Store,
    Workload,
    outside_machines,
    router_name,
)
from tortie.lab.routers import Router as Speech
from tortie.lab.routers import Session
from tortie.lab.speakers import Speaker


class Space(Struct, frozen=True):
    """A network namespace; `script` are the lines for `ip -batch` inside it, once its cables are
    there, `sysctls` (name under net, value) come before them."""

    name: str
    script: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    rules: str = ""
    """for nft, in the end"""


class Cable(Struct, frozen=True):
    """A veth pair; each end is (namespace, interface)."""

    near: tuple[str, str]
    far: tuple[str, str]


class Host(Struct, frozen=True):
    """`address` and `address6` (None without IPv6) are ADDRESS/LENGTH in the rack's subnets;
    `management` an address or None."""

    name: str
    space: str
    rack: str
    as_number: int
    address: str
    router: str
    """the router's IPv4 address"""
    management: str | None = None
    address6: str | None = None
    cluster_id: str | None = None
    """of a host that is a route reflector"""

    @property
    def addresses(self) -> dict[Family, str]:
        """Its addresses in the rack, without length."""
        return _by_family(self.address, self.address6)


class Router(Struct, frozen=True):
    """A rack's router; `speech` is what it says in BGP."""

    name: str
    space: str
    rack: str
    as_number: int
    address: str
    subnet: str
    kind: RouterKind
    speech: Speech
    address6: str | None = None
    subnet6: str | None = None

    @property
    def addresses(self) -> dict[Family, str]:
        """Its addresses in the rack."""
        return _by_family(self.address, self.address6)


class OutsideMachine(Struct, frozen=True):
    name: str
    space: str
    address: str
    serve: tuple[Service, ...] = ()
    address6: str | None = None

    @property
    def addresses(self) -> dict[Family, str]:
        """Its addresses, without length."""
        return _by_family(self.address, self.address6)


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
    families: tuple[Family, ...] = (4,)
    speakers: tuple[Speaker, ...] = ()
    bgp: Literal["routers", "mesh", "reflectors"] = "routers"
    bfd: bool = False
    etcd_members: int = 1

    def store_url(self, directory: Path) -> str:
        """The store as the hosts reach it; `directory` is the lab's."""
        if self.store == "etcd":
            ports = [numbers.etcd_ports(member)[0] for member in range(self.etcd_members)]
            return "etcd://" + ",".join(f"{store_address()}:{port}" for port in ports)
        return f"sqlite://{directory}/store.db"

    def outer_store_url(self, directory: Path) -> str:
        """The store as it is reached from outside the lab's namespaces."""
        if self.store == "etcd":
            sockets = [etcd_socket(member) for member in range(self.etcd_members)]
            return "etcd+unix://" + ",".join(f"{directory}/{each}" for each in sockets)
        return self.store_url(directory)

    @property
    def store_space(self) -> str | None:
        """The namespace of the lab's etcd server."""
        return space_name(self.name, "store") if self.store == "etcd" else None


def make(lab: Lab, own_pools: bool = False) -> Plan:
    """The plan of a valid lab. `own_pools`: the file has IPPool resources of its own."""
    # Imported here: wiring joins what this module describes.
    from tortie.lab.wiring import wire

    spec, name = lab.spec, lab.metadata.name
    networks = numbers.rack_networks(spec)
    hosts = tuple(_hosts(name, spec, networks))
    links = [
        _Link(index, *pair) for index, pair in enumerate(combinations(range(len(networks)), 2))
    ]
    default = [numbers.DEFAULT_POOLS[family] for family in _families(spec)]
    plan = Plan(
        name=name,
        store=spec.store,
        hosts=hosts,
        routers=tuple(
            _router(name, spec, number, networks, hosts, links) for number in range(len(networks))
        ),
        outside=tuple(_outside(name, spec)),
        workloads=tuple(_workload(name, wanted) for wanted in spec.workloads),
        spaces=(),
        cables=(),
        pools=tuple(spec.pools or ([] if own_pools else default)),
        dataplane=spec.dataplane,
        families=_families(spec),
        speakers=tuple(_speakers(name, spec, networks, hosts)),
        bgp=spec.bgp,
        bfd=spec.bfd,
        etcd_members=spec.etcd_members,
    )
    return wire(plan, [(each.index, each.left, each.right) for each in links])


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


def etcd_socket(member: int) -> str:
    """The file of an etcd member's Unix socket in the lab's directory; etcd wants HOST:PORT."""
    return f"etcd:{numbers.etcd_ports(member)[0]}"


def _by_family(four: str, six: str | None) -> dict[Family, str]:
    found: dict[Family, str] = {4: four.partition("/")[0]}
    return {**found, 6: six.partition("/")[0]} if six else found


def _families(spec: LabSpec) -> tuple[Family, ...]:
    return (4, 6) if 6 in spec.families else (4,)


def _hosts(
    lab: str, spec: LabSpec, networks: Sequence[dict[Family, numbers.Network]]
) -> Iterator[Host]:
    count = 0
    for rack, nets, asn in zip(spec.racks, networks, numbers.as_numbers(spec), strict=True):
        for index, host in enumerate(rack.hosts):
            yield Host(
                name=host,
                space=space_name(lab, host),
                rack=rack.name,
                as_number=asn,
                address=_interface(nets[4], index),
                address6=_interface(nets[6], index) if 6 in nets else None,
                router=str(numbers.router_address(nets[4])),
                management=management_address(count) if spec.store == "etcd" else None,
                cluster_id=_cluster_id(spec, host),
            )
            count += 1


def _interface(network: numbers.Network, index: int) -> str:
    return f"{numbers.host_address(network, index)}/{network.prefixlen}"


def _cluster_id(spec: LabSpec, host: str) -> str | None:
    """Reflectors are clusters of their own: each tells the others what its clients said."""
    if spec.bgp != "reflectors" or host not in spec.reflectors:
        return None
    return f"10.255.255.{spec.reflectors.index(host) + 1}"


def _outside(lab: str, spec: LabSpec) -> Iterator[OutsideMachine]:
    for index, machine in enumerate(outside_machines(spec)):
        found = {
            family: str(numbers.host_address(numbers.outside_subnet(family, index), 0))
            for family in _families(spec)
        }
        yield OutsideMachine(
            name=machine.name,
            space=space_name(lab, machine.name),
            address=found[4],
            serve=services(machine.serve),
            address6=found.get(6),
        )


def _speakers(
    lab: str,
    spec: LabSpec,
    networks: Sequence[dict[Family, numbers.Network]],
    hosts: Sequence[Host],
) -> Iterator[Speaker]:
    """After the hosts of its rack in the subnet."""
    racks = {rack.name: index for index, rack in enumerate(spec.racks)}
    taken = {rack.name: len(rack.hosts) for rack in spec.racks}
    asns = numbers.as_numbers(spec)
    for each, asn in zip(spec.speakers, numbers.speaker_numbers(spec), strict=True):
        place = racks[each.rack]
        mine = [host for host in hosts if host.rack == each.rack]
        yield Speaker(
            name=each.name,
            space=space_name(lab, each.name),
            rack=each.rack,
            kind=each.kind,
            as_number=asn,
            rack_as=asns[place],
            addresses={
                family: str(numbers.host_address(network, taken[each.rack]))
                for family, network in networks[place].items()
            },
            hosts={
                family: tuple(host.addresses[family] for host in mine) for family in networks[place]
            },
            reflector=each.reflector,
            originate=tuple(each.originate),
        )
        taken[each.rack] += 1


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


def _router(
    lab: str,
    spec: LabSpec,
    number: int,
    networks: Sequence[dict[Family, numbers.Network]],
    hosts: Sequence[Host],
    links: Sequence[_Link],
) -> Router:
    rack, nets, asns = spec.racks[number], networks[number], numbers.as_numbers(spec)
    addresses = {family: str(numbers.router_address(network)) for family, network in nets.items()}
    sessions: list[Session] = []
    for family in nets:
        if spec.bgp == "routers":
            own = [host for host in hosts if host.rack == rack.name]
            sessions += [
                Session(addresses[family], host.addresses[family], asns[number], True)
                for host in own
            ]
        sessions += _neighbours(family, number, links, asns)
    return Router(
        name=router_name(rack.name),
        space=space_name(lab, router_name(rack.name)),
        rack=rack.name,
        as_number=asns[number],
        address=addresses[4],
        subnet=str(nets[4]),
        kind=rack.router or spec.router,
        speech=Speech(
            router_id=addresses[4],
            as_number=asns[number],
            originate=tuple(_subnets(spec, number, nets)),
            sessions=tuple(sessions),
            bfd=spec.bfd,
        ),
        address6=addresses.get(6),
        subnet6=str(nets[6]) if 6 in nets else None,
    )


def _subnets(spec: LabSpec, number: int, nets: dict[Family, numbers.Network]) -> Iterator[str]:
    """The subnets that a router is in; the machines outside are behind the first one."""
    for family, network in nets.items():
        yield str(network)
        if number == 0:
            count = len(outside_machines(spec))
            yield from (str(numbers.outside_subnet(family, index)) for index in range(count))


def _neighbours(
    family: Family, number: int, links: Sequence[_Link], asns: Sequence[int]
) -> Iterator[Session]:
    """A router's sessions with the other racks' routers."""
    for each in links:
        left, right = (str(end) for end in numbers.link(family, each.index))
        if each.left == number:
            yield Session(left, right, asns[each.right])
        elif each.right == number:
            yield Session(right, left, asns[each.left])
