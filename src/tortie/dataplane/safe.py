"""What the rules of both firewalls are made of: safe words, joined prefixes and ports. Pure.

Whatever reaches a rule set passes through here or through `ipaddress`; anything outside a safe
alphabet raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from tortie.desired import Family, PortRange

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._-]*")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_ADDRESSES = re.compile(r"[0-9a-f:./]*")

_LONGEST_TEXT = 100  # nft takes 127 bytes in a log prefix, 128 in a comment
_LAST_PORT = 65535

PORT_PROTOCOLS = (6, 17, 132)
"""TCP, UDP, SCTP: the protocols whose ports a rule may ask for (Calico v3)."""

ICMP_PROTOCOL = {4: 1, 6: 58}
FAMILIES: tuple[Family, ...] = (4, 6)


def family_of(address: str) -> Family:
    """Of an address or prefix."""
    return 6 if ":" in address else 4


def of_family(addresses: Iterable[str], family: Family) -> frozenset[str]:
    """Those addresses or prefixes of a family. Raises ValueError for what is no address."""
    found = frozenset(each for each in addresses if family_of(each) == family)
    if not _ADDRESSES.fullmatch("".join(found)):  # one look at all: sets may be large
        wrong = next(each for each in found if not _ADDRESSES.fullmatch(each))
        raise ValueError(f"not an address: {wrong!r}")
    return found


def safe_id(text: str, longest: int = _LONGEST_TEXT) -> str:
    """An id as it may stand in a comment or log prefix, cut to what fits. Raises ValueError."""
    if not _ID.fullmatch(text):
        raise ValueError(f"an id must be of letters, digits, '/', '.', '_', '-': {text!r}")
    return text if len(text) <= longest else f"{text[: longest - 9]}.{digest(text)[:8]}"


def interface(name: str) -> str:
    """An interface's name as it may stand in a chain's name. Raises ValueError."""
    if not _INTERFACE.fullmatch(name):
        raise ValueError(f"not the name of an interface: {name!r}")
    return name


def digest(text: str) -> str:
    """Twenty hexadecimal digits that stand for a text."""
    return sha256(text.encode()).hexdigest()[:20]


def networks(nets: Iterable[str], family: Family) -> list[str]:
    """The prefixes of a family, in order, joined where they overlap or touch; hosts bare."""
    own = of_family(nets, family)
    joined: Iterable[IPv4Network | IPv6Network] = (
        collapse_addresses(map(IPv4Network, own))
        if family == 4
        else collapse_addresses(map(IPv6Network, own))
    )
    return [
        str(each.network_address) if each.prefixlen == each.max_prefixlen else str(each)
        for each in joined
    ]


def whole(nets: list[str]) -> bool:
    """Whether joined prefixes are all of their family."""
    return nets[0].endswith("/0")


def joined_ports(ports: Iterable[PortRange]) -> list[tuple[int, int]]:
    """First and last of port ranges in order, joined where they overlap or touch. Raises
    ValueError."""
    joined: list[tuple[int, int]] = []
    for each in sorted(ports):
        if not 0 <= each.first <= each.last <= _LAST_PORT:
            raise ValueError(f"not a range of ports: {each.first}-{each.last}")
        if joined and each.first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], each.last))
        else:
            joined.append((each.first, each.last))
    return joined
