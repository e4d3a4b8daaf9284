"""The peers of a contender, started in its workloads' namespaces and asked to measure."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.addresses import PORT, SERVER
from bench.rig import Standing
from tortie.kernel import netns

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 10.0
"""Seconds that an answer may take longer than the measurement."""


class Stuck(Exception):
    """A peer did not answer, or ended."""


class Traffic:
    """A client that measures against its server."""

    def __init__(self, name: str, client: subprocess.Popen[str]) -> None:
        self._name = name
        self._client = client

    def measure(self, what: str, seconds: float) -> float:
        """One measurement: a rate a second (see `bench.peer.Client`). Raises Stuck."""
        assert self._client.stdin is not None and self._client.stdout is not None
        try:
            self._client.stdin.write(f"{what} {seconds}\n")
            self._client.stdin.flush()
        except OSError as error:
            raise Stuck(f"{self._name}: the client has ended") from error
        with selectors.DefaultSelector() as selector:
            selector.register(self._client.stdout, selectors.EVENT_READ)
            if not selector.select(seconds + PATIENCE):
                raise Stuck(f"{self._name}: no answer from the client while measuring {what}")
        answer = self._client.stdout.readline()
        if not answer:
            raise Stuck(f"{self._name}: the client failed while measuring {what}")
        return float(answer)


@contextlib.contextmanager
def traffic(built: Standing, loopback: bool = False) -> Iterator[Traffic]:
    """Both peers of a contender; with `loopback`, the client in the server's own namespace."""
    where = built.spaces["server" if loopback else "client"]
    port = str(PORT + loopback)  # so that both kinds can stand side by side
    with (
        _peer(built.spaces["server"], "server", port),
        _peer(where, "client", SERVER, port) as client,
    ):
        yield Traffic("loopback" if loopback else built.contender.name, client)


def await_server(found: Traffic, seconds: float = 10.0) -> None:
    """Wait until the first connection is answered. Raises Stuck."""
    deadline = time.monotonic() + seconds
    while not found.measure("reaches", 0.3):
        if time.monotonic() > deadline:
            raise Stuck("the client does not reach the server")


@contextlib.contextmanager
def _peer(space: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    cpu = str(max(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "bench.peer", cpu, *arguments]
    with netns.entered(space):
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for us; the peers are ended below
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
