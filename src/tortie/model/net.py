"""Addresses and prefixes of both families: strict in, canonical text out.

Canonical: RFC 5952 for IPv6, no leading zeros (RFC 6943 section 3.1.1 says why `010` is refused),
host bits zero in a prefix. An IPv4-mapped IPv6 address is refused: the kernel sees IPv4 there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from tortie.errors import TortieError
from tortie.model.words import quote

Family = Literal[4, 6]
BITS: dict[Family, int] = {4: 32, 6: 128}

_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_PEER = re.compile(r"\[([^\[\]]*)\](?::([0-9]+))?|([0-9.]+):([0-9]+)")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class NetError(TortieError):
    """The text is no address or prefix."""


class Address(NamedTuple):
    """One address: canonical text without a mask, and its number."""

    text: str
    family: Family
    value: int


class Net(NamedTuple):
    """A prefix: canonical CIDR with host bits zero, and the numbers of its ends."""

    text: str
    family: Family
    length: int
    first: int
    last: int

    @property
    def single(self) -> bool:
        """One address only (/32 or /128)."""
        return self.first == self.last

    @property
    def address(self) -> str:
        """The first address, without the mask."""
        return self.text.partition("/")[0]

    def covers(self, other: Net) -> bool:
        """Every address of `other` lies in this prefix."""
        return self.family == other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: Net) -> bool:
        """Some address lies in both."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last


class Interface(NamedTuple):
    """An address with the length of the subnet it is in, such as 10.0.0.7/24."""

    address: Address
    length: int

    @property
    def text(self) -> str:
        return f"{self.address.text}/{self.length}"


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Address:
    """One address without a mask. Raises NetError."""
    if "/" in text:
        raise NetError(f"{quote(text)} has a mask", "write the address alone")
    if "%" in text:
        raise NetError(f"{quote(text)} has a zone", "write the address without %...")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise NetError(f"{quote(text)} is no IP address{_reason(text)}", _CURE) from None
    if isinstance(found, ipaddress.IPv4Address):
        return Address(str(found), 4, int(found))
    if found.ipv4_mapped is not None:
        raise NetError(
            f"{quote(text)} is an IPv4 address in IPv6 clothes", f"write {found.ipv4_mapped}"
        )
    return Address(str(found), 6, int(found))


@lru_cache(maxsize=65536)
def parse_interface(text: str) -> Interface:
    """An address or ADDRESS/LENGTH; host bits are kept. Raises NetError."""
    host, slash, mask = text.partition("/")
    address = parse_address(host)
    bits = BITS[address.family]
    if not slash:
        return Interface(address, bits)
    if not _LENGTH.fullmatch(mask) or int(mask) > bits:
        raise NetError(f"{quote(text)} has a mask that is no prefix length", f"write /0 to /{bits}")
    return Interface(address, int(mask))


@lru_cache(maxsize=65536)
def parse_net(text: str) -> Net:
    """A prefix or an address (a prefix of one); host bits are cleared. Raises NetError."""
    (_, family, value), length = parse_interface(text)
    size = 1 << (BITS[family] - length)
    return _net(family, value & -size, length)


def parse_peer(text: str) -> tuple[Address, int | None]:
    """A BGP peer: an address, V4:PORT or [V6]:PORT; port None if not given. Raises NetError."""
    found = _PEER.fullmatch(text)
    if not found:
        return parse_address(text), None
    inside, inside_port, plain, plain_port = found.groups()
    address = parse_address(plain if plain is not None else inside)
    port = inside_port or plain_port
    if port is None:
        return address, None
    if port.startswith("0") or len(port) > 5 or int(port) > 65535:
        raise NetError(f"{quote(text)} has a port that is none", "ports are 1 to 65535")
    return address, int(port)


def parse_mac(text: str) -> str:
    """A unicast MAC address in small letters with colons. Raises NetError."""
    if not _MAC.fullmatch(text):
        raise NetError(f"{quote(text)} is no MAC address", "write it like 02:00:00:00:00:01")
    if int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16):
        raise NetError(f"{quote(text)} is the MAC address of no interface", "use a unicast one")
    return text.lower()


def collapse(nets: Iterable[str]) -> tuple[str, ...]:
    """The fewest canonical CIDRs with the same addresses, IPv4 first, in ascending order.

    They neither overlap nor touch in a way that one shorter prefix could say. Raises NetError.
    """
    result: list[str] = []
    parsed = [parse_net(text) for text in nets]
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        ranges = sorted((net.first, net.last) for net in parsed if net.family == family)
        for first, last in _merged(ranges):
            result.extend(_cover(family, first, last))
    return tuple(result)


_CURE = "write it like 10.0.0.1 or fd00::1"


def _reason(text: str) -> str:
    parts = text.split(".")
    if len(parts) == 4 and any(len(part) > 1 and part.startswith("0") for part in parts):
        return ": leading zeros can be read as octal"
    return ""


def _net(family: Family, first: int, length: int) -> Net:
    last = first + (1 << (BITS[family] - length)) - 1
    address = ipaddress.IPv4Address(first) if family == 4 else ipaddress.IPv6Address(first)
    return Net(f"{address}/{length}", family, length, first, last)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted ranges without those that overlap or touch."""
    result: list[tuple[int, int]] = []
    for first, last in ranges:
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def _cover(family: Family, first: int, last: int) -> Iterable[str]:
    """The fewest CIDRs that are just this range."""
    while first <= last:
        aligned = first & -first or 1 << BITS[family]
        size = min(aligned, 1 << (last - first + 1).bit_length() - 1)
        yield _net(family, first, BITS[family] - size.bit_length() + 1).text
        first += size


_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?", re.ASCII)
_SHORT = re.compile(r"(?:(\d{1,6})s)?(?:(\d{1,9})ms)?", re.ASCII)


def seconds(text: str) -> int:
    """Whole seconds of a duration such as 90s, 2m or 1h30m. Raises NetError."""
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise NetError(f"{quote(text)} is no duration", "write it in whole seconds, such as 120s")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest


def milliseconds(text: str) -> int:
    """Milliseconds of a short duration such as 200ms, 1s or 1s500ms. Raises NetError."""
    found = _SHORT.fullmatch(text)
    if not text or not found:
        raise NetError(f"{quote(text)} is no short duration", "write it like 200ms or 1s")
    seconds_, rest = (int(part or 0) for part in found.groups())
    return seconds_ * 1000 + rest
