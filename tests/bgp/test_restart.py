"""What goes on while BIRD is restarted, killed, or cut off: with BFD and without, under traffic."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bgp_rig import Host, three_hosts, until, watched

from tortie.desired import Bfd
from tortie.kernel import netns, process

pytestmark = pytest.mark.kernel

hosts = pytest.fixture(three_hosts)

FAST = Bfd(interval=100, multiplier=3)
PLANNED = Bfd(interval=100, multiplier=3, graceful=True)


def meet(one: Host, two: Host, bfd: Bfd | None, family: int = 4) -> None:
    """A session between two hosts, an address of each one's block on its loopback, all up."""
    for host, other in ((one, two), (two, one)):
        passive = host is two
        host.apply(host.bgp(host.peer(other, family, bfd=bfd, passive=passive)))
        host.ip("address", "replace", address(host, family), "dev", "lo")
    until(lambda: bool(one.learnt(family) and two.learnt(family)), "routes")
    if bfd:
        until(lambda: watched_by(one) == {"Up"} == watched_by(two), "BFD")


def address(host: Host, family: int) -> str:
    return f"10.65.{host.number}.1" if family == 4 else f"fd65::{host.number}01"


def watched_by(host: Host) -> set[str]:
    return set(host.driver.control.watched().values())


@contextlib.contextmanager
def traffic(one: Host, two: Host, family: int = 4) -> Iterator[list[int]]:
    """Packets from one to two all the while; at the end, how many went without an answer."""
    lost: list[int] = []
    target = address(two, family)
    source = address(one, family)
    command = ["ip", "netns", "exec", one.namespace, "ping", "-i", "0.01", "-q", "-I", source]
    ping = subprocess.Popen(
        [*command, target], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        yield lost
    finally:
        ping.send_signal(2)
        said = ping.communicate(timeout=10)[0]
    sent, answered = re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0]
    assert int(sent) > 10, "a test of something"
    # The last one may still be on its way when the prober is stopped.
    lost.append(max(0, int(sent) - int(answered) - 1))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("bfd", [None, PLANNED], ids=["alone", "bfd"])
def test_a_planned_restart_loses_nothing(hosts: list[Host], bfd: Bfd | None, family: int) -> None:
    one, two, _ = hosts
    meet(one, two, bfd, family)
    pid = two.pid()
    with traffic(one, two, family) as lost:
        netns.call(two.namespace, two.driver.restart)
        assert two.pid() != pid
        until(lambda: "recovery" not in _status(two), "the end of graceful restart")
    assert lost == [0]
    if bfd:
        assert watched_by(one) == {"Up"}, "BFD watches again"


def _status(host: Host) -> str:
    return " ".join(text for _, text in host.driver.control.command("show status"))


def test_a_killed_bird_costs_routes_only_where_bfd_watches(hosts: list[Host]) -> None:
    one, two, _ = hosts
    meet(one, two, None)
    with traffic(one, two) as lost:
        two.kill()
        time.sleep(1)
        two.apply(two.bgp(two.peer(one, passive=True)))
        until(lambda: any(s.imported for s in one.driver.sessions()), "the session")
        until(lambda: "recovery" not in _status(two), "the end of graceful restart")
    assert lost == [0]

    meet(one, two, FAST)
    two.kill()
    until(lambda: not one.learnt(), "BFD to take it for dead", 20)
    two.apply(two.bgp(two.peer(one, passive=True, bfd=FAST)))
    until(lambda: bool(one.learnt()), "the routes again")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", ["silent link", "dead host"])
def test_what_bfd_takes_for_dead_leaves_the_kernel(
    hosts: list[Host], how: str, family: int
) -> None:
    one, two, _ = hosts
    meet(one, two, FAST, family)
    began = time.monotonic()
    if how == "silent link":
        cut(two)
    else:
        two.remove()
    # The hold time is 90 s; what is measured (docs) is well under a second.
    until(lambda: not one.learnt(family), "the routes to leave", 20)
    print(f"{how}, family {family}: {time.monotonic() - began:.3f} s")
    (session,) = one.driver.sessions()
    assert session.state != "Established"


