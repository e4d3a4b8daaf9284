"""A question each millisecond from a namespace to an address in another, and its answers."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

from tortie.kernel import netns

PORT = 9
EVERY = 0.001  # seconds between two questions


def _socket(space: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(space):
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def answering(space: str, family: int = 4) -> Iterator[None]:
    """Within the block whatever comes to UDP port PORT in a namespace is sent back."""
    sock = _socket(space, "::" if family == 6 else "0.0.0.0")
    sock.bind(("::" if family == 6 else "0.0.0.0", PORT))
    over = threading.Event()

    def serve() -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(sock, selectors.EVENT_READ)
            while not over.is_set():
                for _ in ready.select(0.05):
                    with contextlib.suppress(OSError):
                        data, sender = sock.recvfrom(64)
                        sock.sendto(data, sender)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sock.close()


class Asking:
    """Questions without pause; `answers` are the moments (time.monotonic) of what came back."""

    def __init__(self, space: str, address: str) -> None:
        self.answers: list[float] = []
        self._space = space
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def first_after(self, moment: float, seconds: float) -> float:
        """The first answer after a moment; waits so long for it. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.answers and self.answers[-1] > moment:
                return next(each for each in self.answers if each > moment)
            time.sleep(EVERY)
        raise TimeoutError(f"{self._address} did not answer {self._space} in {seconds:.0f} s")

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time without an answer between two moments, in seconds."""
        inside = [each for each in self.answers if since <= each <= until]
        edges = [since, *inside, until]
        return max(later - earlier for earlier, later in pairwise(edges))

    def _run(self) -> None:
        sock = _socket(self._space, self._address)
        with sock:
            while not self._over.is_set():
                with contextlib.suppress(OSError):
                    sock.sendto(b"?", (self._address, PORT))
                with contextlib.suppress(OSError):
                    while sock.recv(64):
                        self.answers.append(time.monotonic())
                self._over.wait(EVERY)
