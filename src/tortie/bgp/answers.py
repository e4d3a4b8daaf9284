"""What BIRD says on its control socket, as types: sessions, routes, itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

Reply = list[tuple[int, str]]
"""(code, text) of each line of an answer; text without its line end."""


class Session(Struct, frozen=True, rename="camel"):
    """One BGP session as BIRD reports it."""

    name: str
    peer_address: str
    remote_as: int
    state: str
    """BIRD's word: Established, Active, Connect, OpenSent, OpenConfirm, Passive, Idle, Down"""
    since: str
    """ISO time of the last change between up and not up"""
    last_error: str = ""
    """in plain words; empty if there was none"""
    imported: int = 0
    exported: int = 0
    preferred: int = 0
    filtered: int = 0
    local_as: int = 0


class NextHop(Struct, frozen=True):
    """Where a route leads; `gateway` is empty for a connected network."""

    gateway: str
    interface: str


class BgpRoute(Struct, frozen=True):
    """One route in BIRD's tables, best or not."""

    prefix: str
    kind: str
    """unicast, blackhole, unreachable"""
    session: str
    """the name of the protocol that it came from"""
    best: bool
    next_hops: tuple[NextHop, ...] = ()
    as_path: str = ""
    local_pref: int | None = None
    learnt_from: str = ""
    """address of the neighbour, where it is not the next hop"""
    communities: tuple[str, ...] = ()
    """AA:NN and AA:NN:MM"""
    why: int = 0
    """of a refused route: the number in `reasons`; 0 if BIRD gave none (more came than may)"""


class Status(Struct, frozen=True):
    """BIRD itself."""

    version: str
    router_id: str
    started: str
    configured: str
    running: bool
    """False while it starts, recovers, reconfigures or shuts down"""
    state: str


def unquoted(text: str) -> str:
    """What BIRD said of a configuration, without quoted text: that might be a password."""
    return re.sub(r'"[^"\n]*("|$)', '"..."', text, flags=re.MULTILINE)


_STATUS = {
    "BIRD": "version",
    "Router ID is": "router_id",
    "Last reboot on": "started",
    "Last reconfiguration on": "configured",
}


def parse_status(reply: Reply) -> Status:
    """`show status`, read."""
    found = dict.fromkeys(_STATUS.values(), "")
    for _, text in reply:
        for start, field in _STATUS.items():
            if text.startswith(start + " "):
                found[field] = text[len(start) :].strip()
    code, state = reply[-1]
    return Status(**found, running=code == 13, state=state.strip())


# What BIRD says of a closed session, and what it means for an operator. First match counts.
_PLAIN = (
    ("Connection refused", "the peer refuses: no BGP speaker listens there"),
    ("Connection reset by peer", "the peer hangs up: it is not configured for this host"),
    ("No route to host", "nothing answers at the peer's address: is it up and connected?"),
    ("Network is unreachable", "this host has no route to the peer"),
    ("Connection timed out", "the peer's address does not answer"),
    ("Cannot assign requested address", "this host does not have the address to speak from"),
    ("Invalid next hop", "the next hop is not in a connected network"),
    ("Hold timer expired", "nothing was heard for the hold time: a link or the peer was lost"),
    ("Bad peer AS", "the AS numbers configured at the two ends do not match"),
    ("Bad BGP identifier", "both ends have the same router id"),
    ("Bad BGP version", "the peer speaks another version of BGP"),
    ("Unacceptable hold time", "the hold time is not accepted"),
    ("Administrative shutdown", "an operator shut it down"),
    ("Administrative reset", "an operator reset it"),
    ("Peer de-configured", "the session was taken out of the configuration"),
    ("Connection rejected", "the peer is not configured for this host"),
    ("collision", "both ends connected at once; one of the two connections was closed"),
    ("limit exceeded", "more routes came than are allowed"),
    ("Maximum number of prefixes", "more routes came than are allowed"),
    ("Route limit", "more routes came than are allowed"),
    ("Malformed", "a message was malformed"),
    ("AS routing loop", "the routes already passed through this AS"),
    ("Required capability missing", "one end lacks a feature that the other one asks for"),
    ("MD5 auth failed", "the passwords of the two ends do not match"),
    ("No listening socket", "this host cannot listen for BGP at that address and port"),
)
_WHO = (("Received: ", "the peer closed the session: "), ("BGP Error: ", "closed by this host: "))


def plain_words(error: str, remote_as: int = 0, local_as: int = 0) -> str:
    """The last error of a session in plain words. What a peer wrote freely is not passed on.

    `remote_as` and `local_as` are the AS numbers that this end is configured with; 0: not known.
    """
    text = error.strip()
    if not text:
        return ""
    if "Bad peer AS" in text and remote_as and local_as:
        if text.startswith("Received: "):
            return f"the other side says that AS {local_as}, from which this host comes, is wrong"
        return f"the other side does not come from AS {remote_as}, as this host is told to expect"
    who = next((words for start, words in _WHO if text.startswith(start)), "")
    meaning = next((words for sign, words in _PLAIN if sign.lower() in text.lower()), None)
    if meaning is not None:
        return who + meaning
    known = re.sub(r"[^A-Za-z0-9 .,:/_-]", "?", text)[:100]
    return who + known.removeprefix("Received: ").removeprefix("BGP Error: ")


