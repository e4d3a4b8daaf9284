"""Packets through the rules in a real kernel: who may talk, and who may pretend."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest
from filters import filters
from hypothesis import HealthCheck, given, settings
from nft_rig import ROUTER, UP, WORKLOADS, Packet, Rig, packet_bytes, rig
from tracer import allows

from tortie.dataplane.nft import render, script_full
from tortie.desired import (
    MARK_MASK,
    AddressSet,
    Endpoint,
    Filter,
    Policy,
    PortRange,
    Rule,
    Side,
    TierStep,
)
from tortie.explain.oracle import Flow
from tortie.kernel import netns
from tortie.kernel.nflog import Logged, LogReader

pytestmark = pytest.mark.kernel

W1, W2 = WORKLOADS["w1"][1:], WORKLOADS["w2"][1:]
OPEN = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
ONE = Endpoint("shop/one", "tor1", W1, profiles=("Profile/open",))
TWO = Endpoint("shop/two", "tor2", W2, profiles=("Profile/open",))
BOTH_OPEN = Filter((ONE, TWO), (OPEN,))


@pytest.fixture(scope="module")
def site() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def net(site: Rig) -> Rig:
    """The site with both workloads open and no connection known."""
    site.apply(BOTH_OPEN)
    site.forget_connections()
    return site


def guarded(*rules: Rule, default: str = "deny", more: tuple[TierStep, ...] = ()) -> Filter:
    """What may reach the second workload: these rules, in a tier of their own."""
    step = TierStep("first", ("NetworkPolicy/shop/p",), default)
    two = msgspec.structs.replace(TWO, ingress=(step, *more))
    policies = OPEN, Policy("NetworkPolicy/shop/p", rules), Policy("NetworkPolicy/shop/none")
    return Filter((ONE, two), policies)


def web(port: int = 80, source: str = W1[0], destination: str = W2[0]) -> Packet:
    return Packet(source, destination, 6, 40000, port)


def to(*ports: int) -> Side:
    return Side(ports=tuple(PortRange(port, port) for port in ports))


def test_open_workloads_talk_to_each_other_and_the_outside_in_both_families(net: Rig) -> None:
    for family in (0, 1):
        assert net.passes("w1", web(source=W1[family], destination=W2[family]))
        assert net.passes("w1", web(source=W1[family], destination=UP[family]))
        assert net.passes("up", web(source=UP[family], destination=W1[family]))


def test_nothing_passes_before_the_first_apply() -> None:
    with rig() as made:
        assert not made.arrivals("w1", [web(), web(destination=UP[0])])
        assert not made.arrivals("up", [web(source=UP[0], destination=W1[0])])
        assert not made.pings("w1", "169.254.1.1")


def test_traffic_with_no_workload_at_either_end_is_left_alone(net: Rig) -> None:
    net.apply(Filter())
    with net.listen("up", 7000), net.listen("r", 7000):
        assert net.connect("r", UP[0], 7000)
        assert net.connect("up", ROUTER[0], 7000)


PASS = Rule("pass", protocol=6, destination=to(80))
LAST = TierStep("last", ("NetworkPolicy/shop/none",), "deny")
WORLDS = {
    "allowed": (guarded(Rule("allow", protocol=6, destination=to(80))), {80}),
    "denied before allowed": (
        guarded(Rule("deny", destination=to(80)), Rule("allow")),
        {81},
    ),
    "no rule matches: end of tier": (guarded(), set()),
    "a tier that passes what it does not know": (guarded(default="pass"), {80, 81}),
    "passed on to the profiles": (guarded(PASS), {80}),
    "passed on to a tier that denies": (guarded(PASS, more=(LAST,)), set()),
    "log does not stop a packet": (
        guarded(Rule("log"), Rule("allow", protocol=6, destination=to(81))),
        {81},
    ),
    "an empty set lets nobody in": (
        msgspec.structs.replace(
            guarded(Rule("allow", source=Side(sets=("none",)))), sets=(AddressSet("none"),)
        ),
        set(),
    ),
    "a set lets its members in": (
        msgspec.structs.replace(
            guarded(Rule("allow", source=Side(sets=("some",)), protocol=6, destination=to(81))),
            sets=(AddressSet("some", frozenset({W1[0]}), frozenset({"10.99.0.0/16"})),),
        ),
        {81},
    ),
    "no profile, no policy": (
        Filter((ONE, msgspec.structs.replace(TWO, profiles=())), (OPEN,)),
        set(),
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_policy(net: Rig, name: str) -> None:
    wanted, ports = WORLDS[name]
    net.apply(wanted)
    sent = {port: web(port) for port in (80, 81)}
    arrived = net.arrivals("w1", list(sent.values()))
    assert {port for port, packet in sent.items() if packet.token in arrived} == ports


def test_an_egress_allow_does_not_skip_the_ingress_policy_on_the_same_host(net: Rig) -> None:
    net.apply(guarded(Rule("deny")))
    assert not net.passes("w1", web())
    assert net.passes("w1", web(destination=UP[0]))


def test_egress_policy_stops_what_ingress_would_allow(net: Rig) -> None:
    closed = msgspec.structs.replace(ONE, profiles=())
    net.apply(Filter((closed, TWO), (OPEN,)))
    assert not net.arrivals("w1", [web(), web(destination=UP[0])])


SPOOFED = {
    "another workload's address": Packet(W2[0], UP[0], dport=53),
    "another workload's address, IPv6": Packet(W2[1], UP[1], dport=53),
    "an address of nobody": Packet("203.0.113.7", UP[0], dport=53),
    "the host's address": Packet(ROUTER[0], W2[0], dport=53),
    "no address, other than DHCP": Packet("0.0.0.0", UP[0], sport=68, dport=53),
}


@pytest.mark.parametrize("what", SPOOFED)
def test_spoofed_packets_are_dropped(net: Rig, what: str) -> None:
    assert not net.passes("w1", SPOOFED[what])
    if what == "another workload's address":
        assert net.passes("w2", Packet(W2[0], UP[0], dport=53))


def test_allowed_source_prefixes_may_be_sent_from(net: Rig) -> None:
    prefix = Packet("10.66.0.7", UP[0], dport=53)
    net.apply(
        Filter((msgspec.structs.replace(ONE, allowed_sources=("10.66.0.0/24",)), TWO), (OPEN,))
    )
    assert net.passes("w1", prefix)
    assert not net.passes("w2", prefix)


def test_an_interface_that_no_endpoint_speaks_for_is_dropped_both_ways(net: Rig) -> None:
    nine = WORKLOADS["w9"][1]
    assert not net.passes("w9", web(source=nine, destination=UP[0]))
    assert not net.passes("up", web(source=UP[0], destination=nine))
    assert not net.passes("w1", web(destination=nine))


def test_an_established_connection_dies_with_its_endpoint(net: Rig) -> None:
    with net.listen("w2", 7001) as server, net.connected("w1", W2[0], 7001) as client:
        peer, _ = server.accept()
        with peer:
            net.apply(Filter((ONE,), (OPEN,)))
            client.send(b"still there?")
            peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                peer.recv(100)
            net.apply(BOTH_OPEN)
            peer.settimeout(5)
            assert peer.recv(100) == b"still there?"


def test_established_connections_survive_a_full_replacement(net: Rig) -> None:
    with net.listen("w2", 7002) as server, net.connected("w1", W2[0], 7002) as client:
        peer, _ = server.accept()
        with peer:
            peer.settimeout(0.1)  # less than a retransmission: not a packet may be lost
            for number in range(10):
                net.nft.run(script_full(render(guarded(Rule("deny")))))
                client.send(b"%d" % number)
                assert peer.recv(100) == b"%d" % number
            assert not net.passes("w1", web())


def test_a_removed_element_is_put_back(net: Rig) -> None:
    net.run("r", "nft", "delete element inet tortie live4 { tor1 . 10.65.0.1 }")
    assert not net.passes("w1", web())
    assert net.apply(BOTH_OPEN).changed > 0
    assert net.passes("w1", web())


TO_HOST = {
    "pings the gateway": ("169.254.1.1", True),
    "pings the gateway, IPv6": ("fe80::1%eth0", True),
    "pings the host's own address": (ROUTER[0], False),
    "pings the host's own address, IPv6": (ROUTER[1], False),
}


@pytest.mark.parametrize("what", TO_HOST)
def test_a_workload_and_its_host(net: Rig, what: str) -> None:
    address, answered = TO_HOST[what]
    assert net.pings("w1", address) == answered


def test_a_workload_reaches_no_server_of_its_host(net: Rig) -> None:
    with net.listen("r", 7003):
        for address in ("169.254.1.1", ROUTER[0], ROUTER[1]):
            assert not net.connect("w1", address, 7003)


def test_the_host_reaches_its_workloads_and_hears_their_answers(net: Rig) -> None:
    with net.listen("w1", 7004):
        net.apply(Filter((msgspec.structs.replace(ONE, profiles=()), TWO), (OPEN,)))
        assert net.connect("r", W1[0], 7004, patience=2)
        assert net.connect("r", W1[1], 7004, patience=2)
        net.apply(Filter((TWO,), (OPEN,)))
        assert not net.connect("r", W1[0], 7004)


def test_arp_speaks_for_its_own_address_and_mac_only(net: Rig) -> None:
    for known, answered in ((_mac(net, "w1"), True), ("02:00:00:00:00:99", False)):
        net.apply(Filter((msgspec.structs.replace(ONE, mac=known), TWO), (OPEN,)))
        net.run("r", "ip", "neigh", "flush", "dev", "tor1")
        net.run("w1", "ip", "neigh", "flush", "dev", "eth0")
        assert net.pings("w1", "169.254.1.1") == answered
    net.apply(BOTH_OPEN)
    net.run("w1", "ip", "neigh", "flush", "dev", "eth0")


def test_a_workload_cannot_fill_the_neighbour_table_with_made_up_addresses(net: Rig) -> None:
    with netns.entered(net.ns("w1")):
        gateway = ("fe80::1", 0, 0, socket.if_nametoindex("eth0"))
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as channel:
            for number in range(1, 400):
                echo = Packet(f"fe80::bad:{number:x}", "fe80::1", 58, icmp=(128, 0))
                channel.sendto(packet_bytes(echo, socket.AF_INET6), gateway)
    made = net.run("r", "ip", "-6", "neigh", "show", "dev", "tor1", "nud", "all")
    assert 0 < made.count("fe80::bad:") < 100


def _mac(net: Rig, place: str) -> str:
    text = net.run(place, "ip", "-o", "link", "show", "eth0")
    return text.split("link/ether ")[1].split()[0]


MARKING = f"""
table inet other {{
  chain before {{
    type filter hook prerouting priority -150;
    meta mark set 0x000f1234
  }}
  chain after {{
    type filter hook postrouting priority 0;
    ip daddr {W2[0]} meta mark & {0xFFFFFFFF ^ MARK_MASK:#x} == 0x000f1234 counter
  }}
}}
"""


def test_other_bits_of_the_mark_are_left_as_they_are(net: Rig) -> None:
    net.apply(guarded(PASS, default="pass"))
    net.nft.run(MARKING)
    try:
        assert net.passes("w1", web())
        assert "counter packets 1" in net.run("r", "nft", "list", "chain", "inet", "other", "after")
    finally:
        net.nft.run("delete table inet other")


@contextlib.contextmanager
def logs_of(net: Rig) -> Iterator[list[Logged]]:
    found: list[Logged] = []
    reader = LogReader(found.append)
    with netns.entered(net.ns("r")):
        reader.start()
    try:
        yield found
    finally:
        reader.stop()


def test_a_log_rule_names_its_policy_once_and_goes_on(net: Rig) -> None:
    some = AddressSet("some", frozenset({W1[0]}), frozenset({"10.65.0.0/31"}))
    rules = Rule("log", source=Side(sets=("some",))), Rule("allow")
    net.apply(msgspec.structs.replace(guarded(*rules), sets=(some,)))
    with logs_of(net) as found:
        assert net.passes("w1", web())
    assert found == [
        Logged("tortie NetworkPolicy/shop/p", W1[0], W2[0], 6, 40000, 80, "tor1", "tor2")
    ]


def test_logging_is_limited_and_what_is_over_the_limit_still_passes(net: Rig) -> None:
    net.apply(guarded(Rule("log"), Rule("allow")))
    packets = [Packet(W1[0], W2[0], dport=port) for port in range(1000, 1100)]
    with logs_of(net) as found:
        assert net.passes("w1", *packets)
    assert 20 <= len(found) < 60


FLOWS = [
    (where, packet)
    for family in (0, 1)
    for where, source, others in (
        ("w1", W1[family], (W2[family], UP[family])),
        ("up", UP[family], (W1[family],)),
    )
    for destination in others
    for packet in (
        *(Packet(source, destination, 6, 8080, port) for port in (80, 81, 500)),
        *(Packet(source, destination, 17, 53, port) for port in (53, 8080)),
        Packet(source, destination, 47),
        *(
            Packet(source, destination, (1, 58)[family], icmp=icmp)
            for icmp in (((8, 0), (13, 0)), ((128, 0),))[family]
        ),
    )
]


def reading(wanted: Filter, packet: Packet) -> bool:
    """The plain reading of a filter: both ends, tier by tier, rule by rule."""
    ports = packet.protocol in (6, 17)
    flow = Flow(
        packet.source,
        packet.destination,
        packet.protocol,
        packet.dport if ports else None,
        packet.sport if ports else None,
        packet.icmp,
    )
    ends = {address: each for each in wanted.endpoints for address in each.addresses}
    sender, receiver = ends.get(packet.source), ends.get(packet.destination)
    out = sender is None or allows(wanted, sender, sender.egress, "egress", flow)
    return out and (receiver is None or allows(wanted, receiver, receiver.ingress, "ingress", flow))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(wanted=filters())
def test_the_kernel_judges_as_the_plain_reading_does(net: Rig, wanted: Filter) -> None:
    net.apply(wanted)
    expected = {packet.token for _, packet in FLOWS if reading(wanted, packet)}
    arrived: set[bytes] = set()
    for origin in ("w1", "up"):
        net.forget_connections()
        sent = [packet for where, packet in FLOWS if where == origin]
        arrived |= net.arrivals(origin, sent, expected & {packet.token for packet in sent})
    judged = {packet: packet.token in arrived for _, packet in FLOWS}
    assert judged == {packet: packet.token in expected for _, packet in FLOWS}
