"""A client of BIRD's control socket, and its answers as types.

The protocol (BIRD 2 programmer's documentation, "Client interface"): a greeting, then for each line
sent any number of `NNNN-text` lines and one last `NNNN text`; a line that starts with a space goes
on under the code before it. 0xxx is success, 1xxx a table, 8xxx a failure, 9xxx a refusal.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from tortie.errors import BgpError

Reply = list[tuple[int, str]]
"""(code, text) of each line of an answer; text without its line end."""

_LONGEST_PATH = 107  # bytes; sun_path in unix(7)
_MOST = 64 * 1024 * 1024  # bytes of one answer


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


class Status(Struct, frozen=True):
    """BIRD itself."""

    version: str
    router_id: str
    started: str
    configured: str
    running: bool
    """False while it starts, recovers, reconfigures or shuts down"""
    state: str


class BirdControl:
    """Commands to the BIRD that listens at `path`; each one on a connection of its own."""

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self.path = path
        self.timeout = timeout

    def command(self, text: str) -> Reply:
        """Send one command line; every line of its answer. Raises BgpError, ValueError."""
        if not text.isprintable() or not text.isascii():
            raise ValueError(f"{text!r} is not one line of printable ASCII")
        if len(str(self.path).encode()) > _LONGEST_PATH:
            raise BgpError(
                f"the path {self.path} is too long for a socket ({_LONGEST_PATH} bytes at most)",
                "choose a shorter run directory",
            )
        deadline = time.monotonic() + self.timeout
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
                wire.settimeout(self.timeout)
                wire.connect(str(self.path))
                buffer = bytearray()
                _read(wire, deadline, buffer)
                wire.sendall(text.encode() + b"\n")
                reply = _read(wire, deadline, buffer)
        except TimeoutError as error:
            raise BgpError(f"BIRD did not answer {text!r} in {self.timeout:g} s") from error
        except OSError as error:
            raise BgpError(
                f"no BIRD answers at {self.path}: {error.strerror or error}",
                "the agent starts it again within seconds",
            ) from error
        code, said = reply[-1]
        if code >= 8000:
            raise BgpError(f"BIRD refused {text!r}: {said.strip()} ({code})")
        return reply

    def status(self) -> Status:
        """What `show status` says. Raises BgpError."""
        return parse_status(self.command("show status"))

    def sessions(self) -> list[Session]:
        """All BGP sessions, by name. Raises BgpError."""
        return parse_sessions(self.command("show protocols all"))

    def protocols(self) -> dict[str, str]:
        """The names of the protocols that are configured, with their state. Raises BgpError."""
        rows = [text.split() for code, text in self.command("show protocols") if code == 1002]
        return {row[0]: row[3] for row in rows if len(row) > 3}

    def routes(self, prefix: str | None = None) -> list[BgpRoute]:
        """The routes of both tables, or those for a prefix or, by longest match, an address.

        Raises BgpError; ValueError for what is neither.
        """
        if prefix is None:
            return parse_routes(self.command("show route all"))
        if "%" in prefix:
            raise ValueError(f"{prefix!r} is neither a prefix nor an address")
        if "/" in prefix:
            question = f"show route {ipaddress.ip_network(prefix)} all"
        else:
            question = f"show route for {ipaddress.ip_address(prefix)} all"
        try:
            return parse_routes(self.command(question))
        except BgpError as error:
            if "(8001)" in error.message:  # network not in table
                return []
            raise

    def configure(self) -> None:
        """Read the configuration file again and run by it. Raises BgpError with what was wrong."""
        self.command("configure")

    def shut_down(self) -> None:
        """End BIRD. Raises BgpError."""
        self.command("down")


def _read(wire: socket.socket, deadline: float, buffer: bytearray) -> Reply:
    """One answer off the socket; what came after it stays in `buffer`."""
    reply: Reply = []
    size = 0
    while True:
        line, found, rest = buffer.partition(b"\n")
        if not found:
            left = deadline - time.monotonic()
            if left <= 0 or size + len(buffer) > _MOST:
                raise TimeoutError
            wire.settimeout(left)
            data = wire.recv(65536)
            if not data:
                raise ConnectionResetError("it closed the connection")
            buffer += data
            continue
        size += len(line)
        buffer[:] = rest
        text = line.decode("ascii", "replace")
        if text[:1] == "+":
            continue
        if text[:1] == " " and reply:
            reply.append((reply[-1][0], text[1:]))
            continue
        if not re.match(r"\d{4}[ -]", text):
            raise ConnectionResetError(f"it does not speak BIRD's protocol: {text[:40]!r}")
        reply.append((int(text[:4]), text[5:]))
        if text[4] == " ":
            return reply


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


def plain_words(error: str) -> str:
    """The last error of a session in plain words. What a peer wrote freely is not passed on."""
    text = error.strip()
    if not text:
        return ""
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
    counts = {word: int(number) for number, word in _COUNT.findall(fields.get("Routes", ""))}
    return Session(
        name=name,
        peer_address=fields.get("Neighbor address", "").partition("%")[0],
        remote_as=int(fields.get("Neighbor AS", "0")),
        state=fields.get("BGP state", "Down"),
        since=since,
        last_error=plain_words(fields.get("Last error", "")),
        imported=counts.get("imported", 0),
        exported=counts.get("exported", 0),
        preferred=counts.get("preferred", 0),
    )


_COUNT = re.compile(r"(\d+) (imported|exported|preferred)")
_ROUTE = re.compile(
    r"(?P<prefix>\S+)?\s+(?P<kind>unicast|blackhole|unreachable|prohibited)\s+"
    r"\[(?P<session>\S+) [^\]]*?(?:from (?P<origin>[^\]\s]+))?\](?P<best> \*)?"
)
_VIA = re.compile(r"\tvia (?P<gateway>\S+) on (?P<interface>\S+)")
_DEVICE = re.compile(r"\tdev (?P<interface>\S+)")


def parse_routes(reply: Reply) -> list[BgpRoute]:
    """`show route all`, read. A route after the first of its prefix has no prefix on its line."""
    routes: list[dict[str, object]] = []
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
    return [
        BgpRoute(**route, next_hops=tuple(hop))  # type: ignore[arg-type]
        for route, hop in zip(routes, hops, strict=True)
    ]
