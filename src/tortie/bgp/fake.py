"""A stand-in for BIRD's control socket: gives recorded answers, remembers what was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType


class FakeBird:
    """Listens at `path` while entered. `answers`: command -> the raw lines that BIRD would send.

    An unknown command gets BIRD's syntax error; an empty answer gets silence.
    """

    def __init__(self, path: Path, answers: Mapping[str, str]) -> None:
        self.path = path
        self.answers = answers
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeBird:
        self._socket.bind(str(self.path))
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join()
        self._socket.close()
        self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                wire, _ = self._socket.accept()
            except OSError:
                return
            with wire, contextlib.suppress(OSError):
                self._converse(wire)

    def _converse(self, wire: socket.socket) -> None:
        wire.sendall(b"0001 BIRD 2.0.12 ready.\n")
        with wire.makefile("r", encoding="ascii") as lines:
            for line in lines:
                command = line.rstrip("\n")
                self.asked.append(command)
                answer = self.answers.get(command, "9001 syntax error\n")
                # In two pieces, as a socket may.
                wire.sendall(answer[:7].encode())
                wire.sendall(answer[7:].encode())
