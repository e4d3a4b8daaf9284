"""Peers that do harm, played by ExaBGP and GoBGP: contained, named, and no cost to anybody else."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bgp_rig import Host, foreign, three_hosts, until

from tortie.bgp.control import BgpRoute, BirdControl
from tortie.bgp.judge import import_refusal, in_kernel
from tortie.desired import BgpPeer, Hidden
from tortie.kernel import netns, process

pytestmark = pytest.mark.kernel

hosts = pytest.fixture(three_hosts)

EXABGP = """
process teller {{ run {python} {script}; encoder text; }}
neighbor {neighbour} {{
  router-id {own4};
  local-address {own};
  local-as 65001;
  peer-as 64512;
  hold-time 30;
  capability {{ route-refresh; }}
  family {{ {family} unicast; }}
  api {{ processes [ teller ]; }}
}}
"""


@contextlib.contextmanager
def exabgp(host: Host, neighbour: Host, tells: str, family: int = 4) -> Iterator[None]:
    """ExaBGP on a host; it says to `neighbour` the lines that the expression `tells` makes."""
    directory = host.run_dir / "exabgp"
    directory.mkdir()
    directory.chmod(0o755)
    script = directory / "teller.py"
    script.write_text(
        "import sys, time\n"
        f"for line in {tells}:\n"
        "    print(line, flush=True)\n"
        "while True:\n"
        "    time.sleep(1)\n"
    )
    config = directory / "exabgp.conf"
    config.write_text(
        EXABGP.format(
            python=sys.executable,
            script=script,
            neighbour=neighbour.address[family],
            own=host.address[family],
            own4=host.address[4],
            family=f"ipv{family}",
        )
    )
    for each in (script, config):
        each.chmod(0o644)
    settings = {"daemon.user": "root", "api.ack": "false", "api.cli": "false", "log.all": "false"}
    env = {f"exabgp.{key}": value for key, value in settings.items()}
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory)}
    with daemon(host, ["exabgp", str(config)], env | path):
        yield


@contextlib.contextmanager
def daemon(host: Host, command: list[str], env: dict[str, str] | None = None) -> Iterator[None]:
    """A program of somebody else's in a host's namespace, ended afterwards."""
    log = host.run_dir / f"{command[0]}.log"
    child = netns.call(host.namespace, lambda: process.spawn(command, log=log, env=env))
    try:
        yield
    finally:
        child.terminate()
        child.wait(20)


def told(one: Host, session: BgpPeer) -> dict[str, BgpRoute]:
    """What one has taken by a session."""
    return {r.prefix: r for r in one.driver.control.routes() if r.session == session.name}


def refused(one: Host, session: BgpPeer) -> dict[str, BgpRoute]:
    every = one.driver.control.routes(refused=True)
    return {route.prefix: route for route in every if route.session == session.name}


FLOOD = (
    "[f'announce route 10.65.3.{n}/32 next-hop 172.16.0.2' for n in range(10)]"
    " + [f'announce route 100.64.{n // 250}.{n % 250}/32 next-hop 172.16.0.2' for n in range(6000)]"
)


def test_a_flood_costs_neither_good_routes_nor_the_session_nor_memory(hosts: list[Host]) -> None:
    one, bad, good = hosts
    session = one.peer(bad, remote_as=65001, max_prefixes=1000)
    neighbour = one.peer(good, remote_as=65002)
    good.run_plain(foreign(one, ("10.65.77.0/26",), 65002))
    one.apply(one.bgp(session, neighbour))
    until(lambda: "10.65.77.0/26" in one.learnt(), "the good peer's route")
    with exabgp(bad, one, FLOOD):
        most = 2 * 1000 + 1000
        until(lambda: len(told(one, session)) == 1000, "as many as may be", 60)
        until(lambda: len(refused(one, session)) == most - 1000, "those that are kept as refused")
        assert {f"10.65.3.{n}/32" for n in range(10)} <= set(told(one, session)), "the first stay"
        assert len(one.learnt()) == 1001
        assert "10.65.77.0/26" in one.learnt()
        states = {each.name: each.state for each in one.driver.sessions()}
        assert states == {session.name: "Established", neighbour.name: "Established"}
        excess = next(iter(refused(one, session).values()))
        bgp = one.bgp(session, neighbour)
        assert import_refusal(bgp, session, excess) == "more than 1000 routes came from this peer"
        assert one.driver.control.blocked() == []


OVER = (
    "[f'announce route 100.64.{n // 250}.{n % 250}/32 next-hop 172.16.0.2' for n in range(900)]"
    " + [f'withdraw route 100.64.{n // 250}.{n % 250}/32 next-hop 172.16.0.2' for n in range(900)]"
    " + ['announce route 10.65.3.0/26 next-hop 172.16.0.2']"
)


def test_after_a_flood_a_peer_is_heard_again(
    hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, bad, _ = hosts
    session = one.peer(bad, remote_as=65001, max_prefixes=500)
    one.apply(one.bgp(session))
    with exabgp(bad, one, OVER):
        until(lambda: one.driver.control.blocked() == [session.name], "the flood to be over", 60)
        until(lambda: not told(one, session), "all to be withdrawn, and nothing taken since", 30)
        monkeypatch.setattr("tortie.bgp.bird._RELIEF", 0.0)
        assert one.driver.alive()
        until(lambda: set(one.learnt()) == {"10.65.3.0/26"}, "its routes anew")
        assert one.driver.control.blocked() == []


HARM = {
    4: {
        "0.0.0.0/0": "a default route",
        "10.65.0.0/16": "it covers one of our pools",
        "172.16.0.3/32": "it covers one of our pools or a BGP speaker",
        "172.16.0.1/32": "this host's own address",
        "10.65.1.0/26": "a block of this host",
        "10.65.1.32/28": "a block of this host",
        "169.254.169.0/24": "no such destination",
    },
    6: {
        "::/0": "a default route",
        "fd65::/64": "it covers one of our pools",
        "fd00::1/128": "this host's own address",
        "fd65::100/122": "a block of this host",
    },
}


@pytest.mark.parametrize("family", [4, 6])
def test_what_a_peer_may_not_teach_is_refused_by_name(hosts: list[Host], family: int) -> None:
    one, bad, other = hosts
    session = one.peer(bad, family, remote_as=65001)
    bgp = one.bgp(session, one.peer(other, family))
    one.apply(bgp)
    fine, lost = {4: ("192.0.2.0/24", "198.51.100.0/24"), 6: ("2001:db8::/48", "2001:db8:1::/48")}[
        family
    ]
    nowhere = {4: "203.0.113.9", 6: "2001:db8:ffff::9"}[family]
    ways = dict.fromkeys((*HARM[family], fine), bad.address[family]) | {lost: nowhere}
    lines = [f"announce route {prefix} next-hop {way}" for prefix, way in ways.items()]
    with exabgp(bad, one, repr(lines), family):
        until(lambda: {fine, lost} == set(told(one, session)), "what is taken", 60)
        assert set(one.learnt(family)) == {fine}
        assert in_kernel(bgp, told(one, session)[lost]).startswith("its next hop is in no network")
        assert set(refused(one, session)) == set(HARM[family])
        for prefix, route in refused(one, session).items():
            assert HARM[family][prefix] in import_refusal(bgp, session, route), prefix


GOBGP = """
[global.config]
as = {number}
router-id = "172.16.0.{last}"
port = {port}
local-address-list = ["{own}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "{neighbour}"
peer-as = 64512
auth-password = "{password}"
[neighbors.transport.config]
passive-mode = true
"""


@contextlib.contextmanager
def gobgp(host: Host, neighbour: Host, number: int, password: str) -> Iterator[str]:
    """GoBGP on a host, waiting at port 1000 + `number` % 1000; where to speak to it."""
    port = 1000 + number % 1000
    config = host.run_dir / f"gobgp{number}.toml"
    config.write_text(
        GOBGP.format(
            number=number,
            last=200 + number % 50,
            port=port,
            own=host.address[4],
            neighbour=neighbour.address[4],
            password=password,
        )
    )
    api = f"127.0.0.1:{50000 + port}"
    with daemon(host, ["gobgpd", "-f", str(config), "--api-hosts", api, "--pprof-disable"]):
        yield str(50000 + port)


def test_several_peers_behind_one_address_each_with_its_password(hosts: list[Host]) -> None:
    one, far, _ = hosts
    secret = "correct horse; } # staple"
    first = one.peer(
        far, name="one_a", remote_as=65101, port=1101, password=Hidden(secret), upstream=True
    )
    second = one.peer(far, name="one_b", remote_as=65102, port=1102, password=Hidden(secret))
    with gobgp(far, one, 65101, secret) as api, gobgp(far, one, 65102, secret):
        one.apply(one.bgp(first, second))
        until(lambda: _states(one) == {"Established"}, "both sessions", 60)
        add = ["gobgp", "-p", api, "global", "rib", "add", "0.0.0.0/0", "nexthop", far.address[4]]
        netns.call(far.namespace, lambda: process.run(add))
        until(lambda: "default" in one.learnt(), "an upstream's default route")
        shown = ["gobgp", "-p", api, "-j", "global", "rib"]
        rib = json.loads(netns.call(far.namespace, lambda: process.run(shown)).stdout)
        assert set(rib) == {"0.0.0.0/0", "10.65.1.0/26"}, "our block is told"

        wrong = msgspec.structs.replace(second, password=Hidden("another one"))
        one.apply(one.bgp(first, wrong))
        until(lambda: _states(one) != {"Established"}, "the session with the wrong one to end")
        assert _states(one, "one_a") == {"Established"}
    assert secret not in (one.run_dir / "bird/bird.log").read_text()
    everything = process.run(["ps", "axww", "-o", "args"]).stdout
    assert secret not in everything
    assert one.driver.config.stat().st_mode & 0o077 == 0


def _states(host: Host, *names: str) -> set[str]:
    return {s.state for s in host.driver.sessions() if not names or s.name in names}


def test_a_peer_behind_a_gateway_is_reached_by_it(hosts: list[Host], tmp_path: Path) -> None:
    """Host 2 is the gateway; the peer is an address on host 3's loopback, not in any network of
    ours. Its route goes to the kernel, is told to nobody, and what the peer teaches leads by it."""
    one, gateway, far = hosts
    far.ip("address", "add", "192.0.2.7/32", "dev", "lo")
    gateway.ip("route", "add", "192.0.2.7/32", "via", far.address[4])
    for name in ("ip_forward", "conf/all/forwarding"):
        path = Path("/proc/sys/net/ipv4") / name
        netns.call(gateway.namespace, lambda path=path: path.write_text("1"))  # type: ignore[misc]
    session = BgpPeer(
        "far", "192.0.2.7", 65007, 64512, source_address=one.address[4], reachable_by="172.16.0.2"
    )
    text = foreign(
        one, ("10.65.9.0/26",), 65007, more="multihop; passive; source address 192.0.2.7;"
    )
    far.run_plain(text)
    beside = gateway.run_plain(foreign(one, (), 65008))
    one.apply(one.bgp(session, one.peer(gateway, remote_as=65008)))
    until(lambda: "10.65.9.0/26" in one.learnt(), "a route by the gateway", 30)
    assert one.learnt()["10.65.9.0/26"]["gateway"] == gateway.address[4]
    assert one.learnt()["192.0.2.7"]["gateway"] == gateway.address[4]
    until(lambda: len(_heard(beside)) > 0, "what the other peer is told")
    assert _heard(beside) == {"10.65.1.0/26"}


def _heard(control: BirdControl) -> set[str]:
    return {route.prefix for route in control.routes() if route.session == "ours"}


def test_sessions_on_another_port_and_on_chosen_addresses_only(hosts: list[Host]) -> None:
    one, two, _ = hosts
    for host, other in ((one, two), (two, one)):
        sessions = [host.peer(other, family, port=1790, passive=host is two) for family in (4, 6)]
        bgp = msgspec.structs.replace(
            host.bgp(*sessions),
            listen_port=1790,
            listen_addresses=(host.address[4], host.address[6]),
        )
        host.apply(bgp)
    until(lambda: _states(one) == {"Established"}, "both sessions", 30)
    until(lambda: bool(one.learnt(4) and one.learnt(6)), "routes of both families")
    listening = netns.call(two.namespace, lambda: process.run(["ss", "-Hltn"])).stdout
    assert {row.split()[3] for row in listening.splitlines()} == {
        f"{two.address[4]}:1790",
        f"[{two.address[6]}]:1790",
    }
    assert one.learnt(6)["fd65::200/122"]["gateway"] == two.address[6], "not a link-local one"
