"""The `kind: Lab` document as types: a data centre on one machine, as its operator writes it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tortie.model.resources import AsNumber, EndpointPort, Plain

Store = Literal["sqlite", "etcd"]
Dataplane = Literal["auto", "nft", "iptables-nft", "iptables-legacy"]
Family = Literal[4, 6]
RouterKind = Literal["bird", "frr"]


class Rack(Plain, frozen=True):
    """One subnet and one AS: hosts behind a top-of-rack router."""

    name: str
    hosts: list[str] = []
    as_number: AsNumber | None = None
    """by default 65001, 65002, ... in the order of the racks"""
    subnet: str | None = None
    """an IPv4 prefix; by default 172.16.N.0/24, N from 1. Its IPv6 prefix is fd16:0:0:N::/64"""
    router: RouterKind | None = None
    """the program of its top-of-rack router; by default the lab's"""


class Outside(Plain, frozen=True):
    """A machine outside: no agent, reached through the first rack's router."""

    name: str
    serve: list[str] = []


class Workload(Plain, frozen=True):
    """A network namespace with servers, attached to a host. `serve` items are such as tcp/80."""

    name: str
    host: str
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    serve: list[str] = []
    ports: list[EndpointPort] = []
    addresses: list[str] = []
    """these, instead of one that is assigned"""


class Speaker(Plain, frozen=True):
    """A machine in a rack's subnet that speaks BGP with the rack's hosts, and forwards nothing.

    GoBGP announces what it is told to and, as a reflector, what the hosts tell it; ExaBGP only
    announces. The lab writes the BGPPeer of the same name.
    """

    name: str
    rack: str
    kind: Literal["gobgp", "exabgp"]
    as_number: AsNumber | None = None
    """by default 64601, 64602, ... in the order of the speakers; a reflector has its rack's"""
    reflector: bool = False
    """GoBGP only: hosts are its clients (RFC 4456)"""
    originate: list[str] = []
    """prefixes that it announces, with itself as the next hop"""


class LabSpec(Plain, frozen=True):
    racks: list[Rack]
    families: list[Family] = field(default_factory=lambda: [4])
    """of the fabric, the workloads and BGP; IPv4 is always there"""
    router: RouterKind = "bird"
    """the program of all top-of-rack routers"""
    bgp: Literal["routers", "mesh", "reflectors"] = "routers"
    """whom hosts speak with: their rack's router; or (in a lab of one rack) each other, or the
    hosts of `reflectors`, and then the router knows nothing of workloads"""
    reflectors: list[str] = []
    bfd: bool = False
    """between hosts and routers, and between routers"""
    speakers: list[Speaker] = []
    store: Store = "sqlite"
    etcd_members: Literal[1, 3] = 1
    dataplane: Dataplane | None = None
    """of all hosts, whatever FelixConfiguration says; by default what that says"""
    outside: list[str | Outside] = []
    pools: list[str] = []
    """CIDRs for workloads; by default 10.65.0.0/16 and, with IPv6, fd65::/64, unless the file has
    IPPool resources"""
    workloads: list[Workload] = []


class LabMetadata(Plain, frozen=True):
    name: str


class Lab(Plain, frozen=True, tag_field="kind", tag="Lab"):
    api_version: Literal["tortie.dev/v1"] = field(name="apiVersion")
    metadata: LabMetadata
    spec: LabSpec


class Service(Struct, frozen=True, order=True):
    """A port that something serves."""

    protocol: Literal["tcp", "udp"]
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port}"


def outside_machines(spec: LabSpec) -> list[Outside]:
    """The machines outside, each written out."""
    return [Outside(name=one) if isinstance(one, str) else one for one in spec.outside]


def router_name(rack: str) -> str:
    """What the router of a rack is called."""
    return f"tor-{rack}"
