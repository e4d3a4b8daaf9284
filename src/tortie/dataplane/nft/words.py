"""The words that rule sets are made of: names, and checks of what comes from outside.

Whatever reaches a script passes through here or through `ipaddress`; anything outside a safe
alphabet raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tortie.dataplane.safe import (
    FAMILIES,
    ICMP_PROTOCOL,
    PORT_PROTOCOLS,
    digest,
    family_of,
    interface,
    networks,
    of_family,
    safe_id,
)
from tortie.desired import Family

__all__ = [
    "ADDRESS_TYPE",
    "FAMILIES",
    "ICMP",
    "ICMP_PROTOCOL",
    "LAYER_3",
    "NFPROTO",
    "PORT_PROTOCOLS",
    "address_set",
    "digest",
    "family_of",
    "interface",
    "interval_set",
    "mac",
    "networks",
    "of_family",
    "port_set",
    "rule_name",
    "safe_id",
]

_NAME = re.compile(r"[A-Za-z0-9 ._/:-]{1,100}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

LAYER_3 = {4: "ip", 6: "ip6"}
NFPROTO = {4: "ipv4", 6: "ipv6"}
ADDRESS_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
ICMP = {4: "icmp", 6: "icmpv6"}


def mac(address: str) -> str:
    """A MAC address in lower case. Raises ValueError."""
    if not _MAC.fullmatch(address.lower()):
        raise ValueError(f"not a MAC address: {address!r}")
    return address.lower()


def address_set(set_id: str, family: Family) -> str:
    """The hash set of the single addresses of an AddressSet."""
    return f"a{family}_{digest(set_id)}"


def interval_set(kind: str, values: Iterable[str]) -> str:
    """The interval set of just these prefixes or ranges: other content is another set."""
    return f"i_{digest(' '.join((kind, *values)))}"


def port_set(set_id: str, family: Family) -> str:
    """The set of (address, protocol, port) of a PortSet."""
    return f"p{family}_{digest(set_id)}"


def rule_name(text: str) -> str:
    """What people call a rule, as it may stand in a comment. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"a rule's name must be of letters, digits and ' -_./:': {text!r}")
    return text
