"""What the oracle judges: flows; and who is at their ends: endpoints, network sets, interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from tortie.model import resources as r

Address = IPv4Address | IPv6Address
EntityKind = Literal["workload", "host", "set"]

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
PROTOCOL_WORDS = {number: word for word, number in PROTOCOL_NUMBERS.items()}
EVERYWHERE = ("0.0.0.0/0", "::/0")
ECHO_REPLY = {(1, 8): 0, (58, 128): 129}
"""(protocol, type) of an echo request to the type of its reply."""


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


def reply_of(flow: Flow) -> Flow:
    """The first packet back: ends and ports changed over, an echo request become its reply.

    Where an untracked policy judges, this packet must be allowed by rules of its own.
    """
    icmp = flow.icmp
    if icmp is not None:
        icmp = ECHO_REPLY.get((flow.protocol, icmp[0]), icmp[0]), icmp[1]
    return Flow(
        flow.destination, flow.source, flow.protocol, flow.source_port, flow.port, icmp
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a host itself, no workload's.

    `name` is "" if nobody knows it; `towards` are the prefixes that are reached through it. Of all
    of a host's, the longest that has an address says which way packets to and from it go.
    """

    name: str
    addresses: tuple[str, ...] = ()
    towards: tuple[str, ...] = EVERYWHERE


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a selector can match: an endpoint or a network set.

    `namespace` is None for what has none; `ports` are (name, protocol number, port); `node` is the
    host that an endpoint is on. `interface` is a host endpoint's.
    """

    kind: EntityKind
    name: str
    labels: Mapping[str, str]
    namespace: str | None
    nets: tuple[str, ...]
    ports: tuple[tuple[str, int, int], ...] = ()
    profiles: tuple[str, ...] = ()
    node: str = ""
    interface: str = ""

    def has(self, address: Address) -> bool:
        """Is this address one of its own?"""
        return within(address, self.nets)


def number(protocol: r.Protocol) -> int:
    """The IP protocol number of a name or number."""
    if isinstance(protocol, int):
        return protocol
    return int(protocol) if protocol.isdigit() else PROTOCOL_NUMBERS[protocol.lower()]


def protocol_word(protocol: int) -> str:
    """What people call an IP protocol."""
    return PROTOCOL_WORDS.get(protocol, str(protocol))


@lru_cache(maxsize=4096)
def address_of(text: str) -> Address:
    """The address of a text, with or without the length of its network."""
    return ip_address(text.partition("/")[0])


def within(address: Address, nets: Iterable[str]) -> bool:
    """Is an address in any of these prefixes? An address never is in one of the other family."""
    return any(address in network(net) for net in nets)


@lru_cache(maxsize=4096)
def network(text: str) -> IPv4Network | IPv6Network:
    """The prefix of a text; an address is one of full length."""
    return ip_network(text, strict=False)


def named_ports(ports: Iterable[r.EndpointPort]) -> tuple[tuple[str, int, int], ...]:
    return tuple((port.name, number(port.protocol), port.port) for port in ports)


def listed(items: Iterable[object], most: int = 6) -> str:
    """Things in a row, for people; of many the first few."""
    words = [str(item) for item in items]
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
