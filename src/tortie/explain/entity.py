"""What the oracle judges: flows, and the endpoints and network sets that a selector can match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from tortie.model import resources as r

Address = IPv4Address | IPv6Address

TCP, UDP, SCTP = 6, 17, 132
ICMP_PROTOCOLS = (1, 58)
PORT_PROTOCOLS = (TCP, UDP, SCTP)
PROTOCOL_NUMBERS = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
}


@dataclass(frozen=True, slots=True)
class Flow:
    """The first packet of a new connection.

    Addresses are text without a mask, `protocol` an IP protocol number, `port` the destination's.
    `icmp` is (type, code).
    """

    source: str
    destination: str
    protocol: int
    port: int | None = None
    source_port: int | None = None
    icmp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a selector can match: an endpoint or a network set.

    `namespace` is None for what has none; `ports` are (name, protocol number, port).
    """

    name: str
    labels: Mapping[str, str]
    namespace: str | None
    nets: tuple[str, ...]
    ports: tuple[tuple[str, int, int], ...] = ()
    workload: r.WorkloadEndpoint | None = None

    def has(self, address: Address) -> bool:
        """Is this address one of its own?"""
        return within(address, self.nets)


def number(protocol: r.Protocol) -> int:
    """The IP protocol number of a name or number."""
    if isinstance(protocol, int):
        return protocol
    return PROTOCOL_NUMBERS[protocol.lower()]


def within(address: Address, nets: Iterable[str]) -> bool:
    """Is an address in any of these prefixes? An address never is in one of the other family."""
    return any(address in _network(net) for net in nets)


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def named_ports(ports: Iterable[r.EndpointPort]) -> tuple[tuple[str, int, int], ...]:
    return tuple((port.name, number(port.protocol), port.port) for port in ports)


def icmp_matches(wanted: r.Icmp, flow: Flow) -> bool:
    """Type and code as one: the negation of a rule negates the pair."""
    if flow.icmp is None:
        return False
    kind, code = flow.icmp
    return wanted.type in (None, kind) and wanted.code in (None, code)


def port_in(
    ports: Iterable[r.Port],
    port: int | None,
    protocol: int,
    rule: r.Rule,
    endpoints: Iterable[Entity],
) -> bool:
    """Is a port one of these? Names mean what the endpoints with the address call so.

    A name counts for the rule's protocol, or for any if the rule has none.
    """
    if port is None or protocol not in PORT_PROTOCOLS:
        return False
    wanted = None if rule.protocol is None else number(rule.protocol)
    for one in ports:
        if isinstance(one, int):
            if port == one:
                return True
        elif ":" in one:
            first, last = (int(part) for part in one.split(":"))
            if first <= port <= last:
                return True
        elif one.isdigit():
            if port == int(one):
                return True
        elif wanted in (None, protocol) and any(
            (one, protocol, port) in endpoint.ports for endpoint in endpoints
        ):
            return True
    return False
