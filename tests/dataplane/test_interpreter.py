"""How the plain interpreter judges a first packet on one host: hook by hook, match by match."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tortie import desired as d
from tortie.dataplane.interpreter import Interpreter, Packet
from tortie.dataplane.matching import Prefixes

TCP, UDP, SCTP, GRE, IPIP, ICMP, ICMPV6 = 6, 17, 132, 47, 4, 1, 58
WEB, WEB6, API, HOST, FAR, FAR6 = (
    "10.65.0.1", "fd65::1", "10.65.0.2", "192.0.2.1", "203.0.113.9", "2001:db8::9"
)  # fmt: skip


def tcp(source: str, destination: str, port: int = 80, source_port: int = 40000) -> Packet:
    return Packet(source, destination, TCP, port, source_port)


def udp(source: str, destination: str, port: int, source_port: int = 40000) -> Packet:
    return Packet(source, destination, UDP, port, source_port)


def icmp(source: str, destination: str, kind: int, code: int = 0) -> Packet:
    number = ICMPV6 if ":" in source else ICMP
    return Packet(source, destination, number, icmp=(kind, code))


ALL, NONE = d.Rule("allow"), d.Rule("deny")
POLICIES = (
    d.Policy("P/allow", (ALL,), (ALL,)),
    d.Policy("P/deny", (NONE,), (NONE,)),
    d.Policy("P/pass", (d.Rule("pass"),), (d.Rule("pass"),)),
    d.Policy("P/silent"),
)


def tier(*policies: str, default: str = "deny", name: str = "t") -> tuple[d.TierStep, ...]:
    return (d.TierStep(name, tuple(f"P/{each}" for each in policies), default),)


def workload(ingress=(), egress=(), profiles=("P/allow",), number=1, **more) -> d.Endpoint:
    addresses = (f"10.65.0.{number}", f"fd65::{number}")
    return d.Endpoint(
        f"shop/w{number}", f"tor{number}", addresses, ingress=ingress, egress=egress,
        profiles=profiles, **more,
    )  # fmt: skip


def host(interface: str = "eth0", **evaluations) -> d.HostEndpoint:
    return d.HostEndpoint("edge", interface, **({"profiles": ("P/allow",)} | evaluations))


def firewall(*ends: d.Endpoint | d.HostEndpoint, **more) -> d.Filter:
    return d.Filter(
        endpoints=tuple(each for each in ends if isinstance(each, d.Endpoint)),
        hosts=tuple(each for each in ends if isinstance(each, d.HostEndpoint)),
        **({"policies": POLICIES} | more),
    )


def allowed(wanted: d.Filter, packet: Packet, incoming, outgoing, translated=None) -> bool:
    return Interpreter(wanted).judge(packet, incoming, outgoing, translated).allowed


# --- tiers and profiles ---------------------------------------------------------------------------

READINGS = [
    ("no tier, a profile", (), ("P/allow",), "rule 0 of P/allow", True),
    ("no tier, no profile", (), (), "no profile allows it", False),
    ("allow", tier("allow"), (), "rule 0 of P/allow", True),
    ("deny", tier("deny"), ("P/allow",), "rule 0 of P/deny", False),
    ("silent, the end denies", tier("silent"), ("P/allow",), "the default of tier t", False),
    ("silent, the end passes", tier("silent", default="pass"), ("P/allow",),
     "rule 0 of P/allow", True),
    ("the first that decides", tier("silent", "allow", "deny"), (), "rule 0 of P/allow", True),
    ("pass leaves the tier", tier("pass", "deny") + tier("allow"), (), "rule 0 of P/allow", True),
    ("pass leaves the last tier", tier("pass", "deny"), ("P/allow",), "rule 0 of P/allow", True),
    ("the first tier wins", tier("deny") + tier("allow"), (), "rule 0 of P/deny", False),
    ("pass leaves a profile", (), ("P/pass", "P/deny"), "rule 0 of P/deny", False),
    ("a silent profile", (), ("P/silent", "P/allow"), "rule 0 of P/allow", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tiers", "profiles", "by", "expected"),
    [case[1:] for case in READINGS],
    ids=[case[0] for case in READINGS],
)
def test_tiers_then_profiles_then_no(tiers, profiles, by: str, expected: bool) -> None:
    guarded = workload(ingress=tiers, egress=tiers, profiles=profiles)
    reading = Interpreter(firewall(guarded))
    into, out = tcp(FAR, WEB), tcp(WEB, FAR)
    assert reading.judge(into, "eth0", "tor1") == (expected, f"ingress of shop/w1: {by}")
    assert reading.judge(out, "tor1", "eth0") == (expected, f"egress of shop/w1: {by}")
    for direction, packet in (("ingress", into), ("egress", out)):
        assert reading.allows(guarded, direction, packet).allowed is expected


def test_a_log_rule_decides_nothing() -> None:
    policies = (d.Policy("P/log", (d.Rule("log"), NONE)), d.Policy("P/logs", (d.Rule("log"),)))
    for name, by in (("log", "rule 1 of P/log"), ("logs", "the default of tier t")):
        wanted = firewall(workload(ingress=tier(name)), policies=policies)
        verdict = Interpreter(wanted).judge(tcp(FAR, WEB), "eth0", "tor1")
        assert verdict == (False, f"ingress of shop/w1: {by}")


# --- what workloads send and get ------------------------------------------------------------------

OPEN = workload()
CLOSED = workload(egress=tier("deny"), ingress=tier("deny"))
SPOOFER = workload(allowed_sources=("198.51.100.0/24", "fd99::/64"))
FORWARDED = {
    "its own address": (OPEN, tcp(WEB, FAR), "tor1", "eth0", True),
    "its own IPv6 address": (OPEN, tcp(WEB6, FAR6), "tor1", "eth0", True),
    "another's address": (OPEN, tcp(API, FAR), "tor1", "eth0", False),
    "an allowed source": (SPOOFER, tcp("198.51.100.7", FAR), "tor1", "eth0", True),
    "an allowed IPv6 source": (SPOOFER, tcp("fd99::7", FAR6), "tor1", "eth0", True),
    "not quite an allowed source": (SPOOFER, tcp("198.51.101.7", FAR), "tor1", "eth0", False),
    "an interface that nobody speaks for": (OPEN, tcp(API, FAR), "tor7", "eth0", False),
    "another way than its interface": (OPEN, tcp(WEB, FAR), "eth0", "eth1", True),
    "to its address": (OPEN, tcp(FAR, WEB), "eth0", "tor1", True),
    "to an address that is not live": (OPEN, tcp(FAR, API), "eth0", "tor1", False),
    "to an interface that nobody speaks for": (OPEN, tcp(FAR, API), "eth0", "tor7", False),
    "discovery by nobody": (OPEN, icmp("fe80::7", FAR6, 135), "tor7", "eth0", False),
    "two families": (OPEN, tcp(WEB, FAR6), "tor1", "eth0", False),
    "between routers": (CLOSED, tcp(FAR, "198.51.100.1"), "eth0", "eth1", True),
}


@pytest.mark.parametrize(
    ("guarded", "packet", "incoming", "outgoing", "expected"), FORWARDED.values(), ids=FORWARDED
)
def test_what_is_forwarded(guarded, packet, incoming, outgoing, expected: bool) -> None:
    assert allowed(firewall(guarded), packet, incoming, outgoing) is expected


@pytest.mark.parametrize(
    ("sender", "receiver", "expected"),
    [("allow", "allow", True), ("deny", "allow", False), ("allow", "deny", False)],
)
def test_both_ends_on_one_host_must_allow_it(sender: str, receiver: str, expected: bool) -> None:
    ends = workload(egress=tier(sender)), workload(ingress=tier(receiver), number=2)
    assert allowed(firewall(*ends), tcp(WEB, API), "tor1", "tor2") is expected


def test_every_evaluation_on_the_way_says_its_own() -> None:
    ends = workload(egress=tier("deny")), workload(ingress=tier("deny"), number=2)
    steps = Interpreter(firewall(*ends)).steps(tcp(WEB, API), "tor1", "tor2")
    denied = [(each.guard, each.direction) for each in steps if not each.verdict.allowed]
    assert denied == [("tor1", "egress"), ("tor2", "ingress")]


NEVER = (
    d.Rule("deny", protocol=UDP, destination=d.Side(ports=(d.PortRange(4789, 4789),))),
    d.Rule("deny", protocol=IPIP),
)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (udp(WEB, FAR, 4789), False),
        (Packet(WEB, FAR, IPIP), False),
        (tcp(WEB, FAR, 4789), True),
        (udp(WEB, FAR, 4788), True),
        (udp(FAR, WEB, 4789), True),
    ],
)
def test_what_no_workload_may_send(packet: Packet, expected: bool) -> None:
    wanted = firewall(OPEN, never_from_workloads=NEVER)
    ways = ("tor1", "eth0") if packet.source == WEB else ("eth0", "tor1")
    assert allowed(wanted, packet, *ways) is expected


DHCP = udp("0.0.0.0", "255.255.255.255", 67, 68)
DNS = (d.OpenPort(UDP, 53, "10.65.0.0/24"), d.OpenPort(UDP, 67))
TO_HOST = {
    "ping of its gateway": (icmp(WEB, d.GATEWAY_V4, 8), {}, True),
    "ping of its IPv6 gateway": (icmp(WEB6, d.GATEWAY_V6, 128), {}, True),
    "ping of its gateway from link-local": (icmp("fe80::7", d.GATEWAY_V6, 128), {}, True),
    "ping of the host": (icmp(WEB, HOST, 8), {}, False),
    "another ICMP to its gateway": (icmp(WEB, d.GATEWAY_V4, 13), {}, False),
    "solicitation": (icmp("fe80::7", "ff02::2", 133), {}, True),
    "duplicate address detection": (icmp("::", "ff02::1:ff00:1", 135), {}, True),
    "echo from nowhere": (icmp("::", d.GATEWAY_V6, 128), {}, False),
    "the host": (tcp(WEB, HOST, 22), {}, False),
    "the host, by policy": (tcp(WEB, HOST, 22), {"to_host": "policy"}, True),
    "an open port": (udp(WEB, HOST, 53), {"to_host_ports": DNS}, True),
    "an open port, to others": (udp("198.51.100.7", HOST, 53), {"to_host_ports": DNS}, False),
    "another protocol": (tcp(WEB, HOST, 53), {"to_host_ports": DNS}, False),
    "DHCP": (DHCP, {}, False),
    "DHCP, open": (DHCP, {"to_host_ports": DNS}, True),
    "DHCP to one": (DHCP._replace(destination=HOST), {"to_host_ports": DNS}, False),
    "DHCP from another port": (DHCP._replace(source_port=69), {"to_host_ports": DNS}, False),
    "VXLAN to the host": (
        udp(WEB, HOST, 4789), {"to_host": "policy", "never_from_workloads": NEVER}, False
    ),
}  # fmt: skip


@pytest.mark.parametrize(("packet", "settings", "expected"), TO_HOST.values(), ids=TO_HOST)
def test_what_a_workload_says_to_its_host(packet, settings, expected: bool) -> None:
    assert allowed(firewall(SPOOFER, **settings), packet, "tor1", None) is expected


def test_the_host_by_policy_is_the_egress_of_the_workload_and_no_host_endpoints() -> None:
    strict = host("*", ingress=tier("deny"), pre_dnat=tier("deny"))
    for action, expected in (("allow", True), ("deny", False)):
        guarded = workload(egress=tier(action))
        wanted = firewall(guarded, strict, to_host="policy")
        assert allowed(wanted, tcp(WEB, HOST, 22), "tor1", None) is expected
        assert not allowed(wanted, tcp(API, HOST, 22), "tor7", None), "unknown interface"


FROM_HOST = {
    "to a live address": (tcp(HOST, WEB), "tor1", True),
    "to another's address": (tcp(HOST, API), "tor1", False),
    "to an interface that nobody speaks for": (tcp(HOST, API), "tor7", False),
    "to its link": (icmp("fe80::1", "fe80::7", 128), "tor1", True),
    "advertisement": (icmp("fe80::1", "ff02::1", 134), "tor1", True),
    "to the wire": (tcp(HOST, FAR), "eth0", True),
    "to itself": (tcp(HOST, HOST), None, True),
}


@pytest.mark.parametrize(("packet", "outgoing", "expected"), FROM_HOST.values(), ids=FROM_HOST)
def test_what_the_host_says_to_its_workloads(packet, outgoing, expected: bool) -> None:
    assert allowed(firewall(CLOSED), packet, None, outgoing) is expected


# --- host endpoints -------------------------------------------------------------------------------

IN, OUT, PAST, PAST_OUT = (
    (tcp(FAR, HOST), "eth0", None),
    (tcp(HOST, FAR), None, "eth0"),
    (tcp(FAR, WEB), "eth0", "tor1"),
    (tcp(WEB, FAR), "tor1", "eth0"),
)
DENY, ALLOW, MUTE = tier("deny"), tier("allow"), tier("silent", default="pass")
GUARDED = {
    "profiles": ({}, "in out past past-out"),
    "neither tier nor profile": ({"profiles": ()}, "past past-out"),
    "ingress": ({"ingress": DENY}, "out past past-out"),
    "egress": ({"egress": DENY}, "in past past-out"),
    "forward, in": ({"forward_ingress": DENY}, "in out past-out"),
    "forward, out": ({"forward_egress": DENY}, "in out past"),
    "forward, undecided": ({"forward_ingress": MUTE, "forward_egress": MUTE},
                           "in out past past-out"),
    "forward, its default": ({"forward_ingress": tier("silent")}, "in out past-out"),
    "untracked, in": ({"untracked_ingress": DENY}, "out past-out"),
    "untracked, out": ({"untracked_egress": DENY}, "in past past-out"),
    "untracked, undecided": ({"untracked_ingress": MUTE}, "in out past past-out"),
    "untracked yes is the last word": (
        {"untracked_ingress": ALLOW, "untracked_egress": ALLOW, "pre_dnat": DENY,
         "ingress": DENY, "egress": DENY, "forward_ingress": DENY}, "in out past past-out"),
    "untracked yes is none of the other side": (
        {"untracked_ingress": ALLOW, "forward_egress": DENY}, "in out past"),
    "before NAT": ({"pre_dnat": DENY}, "out past-out"),
    "before NAT, undecided": ({"pre_dnat": MUTE, "ingress": DENY}, "out past past-out"),
    "before NAT yes is the last word": (
        {"pre_dnat": ALLOW, "ingress": DENY, "forward_ingress": DENY}, "in out past past-out"),
}  # fmt: skip


@pytest.mark.parametrize("interface", ["eth0", "*"])
@pytest.mark.parametrize(("evaluations", "expected"), GUARDED.values(), ids=GUARDED)
def test_evaluations_of_a_host_endpoint(interface, evaluations, expected: str) -> None:
    wanted = firewall(OPEN, host(interface, **evaluations))
    cases = {"in": IN, "out": OUT, "past": PAST, "past-out": PAST_OUT}
    assert {name for name, case in cases.items() if allowed(wanted, *case)} == set(expected.split())


def test_a_host_endpoint_that_allows_does_not_speak_for_the_workload() -> None:
    wanted = firewall(CLOSED, host(pre_dnat=ALLOW, forward_ingress=ALLOW))
    assert not allowed(wanted, *PAST)


@pytest.mark.parametrize(
    ("interface", "expected"), [("eth0", False), ("eth1", True), ("lo", True), ("tor1", True)]
)
def test_which_interfaces_all_means(interface: str, expected: bool) -> None:
    wanted = firewall(OPEN, host("*", egress=DENY), host("eth1", egress=ALLOW))
    target = WEB if interface == "tor1" else FAR
    assert allowed(wanted, tcp(HOST, target), None, interface) is expected


SSH = (d.OpenPort(TCP, 22, "203.0.113.0/24"), d.OpenPort(UDP, 68))
ETCD = (d.OpenPort(TCP, 2379), d.OpenPort(UDP, 53, "203.0.113.9/32"))
STRICT = {"profiles": (), "untracked_ingress": DENY, "untracked_egress": DENY, "pre_dnat": DENY}
FAILSAFE = {
    "in": (tcp(FAR, HOST, 22), "eth0", None, True),
    "in, from elsewhere": (tcp("198.51.100.1", HOST, 22), "eth0", None, False),
    "in, another protocol": (udp(FAR, HOST, 22), "eth0", None, False),
    "in, what is open outwards": (tcp(FAR, HOST, 2379), "eth0", None, False),
    "out": (tcp(HOST, FAR, 2379), None, "eth0", True),
    "out, to one": (udp(HOST, FAR, 53), None, "eth0", True),
    "out, to others": (udp(HOST, "203.0.113.10", 53), None, "eth0", False),
    "discovery in": (icmp("fe80::9", "ff02::1", 135), "eth0", None, True),
    "discovery out": (icmp("fe80::1", "ff02::1", 136), None, "eth0", True),
    "listener report": (icmp("fe80::1", "ff02::16", 143), None, "eth0", True),
    "echo": (icmp(FAR6, "2001:db8::1", 128), "eth0", None, False),
}


@pytest.mark.parametrize(
    ("packet", "incoming", "outgoing", "expected"), FAILSAFE.values(), ids=FAILSAFE
)
def test_failsafe_ports_and_neighbour_discovery(packet, incoming, outgoing, expected) -> None:
    wanted = firewall(host(**STRICT), failsafe_inbound=SSH, failsafe_outbound=ETCD)
    assert allowed(wanted, packet, incoming, outgoing) is expected


@pytest.mark.parametrize(
    ("packet", "incoming", "outgoing", "expected"),
    [
        (tcp(FAR, HOST, 40000, 2379), "eth0", None, True),
        (tcp(HOST, FAR, 40000, 22), None, "eth0", True),
        (tcp(HOST, "198.51.100.1", 40000, 22), None, "eth0", False),
        (tcp(FAR, HOST, 40000, 22), "eth0", None, False),
    ],
)
def test_without_tracking_answers_of_failsafe_ports_pass(
    packet, incoming, outgoing, expected: bool
) -> None:
    """Which is no reason for what is tracked: a source port is anybody's choice."""
    raw = {"untracked_ingress": DENY, "untracked_egress": DENY}
    ports = {"failsafe_inbound": SSH, "failsafe_outbound": ETCD}
    assert allowed(firewall(host(**raw), **ports), packet, incoming, outgoing) is expected
    strict = firewall(host(profiles=(), **raw), **ports)
    assert not allowed(strict, packet, incoming, outgoing)


