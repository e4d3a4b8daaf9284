"""The fabric: routes, hops, addresses that are not one's own, hosts that are not for tenants."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest
from e2e_rig import HOSTS, Site
from e2e_storm import PORT, counting
from lab_rig import until

from tortie.kernel import netns, process
from tortie.model import kinds

pytestmark = pytest.mark.lab

RED, BLUE, GREEN = "rules/red", "rules/blue", "friends/green"
GATEWAY = "169.254.1.1"
AGENT, BIRD = "84", "bird"
"""As `ip route` says who made a route."""

# --- routes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_has_a_route_of_its_own_to_each_of_its_workloads(site: Site, host: str) -> None:
    wanted = {site.addresses[each.name] for each in site.plan.workloads if each.wanted.host == host}
    found = [
        route
        for route in site.routes(host)
        if route["protocol"] == AGENT and route.get("type") != "blackhole"
    ]
    assert {route["dst"] for route in found} == wanted
    assert {route["prefsrc"] for route in found} == {site.addresses[host]}
    assert all(str(route["dev"]).startswith("tor") for route in found)


@pytest.mark.parametrize("host", HOSTS)
def test_what_of_a_block_is_not_assigned_dies_on_its_host(site: Site, host: str) -> None:
    holes = {
        str(route["dst"])
        for route in site.routes(host)
        if route["protocol"] == AGENT and route.get("type") == "blackhole"
    }
    assert holes
    assert all(hole.endswith("/26") for hole in holes)
    # The others have learnt the same blocks by BGP.
    others = [other for other in HOSTS if other != host]
    for other in others:
        learnt = {route["dst"] for route in site.routes(other) if route["protocol"] == BIRD}
        assert holes <= learnt


@pytest.mark.parametrize("host", HOSTS)
def test_no_prefix_has_two_owners(site: Site, host: str) -> None:
    found = json.loads(site.says(host, "ip", "-j", "route", "show", "table", "all"))
    owners = {(each["dst"], each.get("table", "main"), each["protocol"]) for each in found}
    twice = [key for key, n in Counter((dst, table) for dst, table, _ in owners).items() if n > 1]
    assert len(owners) > 20
    assert twice == []


def test_packets_go_from_router_to_router(site: Site) -> None:
    """From a workload in one rack to one in the other: each hop says that it was there."""
    hops = []
    for ttl in range(1, 6):
        done = site.run(
            RED, "ping", "-c1", "-W1", "-n", "-t", str(ttl), site.addresses[BLUE], check=False
        )
        answer = re.search(r"(?i)from ([0-9.]+)", done.stdout)
        hops.append(answer[1] if answer else None)
    routers = [each.address for each in site.plan.routers]
    assert hops[0] == site.addresses["a1"]
    assert hops[1] == routers[0]
    assert site.says("tor-rack-b", "ip", "-o", "address").count(f" {hops[2]}/") == 1
    assert hops[3:] == [site.addresses["b1"], site.addresses[BLUE]]


def test_workloads_see_one_gateway_and_one_mac_on_every_host(site: Site) -> None:
    seen = set()
    for workload in (RED, BLUE, GREEN, "bank/teller"):
        assert site.pings(workload, GATEWAY)
        routes = site.says(workload, "ip", "-o", "route")
        neighbours = site.says(workload, "ip", "-o", "neighbour", "show", GATEWAY)
        seen.add((routes.split(" dev")[0], re.findall(r"lladdr (\S+)", neighbours)[0]))
    assert seen == {(f"default via {GATEWAY}", "ee:ee:ee:ee:ee:ee")}


# --- spoofing -------------------------------------------------------------------------------------


def send_raw(site: Site, where: str, source: str, destination: str, times: int = 20) -> None:
    """UDP datagrams with a source address of one's choice."""
    udp = struct.pack("!HHHH", 4000, PORT, 8, 0)
    packet = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    ) + udp  # fmt: skip
    with netns.entered(site.space(where)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        for _ in range(times):
            sock.sendto(packet, (destination, 0))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("10.65.201.9", id="nobody's"),
        pytest.param("10.65.202.1", id="a neighbour's"),
        pytest.param("172.16.1.2", id="the host's own"),
        pytest.param("172.16.2.2", id="another node's"),
        pytest.param("127.0.0.1", id="the loopback's"),
        pytest.param("169.254.1.1", id="the gateway's"),
        pytest.param("192.0.2.1", id="someone outside's"),
    ],
)
def test_a_source_address_that_is_not_ones_own_is_dropped(site: Site, source: str) -> None:
    own, target = site.addresses[RED], site.addresses[BLUE]
    with counting(site, BLUE) as counted:
        send_raw(site, RED, source, target)
        send_raw(site, RED, own, target)
        assert until(lambda: counted().get(own) == 20)
        assert counted() == {own: 20}


