"""Traffic that tells whether a change was clean: connections that must last, and others that must
never come about, tried without pause. For tests of restarts and of changes under load.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from tortie.errors import LabError
from tortie.kernel import netns
from tortie.lab.probe import Pair

SILENCE = 5.0
"""Seconds without an answer after which a connection counts as broken."""
PAUSE = 0.02
"""Seconds between two exchanges on a connection, and between two attempts of a pair."""
GIVE_UP = 0.2
"""Seconds after which a forbidden attempt is dropped and the next one made."""


@dataclass(slots=True)
class Count:
    """What happened while the traffic ran."""

    exchanges: int = 0
    """questions answered on connections that must last"""
    broken: int = 0
    """connections that must last and did not"""
    attempts: int = 0
    """forbidden connections and datagrams tried"""
    leaked: int = 0
    """of those, that were answered or connected"""
    longest_silence: float = 0.0
    """seconds between a question and its answer, at worst"""
    notes: list[str] = field(default_factory=list)


class Traffic:
    """Holds a TCP connection for each `allowed` pair, and tries each `forbidden` pair all the time.

    Use as a context manager; `count` is final after the block. A thread of its own does it.
    """

    def __init__(self, allowed: Sequence[Pair], forbidden: Sequence[Pair]) -> None:
        self.count = Count()
        self._allowed = [_Lasting(pair) for pair in allowed]
        self._forbidden = [_Attempt(pair) for pair in forbidden]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        """Make the connections. Raises LabError if one cannot be made."""
        for each in self._allowed:
            each.open()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for lasting in self._allowed:
            lasting.close()
        for attempt in self._forbidden:
            attempt.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            for lasting in self._allowed:
                lasting.step(now, self.count)
            for attempt in self._forbidden:
                attempt.step(now, self.count)
            self._stop.wait(PAUSE)


def _sock(pair: Pair, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in (pair.address or "") else socket.AF_INET
    with netns.entered(pair.space):
        return socket.socket(family, kind)


class _Lasting:
    """One connection: a question, its answer, the next question."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._sock: socket.socket | None = None
        self._asked = 0.0

    def open(self) -> None:
        sock = _sock(self.pair, socket.SOCK_STREAM)
        sock.settimeout(5.0)
        try:
            sock.connect((self.pair.address, self.pair.service.port))
            sock.recv(512)
            sock.setblocking(False)
            self._ask(sock)
        except OSError as error:
            sock.close()
            what = f"{self.pair.source} cannot connect to {self.pair.destination}"
            raise LabError(f"{what}: {error}") from error
        self._sock = sock

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def step(self, now: float, count: Count) -> None:
        if self._sock is None:
            return
        waited = now - self._asked
        count.longest_silence = max(count.longest_silence, waited)
        try:
            if not self._sock.recv(512):
                self._broken(count, "it was closed")
                return
            count.exchanges += 1
            self._ask(self._sock)
        except BlockingIOError:
            if waited > SILENCE:
                self._broken(count, f"no answer for {waited:.1f} s")
        except OSError as error:
            self._broken(count, str(error))

    def _ask(self, sock: socket.socket) -> None:
        sock.send(b"?\n")
        self._asked = time.monotonic()

    def _broken(self, count: Count, why: str) -> None:
        count.broken += 1
        count.notes.append(f"{self.pair.source} to {self.pair.destination}: {why}")
        self.close()


class _Attempt:
    """One forbidden connection or datagram after the other."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._sock: socket.socket | None = None
        self._since = 0.0

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def step(self, now: float, count: Count) -> None:
        if self._sock is None:
            self._begin(now, count)
        if self._sock is None:
            return
        if self._answered(self._sock):
            count.leaked += 1
            count.notes.append(f"{self.pair.source} reached {self.pair.destination}")
            self.close()
        elif now - self._since > GIVE_UP:
            self.close()

    def _begin(self, now: float, count: Count) -> None:
        tcp = self.pair.service.protocol == "tcp"
        sock = _sock(self.pair, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        sock.setblocking(False)
        count.attempts += 1
        code = sock.connect_ex((self.pair.address, self.pair.service.port))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            return
        if not tcp:
            with contextlib.suppress(OSError):
                sock.send(b"?")
        self._sock, self._since = sock, now

    def _answered(self, sock: socket.socket) -> bool:
        tcp = self.pair.service.protocol == "tcp"
        with selectors.DefaultSelector() as ready:
            ready.register(sock, selectors.EVENT_WRITE if tcp else selectors.EVENT_READ)
            if not ready.select(0):
                return False
        try:
            if not tcp:
                return bool(sock.recv(512))
            # Reading an error clears it: asked once more, the socket would seem to be connected.
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError:
            return False
        if error:
            self.close()
        return not error
