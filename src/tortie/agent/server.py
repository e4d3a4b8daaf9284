"""The agent's two doors: a Unix socket for the commands of this host, a TCP port for monitoring.

Routes are a table from method and path to a function that gets the decoded body and returns what
is sent as JSON (or bytes, sent as text). The TCP port serves only what changes nothing.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tortie.errors import InvalidInput, TortieError

_log = logging.getLogger(__name__)
MAX_BODY = 1 << 20

Handler = Callable[[str, object], object]
"""Gets the rest of the path and the decoded body."""
Routes = Mapping[tuple[str, str], Handler]
"""By method and first part of the path, such as ("GET", "status")."""


class Unhealthy(TortieError):
    """Answered as 503: the agent is up, but not as it should be."""


def _request_handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "tortie"

        def _serve(self) -> None:
            first, _, rest = self.path.strip("/").partition("/")
            handler = routes.get((self.command, first))
            if handler is None:
                return self._send(404, {"error": f"there is no {self.command} /{first} here"})
            try:
                return self._send(200, handler(rest, self._body()))
            except Unhealthy as error:
                return self._send(503, {"error": error.message, "cure": error.cure})
            except InvalidInput as error:
                return self._send(400, {"error": error.message})
            except TortieError as error:
                return self._send(409, {"error": error.message, "cure": error.cure})
            except ValueError as error:
                return self._send(400, {"error": f"the request cannot be read: {error}"})

        do_GET = do_POST = do_DELETE = _serve

        def _body(self) -> object:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY:
                raise ValueError(f"it is longer than {MAX_BODY} bytes")
            return json.loads(self.rfile.read(length)) if length else None

        def _send(self, status: int, answer: object) -> None:
            plain = isinstance(answer, bytes)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Request


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve_unix(path: Path, routes: Routes) -> socketserver.BaseServer:
    """Serve on a Unix socket that only its owner may use, in a thread of its own.

    A socket file that nobody serves is replaced. Raises TortieError if somebody does.
    """
    if path.exists():
        with socket.socket(socket.AF_UNIX) as other:
            if other.connect_ex(str(path)) == 0:
                raise TortieError(f"another agent already serves {path}", "stop it first")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    server = _UnixServer(str(path), _request_handler(routes))
    path.chmod(0o600)
    return _started(server, "api")


def serve_tcp(address: str, port: int, routes: Routes) -> socketserver.BaseServer:
    """Serve metrics and health on a TCP port, in a thread of its own. Raises TortieError."""
    try:
        server = ThreadingHTTPServer((address, port), _request_handler(routes))
    except OSError as error:
        raise TortieError(
            f"cannot listen on {address}:{port}: {error.strerror}", "choose another --metrics-port"
        ) from error
    return _started(server, "metrics")


def _started(server: socketserver.BaseServer, name: str) -> socketserver.BaseServer:
    threading.Thread(target=server.serve_forever, name=name, daemon=True).start()
    return server
