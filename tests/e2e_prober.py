"""New connections without pause, from everywhere to everything, each of them written down.

A volley is one attempt of a source at each of its targets; the sources take turns. An attempt is
one first packet: it is over before the kernel would send a second one. No source port is used
twice, so that no attempt is part of an earlier connection.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from e2e_leak import Attempt, Part

from tortie.dataplane.interpreter import Packet
from tortie.kernel import netns
from tortie.lab.probe import Pair

PATIENCE = 0.9
"""Seconds; the kernel sends a second SYN after one."""
SOCKETS = 8000
AT_ONCE = 1024
"""Events that are looked at before the clock is."""
FIRST_PORT, LAST_PORT = 1100, 32000
"""Source ports; the kernel's own choice (of whatever else runs there) lies above."""
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attempt goes, and the hosts that judge it."""

    pair: Pair
    packet: Packet
    way: tuple[Part, ...]


@dataclass(slots=True)
class _Pending:
    target: Target
    sock: socket.socket
    began: float
    open: bool = True


class Prober:
    """Tries all targets without pause, `rate` attempts in a second, in a thread of its own.

    Use as a context manager; `attempts` is complete after the block.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        rate: float,
        ports: dict[str, int],
        listen: Sequence[tuple[str, int]] = (),
    ) -> None:
        """`ports`: the last source port used, by namespace; it is kept up to date. `listen`: TCP
        ports (namespace, port) to answer at, besides the lab's servers."""
        self.attempts: list[Attempt] = []
        self._volleys: dict[str, list[Target]] = {}
        for each in targets:
            self._volleys.setdefault(each.pair.space, []).append(each)
        self._pause = len(targets) / rate / len(self._volleys)
        self._ports = ports
        self._listen = listen
        self._listening: dict[int, socket.socket] = {}
        self._pending: dict[int, _Pending] = {}
        self._order: deque[_Pending] = deque()
        self._poll = select.epoll()
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name="prober", daemon=True)

    def __enter__(self) -> Prober:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, SOCKETS)), hard))
        for space, port in self._listen:
            with netns.entered(space):
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("0.0.0.0", port))
            sock.listen(512)
            self._listening[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for pending in self._pending.values():
            pending.sock.close()
        for sock in self._listening.values():
            sock.close()
        self._poll.close()
        if self._failure is not None and error is None:
            raise self._failure

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # told in the test's thread
            self._failure = error

    def _run(self) -> None:
        turns = deque(self._volleys)
        due = time.time()
        while self._pending or not self._over.is_set():
            events = self._poll.poll(min(self._pause, 0.05), AT_ONCE)
            for handle, _ in events:
                self._react(handle)
            now = time.time()
            if len(events) < AT_ONCE:  # else some of the oldest may have their answer already
                self._expire(now)
            if now >= due and not self._over.is_set():
                self._volley(turns[0])
                turns.rotate(-1)
                due = max(due + self._pause, now)

    def _volley(self, space: str) -> None:
        targets = self._volleys[space]
        with netns.entered(space):
            socks = [_socket(each.pair) for each in targets]
        for target, sock in zip(targets, socks, strict=True):
            self._begin(target, sock)

    def _begin(self, target: Target, sock: socket.socket) -> None:
        pair = target.pair
        port = self._ports[pair.space] = self._ports.get(pair.space, FIRST_PORT) + 1
        assert port <= LAST_PORT, f"{pair.source} has no source port left"
        sock.bind(("", port))
        began = time.time()
        code = sock.connect_ex((pair.address, pair.service.port))
        if pair.service.protocol == "udp" and code == 0:
            with contextlib.suppress(OSError):
                sock.send(b"?")
        pending = _Pending(target, sock, began)
        if code not in (0, errno.EINPROGRESS):
            self._end(pending, False)
            return
        tcp = pair.service.protocol == "tcp"
        self._pending[sock.fileno()] = pending
        self._order.append(pending)
        self._poll.register(sock, select.EPOLLOUT if tcp else select.EPOLLIN)

    def _react(self, handle: int) -> None:
        if handle in self._listening:
            with contextlib.suppress(OSError):
                while True:
                    self._listening[handle].accept()[0].close()
            return
        pending = self._pending[handle]
        sock = pending.sock
        try:
            if pending.target.pair.service.protocol == "tcp":
                answered = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            else:
                answered = bool(sock.recv(512))
        except OSError:
            answered = False
        self._end(pending, answered)

    def _expire(self, now: float) -> None:
        while self._order and (not self._order[0].open or now - self._order[0].began > PATIENCE):
            pending = self._order.popleft()
            if pending.open:
                self._end(pending, False)

    def _end(self, pending: _Pending, answered: bool) -> None:
        ended, target = time.time(), pending.target
        pending.open = False
        self._pending.pop(pending.sock.fileno(), None)
        pending.sock.close()
        self.attempts.append(
            Attempt(
                target.pair.source, target.pair.destination, target.packet, target.way,
                pending.began, ended, answered,
            )
        )  # fmt: skip


def _socket(pair: Pair) -> socket.socket:
    kind = socket.SOCK_STREAM if pair.service.protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    return sock
