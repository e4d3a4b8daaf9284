"""The agent's two doors: a Unix socket for the commands of its host, a TCP port for monitoring."""

from __future__ import annotations

import http.client
import json
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent.rig import BASE, Host, batch, cluster
from prometheus_client.parser import text_string_to_metric_families

from tortie import client
from tortie.agent import api, server
from tortie.agent.events import BelieveStore
from tortie.agent.server import MAX_BODY, Routes, serve_tcp, serve_unix
from tortie.errors import AgentError, InvalidInput, IpamError, Problem, TortieError
from tortie.store.syncer import Lost

Open = Callable[[Routes], Path]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socketserver.BaseServer]]:
    # Half a second to end a server is too long for so many.
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
    found: list[socketserver.BaseServer] = []
    yield found
    for each in found:
        each.shutdown()
        each.server_close()


@pytest.fixture
def opened(tmp_path: Path, servers: list[socketserver.BaseServer]) -> Open:
    def start(routes: Routes) -> Path:
        path = tmp_path / "run" / "agent.sock"
        servers.append(serve_unix(path, routes))
        return path

    return start


def fails(error: Exception) -> server.Handler:
    def handler(rest: str, body: object) -> object:
        raise error

    return handler


def raw(path: Path, method: str, where: str, body: bytes | None = None) -> tuple[int, Any, bool]:
    """Status, decoded answer, and whether the connection goes on."""
    connection = client._Connection(path, 5)
    try:
        connection.request(method, where, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), not answer.will_close
    finally:
        connection.close()


# --- the agent's own routes -----------------------------------------------------------------------


@pytest.fixture
def served(host: Host, opened: Open) -> Path:
    """An agent's socket, with what the composition root adds."""
    return opened(
        api.routes(
            host.agent,
            host.metrics,
            {
                ("POST", "workloads"): lambda rest, body: {"got": body},
                ("DELETE", "workloads"): lambda rest, body: {"released": rest},
                ("GET", "bgp"): lambda rest, body: [{"name": "peer"}],
            },
        )
    )


def test_status_of_an_agent_that_has_read_nothing(served: Path) -> None:
    assert client.call("GET", "/status", at=served) == {
        "node": "alpha", "state": "starting", "reason": "the store has not been read yet",
        "revision": 0, "storeRevision": 0, "storeLost": "", "cluster": "",
        "dataplane": "", "drivers": {}, "idleHostEndpoints": {}, "notes": [], "endpoints": [],
    }  # fmt: skip


def test_status_tells_drivers_endpoints_and_the_store(host: Host, served: Path) -> None:
    host.at(0, batch(6, *BASE))
    host.at(1, host.bird.fails("not today"), batch(7), Lost("no answer"))
    host.run(1.2)
    assert client.call("GET", "/status", at=served) == {
        "node": "alpha", "state": "error", "reason": "bird: not today",
        "revision": 6, "storeRevision": 7, "storeLost": "no answer", "cluster": "g1",
        "dataplane": "nft",
        "idleHostEndpoints": {},
        "notes": [],
        "drivers": {
            "bird": {"changed": 0, "error": "not today"},
            "links": {"changed": 1, "error": ""},
            "firewall": {"changed": 1, "error": ""},
            "routes": {"changed": 1, "error": ""},
        },
        "endpoints": [
            {"id": "shop/alpha-tortie-web-eth0", "state": "up", "reason": "", "interface": "tor1"}
        ],
    }  # fmt: skip


def test_other_parts_answer_on_the_same_socket(served: Path) -> None:
    assert client.call("POST", "/workloads", {"name": "é"}, at=served) == {"got": {"name": "é"}}
    assert client.call("DELETE", "/workloads/shop/web", at=served) == {"released": "shop/web"}
    assert client.call("GET", "/bgp", at=served) == [{"name": "peer"}]


def test_health_is_that_of_the_state_and_outlives_a_lost_store(host: Host, served: Path) -> None:
    with pytest.raises(AgentError, match="starting: the store has not been read yet"):
        client.call("GET", "/healthz", at=served)
    assert raw(served, "GET", "/healthz")[0] == 503
    host.at(0, batch(7, *BASE))
    host.at(1, Lost("no answer"))
    host.run(2)
    assert client.call("GET", "/healthz", at=served) == {
        "state": "ready", "revision": 7, "storeLost": "no answer",
    }  # fmt: skip


