"""The command line with no lab and no agent but those that a test makes."""

from __future__ import annotations

import os
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Serve, Shell

from tortie.agent.server import Routes, serve_unix
from tortie.lab import state


@pytest.fixture
def tortie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    labs = tmp_path / "labs"
    labs.mkdir()
    monkeypatch.setattr(state, "ROOT", labs)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("TORTIE_LAB", raising=False)
    shell = Shell(tmp_path, capsys, monkeypatch)
    monkeypatch.setenv("TORTIE_STORE", shell.url)
    monkeypatch.setenv("TORTIE_SOCKET", str(tmp_path / "agent.sock"))
    return shell


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    # Half a second to end a server is too long for so many.
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
    servers: list[socketserver.BaseServer] = []

    def start(routes: Routes, name: str = "agent.sock") -> None:
        servers.append(serve_unix(tmp_path / name, routes))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def as_user(tortie: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
