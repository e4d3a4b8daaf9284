"""Why a prefix is or is not in the kernel, from what BIRD and the kernel say."""

from __future__ import annotations

import pytest

from tortie.bgp import why
from tortie.bgp.control import BgpRoute, NextHop, Session
from tortie.bgp.why import Heard, KernelRoute
from tortie.desired import Bgp, BgpPeer

TOR = BgpPeer("peer_tor", "172.16.0.1", 65001, 65001, shown="tor-a")
FOE = BgpPeer("peer_foe", "172.16.0.9", 64999, 65001, shown="injector")
BGP = Bgp(
    router_id="172.16.0.7",
    local_as=65001,
    peers=(TOR, FOE),
    originate=("10.65.0.0/26",),
    pools=("10.65.0.0/16",),
)
NET = "10.65.1.0/26"
VIA = (NextHop("172.16.0.1", "eth0"),)


def heard(prefix: str = NET, **more: object) -> Heard:
    given = {"peer": "tor-a", "session": "peer_tor", "next_hops": VIA, "best": True} | more
    return Heard(prefix, **given)  # type: ignore[arg-type]


def session(peer: BgpPeer, state: str = "Established") -> Session:
    return Session(peer.name, peer.address, peer.remote_as, state, "2026-01-01T00:00:00+0000")


UP = [session(TOR), session(FOE)]
HALF = [session(TOR), session(FOE, "Active")]
NONE = [session(TOR, "Connect"), session(FOE, "Active")]
BIRDS = KernelRoute(12, 2048, "unicast", VIA)
OWN = KernelRoute(84, 0, "unicast", (NextHop("", "tor1"),))
HOLE = KernelRoute(84, 0, "blackhole")
TUNNEL = KernelRoute(84, 0, "unicast", (NextHop("10.66.9.0", "vxlan.tortie"),))
STATIC = KernelRoute(4, 0, "unicast", VIA)
LAN = KernelRoute(2, 0, "unicast", (NextHop("", "eth0"),))
BEFORE = "which stands before what BGP says"
REFUSED = heard(peer="injector", refused="it covers our pools", best=False)

# prefix, what BIRD has, the kernel's routes, sessions; in the kernel?, what is said
ANSWERS = [
    (NET, [heard()], [BIRDS], UP, True, "BGP put it there"),
    (NET, [heard()], [STATIC], UP, False, f"(`ip route`, proto 4), {BEFORE}"),
    (NET, [heard()], [STATIC, BIRDS], UP, True, "BGP put it there"),
    (NET, [heard()], [LAN], UP, False, f"a network that this host is connected to, {BEFORE}"),
    (NET, [], [LAN], UP, False, "the kernel has a network that this host is connected to"),
    (NET, [heard()], [OWN], UP, False, f"a workload of this host, {BEFORE}"),
    (NET, [heard(peer="")], [HOLE], UP, False, "what of it nobody has dies here"),
    (NET, [heard()], [TUNNEL], UP, False, f"as the pool asks for VXLAN, {BEFORE}"),
    (NET, [REFUSED], [], UP, False, "refused from injector: it covers our pools"),
    (NET, [REFUSED, heard()], [BIRDS], UP, True, "BGP put it there"),
    (NET, [], [], UP, False, "no peer has told it"),
    (NET, [], [], HALF, False, "not heard: injector, whose sessions are not up"),
    (NET, [], [], NONE, False, "no BGP session of this host is up"),
    (NET, [heard()], [], UP, False, "see its log"),
]


@pytest.mark.parametrize(("prefix", "routes", "kernel", "sessions", "there", "says"), ANSWERS)
def test_the_answer(prefix, routes, kernel, sessions, there, says) -> None:
    found = why.answer(BGP, prefix, routes, kernel, sessions, [])
    assert (found.in_kernel, found.prefix) == (there, prefix)
    assert says in found.reason


def test_what_is_not_for_the_kernel_says_why() -> None:
    found = why.answer(BGP, NET, [heard()], [], UP, [], barred="it is this host's own")
    assert found.reason == "it is this host's own"
    assert why.answer(BGP, NET, [REFUSED], [], UP, [], "no").reason.startswith("refused from")


def test_a_host_without_peers_says_so() -> None:
    alone = Bgp(router_id="172.16.0.7", local_as=65001)
    assert why.answer(alone, NET, [], [], [], []).reason == "this host has no BGP peer"


def test_peers_are_called_as_people_call_them() -> None:
    found = why.answer(BGP, NET, [], [], HALF, ["peer_tor"])
    assert (found.told, found.silent) == (("tor-a",), ("injector",))


def test_what_was_refused_has_the_reason_beside_it() -> None:
    def judge(peer: BgpPeer, route: BgpRoute) -> str:
        return "it is a default route" if route.prefix == "0.0.0.0/0" else ""

    taken = [BgpRoute(NET, "unicast", "peer_tor", True, VIA, "65002", 100)]
    filtered = [
        BgpRoute("0.0.0.0/0", "unicast", "peer_foe", False, VIA),
        BgpRoute("10.1.0.0/16", "unicast", "peer_foe", False, VIA),
    ]
    found = why.heard(BGP, taken, filtered, judge)
    assert [(each.peer, each.refused) for each in found] == [
        ("tor-a", ""),
        ("injector", "it is a default route"),
        ("injector", "a filter of this host refuses it"),
    ]