def test_a_held_agent_is_not_healthy_and_the_operators_word_reaches_it(host, served) -> None:
    with pytest.raises(AgentError, match="holds no cluster to believe in"):
        client.call("POST", "/believe-store", at=served)
    host.at(0, batch(7, *BASE))
    host.at(1, batch(8, cluster("g2")))
    host.run(2)
    with pytest.raises(AgentError, match="holding: the store is another cluster's"):
        client.call("GET", "/healthz", at=served)
    assert client.call("POST", "/believe-store", at=served) == {"believed": "g2"}
    assert host.agent.queue.get_nowait() == BelieveStore()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (IpamError("no address is free", "make a pool"), 409, "no address is free; make a pool"),
        (InvalidInput([Problem("no such thing")]), 400, "no such thing"),
        (ValueError("what?"), 400, "the request cannot be read: what?"),
        (server.Unhealthy("holding"), 503, "holding"),
        (KeyError("oops"), 500, "the agent failed; see its log"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_come_back_as_what_they_are(opened: Open, error, status, says) -> None:
    path = opened({("GET", "it"): fails(error)})
    assert raw(path, "GET", "/it")[0] == status
    with pytest.raises(AgentError) as told:
        client.call("GET", "/it", at=path)
    assert str(told.value) == says


@pytest.mark.parametrize(("method", "where"), [("GET", "/"), ("GET", "/nothing"), ("POST", "/it"),
                                               ("DELETE", "/it")])  # fmt: skip
def test_what_nobody_serves_is_not_found(opened: Open, method: str, where: str) -> None:
    path = opened({("GET", "it"): lambda rest, body: {}})
    body = b'{"a": 1}' if method == "POST" else None
    status, answer, goes_on = raw(path, method, where, body)
    assert (status, goes_on) == (404, False)
    assert answer["error"] == f"there is no {method} /{where.strip('/')} here"


def test_a_body_that_is_no_json_is_refused(opened: Open) -> None:
    path = opened({("POST", "it"): lambda rest, body: body})
    status, answer, _ = raw(path, "POST", "/it", b"{")
    assert status == 400
    assert answer["error"].startswith("the request cannot be read")


def test_a_body_of_the_greatest_length_is_taken_and_a_longer_one_refused(opened: Open) -> None:
    path = opened({("POST", "it"): lambda rest, body: len(str(body))})
    text = "x" * (MAX_BODY - 2)
    assert client.call("POST", "/it", text, at=path) == MAX_BODY - 2
    for more in ("x", "x" * 3 * MAX_BODY):
        with pytest.raises(AgentError, match=f"longer than {MAX_BODY} bytes"):
            client.call("POST", "/it", text + more, at=path)


@pytest.mark.parametrize("length", ["-1", "ten", "1e3"])
def test_a_length_without_sense_is_refused(opened: Open, length: str) -> None:
    path = opened({("POST", "it"): lambda rest, body: body})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        head = f"POST /it HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_says_nothing_is_left_alone_at_last(opened, monkeypatch) -> None:
    monkeypatch.setattr(server, "IDLE", 0.05)
    path = opened({("POST", "it"): lambda rest, body: body})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"POST /it HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert connection.recv(1000) == b""


def test_a_client_that_leaves_early_harms_nobody(opened: Open, capfd) -> None:
    entered, gone = threading.Event(), threading.Event()

    def slow(rest: str, body: object) -> object:
        entered.set()
        assert gone.wait(5)
        return ["x" * 1000] * 1000

    path = opened({("GET", "slow"): slow, ("GET", "it"): lambda rest, body: 1})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert entered.wait(5)
    gone.set()
    assert client.call("GET", "/it", at=path) == 1
    time.sleep(0.02)
    assert "Traceback" not in capfd.readouterr().err


# --- the socket itself ----------------------------------------------------------------------------


def test_the_socket_is_its_owners_only_from_the_first_moment(opened, monkeypatch) -> None:
    modes: list[int] = []
    listen = server._UnixServer.server_activate

    def look(self: Any) -> None:
        modes.append(stat.S_IMODE(Path(self.server_address).stat().st_mode))
        listen(self)

    monkeypatch.setattr(server._UnixServer, "server_activate", look)
    old = os.umask(0)
    try:
        path = opened({})
    finally:
        os.umask(old)
    assert modes == [0o600] == [stat.S_IMODE(path.stat().st_mode)]


def test_a_second_agent_is_refused(opened: Open) -> None:
    path = opened({("GET", "it"): lambda rest, body: "first"})
    with pytest.raises(TortieError, match=f"another agent already serves {path}"):
        opened({})
    assert client.call("GET", "/it", at=path) == "first"


def test_a_socket_that_nobody_serves_is_replaced(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run" / "agent.sock"))
    path = opened({("GET", "it"): lambda rest, body: "new"})
    assert client.call("GET", "/it", at=path) == "new"


def test_a_path_too_long_for_a_socket_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TortieError, match="cannot listen on"):
        serve_unix(tmp_path / ("x" * 120), {})


def test_no_agent_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as told:
        client.call("GET", "/status", at=tmp_path / "agent.sock")
    assert "no agent answers at" in told.value.message
    assert "tortie node run" in told.value.cure


# --- the TCP port ---------------------------------------------------------------------------------


def fetch(port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_tcp_port_serves_health_and_metrics_and_nothing_else(host: Host, servers) -> None:
    host.at(0, batch(7, *BASE))
    host.run(1)
    servers.append(serve_tcp("127.0.0.1", 0, api.monitoring(host.agent, host.metrics)))
    port = servers[-1].server_address[1]
    status, text = fetch(port, "GET", "/metrics")
    found = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert status == 200
    assert [sample.value for sample in found["tortie_revision"].samples] == [7]
    assert {s.labels["state"]: s.value for s in found["tortie_state"].samples} == {
        "starting": 0, "ready": 1, "holding": 0, "error": 0,
    }  # fmt: skip
    assert {s.labels["driver"] for s in found["tortie_driver_changes"].samples} == {
        "firewall", "links", "routes", "bird",
    }  # fmt: skip
    assert all(family.documentation for family in found.values())
    status, text = fetch(port, "GET", "/healthz")
    assert (status, json.loads(text)["state"]) == (200, "ready")
    for method, path in (("GET", "/status"), ("POST", "/believe-store"), ("GET", "/bgp"),
                         ("POST", "/workloads"), ("DELETE", "/workloads/a/b")):  # fmt: skip
        assert fetch(port, method, path)[0] == 404


def test_a_port_that_is_taken_is_an_error_with_a_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(TortieError) as told:
            serve_tcp("127.0.0.1", taken.getsockname()[1], {})
    assert "Address already in use" in told.value.message
    assert told.value.cure == "choose another --metrics-port"
