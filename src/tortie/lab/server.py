"""The servers of a workload: each connection and each datagram is answered with the server's name.

TCP: the name and a newline at once when a connection is made, and again for whatever is sent on it,
until the client closes. UDP: the name for each datagram.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Iterable

from tortie.lab.document import Service

_BACKLOG = 1024


def serve(name: str, services: Iterable[Service]) -> int:
    """Serve until the process is ended. Raises OSError if a port cannot be had."""
    answer = f"{name}\n".encode()
    waiting = selectors.DefaultSelector()
    for service in services:
        kind = socket.SOCK_STREAM if service.protocol == "tcp" else socket.SOCK_DGRAM
        listener = _listen(kind, service.port)
        react = _accept if service.protocol == "tcp" else _datagram
        waiting.register(listener, selectors.EVENT_READ, react)
    while True:
        for key, _ in waiting.select():
            sock, react = key.fileobj, key.data
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    react(waiting, sock, answer)


_Reaction = Callable[[selectors.DefaultSelector, socket.socket, bytes], None]


def _listen(kind: socket.SocketKind, port: int) -> socket.socket:
    """A socket for both families, on all addresses."""
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::", port))
    sock.setblocking(False)
    if kind == socket.SOCK_STREAM:
        sock.listen(_BACKLOG)
    return sock


def _accept(waiting: selectors.DefaultSelector, sock: socket.socket, answer: bytes) -> None:
    connection, _ = sock.accept()
    connection.setblocking(False)
    waiting.register(connection, selectors.EVENT_READ, _reply)
    connection.send(answer)


def _reply(waiting: selectors.DefaultSelector, sock: socket.socket, answer: bytes) -> None:
    try:
        if sock.recv(65536):
            sock.send(answer)
            return
    except BlockingIOError:
        return
    except OSError:
        pass  # the client is gone: the same as a close
    waiting.unregister(sock)
    sock.close()


def _datagram(waiting: selectors.DefaultSelector, sock: socket.socket, answer: bytes) -> None:
    _, sender = sock.recvfrom(65536)
    sock.sendto(answer, sender)
