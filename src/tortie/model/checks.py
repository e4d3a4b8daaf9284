"""The small checks that validation is made of: each yields the Problems of one value.

Every check takes the field path first; what is right yields nothing. Names that pass here are safe
in a file name, a rule set and a configuration file: letters, digits and a few marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from tortie.errors import Problem, TortieError
from tortie.model import net, selector
from tortie.model.decode import child
from tortie.model.words import did_you_mean, nearest, quote

Problems = Iterator[Problem]
T = TypeVar("T")

MAX_SELECTOR = 1024
MAX_ANNOTATIONS = 256 * 1024
"""bytes, keys and values together (Kubernetes' limit)"""

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
_SPELLING = {name.lower(): name for name in PROTOCOLS}
NUMBERED = {number: name for name, number in PROTOCOLS.items()}
WITH_PORTS = ("TCP", "UDP", "SCTP")

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
DNS_LABEL = re.compile(_LABEL)
DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_DIGITS = re.compile(r"[0-9]+(?::[0-9]+)?")
# Directories of these names beside the interfaces' own mean something else to the kernel.
_NOT_INTERFACES = (".", "..", "all", "default", "lo")


def refused(path: str, given: object, what: str) -> Problems:
    """A field that Calico has and this version does not enforce, so that it is never ignored."""
    if given:
        yield Problem(f"{what} is not available yet", "leave it out", path)


def parsed(path: str, text: str, parse: Callable[[str], T]) -> Problems:
    """The text must be what `parse` takes; it says why not by a TortieError."""
    try:
        parse(text)
    except TortieError as error:
        yield Problem(error.message, error.cure, path)


def attempt(text: str, parse: Callable[[str], T]) -> T | None:
    """What `parse` makes of the text, or None if it is none (told elsewhere)."""
    try:
        return parse(text)
    except TortieError:
        return None


# --- names ------------------------------------------------------------------------------------


def name(path: str, text: str) -> Problems:
    """A DNS-1123 subdomain of at most 253 characters."""
    if len(text) > 253:
        yield Problem(f"a name of {len(text)} characters", "at most 253 are allowed", path)
    elif not DNS_NAME.fullmatch(text):
        cure = "use small letters, digits, - and ., beginning and ending with a letter or digit"
        yield Problem(f"{quote(text)} is no valid name", cure, path)


def short_name(path: str, text: str) -> Problems:
    """One DNS label of at most 63 characters."""
    if len(text) > 63:
        yield Problem(f"a name of {len(text)} characters", "at most 63 are allowed", path)
    elif not DNS_LABEL.fullmatch(text):
        cure = "use small letters, digits and -, beginning and ending with a letter or digit"
        yield Problem(f"{quote(text)} is no valid name", cure, path)


def interface(path: str, text: str) -> Problems:
    """A Linux interface name."""
    if not _INTERFACE.fullmatch(text) or text in _NOT_INTERFACES:
        cure = "use 1 to 15 letters, digits and _ . -, and not all, default or lo"
        yield Problem(f"{quote(text)} is no valid interface name", cure, path)


def label_map(path: str, given: Mapping[str, str]) -> Problems:
    """Kubernetes label syntax, keys and values."""
    for key, value in given.items():
        place = child(path, key)
        yield from label_key(place, key)
        yield from label_value(place, value)


def label_value(path: str, value: str) -> Problems:
    """Nothing, or at most 63 letters, digits and a few marks."""
    if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
        cure = (
            "use at most 63 letters, digits and - _ ., beginning and ending with a letter or digit"
        )
        yield Problem(f"{quote(value)} is no valid label value", cure, path)


def label_key(path: str, key: str) -> Problems:
    """A name of at most 63 characters, perhaps after a DNS name and "/"."""
    prefix, slash, last = key.rpartition("/")
    if slash and (len(prefix) > 253 or not DNS_NAME.fullmatch(prefix)):
        cure = "what is before the / must be a DNS name"
        yield Problem(f"the key {quote(key)} is not valid", cure, path)
    elif len(last) > 63 or not _QUALIFIED.fullmatch(last):
        cure = "use at most 63 letters, digits and - _ ., perhaps after a DNS name and /"
        yield Problem(f"the key {quote(key)} is not valid", cure, path)


def annotation_map(path: str, given: Mapping[str, str]) -> Problems:
    """Keys as for labels; values are any text, and only their size counts."""
    for key in given:
        yield from label_key(child(path, key), key)
    size = sum(len(part.encode(errors="replace")) for pair in given.items() for part in pair)
    if size > MAX_ANNOTATIONS:
        yield Problem(f"{size} bytes of annotations", f"at most {MAX_ANNOTATIONS} fit", path)


def unique(path: str, items: Sequence[object]) -> Problems:
    """No item is there twice."""
    for index, item in enumerate(items):
        if item in items[:index]:
            yield Problem(f"{quote(str(item))} is there twice", path=child(path, index))


def at_most(path: str, items: Sequence[object], limit: int) -> Problems:
    """No more than `limit` items."""
    if len(items) > limit:
        yield Problem(f"{len(items)} items", f"at most {limit} are allowed", path)


def between(path: str, number: float | None, low: float, high: float) -> Problems:
    """Nothing, or a number from low to high."""
    if number is not None and not low <= number <= high:
        yield Problem(f"{number} is out of range", f"give {low} to {high}", path)


def choice(path: str, text: str | None, known: Iterable[str]) -> Problems:
    """Nothing, or one of these."""
    names = list(known)
    if text is not None and text not in names:
        close = nearest(text, names)
        cure = f"did you mean {close}?" if close else ""
        yield Problem(f"{quote(text)} is none of {', '.join(names)}", cure, path)


def duration(path: str, text: str, low: int, high: int) -> Problems:
    """A duration of `low` to `high` seconds."""
    found = attempt(text, net.seconds)
    if found is None:
        yield from parsed(path, text, net.seconds)
    else:
        yield from between(path, found, low, high)


# --- selectors --------------------------------------------------------------------------------


def selects(path: str, text: str, *, may_be_global: bool = False) -> Problems:
    """A selector; global() is refused, or allowed if it is alone."""
    if not text:
        return
    if len(text) > MAX_SELECTOR:
        yield Problem(
            f"a selector of {len(text)} characters", f"at most {MAX_SELECTOR} are allowed", path
        )
        return
    found = attempt(text, selector.parse)
    if found is None:
        yield from parsed(path, text, selector.parse)
    elif found.has_global and not may_be_global:
        yield Problem("global() has no meaning here", "use it in a rule's namespaceSelector", path)
    elif found.has_global and found.root != selector.Global():
        yield Problem("global() is mixed with other terms", "write global() alone", path)


# --- addresses --------------------------------------------------------------------------------


def nets(path: str, texts: Sequence[str]) -> Problems:
    """Addresses or prefixes."""
    for index, text in enumerate(texts):
        yield from parsed(child(path, index), text, net.parse_net)


def cidr(path: str, text: str) -> Problems:
    """A prefix with its length."""
    found = attempt(text, net.parse_net)
    if found is None:
        yield from parsed(path, text, net.parse_net)
    elif "/" not in text:
        yield Problem(f"{quote(text)} has no mask", f"write {found.text}", path)


def prefix(
    path: str, text: str, family: net.Family | None = None, *, alone: bool = False
) -> Problems:
    """A prefix with its length and no bits behind its mask, of the family if one is given; or, if
    it may stand `alone`, an address."""
    found = attempt(text, net.parse_interface)
    if found is None:
        yield from parsed(path, text, net.parse_net)
        return
    whole = net.parse_net(text)
    if family and whole.family != family:
        yield Problem(f"{quote(text)} is not IPv{family}", f"give an IPv{family} prefix", path)
    elif "/" not in text and not alone:
        yield Problem(f"{quote(text)} has no mask", f"write {whole.text}", path)
    elif found.address.text != whole.address:
        yield Problem(f"{quote(text)} has bits behind its mask", f"write {whole.text}", path)


def address(path: str, text: str, family: net.Family | None = None) -> Problems:
    """One address without a mask, of the family if one is given."""
    found = attempt(text, net.parse_address)
    if found is None:
        yield from parsed(path, text, net.parse_address)
    elif family and found.family != family:
        yield Problem(f"{quote(text)} is not IPv{family}", f"give an IPv{family} address", path)


# --- protocols and ports ----------------------------------------------------------------------


def protocol(path: str, given: str | int | None) -> Problems:
    """Nothing, a known name in any case, or 1 to 255."""
    if isinstance(given, int):
        yield from between(path, given, 1, 255)
    elif given is not None and given.lower() not in _SPELLING:
        cure = did_you_mean(given, PROTOCOLS)
        if given.isdecimal():
            cure = "write a protocol number without quotes"
        yield Problem(f"{quote(given)} is no known protocol", cure, path)


def protocol_name(given: str | int | None) -> str | int | None:
    """The protocol in its one spelling: its name if it has one, else its number."""
    if isinstance(given, str):
        return _SPELLING.get(given.lower(), given)
    return NUMBERED.get(given, given) if given is not None else None


def port_name(path: str, text: str) -> Problems:
    """The name of a port."""
    if not _PORT_NAME.fullmatch(text) or not any(mark.isalpha() for mark in text):
        cure = "use letters, digits and _ . -, with a letter among them"
        if re.fullmatch(r"[0-9]+\s*-\s*[0-9]+", text):
            cure = f'write a range with a colon: "{re.sub("[^0-9]+", ":", text)}"'
        yield Problem(f"{quote(text)} is no valid port name", cure, path)


def service_name(path: str, text: str) -> Problems:
    """The name of a port as Kubernetes and RFC 6335 (section 5.1) have it."""
    if text.isdecimal():
        yield Problem(f"{quote(text)} is a number in quotes", "leave the quotes out", path)
    elif (
        len(text) > 15
        or not DNS_LABEL.fullmatch(text)
        or "--" in text
        or not any(mark.isalpha() for mark in text)
    ):
        cure = "use 1 to 15 small letters, digits and single -, with a letter among them"
        yield Problem(f"{quote(text)} is no valid port name", cure, path)


def port(path: str, given: int | str) -> Problems:
    """1 to 65535, "first:last", or a name."""
    if isinstance(given, int):
        yield from between(path, given, 1, 65535)
        return
    if not _DIGITS.fullmatch(given):
        yield from port_name(path, given)
        return
    numbers = given.split(":")
    if any(number.startswith("0") or len(number) > 5 for number in numbers):
        cure = "ports are 1 to 65535, without leading zeros"
        yield Problem(f"{quote(given)} is no port", cure, path)
        return
    first, last = int(numbers[0]), int(numbers[-1])
    if not 1 <= first <= 65535 or not 1 <= last <= 65535:
        yield Problem(f"{quote(given)} is out of range", "ports are 1 to 65535", path)
    elif first > last:
        yield Problem(f"{quote(given)} ends before it begins", f'write "{last}:{first}"', path)


def port_text(given: int | str) -> int | str:
    """A valid port in its one spelling: a number if it is one, else a range or a name."""
    if isinstance(given, int):
        return given
    if not _DIGITS.fullmatch(given):
        return given
    first, _, last = given.partition(":")
    return int(first) if last in ("", first) else given
