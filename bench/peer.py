"""The two ends of the traffic, each a process of its own in a workload's namespace.

    python -m bench.peer CPU server PORT          answers whoever connects, until its input ends
    python -m bench.peer CPU client ADDRESS PORT  reads lines `MEASURE SECONDS`, writes one for each

Both stay on the one core that they are told, and packets through veth stay on the sender's: so a
rate says what one core does for the whole path, both ends and both hosts, and no sleeping core has
to be woken, which on a small machine costs more than the path and varies from second to second.

Every contender gets the same two programs. They use `_socket`, whose calls are the bare system
calls: at 100 us for a connection the wrapper's Python would be a tenth of what is measured.
"""

from __future__ import annotations

import _socket
import gc
import os
import struct
import sys
import threading
from collections.abc import Callable
from time import perf_counter

MESSAGE = 64
"""Bytes of a request and of its answer; the first byte of a connection says what it is for."""

CONNECT, ROUND_TRIPS, STREAM = b"c", b"r", b"s"
_CHUNK = 1 << 18
_RESET = struct.pack("ii", 1, 0)
_TOTAL = struct.Struct("!Q")


def serve(port: int) -> None:
    """Answer one connection after the other."""
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(128)
    answer, room = b"a" * MESSAGE, bytearray(_CHUNK)
    while True:
        handle, _ = listener._accept()  # type: ignore[attr-defined]
        connection = _socket.socket(fileno=handle)
        try:
            first = connection.recv(MESSAGE)
            if first[:1] == CONNECT:
                connection.send(answer)
            elif first[:1] == ROUND_TRIPS:
                _echo(connection, answer)
            elif first[:1] == STREAM:
                _swallow(connection, room)
        except OSError:
            pass  # the client is gone
        connection.close()


def _echo(connection: _socket.socket, answer: bytes) -> None:
    connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    connection.send(answer)
    while connection.recv(MESSAGE):
        connection.send(answer)


def _swallow(connection: _socket.socket, room: bytearray) -> None:
    """Read to the end, then say how many bytes came."""
    total = 0
    while count := connection.recv_into(room):
        total += count
    connection.send(_TOTAL.pack(total))


class Client:
    """Measures against one server. Each method gives a rate in units a second."""

    def __init__(self, address: str, port: int) -> None:
        self._server = (address, port)

    def connections(self, seconds: float) -> float:
        """New connections, one after the other: connect, a request, its answer, close.

        The server closes first and the client resets: no port waits in TIME_WAIT on either side.
        """
        request, server, make = CONNECT * MESSAGE, self._server, _socket.socket
        begin = perf_counter()
        end, count = begin + seconds, 0
        while (now := perf_counter()) < end:
            connection = make(_socket.AF_INET, _socket.SOCK_STREAM)
            connection.connect(server)
            connection.send(request)
            if len(connection.recv(MESSAGE)) != MESSAGE:
                raise ConnectionError("an answer of the wrong length")
            connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
            connection.close()
            count += 1
        return count / (now - begin)

    def round_trips(self, seconds: float) -> float:
        """Requests and their answers on one established connection, one after the other."""
        request = ROUND_TRIPS * MESSAGE
        connection = self._connected()
        connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        begin = perf_counter()
        end, count = begin + seconds, 0
        while (now := perf_counter()) < end:
            connection.send(request)
            connection.recv(MESSAGE)
            count += 1
        connection.close()
        return count / (now - begin)

    def throughput(self, seconds: float) -> float:
        """Bits of one TCP stream, counted by the server."""
        connection = self._connected()
        connection.send(STREAM * MESSAGE)
        chunk = memoryview(bytes(_CHUNK))
        begin = perf_counter()
        end = begin + seconds
        while perf_counter() < end:
            connection.send(chunk)
        connection.shutdown(_socket.SHUT_WR)
        total = _TOTAL.unpack(connection.recv(_TOTAL.size))[0]
        taken = perf_counter() - begin
        connection.close()
        return float(8 * total / taken)

    def reaches(self, seconds: float) -> float:
        """1.0 if one connection within so many seconds gets its answer, else 0.0."""
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect(self._server)
            connection.send(CONNECT * MESSAGE)
            return float(len(connection.recv(MESSAGE)) == MESSAGE)
        except OSError:
            return 0.0
        finally:
            connection.close()

    def _connected(self) -> _socket.socket:
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        connection.connect(self._server)
        return connection


def _end_with_input() -> None:
    """Whoever started this process holds its input: when that ends, so does this."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(cpu: str, role: str, *rest: str) -> None:
    """Be a server or a client, on one core."""
    os.sched_setaffinity(0, {int(cpu)})
    gc.disable()
    if role == "server":
        threading.Thread(target=_end_with_input, daemon=True).start()
        serve(int(rest[0]))
    client = Client(rest[0], int(rest[1]))
    measures: dict[str, Callable[[float], float]] = {
        "throughput": client.throughput,
        "round_trips": client.round_trips,
        "connections": client.connections,
        "reaches": client.reaches,
    }
    for line in sys.stdin:
        measure, seconds = line.split()
        print(measures[measure](float(seconds)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
