"""Talking to the agent of this host: HTTP with JSON over its Unix socket.

GET    /status                  the agent, its drivers, its endpoints
GET    /bgp                     BGP sessions as BIRD reports them
POST   /workloads               attach a workload (plugins.workload.Request as JSON)
DELETE /workloads/NS/NAME       detach it
POST   /believe-store           the operator says that the store is the right one
GET    /metrics, /healthz       also on the TCP port
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from tortie.errors import AgentError

DEFAULT_SOCKET = "/run/tortie/agent.sock"


def socket_path() -> Path:
    """Where this host's agent listens: TORTIE_SOCKET, or the default."""
    return Path(os.environ.get("TORTIE_SOCKET", DEFAULT_SOCKET))


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def call(
    method: str, path: str, body: object = None, *, at: Path | None = None, timeout: float = 60.0
) -> Any:
    """One request to the agent; the decoded JSON answer. Raises AgentError."""
    where = at or socket_path()
    connection = _Connection(where, timeout)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
    except OSError as error:
        raise AgentError(
            f"no agent answers at {where}: {error.strerror or error}",
            "start it with `tortie node run`, or set TORTIE_SOCKET",
        ) from error
    finally:
        connection.close()
    decoded = json.loads(data) if data else None
    if answer.status >= 400:
        said = decoded if isinstance(decoded, dict) else {}
        raise AgentError(str(said.get("error", answer.reason)), str(said.get("cure", "")))
    return decoded
