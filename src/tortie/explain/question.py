"""What is asked: PROTO/PORT as somebody typed it, and the packets that it means between two places.

Protocols are IP protocol numbers; ports are the destination's.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from itertools import product

from tortie.errors import UsageError
from tortie.explain.entity import PORT_PROTOCOLS, PROTOCOL_NUMBERS, Flow
from tortie.explain.places import Place
from tortie.model.words import did_you_mean, nearest, quote

ICMP = {4: 1, 6: 58}
"""The ICMP of each family."""
ECHO = {4: 8, 6: 128}
"""The type of an echo request."""
SOURCE_PORT = 40000
"""A port as a client's kernel picks one."""
EXAMPLES = "write tcp/80, udp/53, tcp/http, icmp, icmp/8 or a protocol's number"


@dataclass(frozen=True, slots=True)
class What:
    """A protocol and what belongs to it.

    `protocol` None: the ICMP of whatever family. `icmp` is (type, code); None: an echo request.
    """

    text: str
    protocol: int | None
    port: int | str | None = None
    icmp: tuple[int, int] | None = None


def parse(text: str) -> What:
    """PROTO/PORT, PROTO/NAME, icmp, icmp/TYPE, icmp/TYPE/CODE, or a protocol that has no ports.

    `icmp` means ICMPv6 over IPv6; `icmpv6`, 1 and 58 mean only what they say. Raises UsageError.
    """
    word, *parts = text.split("/")
    protocol = _protocol(word)
    if protocol in ICMP.values():
        loose = word.lower() == "icmp"
        return What(text, None if loose else protocol, icmp=_icmp(text, parts))
    if protocol not in PORT_PROTOCOLS:
        if parts:
            raise UsageError(f"protocol {word} has no ports", f"write {word} alone")
        return What(text, protocol)
    if len(parts) != 1 or not parts[0]:
        raise UsageError(f"{quote(text)} names no port", f"write {word}/80, or a port's name")
    return What(text, protocol, _port(parts[0]))


def flows(
    what: What, source: Place, destination: Place, source_port: int | None = None
) -> list[Flow]:
    """The packets that are asked about: one for each pair of addresses of one family.

    Two ends without a family in common give one packet that cannot be. Raises UsageError: a port's
    name that the destination does not have, ICMP of a family that the ends do not have.
    """
    pairs = [
        (one, other)
        for one, other in product(source.addresses, destination.addresses)
        if _family(one) == _family(other)
    ] or [(source.addresses[0], destination.addresses[0])]
    if what.protocol in ICMP.values():
        pairs = [pair for pair in pairs if ICMP[_family(pair[0])] == what.protocol]
        if not pairs:
            raise UsageError(
                f"{what.text} is of a family that these ends do not have", "write icmp"
            )
    if what.protocol in PORT_PROTOCOLS:
        ports = _ports(what, destination)
        sender = SOURCE_PORT if source_port is None else source_port
        return [Flow(*pair, what.protocol or 0, port, sender) for pair in pairs for port in ports]
    if source_port is not None:
        raise UsageError(f"{what.text} has no ports", "leave --source-port out")
    if what.protocol is None or what.protocol in ICMP.values():
        return [Flow(*pair, ICMP[_family(pair[0])], icmp=_kind(what, pair[0])) for pair in pairs]
    return [Flow(*pair, what.protocol) for pair in pairs]


def _kind(what: What, address: str) -> tuple[int, int]:
    """Type and code in the address's family: an echo request is one in either."""
    family = _family(address)
    if what.icmp is None or (what.protocol is None and what.icmp in {(8, 0), (128, 0)}):
        return ECHO[family], 0
    return what.icmp


def _ports(what: What, destination: Place) -> list[int]:
    """The number, or all numbers that the destination gives the name."""
    if isinstance(what.port, int):
        return [what.port]
    named = {name: port for name, number, port in destination.ports if number == what.protocol}
    found = [
        port
        for name, number, port in destination.ports
        if (name, number) == (what.port, what.protocol)
    ]
    if found:
        return found
    word = what.text.partition("/")[0]
    cure = did_you_mean(str(what.port), named) if named else "give a number"
    raise UsageError(f"{destination.name} names no {word} port {quote(str(what.port))}", cure)


def _protocol(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 3 and 0 < int(word) < 256:
        return int(word)
    if word.lower() in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[word.lower()]
    near = nearest(word, PROTOCOL_NUMBERS)
    cure = f"did you mean {near}?" if near else EXAMPLES
    raise UsageError(f"{quote(word)} is no protocol", cure)


def _port(text: str) -> int | str:
    if not text.isdigit():
        return text
    if not text.isascii() or len(text) > 5 or not 0 < int(text) < 65536:
        raise UsageError(f"{quote(text)} is no port", "ports are 1 to 65535")
    return int(text)


def _icmp(text: str, parts: list[str]) -> tuple[int, int] | None:
    """(type, code), the code 0 if it is left out; None if there is neither."""
    if not parts:
        return None
    fine = all(each.isascii() and each.isdigit() and len(each) <= 3 for each in parts)
    if not fine or len(parts) > 2 or any(int(each) > 255 for each in parts):
        raise UsageError(f"{quote(text)} is no ICMP type", "write icmp/TYPE or icmp/TYPE/CODE")
    numbers = [int(each) for each in parts]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def _family(address: str) -> int:
    return ip_address(address).version
