"""A client of BIRD's control socket; its answers as types are in `answers`.

The protocol (BIRD 2 programmer's documentation, "Client interface"): a greeting, then for each line
sent any number of `NNNN-text` lines and one last `NNNN text`; a line that starts with a space goes
on under the code before it. 0xxx is success, 1xxx a table, 8xxx a failure, 9xxx a refusal.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from pathlib import Path

from tortie.bgp.answers import BgpRoute as BgpRoute
from tortie.bgp.answers import NextHop as NextHop
from tortie.bgp.answers import Reply as Reply
from tortie.bgp.answers import Session as Session
from tortie.bgp.answers import Status as Status
from tortie.bgp.answers import parse_blocked, parse_routes, parse_sessions, parse_status, unquoted
from tortie.bgp.answers import plain_words as plain_words
from tortie.errors import BgpError

_LONGEST_PATH = 107  # bytes; sun_path in unix(7)
_MOST = 64 * 1024 * 1024  # bytes of one answer


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

    def routes(self, prefix: str | None = None, refused: bool = False) -> list[BgpRoute]:
        """The routes of both tables, or those for a prefix or, by longest match, an address.

        With `refused`: instead those that peers told and our import filters refused.
        Raises BgpError; ValueError for what is neither.
        """
        every = "filtered all" if refused else "all"
        if prefix is None:
            return parse_routes(self.command(f"show route {every}"))
        if "%" in prefix:
            raise ValueError(f"{prefix!r} is neither a prefix nor an address")
        if "/" in prefix:
            question = f"show route {ipaddress.ip_network(prefix)} {every}"
        else:
            question = f"show route for {ipaddress.ip_address(prefix)} {every}"
        try:
            return parse_routes(self.command(question))
        except BgpError as error:
            if "(8001)" in error.message:  # network not in table
                return []
            raise

    def tells(self, prefix: str, session: str) -> bool:
        """Whether a session tells its peer of a prefix. Raises BgpError, ValueError."""
        question = f"show route {ipaddress.ip_network(prefix)} export {session}"
        try:
            return bool(parse_routes(self.command(question)))
        except BgpError as error:
            if "(8001)" in error.message:
                return False
            raise

    def blocked(self) -> list[str]:
        """The sessions that had too many routes and no longer have. Raises BgpError."""
        return parse_blocked(self.command("show protocols all"))

    def ask_again(self, session: str) -> None:
        """Ask a peer for all its routes anew (route refresh). Raises BgpError."""
        self.command(f"reload in {session}")

    def watched(self) -> dict[str, str]:
        """The addresses that BFD watches, with its state: Up, Init, Down. Raises BgpError."""
        rows = [text.split() for code, text in self.command("show bfd sessions") if code == 1020]
        return {row[0]: row[2] for row in rows if len(row) > 2 and row[0][0] in "0123456789abcdef"}

    def configure(self) -> None:
        """Read the configuration file again and run by it. Raises BgpError with what was wrong."""
        try:
            self.command("configure")
        except BgpError as error:
            raise BgpError(unquoted(error.message), error.cure) from error.__cause__

    def shut_down(self) -> None:
        """End BIRD. Raises BgpError."""
        self.command("down")

    def restart_gracefully(self) -> None:
        """End BIRD, which will be back: peers and kernel keep its routes. Raises BgpError."""
        self.command("graceful restart")


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