def test_failsafe_is_about_the_own_host_but_before_routing_nobody_knows() -> None:
    ports = {"failsafe_inbound": (d.OpenPort(TCP, 80),)}
    assert allowed(firewall(OPEN, host(pre_dnat=DENY), **ports), *PAST)
    assert not allowed(firewall(OPEN, host(forward_ingress=DENY), **ports), *PAST)


def test_a_translated_destination_is_judged_before_and_behind() -> None:
    def only(port: int) -> tuple[d.Rule, ...]:
        return (d.Rule("allow", destination=d.Side(ports=(d.PortRange(port, port),))),)

    policies = (d.Policy("P/before", only(8080)), d.Policy("P/behind", only(80)))
    before, behind = tcp(FAR, HOST, 8080), tcp(FAR, WEB, 80)
    for outer, inner, expected in (
        ("before", "behind", True), ("behind", "behind", False), ("before", "before", False)
    ):  # fmt: skip
        ends = host(pre_dnat=tier(outer)), workload(ingress=tier(inner))
        wanted = firewall(*ends, policies=(*POLICIES, *policies))
        assert allowed(wanted, before, "eth0", "tor1", behind) is expected


# --- matches --------------------------------------------------------------------------------------

SETS = (
    d.AddressSet("us", frozenset({WEB, API, WEB6}), frozenset({"198.51.100.0/24", "fd99::/64"})),
    d.AddressSet("web", frozenset({WEB, WEB6})),
    d.AddressSet("none"),
)
PORT_SETS = (d.PortSet("http", frozenset({(WEB, TCP, 8080), (WEB6, TCP, 8080)})),)
P80 = (d.PortRange(80, 90),)
TO_WEB, DNS_QUERY, PING = tcp(FAR, WEB), udp(FAR, WEB, 53), icmp(FAR, WEB, 8)
MATCHES = [
    ("all", d.Rule("allow"), TO_WEB, True),
    ("protocol", d.Rule("allow", protocol=TCP), TO_WEB, True),
    ("another protocol", d.Rule("allow", protocol=UDP), TO_WEB, False),
    ("not protocol", d.Rule("allow", not_protocol=TCP), TO_WEB, False),
    ("not another protocol", d.Rule("allow", not_protocol=UDP), TO_WEB, True),
    ("family", d.Rule("allow", family=4), TO_WEB, True),
    ("another family", d.Rule("allow", family=6), TO_WEB, False),
    ("ICMP type", d.Rule("allow", icmp=d.Icmp(8)), PING, True),
    ("ICMP type and code", d.Rule("allow", icmp=d.Icmp(8, 0)), PING, True),
    ("another code", d.Rule("allow", icmp=d.Icmp(8, 1)), PING, False),
    ("ICMP of TCP", d.Rule("allow", icmp=d.Icmp(8)), TO_WEB, False),
    ("not ICMP type", d.Rule("allow", not_icmp=d.Icmp(8)), PING, False),
    ("not this type and code", d.Rule("allow", not_icmp=d.Icmp(8, 1)), PING, True),
    ("not ICMP of TCP", d.Rule("allow", not_icmp=d.Icmp(8)), TO_WEB, True),
]  # fmt: skip
SIDES = [
    ("any", d.Side(), TO_WEB, True),
    ("net", d.Side(nets=("10.65.0.0/24",)), TO_WEB, True),
    ("other net", d.Side(nets=("10.66.0.0/24", "::/0")), TO_WEB, False),
    ("not net", d.Side(not_nets=("10.65.0.0/24",)), TO_WEB, False),
    ("net but not all of it", d.Side(("10.0.0.0/8",), ("10.65.0.2/32",)), TO_WEB, True),
    ("net and port", d.Side(nets=("10.66.0.0/24",), ports=P80), TO_WEB, False),
    ("set", d.Side(sets=("us",)), TO_WEB, True),
    ("prefix of a set", d.Side(sets=("us",)), tcp(FAR, "198.51.100.255"), True),
    ("next to the prefix of a set", d.Side(sets=("us",)), tcp(FAR, "198.51.101.0"), False),
    ("IPv6 prefix of a set", d.Side(sets=("us",)), tcp(FAR6, "fd99::7"), True),
    ("every set", d.Side(sets=("us", "web")), TO_WEB, True),
    ("not in every set", d.Side(sets=("us", "web")), tcp(FAR, API), False),
    ("an empty set", d.Side(sets=("none",)), TO_WEB, False),
    ("not set", d.Side(not_sets=("none", "web")), TO_WEB, False),
    ("not an empty set", d.Side(not_sets=("none",)), TO_WEB, True),
    ("first port", d.Side(ports=P80), TO_WEB, True),
    ("last port", d.Side(ports=P80), tcp(FAR, WEB, 90), True),
    ("past the last port", d.Side(ports=P80), tcp(FAR, WEB, 91), False),
    ("one of several ranges", d.Side(ports=(d.PortRange(1, 2), *P80)), TO_WEB, True),
    ("SCTP", d.Side(ports=P80), Packet(FAR, WEB, SCTP, 80, 1), True),
    ("ports of what has none", d.Side(ports=P80), PING, False),
    ("ports of GRE", d.Side(ports=P80), Packet(FAR, WEB, GRE, 80, 80), False),
    ("named port", d.Side(port_sets=("http",)), tcp(FAR, WEB, 8080), True),
    ("named port of another", d.Side(port_sets=("http",)), tcp(FAR, API, 8080), False),
    ("named port, another protocol", d.Side(port_sets=("http",)), udp(FAR, WEB, 8080), False),
    ("a port or a named port", d.Side(ports=P80, port_sets=("http",)), TO_WEB, True),
    ("a named port or a port", d.Side(ports=P80, port_sets=("http",)), tcp(FAR, WEB, 8080), True),
    ("neither", d.Side(ports=P80, port_sets=("http",)), tcp(FAR, WEB, 81 + 10), False),
    ("named port of what has none", d.Side(port_sets=("http",)), PING, False),
    ("not port", d.Side(not_ports=P80), TO_WEB, False),
    ("not another port", d.Side(not_ports=P80), DNS_QUERY, True),
    ("not port of what has none", d.Side(not_ports=P80), PING, True),
    ("not named port", d.Side(not_port_sets=("http",)), tcp(FAR, WEB, 8080), False),
    ("not named port of another", d.Side(not_port_sets=("http",)), tcp(FAR, API, 8080), True),
    ("neither port nor named", d.Side(not_ports=P80, not_port_sets=("http",)), DNS_QUERY, True),
    ("named but not that port", d.Side(port_sets=("http",), not_ports=(d.PortRange(8080, 8080),)),
     tcp(FAR, WEB, 8080), False),
    ("a range but not that name", d.Side(ports=(d.PortRange(8000, 9000),), not_port_sets=("http",)),
     tcp(FAR, WEB, 8080), False),
    ("named twice over", d.Side(port_sets=("http",), not_port_sets=("http",)),
     tcp(FAR, WEB, 8080), False),
]  # fmt: skip