def parse_sessions(reply: Reply) -> list[Session]:
    """`show protocols all`, read: BGP only, by name."""
    sessions: list[Session] = []
    for block in _blocks(reply):
        name, protocol, _, _, since = block[0].split()[:5]
        if protocol == "BGP":
            sessions.append(_session(name, since, block[1:]))
    return sorted(sessions, key=lambda session: session.name)


def _blocks(reply: Reply) -> Iterable[list[str]]:
    """The lines of each protocol; its own row (code 1002) first."""
    block: list[str] = []
    for code, text in reply:
        if code == 1002:
            if block:
                yield block
            block = [text]
        elif code == 1006 and block:
            block.append(text)
    if block:
        yield block


def _session(name: str, since: str, lines: Iterable[str]) -> Session:
    fields: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if colon:
            fields.setdefault(key, value.strip())
    remote_as, local_as = (int(fields.get(f"{end} AS", "0")) for end in ("Neighbor", "Local"))
    counts = {word: int(number) for number, word in _COUNT.findall(fields.get("Routes", ""))}
    return Session(
        name=name,
        peer_address=fields.get("Neighbor address", "").partition("%")[0],
        remote_as=remote_as,
        local_as=local_as,
        state=fields.get("BGP state", "Down"),
        since=since,
        last_error=plain_words(fields.get("Last error", ""), remote_as, local_as),
        imported=counts.get("imported", 0),
        exported=counts.get("exported", 0),
        preferred=counts.get("preferred", 0),
        filtered=counts.get("filtered", 0),
    )


def parse_blocked(reply: Reply) -> list[str]:
    """Of `show protocols all`: the sessions that take nothing more since a limit was hit, though
    by now they have clearly less than it."""
    found = []
    for block in _blocks(reply):
        text = "\n".join(block)
        counts = {word: int(number) for number, word in _COUNT.findall(text)}
        taken = counts.get("imported", 0)
        have = {"Import": taken, "Receive": taken + counts.get("filtered", 0)}
        hit = [(what, int(limit)) for what, limit in _HIT.findall(text)]
        if hit and all(have[what] < 0.9 * limit for what, limit in hit):
            found.append(block[0].split()[0])
    return found


_HIT = re.compile(r"(Import|Receive) limit: +(\d+) \[HIT\]")
_COUNT = re.compile(r"(\d+) (imported|filtered|exported|preferred)")
_ROUTE = re.compile(
    r"(?P<prefix>\S+)?\s+(?P<kind>unicast|blackhole|unreachable|prohibited)\s+"
    r"\[(?P<session>\S+) [^\]]*?(?:from (?P<origin>[^\]\s]+))?\](?P<best> \*)?"
)
_VIA = re.compile(r"\tvia (?P<gateway>\S+) on (?P<interface>\S+)")
_TUPLE = re.compile(r"\(([\d, ]+)\)")
_DEVICE = re.compile(r"\tdev (?P<interface>\S+)")


def parse_routes(reply: Reply) -> list[BgpRoute]:
    """`show route all`, read. A route after the first of its prefix has no prefix on its line."""
    routes: list[dict[str, Any]] = []
    hops: list[list[NextHop]] = []
    prefix = ""
    for _, text in reply:
        if match := _ROUTE.match(text):
            prefix = match["prefix"] or prefix
            best, origin = match["best"] is not None, match["origin"] or ""
            routes.append({"prefix": prefix, "kind": match["kind"], "session": match["session"]})
            routes[-1] |= {"best": best, "learnt_from": origin}
            hops.append([])
        elif not routes:
            continue
        elif match := _VIA.match(text):
            hops[-1].append(NextHop(match["gateway"], match["interface"]))
        elif match := _DEVICE.match(text):
            hops[-1].append(NextHop("", match["interface"]))
        elif text.startswith("\tBGP.as_path:"):
            routes[-1]["as_path"] = text.partition(":")[2].strip()
        elif text.startswith("\tBGP.local_pref:"):
            routes[-1]["local_pref"] = int(text.partition(":")[2])
        elif text.startswith(("\tBGP.community:", "\tBGP.large_community:")):
            found = tuple(each.replace(" ", "").replace(",", ":") for each in _TUPLE.findall(text))
            routes[-1]["communities"] = routes[-1].get("communities", ()) + found
        elif text.startswith("\ttor_why:"):
            routes[-1]["why"] = int(text.partition(":")[2])
    return [
        BgpRoute(**route, next_hops=tuple(hop)) for route, hop in zip(routes, hops, strict=True)
    ]
