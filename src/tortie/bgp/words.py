"""Words of a BIRD configuration, each checked before it is written, whatever was checked before.

So no value can change the meaning of the file. All raise ValueError, and none shows a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence

from tortie.desired import Bgp, Family, Hidden

FAMILIES: tuple[Family, ...] = (4, 6)
BITS = {4: 32, 6: 128}
CHANNEL = {4: "ipv4", 6: "ipv6"}
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
OURS = "tor_"
"""What generated names in the file begin with; no session and no filter may."""

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@*-]{1,15}\Z", re.ASCII)
_STANDARD = re.compile(r"(\d{1,5}):(\d{1,5})\Z", re.ASCII)
_LARGE = re.compile(r"(\d{1,10}):(\d{1,10}):(\d{1,10})\Z", re.ASCII)
_LONGEST_PASSWORD = 80  # bytes; the kernel's TCP_MD5SIG_MAXKEYLEN


def symbol(name: str, what: str) -> str:
    """A name as a BIRD symbol of its own."""
    if not _SYMBOL.match(name) or name.startswith(OURS):
        raise ValueError(f"{name!r} cannot name a {what}")
    return name


def ours(name: str) -> str:
    """A generated name with a given part in it; short enough to be a symbol."""
    if not _SYMBOL.match(name):
        raise ValueError(f"{name!r} is too long or has characters that BIRD cannot take")
    return name


def interface(pattern: str) -> str:
    """A pattern of interface names; `*` stands for any text."""
    if not _INTERFACE.match(pattern):
        raise ValueError(f"{pattern!r} is not a pattern of interfaces")
    return pattern


def community(text: str) -> tuple[str, str]:
    """(the attribute, the value) of a community AA:NN or AA:NN:MM."""
    if match := _STANDARD.match(text):
        parts = [number(int(part), 0, 2**16 - 1) for part in match.groups()]
        return "bgp_community", f"({parts[0]}, {parts[1]})"
    if match := _LARGE.match(text):
        parts = [number(int(part), 0, 2**32 - 1) for part in match.groups()]
        return "bgp_large_community", f"({parts[0]}, {parts[1]}, {parts[2]})"
    raise ValueError(f"{text!r} is not a community")


def password(secret: Hidden) -> str:
    """A password as it stands between quotes."""
    text = secret.text
    plain = all(" " <= each <= "~" and each not in '"\\' for each in text)
    if not plain or not 1 <= len(text) <= _LONGEST_PASSWORD:
        raise ValueError(
            f"a BGP password is 1 to {_LONGEST_PASSWORD} printable ASCII characters, without a"
            " double quote or a backslash"
        )
    return text


def patterns(each: Iterable[str]) -> str:
    """A set of prefix patterns."""
    return f"[ {', '.join(each)} ]"


def prefixes(given: Sequence[str], family: Family) -> list[str]:
    """The prefixes of one family, canonical and in order, each once."""
    networks = {ipaddress.ip_network(_zoneless(each)) for each in given}
    mine = [network for network in networks if network.version == family]
    return [
        str(each) for each in sorted(mine, key=lambda n: (n.network_address.packed, n.prefixlen))
    ]


def prefix(given: str, family: Family) -> str:
    """One prefix of a family."""
    network = ipaddress.ip_network(_zoneless(given))
    if network.version != family:
        raise ValueError(f"{network} is not an IPv{family} prefix")
    return str(network)


def plain(given: str) -> str:
    """An address as canonical text; a zone (`%eth0`) is free text and refused."""
    return str(ipaddress.ip_address(_zoneless(given)))


def address(given: str, family: Family) -> str:
    """An address of one family."""
    text = plain(given)
    if ipaddress.ip_address(text).version != family:
        raise ValueError(f"{text} is not an IPv{family} address")
    return text


def family_of(given: str) -> Family:
    """The family of an address."""
    return 4 if ipaddress.ip_address(plain(given)).version == 4 else 6


def number(value: int, least: int, most: int) -> int:
    """A number within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is not a number from {least} to {most}")
    return value


def source(bgp: Bgp, family: Family) -> str | None:
    """This host's own address of a family."""
    given = bgp.source_v4 if family == 4 else bgp.source_v6
    return None if given is None else address(given, family)


def marks(bgp: Bgp, family: Family) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(prefix, communities) of what we originate in one family."""
    for net, given in bgp.communities:
        values = [community(each) for each in given]
        for each in prefixes([net], family):
            yield each, values


def _zoneless(given: str) -> str:
    if "%" in given:
        raise ValueError(f"{given!r} has a zone, which BGP here does not take")
    return given
