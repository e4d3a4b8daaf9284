"""BIRD under our driver, in real kernels: hosts on one network, each in its own namespace."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import msgspec
import pytest
from bgp_rig import Host, foreign, three_hosts, until, watched

from tortie.bgp.bird import BirdDriver
from tortie.desired import Bgp, BgpPeer, Report
from tortie.errors import BgpError
from tortie.kernel import netns, process

pytestmark = pytest.mark.kernel

hosts = pytest.fixture(three_hosts)


def pair(one: Host, two: Host) -> None:
    """A session of each family between two hosts, and their blocks across."""
    one.apply(one.bgp(one.peer(two), one.peer(two, 6)))
    two.apply(two.bgp(two.peer(one, passive=True), two.peer(one, 6, passive=True)))
    until(lambda: bool(one.learnt() and two.learnt()), "IPv4 routes")
    until(lambda: bool(one.learnt(6) and two.learnt(6)), "IPv6 routes")


def test_blocks_are_learnt_with_the_node_as_source_and_withdrawn(hosts: list[Host]) -> None:
    one, two, _ = hosts
    pair(one, two)
    for family, block in ((4, "10.65.2.0/26"), (6, "fd65::200/122")):
        learnt = one.learnt(family)
        assert list(learnt) == [block], "only the other's block; no blackhole, nothing connected"
        assert learnt[block]["gateway"] == two.address[family]
        assert learnt[block]["prefsrc"] == one.address[family]
        assert learnt[block].get("type", "unicast") == "unicast"

    two.apply(two.bgp(two.peer(one), two.peer(one, 6), originate=("10.65.1.9/32",)))
    until(lambda: list(one.learnt()) == ["10.65.1.9"], "only what host 2 still originates")
    until(lambda: not one.learnt(6), "the withdrawal of the IPv6 block")

    # A route removed by hand comes back.
    one.ip("route", "del", "10.65.1.9", "proto", "bird")
    until(lambda: "10.65.1.9" in one.learnt(), "the route again", 8)


def test_nothing_to_do_changes_nothing(hosts: list[Host]) -> None:
    one = hosts[0]
    assert one.apply(None) == Report()
    assert not one.driver.config.exists()
    assert one.apply(one.bgp()).changed == 1
    pid, before = one.pid(), one.driver.control.status()
    assert one.apply(one.bgp()) == Report()
    assert (one.pid(), one.driver.control.status()) == (pid, before)
    assert one.driver.config.stat().st_mode & 0o777 == 0o600
    assert one.driver.directory.stat().st_mode & 0o777 == 0o700


def test_a_new_agent_adopts_bird_and_its_sessions(hosts: list[Host]) -> None:
    one, two, _ = hosts
    pair(one, two)
    pid, sessions = one.pid(), one.driver.sessions()
    assert [session.state for session in sessions] == ["Established", "Established"]
    one.driver = BirdDriver(one.run_dir)
    one.driver.prepare()
    one.apply(one.bgp(one.peer(two), one.peer(two, 6)))
    assert one.pid() == pid
    assert one.driver.sessions() == sessions
    assert one.apply(one.bgp(one.peer(two), one.peer(two, 6))) == Report()


def test_a_killed_bird_is_started_again_and_no_route_is_lost(
    hosts: list[Host], tmp_path: Path
) -> None:
    one, two, _ = hosts
    pair(one, two)
    pid = one.pid()
    with watched(one, tmp_path / "one"), watched(two, tmp_path / "two"):
        one.kill()
        assert not one.driver.alive()
        assert one.apply(one.bgp(one.peer(two), one.peer(two, 6))).changed == 1
        assert one.pid() != pid
        until(lambda: all(s.imported for s in two.driver.sessions()), "sessions again")
        until(lambda: all(s.imported for s in one.driver.sessions()), "sessions again")
        until(lambda: "recovery" not in _recovery(one), "the end of graceful restart")
    for name in ("one", "two"):
        lines = (tmp_path / name).read_text().splitlines()
        lost = [line for line in lines if re.match(r"Deleted (10\.65\.|fd65:)", line)]
        assert lost == [], f"host {name} lost routes"
    assert set(one.learnt()) == {"10.65.2.0/26"}
    assert set(two.learnt()) == {"10.65.1.0/26"}


def _recovery(host: Host) -> str:
    return " ".join(text for _, text in host.driver.control.command("show status"))


def test_a_refused_configuration_leaves_the_old_one_in_force(hosts: list[Host]) -> None:
    one, two, _ = hosts
    pair(one, two)
    pid, text, sessions = one.pid(), one.driver.config.read_text(), one.driver.sessions()
    keyword = one.bgp(one.peer(two, name="accept"))  # a symbol, but BIRD's own
    for bad in (keyword, one.bgp(one.peer(two, name="x; }"))):
        with pytest.raises(BgpError, match=r"refuses the new configuration|cannot be written"):
            one.apply(bad)
        assert one.driver.config.read_text() == text
        assert (one.pid(), one.driver.sessions()) == (pid, sessions)
    assert list(one.driver.directory.glob("*.new")) == []

    # Nor does a bad one keep a dead BIRD from starting by the old one.
    one.kill()
    with pytest.raises(BgpError, match="refuses the new configuration"):
        one.apply(keyword)
    assert one.driver.alive()
    assert one.driver.config.read_text() == text
    one.apply(one.bgp())
    assert one.driver.sessions() == []


def test_a_bird_that_lost_its_socket_is_replaced(hosts: list[Host]) -> None:
    one = hosts[0]
    one.apply(one.bgp())
    lost = one.pid()
    one.driver.control.path.unlink()
    assert one.apply(one.bgp()).changed == 1
    assert one.pid() != lost
    assert netns.pids(one.namespace) == [one.pid()]


def test_a_hung_bird_is_reported_and_then_replaced(hosts: list[Host]) -> None:
    one = hosts[0]
    one.driver = BirdDriver(one.run_dir, timeout=0.1)
    one.apply(one.bgp())
    hung = one.pid()
    os.kill(hung, signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(BgpError, match="did not answer"):
            one.apply(one.bgp())
    assert one.apply(one.bgp()).changed == 1
    assert one.pid() != hung


def test_without_bgp_it_runs_on_with_no_peers_and_stop_ends_it(hosts: list[Host]) -> None:
    one, two, _ = hosts
    pair(one, two)
    pid = one.pid()
    one.apply(None)
    assert (one.pid(), one.driver.sessions()) == (pid, [])
    until(lambda: not one.learnt() and not two.learnt(), "both forget")

    pair(one, two)
    netns.call(one.namespace, one.driver.stop)
    assert not process.is_running(pid, str(one.driver.control.path))
    assert not one.learnt() and not one.learnt(6)
    until(lambda: not two.learnt(), "the peer forgets")
    one.driver.prepare()
    assert not one.driver.alive(), "what was stopped is not started by itself"


HARMLESS = {"10.65.3.0/26", "10.65.1.7/32", "192.0.2.0/24"}
ONLY_UPSTREAM = {
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.65.0.0/16",
    "172.16.0.0/16",
    "172.16.0.2/31",
    "172.16.0.2/32",
}
NEVER = {
    "10.65.1.0/26",  # our own block
    "10.65.1.0/27",  # a piece of it
    "10.65.1.64/32",  # an address that we originate
    "172.16.0.1/32",  # this host
    "127.1.0.0/16",
    "169.254.1.1/32",
    "224.1.0.0/16",
}


def test_who_may_teach_what_and_what_is_told(hosts: list[Host]) -> None:
    one, tor, _ = hosts
    all_of_it = tuple(sorted(HARMLESS | ONLY_UPSTREAM | NEVER))
    theirs = tor.run_plain(foreign(one, all_of_it))
    own = ("10.65.1.0/26", "10.65.1.64/32", "10.65.200.0/26", "10.99.0.0/26", "fd65::100/122")
    session = one.peer(tor, remote_as=65001)

    def bgp(peer: BgpPeer) -> Bgp:
        bgp = one.bgp(peer, originate=own)
        return msgspec.structs.replace(bgp, no_export=("10.65.200.0/24",))

    def taken() -> set[str]:
        routes = one.driver.control.routes()
        return {route.prefix for route in routes if route.session == session.name}

    one.apply(bgp(session))
    until(lambda: taken() >= HARMLESS, "the harmless ones")
    assert taken() == HARMLESS
    assert set(one.learnt()) == {"10.65.3.0/26", "10.65.1.7", "192.0.2.0/24"}
    one.ip("route", "add", "10.65.1.7/32", "dev", "lo", "proto", "84")
    way = one.ip("route", "get", "10.65.1.7")
    assert "dev lo" in way, "while the address is still here, the agent's own route stands first"

    one.apply(bgp(msgspec.structs.replace(session, upstream=True)))
    until(lambda: taken() >= ONLY_UPSTREAM, "those of an upstream")
    assert taken() == HARMLESS | ONLY_UPSTREAM
    assert one.learnt()["default"]["gateway"] == tor.address[4]

    one.apply(bgp(session))
    until(lambda: taken() == HARMLESS, "the rest to go again")
    assert "default" not in one.learnt()

    told = {route.prefix for route in theirs.routes() if route.session == "ours"}
    assert told == {"10.65.1.0/26", "10.65.1.64/32"}, "own, in a pool, and not a silent one"


def test_two_ways_to_one_prefix_share_the_load(hosts: list[Host]) -> None:
    one, left, right = hosts
    for tor in (left, right):
        tor.run_plain(foreign(one, ("10.65.3.0/26",)))
    one.apply(one.bgp(*(one.peer(tor, remote_as=65001) for tor in (left, right))))
    until(lambda: "nexthops" in one.learnt().get("10.65.3.0/26", {}), "a multipath route")
    hops = one.learnt()["10.65.3.0/26"]["nexthops"]
    assert isinstance(hops, list)
    assert {hop["gateway"] for hop in hops} == {left.address[4], right.address[4]}


def test_a_route_reflector_passes_on_what_its_clients_tell(hosts: list[Host]) -> None:
    one, two, reflector = hosts
    clients = (
        reflector.peer(each, reflector_client=True, cluster_id="1.0.0.1") for each in (one, two)
    )
    reflector.apply(reflector.bgp(*clients))
    for host in (one, two):
        host.apply(host.bgp(host.peer(reflector)))
    until(lambda: {"10.65.2.0/26", "10.65.3.0/26"} == set(one.learnt()), "both blocks")
    assert one.learnt()["10.65.2.0/26"]["gateway"] == two.address[4], "directly, not by it"
    (route,) = one.driver.control.routes("10.65.2.0/26")
    assert (route.learnt_from, route.best) == (reflector.address[4], True)
