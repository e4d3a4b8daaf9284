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
IDLE = 60.0  # seconds without a word after which a connection is closed

Handler = Callable[[str, object], object]
"""Gets the rest of the path and the decoded body."""
Routes = Mapping[tuple[str, str], Handler]
"""By method and first part of the path, such as ("GET", "status")."""


class Unhealthy(TortieError):
    """Answered as 503: the agent is up, but not as it should be."""


def _unreadable(error: ValueError) -> dict[str, str]:
    return {"error": f"the request cannot be read: {error}"}


def _answer(handler: Handler, rest: str, body: object) -> tuple[int, object]:
    """The HTTP status and what to send for a request that somebody answers."""
    try:
        return 200, handler(rest, body)
    except Unhealthy as error:
        return 503, {"error": error.message, "cure": error.cure}
    except InvalidInput as error:
        return 400, {"error": error.message}
    except TortieError as error:
        return 409, {"error": error.message, "cure": error.cure}
    except ValueError as error:
        return 400, _unreadable(error)
    except Exception:
        _log.exception("a request failed")
        return 500, {"error": "the agent failed", "cure": "see its log"}


def _request_handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "tortie"
        timeout = IDLE

        def _serve(self) -> None:
            first, _, rest = self.path.strip("/").partition("/")
            handler = routes.get((self.command, first))
            if handler is None:
                self.close_connection = True
                self._send(404, {"error": f"there is no {self.command} /{first} here"})
                return
            try:
                body = self._body()
            except ValueError as error:
                self._send(400, _unreadable(error))
            else:
                self._send(*_answer(handler, rest, body))

        do_GET = do_POST = do_DELETE = _serve

        def _body(self) -> object:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 <= length <= MAX_BODY:
                self.close_connection = True
                self._discard(length)
                raise ValueError(f"it is longer than {MAX_BODY} bytes")
            return json.loads(self.rfile.read(length)) if length else None

        def _discard(self, length: int) -> None:
            """Hear the client out: it reads no answer before it has said everything."""
            while length > 0 and (chunk := self.rfile.read(min(length, MAX_BODY))):
                length -= len(chunk)

        def _send(self, status: int, answer: object) -> None:
            plain = isinstance(answer, bytes)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if plain else "application/json")
                self.send_header("Content-Length", str(len(data)))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                self.close_connection = True  # it did not wait for the answer

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
    server = _UnixServer(str(path), _request_handler(routes), bind_and_activate=False)
    try:
        server.server_bind()
        path.chmod(0o600)  # before it listens: nobody else may so much as queue up
        server.server_activate()
    except OSError as error:
        server.server_close()
        raise TortieError(f"cannot listen on {path}: {error.strerror or error}") from error
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