def matched(rule: d.Rule, packet: Packet) -> bool:
    wanted = d.Filter(
        hosts=(d.HostEndpoint("h", "*", forward_ingress=tier("x", default="pass")),),
        policies=(d.Policy("P/x", (rule,)),),
        sets=SETS,
        port_sets=PORT_SETS,
    )
    steps = list(Interpreter(wanted).steps(packet, "eth0", "eth1"))
    assert [each.verdict.by for each in steps] in (
        [], ["forward ingress of h: rule 0 of P/x"]
    )  # fmt: skip
    return bool(steps)


@pytest.mark.parametrize(
    ("rule", "packet", "expected"), [m[1:] for m in MATCHES], ids=[m[0] for m in MATCHES]
)
def test_what_a_rule_asks(rule: d.Rule, packet: Packet, expected: bool) -> None:
    assert matched(rule, packet) is expected


@pytest.mark.parametrize(
    ("side", "packet", "expected"), [s[1:] for s in SIDES], ids=[s[0] for s in SIDES]
)
def test_what_a_rule_asks_of_one_end(side: d.Side, packet: Packet, expected: bool) -> None:
    """The same of the source, with the packet turned round."""
    assert matched(d.Rule("allow", destination=side), packet) is expected
    turned = packet._replace(
        source=packet.destination,
        destination=packet.source,
        port=packet.source_port,
        source_port=packet.port,
    )
    assert matched(d.Rule("allow", source=side), turned) is expected


prefixes = st.builds(
    lambda family, number, length: (
        str(ip_network((number << 32 - length, length)))
        if family == 4
        else str(ip_network(((0xFD65 << 112) | number << 32 - length, length + 96)))
    ),
    st.sampled_from((4, 6)),
    st.integers(0, 15),
    st.integers(4, 32),
)


@example(["10.0.0.0/32", "10.0.0.2/32"], 4, 10 << 24 | 1)
@given(st.lists(prefixes, max_size=6), st.sampled_from((4, 6)), st.integers(0, 2**32 - 1))
def test_prefixes_by_ranges_are_prefixes_one_by_one(nets, family: int, number: int) -> None:
    ends = [ip_network(net)[at] for net in nets for at in (0, -1)]
    address = ip_address(number) if family == 4 else ip_address(0xFD65 << 112 | number)
    near = [end + step for end in ends for step in (-1, 0, 1) if int(end) not in (0, 2**32 - 1)]
    found = Prefixes(nets)
    for each in (address, *ends, *near):
        assert (str(each) in found) is any(each in ip_network(net) for net in nets), each
