"""The words that rule sets are made of: names, and checks of what comes from outside.

Whatever reaches a script passes through here or through `ipaddress`; anything outside a safe
alphabet raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from tortie.desired import Family

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._-]*")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ADDRESSES = re.compile(r"[0-9a-f:./]*")

_LONGEST_TEXT = 100  # nft takes 127 bytes in a log prefix, 128 in a comment

PORT_PROTOCOLS = (6, 17, 132)
"""TCP, UDP, SCTP: the protocols whose ports a rule may ask for (Calico v3)."""

LAYER_3 = {4: "ip", 6: "ip6"}
NFPROTO = {4: "ipv4", 6: "ipv6"}
ADDRESS_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
ICMP = {4: "icmp", 6: "icmpv6"}
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


def safe_id(text: str) -> str:
    """An id as it may stand in a comment or log prefix, cut to what fits. Raises ValueError."""
    if not _ID.fullmatch(text):
        raise ValueError(f"an id must be of letters, digits, '/', '.', '_', '-': {text!r}")
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 9]}.{digest(text)[:8]}"


def interface(name: str) -> str:
    """An interface's name as it may stand in a chain's name. Raises ValueError."""
    if not _INTERFACE.fullmatch(name):
        raise ValueError(f"not the name of an interface: {name!r}")
    return name


def mac(address: str) -> str:
    """A MAC address in lower case. Raises ValueError."""
    if not _MAC.fullmatch(address.lower()):
        raise ValueError(f"not a MAC address: {address!r}")
    return address.lower()


def digest(text: str) -> str:
    """Twenty hexadecimal digits that stand for a text."""
    return sha256(text.encode()).hexdigest()[:20]


def address_set(set_id: str, family: Family) -> str:
    """The hash set of the single addresses of an AddressSet."""
    return f"a{family}_{digest(set_id)}"


def interval_set(kind: str, values: Iterable[str]) -> str:
    """The interval set of just these prefixes or ranges: other content is another set."""
    return f"i_{digest(' '.join((kind, *values)))}"


def port_set(set_id: str, family: Family) -> str:
    """The set of (address, protocol, port) of a PortSet."""
    return f"p{family}_{digest(set_id)}"