def cut(host: Host) -> None:
    """Nothing passes any more, and no carrier is lost."""
    rules = "table inet cut { chain c { type filter hook %s priority -400; policy drop; }\n}\n"
    for hook in ("input", "output"):
        netns.call(
            host.namespace,
            lambda hook=hook: process.run(  # type: ignore[misc]
                ["nft", "-f", "-"], stdin=rules.replace("chain c", f"chain {hook}_c") % hook
            ),
        )


FRR = """
log file {directory}/log
ip route 10.65.3.0/24 Null0
router bgp 65001
 bgp router-id {own}
 no bgp ebgp-requires-policy
 neighbor {neighbour} remote-as 64512
 neighbor {neighbour} timers connect 1
 neighbor {neighbour} bfd 3 100 100
 address-family ipv4 unicast
  redistribute static
"""


@contextlib.contextmanager
def frr(host: Host, neighbour: Host) -> Iterator[None]:
    """FRR on a host, as the router of AS 65001."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = directory / "frr.conf"
        own, other = host.address[4], neighbour.address[4]
        config.write_text(FRR.format(directory=directory, own=own, neighbour=other))
        for each in (directory, config):
            shutil.chown(each, "frr", "frr")
        children: list[subprocess.Popen[bytes]] = []
        try:
            for daemon in ("zebra", "staticd", "bfdd", "bgpd"):
                where = ["-z", f"{name}/zebra.sock", "--vty_socket", name, "-f", str(config)]
                more = ["--bfdctl", f"{name}/bfdd.sock"] if daemon == "bfdd" else []
                command = [f"/usr/lib/frr/{daemon}", *where, "-i", f"{name}/{daemon}.pid", *more]
                children.append(
                    netns.call(
                        host.namespace,
                        lambda c=command: process.spawn(c, log=host.run_dir / "frr.log"),  # type: ignore[misc]
                    )
                )
                time.sleep(0.3)
            yield
        finally:
            for child in children:
                child.kill()
                child.wait()


def test_frr_keeps_our_routes_while_we_restart_though_bfd_goes_silent(hosts: list[Host]) -> None:
    one, tor, _ = hosts
    session = one.peer(tor, remote_as=65001, adjacent=True, bfd=FAST)
    one.apply(one.bgp(session))
    with frr(tor, one):
        until(lambda: "10.65.3.0/24" in one.learnt(), "FRR's route", 40)
        until(lambda: watched_by(one) == {"Up"}, "single-hop BFD with FRR", 20)
        shown = ["ip", "-n", tor.namespace, "route", "show", "10.65.1.0/26"]
        until(lambda: "via 172.16.0.1" in process.run(shown).stdout, "our block at FRR")
        # In its first two minutes FRR says of itself that it restarts, and so is not waited for:
        # what it teaches us is then gone until it has told it again.
        with watched(tor, tor.run_dir / "monitor"):
            netns.call(one.namespace, one.driver.restart)
            until(lambda: "recovery" not in _status(one), "the end of graceful restart")
            until(lambda: "10.65.3.0/24" in one.learnt(), "FRR's route again")
        assert "Deleted 10.65." not in (tor.run_dir / "monitor").read_text()
        assert watched_by(one) == {"Up"}
        cut(tor)
        until(lambda: not one.learnt(), "the routes to leave", 20)


@pytest.mark.parametrize("adjacent", [True, False], ids=["single hop", "multihop"])
def test_bfd_between_ases_is_what_routers_speak(
    hosts: list[Host], adjacent: bool, tmp_path: Path
) -> None:
    """Single-hop (UDP 3784) with an external neighbour of our network, else multihop (4784)."""
    one, two, _ = hosts
    left = one.peer(two, remote_as=64512, local_as=65001, adjacent=adjacent, bfd=FAST)
    right = two.peer(one, remote_as=65001, passive=True, adjacent=adjacent, bfd=FAST)
    one.apply(one.bgp(left))
    two.apply(two.bgp(right))
    until(lambda: bool(one.learnt() and two.learnt()), "routes")
    until(lambda: watched_by(one) == {"Up"}, "BFD")
    rows = [t.split() for c, t in one.driver.control.command("show bfd sessions") if c == 1020]
    interfaces = {row[1] for row in rows if row[0] == two.address[4]}
    assert interfaces == ({"eth0"} if adjacent else {"---"})
    cut(two)
    until(lambda: not one.learnt(), "the routes to leave", 20)