def test_an_address_that_a_workload_gives_itself_is_of_no_use(site: Site) -> None:
    stolen = site.addresses[GREEN]
    site.run(RED, "ip", "address", "add", f"{stolen}/32", "dev", "lo")
    try:
        assert site.pings(RED, BLUE, "-I", site.addresses[RED])
        assert not site.pings(RED, BLUE, "-I", stolen)
        assert site.connects(f"{BLUE} {GREEN} tcp/80")
    finally:
        site.run(RED, "ip", "address", "del", f"{stolen}/32", "dev", "lo")


# --- hosts are not for tenants --------------------------------------------------------------------

SSH = 22


@contextlib.contextmanager
def listening(site: Site, host: str, port: int = SSH) -> Iterator[None]:
    """Within the block something listens on all addresses of a host."""
    with netns.entered(site.space(host)):
        sock = socket.create_server(("0.0.0.0", port), backlog=64)
    with sock:
        yield


def test_no_workload_reaches_its_own_host(site: Site) -> None:
    host = site.addresses["a1"]
    with listening(site, "a1"):
        assert site.connects(f"internet {host} tcp/{SSH}")
        for workload in (RED, "shop/web", "shut/guard"):
            assert site.refuses(*(
                f"{workload} {address} tcp/{port}"
                for address in (host, GATEWAY) for port in (SSH, 179, 9091)
            ))  # fmt: skip
            assert not site.pings(workload, host)
            assert site.pings(workload, GATEWAY)


def test_the_link_local_gateway_answers_ping_and_nothing_else(site: Site) -> None:
    with netns.entered(site.space("a1")):
        listener = socket.create_server(("::", SSH), family=socket.AF_INET6)
    with listener, netns.entered(site.space(RED)):
        assert process.run(["ping", "-6", "-c1", "-W2", "-n", "fe80::1%eth0"]).returncode == 0
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.5)
            gateway = ("fe80::1", SSH, 0, socket.if_nametoindex("eth0"))
            with pytest.raises(TimeoutError):
                sock.connect(gateway)


def test_no_workload_reaches_another_node_unless_a_rule_allows_it(site: Site) -> None:
    host = site.addresses["b1"]
    with listening(site, "b1"):
        assert site.connects(f"internet {host} tcp/{SSH}")
        assert site.refuses(*(
            f"{workload} {host} tcp/{port}"
            for workload in (RED, GREEN, "shop/web", "market/kiosk", "shut/guard")
            for port in (SSH, 179)
        ))  # fmt: skip
        assert not site.pings(GREEN, host)
        # An egress policy that allows everything says so; its own host it reaches all the same not.
        assert site.endpoint("rules/admin").spec.node != "b1"
        assert site.connects(f"rules/admin {host} tcp/{SSH}")


def test_no_workload_reaches_the_store(site: Site) -> None:
    if site.plan.store_space is None:
        assert site.running.lab.record.store_url.startswith("sqlite://")  # a file: no address
        return
    address = site.running.lab.record.store_url.removeprefix("etcd://").partition(":")[0]
    for workload in (RED, "shop/web", "market/kiosk"):
        assert site.refuses(f"{workload} {address} tcp/2379")


# --- what an agent says of itself -----------------------------------------------------------------


def test_every_endpoint_is_up_in_the_store(site: Site) -> None:
    with site.running.store() as store:
        listed = store.list(kinds.STATUS).entries
    states = {
        entry.key.partition("/endpoints/")[2]: json.loads(entry.value)
        for entry in listed
        if "/endpoints/" in entry.key
    }
    assert len(states) == len(site.plan.workloads)
    assert {each["state"] for each in states.values()} == {"up"}
    assert Counter(each["host"] for each in states.values()) == Counter(
        each.wanted.host for each in site.plan.workloads
    )


@pytest.mark.parametrize("host", HOSTS)
def test_metrics_and_health_answer_on_a_port_of_the_host_alone(site: Site, host: str) -> None:
    def fetch(path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:9091{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()

    health, metrics = netns.call(site.space(host), lambda: (fetch("/healthz"), fetch("/metrics")))
    assert health[0] == 200
    assert json.loads(health[1])["state"] == "ready"
    assert f'node="{host}"' in metrics[1]
    count = sum(each.wanted.host == host for each in site.plan.workloads)
    assert f"\ntortie_endpoints {count}.0\n" in metrics[1]
    assert site.refuses(f"internet {site.addresses[host]} tcp/9091")


def test_node_status_on_a_host_speaks_of_that_host(site: Site) -> None:
    said = site.running.exec("a2", "tortie", "node", "status")
    count = sum(each.wanted.host == "a2" for each in site.plan.workloads)
    assert said.startswith("node a2 is ready")
    assert f"endpoints: {count} of {count} up" in said


def test_bgp_status_on_a_host_shows_the_session_with_its_router(site: Site) -> None:
    said = site.running.exec("b1", "tortie", "bgp", "status")
    assert site.plan.routers[1].address in said
    assert "established" in said.lower()
