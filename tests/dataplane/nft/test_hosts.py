"""Host endpoints in a real kernel: each evaluation, what none of them touches, and what is cut.

The router of `nft_rig`, with another network at its `side0`. Whether TCP connects is asked of many
ports, so what may not connect gets a moment only.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from namespaces import eventually
from nft_rig import ROUTER, UP, WORKLOADS, Rig, rig

from tortie.desired import (
    REVOKED,
    Endpoint,
    Filter,
    HostEndpoint,
    OpenPort,
    Policy,
    PortRange,
    Rule,
    Side,
    TierStep,
)
from tortie.kernel import netns, process
from tortie.kernel.conntrack import Conntrack

pytestmark = pytest.mark.kernel

SIDE = ("198.51.100.2", "2001:db8:1::2")
SIDE_GATEWAY = ("198.51.100.1", "2001:db8:1::1")
VIRTUAL = ("203.0.113.7", "2001:db8:7::7")
ADDRESSES = {
    "r": ROUTER,
    "up": UP,
    "side": SIDE,
    "w1": WORKLOADS["w1"][1:],
    "w2": WORKLOADS["w2"][1:],
    "virtual": VIRTUAL,
}
ALLOWED, DENIED, OTHER = PORTS = (7000, 7001, 7002)
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


def ports(*numbers: int) -> Side:
    return Side(ports=tuple(PortRange(each, each) for each in numbers))


def tcp(action: str, **sides: Side) -> Rule:
    return Rule(action, protocol=6, **sides)


SOME = tuple(
    tcp(action, destination=ports(port)) for action, port in (("allow", ALLOWED), ("deny", DENIED))
)
ANSWERS = (tcp("allow", source=ports(ALLOWED)),)
POLICIES = (
    Policy("Profile/open", (Rule("allow"),), (Rule("allow"),)),
    Policy("GlobalNetworkPolicy/some", SOME, SOME),
    Policy("GlobalNetworkPolicy/raw", SOME, ANSWERS),
    Policy("GlobalNetworkPolicy/none", (Rule("deny"),), (Rule("deny"),)),
)
OPEN = ("Profile/open",)
STEP, RAW, NONE = (
    (TierStep("t", (f"GlobalNetworkPolicy/{name}",), "pass"),) for name in ("some", "raw", "none")
)
ONE = Endpoint("shop/one", "tor1", ADDRESSES["w1"], profiles=OPEN)
TWO = Endpoint("shop/two", "tor2", ADDRESSES["w2"], profiles=OPEN)
METAL = Endpoint("lab/metal", "side0", SIDE, profiles=OPEN)


def hosts(*some: HostEndpoint, **more: object) -> Filter:
    return Filter(
        **{"endpoints": (ONE, TWO), "policies": POLICIES, "hosts": some, **more}  # type: ignore[arg-type]
    )


def uplink(**evaluations: object) -> HostEndpoint:
    return HostEndpoint("uplink", "up0", **{"profiles": OPEN, **evaluations})  # type: ignore[arg-type]


SHUT = {"profiles": ()}
"""Neither tiers nor profiles: all that ends or begins on the host is denied."""


@pytest.fixture(scope="module")
def site() -> Iterator[Rig]:
    with rig() as made:
        name = made.ns("side")
        netns.add(name)
        try:
            _side(made, name)
            with contextlib.ExitStack() as held:
                for place in ("r", "up", "side", "w1", "w2"):
                    for port in PORTS:
                        held.enter_context(made.listen(place, port))
                held.enter_context(netns.entered(made.ns("r")))
                yield made
        finally:
            netns.delete(name)


def _side(made: Rig, name: str) -> None:
    four, six = SIDE_GATEWAY
    router = [
        f"link add side0 type veth peer name eth0 netns {name}",
        "link set side0 addrgenmode none",
        "link set side0 up",
        "addr add fe80::1/64 dev side0 nodad",
        f"addr add {four}/24 dev side0",
        f"addr add {six}/64 dev side0 nodad",
        *(f"route add {each} dev up0" for each in VIRTUAL),
        "link set lo up",
    ]
    side = [
        "link set lo up",
        "link set eth0 addrgenmode none",
        "link set eth0 up",
        "addr add fe80::2/64 dev eth0 nodad",
        f"addr add {SIDE[0]}/24 dev eth0",
        f"addr add {SIDE[1]}/64 dev eth0 nodad",
        f"route add default via {four}",
        f"route add ::/0 via {six}",
    ]
    for where, lines in ((made.ns("r"), router), (name, side)):
        process.run(["ip", "-n", where, "-batch", "-"], stdin="".join(f"{x}\n" for x in lines))


class Ask(NamedTuple):
    """From a place to a place, at these ports."""

    origin: str
    target: str
    ports: tuple[int, ...] = PORTS


def connected(site: Rig, ask: Ask, family: int, patience: float = 0.15) -> set[int]:
    """The ports that connect."""
    found = set()
    for port in ask.ports:
        with contextlib.suppress(TimeoutError), netns.entered(site.ns(ask.origin)):
            target = ADDRESSES[ask.target][family], port
            socket.create_connection(target, timeout=patience).close()
            found.add(port)
    return found


def apply(site: Rig, wanted: Filter) -> None:
    site.apply(wanted)
    site.forget_connections()


FORWARDED = (Ask("up", "w1"), Ask("w1", "up"), Ask("up", "side"), Ask("side", "up"))
OTHERS = (Ask("side", "r"), Ask("r", "side"), Ask("w1", "w2"), Ask("r", "w1"), Ask("r", "r"))
Answers = Mapping[Ask, set[int]]
EVALUATIONS: dict[str, tuple[HostEndpoint, Answers]] = {
    "nothing but a profile that allows": (uplink(), {}),
    "ingress": (uplink(ingress=STEP), {Ask("up", "r"): {ALLOWED, OTHER}}),
    "ingress and no profile": (uplink(ingress=STEP, **SHUT),
        {Ask("up", "r"): {ALLOWED}, Ask("r", "up"): set()}),
    "egress": (uplink(egress=STEP), {Ask("r", "up"): {ALLOWED, OTHER}}),
    "forward ingress": (uplink(forward_ingress=STEP, **SHUT), {
        Ask("up", "r"): set(), Ask("r", "up"): set(),
        Ask("up", "w1"): {ALLOWED, OTHER}, Ask("up", "side"): {ALLOWED, OTHER}}),
    "forward egress": (uplink(forward_egress=STEP),
        {Ask("w1", "up"): {ALLOWED, OTHER}, Ask("side", "up"): {ALLOWED, OTHER}}),
    "preDNAT goes before all others": (
        uplink(pre_dnat=STEP, ingress=NONE, forward_ingress=NONE),
        {each: {ALLOWED} for each in (Ask("up", "r"), Ask("up", "w1"), Ask("up", "side"))}),
    "untracked goes before all others": (
        uplink(untracked_ingress=RAW, untracked_egress=RAW, ingress=NONE, egress=NONE,
               pre_dnat=NONE),
        {Ask("up", "r"): {ALLOWED}, Ask("r", "up"): set(), Ask("up", "w1"): set(),
         Ask("up", "side"): set()}),
    "untracked denies what is forwarded, too": (
        uplink(untracked_ingress=(TierStep("t", ("GlobalNetworkPolicy/denies",), "pass"),)),
        {each: {ALLOWED, OTHER} for each in (Ask("up", "r"), Ask("up", "w1"), Ask("up", "side"))}),
    "all others": (HostEndpoint("all", "*", ingress=STEP, egress=STEP, forward_ingress=STEP), {
        Ask("up", "r"): {ALLOWED}, Ask("side", "r"): {ALLOWED},
        Ask("r", "up"): {ALLOWED}, Ask("r", "side"): {ALLOWED},
        Ask("up", "w1"): {ALLOWED, OTHER},
        Ask("up", "side"): {ALLOWED, OTHER}, Ask("side", "up"): {ALLOWED, OTHER}}),
}  # fmt: skip


@FAMILIES
@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation(site: Rig, name: str, family: int) -> None:
    host, wanted = EVALUATIONS[name]
    denies = Policy("GlobalNetworkPolicy/denies", SOME[1:], SOME[1:])
    apply(site, hosts(host, policies=(*POLICIES, denies)))
    asked = (Ask("up", "r"), Ask("r", "up"), *FORWARDED, *OTHERS)
    expected = {ask: wanted.get(ask, set(PORTS)) for ask in asked}
    assert {ask: connected(site, ask, family) for ask in asked} == expected


@FAMILIES
def test_a_named_one_goes_before_the_one_of_all_others(site: Rig, family: int) -> None:
    apply(site, hosts(HostEndpoint("all", "*"), uplink(ingress=STEP, **SHUT)))
    assert connected(site, Ask("up", "r"), family) == {ALLOWED}
    assert connected(site, Ask("side", "r"), family) == set()


@FAMILIES
def test_the_one_of_all_others_leaves_workloads_alone_and_a_claimed_interface(
    site: Rig, family: int
) -> None:
    everything = dict.fromkeys(
        ("ingress", "egress", "forward_ingress", "forward_egress", "pre_dnat", "untracked_ingress",
         "untracked_egress"),
        NONE,
    )  # fmt: skip
    apply(site, hosts(HostEndpoint("all", "*", **everything), endpoints=(ONE, TWO, METAL)))
    free = (Ask("r", "r"), Ask("r", "side"), Ask("side", "w1"), Ask("w1", "side"), Ask("r", "w1"))
    assert all(connected(site, ask, family) == set(PORTS) for ask in (*free, Ask("w1", "w2")))
    shut = Ask("up", "r", (7000,)), Ask("r", "up", (7000,)), Ask("up", "w1", (7000,))
    assert all(connected(site, ask, family) == set() for ask in shut)


DENY_ALL = uplink(
    profiles=(), untracked_ingress=NONE, untracked_egress=NONE, pre_dnat=NONE, ingress=NONE,
    egress=NONE,
)  # fmt: skip


@FAMILIES
def test_failsafes_and_discovery_are_open_whatever_is_denied(site: Rig, family: int) -> None:
    opened = (
        OpenPort(6, 7000),
        *(OpenPort(6, 7001, net) for net in ("192.0.2.2/32", "2001:db8::2/128")),
        *(OpenPort(6, 7002, net) for net in ("192.0.2.64/26", "2001:db8::40/122")),
    )
    apply(site, hosts(DENY_ALL, failsafe_inbound=opened, failsafe_outbound=opened))
    for place in ("r", "up"):
        site.run(place, "ip", "neigh", "flush", "all")
    assert connected(site, Ask("up", "r", (7000,)), family, patience=3) == {7000}
    for place in ("r", "up"):
        site.run(place, "ip", "neigh", "flush", "all")
    assert connected(site, Ask("r", "up", (7000,)), family, patience=3) == {7000}
    for ask in (Ask("up", "r"), Ask("r", "up")):
        assert connected(site, ask, family) == {7000, 7001}
    apply(site, hosts(DENY_ALL))
    assert connected(site, Ask("up", "r"), family) == set()


@FAMILIES
def test_what_is_untracked_is_in_no_table_of_connections(site: Rig, family: int) -> None:
    apply(site, hosts(uplink(untracked_ingress=RAW, untracked_egress=RAW)))
    assert connected(site, Ask("up", "r", (ALLOWED, OTHER)), family) == {ALLOWED, OTHER}
    listed = site.run("r", "conntrack", "-L", "-f", ("ipv4", "ipv6")[family])
    assert f"dport={ALLOWED} " not in listed and f"dport={OTHER} " in listed


NAT = """
table inet nat {{
  chain in {{
    type nat hook prerouting priority dstnat;
    iifname "up0" tcp dport 8000 dnat ip to {w4}:{allowed}
    iifname "up0" tcp dport 8000 dnat ip6 to [{w6}]:{allowed}
  }}
  chain out {{
    type nat hook output priority -100;
    ip daddr {v4} dnat ip to {s4}
    ip6 daddr {v6} dnat ip6 to {s6}
  }}
}}
"""


@pytest.fixture
def nat(site: Rig) -> Iterator[Rig]:
    """Somebody else's translation: port 8000 from up to w1, and VIRTUAL, which is routed by up0, to
    side."""
    w, v, s = ADDRESSES["w1"], VIRTUAL, SIDE
    text = NAT.format(w4=w[0], w6=w[1], v4=v[0], v6=v[1], s4=s[0], s6=s[1], allowed=ALLOWED)
    process.run(["nft", "-f", "-"], stdin=text)
    yield site
    process.run(["nft", "delete", "table", "inet", "nat"])


@FAMILIES
@pytest.mark.parametrize(
    ("port", "reaches"), [(8000, False), (ALLOWED, True)], ids=["as it came", "as it goes on"]
)
def test_pre_dnat_sees_what_was_asked_for(nat: Rig, port: int, reaches: bool, family: int) -> None:
    denied = Policy("GlobalNetworkPolicy/p", (tcp("deny", destination=ports(port)),))
    step = (TierStep("t", (denied.id,), "pass"),)
    apply(nat, hosts(uplink(pre_dnat=step), policies=(*POLICIES, denied)))
    assert (connected(nat, Ask("up", "r", (8000,)), family) == {8000}) is reaches


@FAMILIES
@pytest.mark.parametrize(
    ("guard", "reaches"),
    [
        (HostEndpoint("h", "up0"), True),
        (HostEndpoint("h", "side0"), False),
        (HostEndpoint("h", "side0", egress=STEP), True),
        (HostEndpoint("h", "*"), False),
    ],
    ids=["where it would have left", "where it leaves", "where it leaves, allowed", "all"],
)
def test_what_the_host_sends_translated_is_judged_where_it_leaves(
    nat: Rig, guard: HostEndpoint, reaches: bool, family: int
) -> None:
    apply(nat, hosts(guard))
    asked = Ask("r", "virtual", (ALLOWED,))
    assert (connected(nat, asked, family) == {ALLOWED}) is reaches


CUT = (("up", "r"), ("r", "up"), ("up", "w1"), ("w1", "up"), ("w1", "w2"), ("up", "side"))


@FAMILIES
@pytest.mark.parametrize(("origin", "target"), CUT, ids=["-".join(each) for each in CUT])
def test_a_revoked_connection_is_cut_both_ways(
    site: Rig, origin: str, target: str, family: int
) -> None:
    apply(site, hosts(uplink()))
    near, far = pair(site, origin, ADDRESSES[target][family], target)
    with near, far:
        assert hears(near, far) and hears(far, near)
        revoke(site, True)
        assert not hears(near, far) and not hears(far, near)
        revoke(site, False)
        eventually(lambda: waits(near) and waits(far), "what was sent meanwhile arrives")


def revoke(site: Rig, on: bool) -> None:
    """Cut the connections to port 7005, or let them be."""
    connections = Conntrack()
    with contextlib.closing(connections):
        some = [each for each in connections.connections(REVOKED) if each.original.port == 7005]
        assert connections.mark(some, REVOKED, on) >= 1


def pair(site: Rig, origin: str, address: str, target: str) -> tuple[socket.socket, socket.socket]:
    with site.listen(target, 7005) as server:
        near = site.connected(origin, address, 7005)
        far, _ = server.accept()
    return near, far


def hears(speaker: socket.socket, hearer: socket.socket) -> bool:
    speaker.send(b"x")
    hearer.settimeout(0.15)
    try:
        return hearer.recv(9) == b"x"
    except TimeoutError:
        return False


def waits(hearer: socket.socket) -> bool:
    """Whether anything is there to be read."""
    hearer.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        return bool(hearer.recv(9, socket.MSG_PEEK))
    return False
