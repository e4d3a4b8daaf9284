"""Rendered rules, read in Python, against the plain interpreter: the same verdict on every packet.

And a few packets whose verdict is plain to see, so that the reader is known to read right.
"""

from __future__ import annotations

from random import Random

import pytest
from filters import ADDRESSES, HOSTS, INTERFACES, OUTSIDE, PORTS, guarded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nft_tracer import NftTracer

from tortie.dataplane.interpreter import Interpreter
from tortie.dataplane.matching import Packet
from tortie.dataplane.nft import Chain, Ruleset, SetSpec, Table, render
from tortie.desired import (
    GATEWAY_V4,
    GATEWAY_V6,
    MARK_MASK,
    REVOKED,
    AddressSet,
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

TYPES = ((8, 0), (128, 0), (13, 0), (135, 0), (143, 0), (8, 1))
SOURCES = (*HOSTS, "10.65.0.9", "10.66.0.7", "fe80::5", "::", "0.0.0.0", "fd66::1")
TARGETS = (*HOSTS, "10.65.0.9", "fd65::9", GATEWAY_V4, GATEWAY_V6, "255.255.255.255", "ff02::1")


def packets(random: Random, amount: int):
    """Packets, where they come in, and where they leave."""
    for _ in range(amount):
        v6 = random.random() < 0.5
        iif = random.choice([*INTERFACES, None, None])
        oif = random.choice([*INTERFACES, None, None] if iif else INTERFACES)
        source, target = (
            ADDRESSES[int(interface[-1])][v6]
            if interface in ("tor1", "tor2") and random.random() < 0.8
            else random.choice([each for each in addresses if (":" in each) == v6])
            for interface, addresses in ((iif, SOURCES), (oif, TARGETS))
        )
        protocol = random.choice([6, 6, 6, 17, 17, 132, 47, 58 if v6 else 1])
        ports = (None, None)
        if protocol in (6, 17, 132):
            ports = random.choice([*PORTS, 67]), random.choice([*PORTS, 68, 40000])
        icmp = random.choice(TYPES) if protocol in (1, 58) else None
        yield Packet(source, target, protocol, *ports, icmp), iif, oif


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(guarded(), st.integers(0, 2**32))
def test_the_rules_say_what_the_filter_says(firewall: Filter, seed: int) -> None:
    """Whatever mark somebody else has left in our bits."""
    tracer, plain, random = NftTracer(render(firewall)), Interpreter(firewall), Random(seed)
    for packet, iif, oif in packets(random, 200):
        wanted = plain.judge(packet, iif, oif)
        said = tracer.judge(packet, iif, oif, mark=random.choice((0, MARK_MASK)))
        assert said == wanted.allowed, (packet, iif, oif, wanted.by)


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(guarded(), st.integers(0, 2**32))
def test_what_is_translated_is_judged_where_it_goes(firewall: Filter, seed: int) -> None:
    """What the host sends leaves by another interface than it would have."""
    tracked = [replace(each, untracked_ingress=(), untracked_egress=()) for each in firewall.hosts]
    firewall = replace(firewall, hosts=tuple(tracked))
    tracer, plain, random = NftTracer(render(firewall)), Interpreter(firewall), Random(seed)
    for packet, iif, oif in packets(random, 40):
        translated = packet._replace(destination=HOSTS[":" in packet.source], port=80)
        ways = {"first_oif": random.choice(("eth0", "eth1", "lo"))} if iif is None else {}
        if iif is None and oif not in ("eth0", "eth1"):
            continue  # a workload's interface is looked at where it would have gone
        wanted = plain.judge(packet, iif, oif, translated)
        said = tracer.judge(packet, iif, oif, translated=translated, **ways)
        assert said == wanted.allowed, (packet, translated, iif, oif, ways, wanted.by)


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(guarded())
def test_every_rule_is_of_words_that_are_known(firewall: Filter) -> None:
    tracer = NftTracer(render(firewall))
    assert sum(len(tracer.chain(name)) for name in tracer.table.chains) > 20


# --- packets whose verdict is plain to see --------------------------------------------------------

WEB, WEB6, FAR, FAR6 = *ADDRESSES[1], *OUTSIDE
NET = Side(nets=("192.0.2.0/24", "2001:db8::/32"))
FIREWALL = Filter(
    endpoints=(
        Endpoint(
            "shop/web",
            "tor1",
            ADDRESSES[1],
            ingress=(TierStep("t", ("NetworkPolicy/shop/web",), "deny"),),
            profiles=("Profile/open",),
            max_ingress=5,
        ),
    ),
    policies=(
        Policy(
            "NetworkPolicy/shop/web",
            ingress=(
                Rule("log", protocol=17),
                Rule("allow", protocol=6, source=NET, destination=Side(ports=(PortRange(80, 90),))),
                Rule("allow", protocol=17, source=Side(sets=("far",))),
            ),
        ),
        Policy("Profile/open", (Rule("allow"),), (Rule("allow"),)),
        Policy("GlobalNetworkPolicy/raw", (Rule("allow", protocol=17), Rule("deny", protocol=47))),
        Policy("GlobalNetworkPolicy/shut", (Rule("deny"),), (Rule("deny", protocol=6),)),
    ),
    sets=(AddressSet("far", frozenset({FAR, FAR6})),),
    hosts=(
        HostEndpoint(
            "edge",
            "eth0",
            ingress=(TierStep("t", ("GlobalNetworkPolicy/shut",), "deny"),),
            egress=(TierStep("t", ("GlobalNetworkPolicy/shut",), "pass"),),
            profiles=("Profile/open",),
            untracked_ingress=(TierStep("t", ("GlobalNetworkPolicy/raw",), "pass"),),
        ),
    ),
    failsafe_inbound=(OpenPort(6, 22),),
)
TRACER = NftTracer(render(FIREWALL))


def tcp(source: str, destination: str, port: int = 80) -> Packet:
    return Packet(source, destination, 6, port, 40000)


SEEN = {
    "an allowed port": (tcp(FAR, WEB), "eth1", "tor1", {}, True),
    "an allowed port, IPv6": (tcp(FAR6, WEB6, 90), "eth1", "tor1", {}, True),
    "another port": (tcp(FAR6, WEB6, 91), "eth1", "tor1", {}, False),
    "from elsewhere": (tcp("198.51.100.1", WEB), "eth1", "tor1", {}, False),
    "a member of a set": (Packet(FAR, WEB, 17, 9, 9), "eth1", "tor1", {}, True),
    "no member": (Packet("192.0.2.9", WEB, 17, 9, 9), "eth1", "tor1", {}, False),
    "to no live address": (tcp(FAR, "10.65.0.2"), "eth1", "tor1", {}, False),
    "spoofed": (tcp("10.65.0.2", FAR), "tor1", "eth1", {}, False),
    "out of the workload": (tcp(WEB, FAR), "tor1", "eth1", {}, True),
    "known": (tcp(FAR, WEB, 91), "eth1", "tor1", {"state": "established"}, True),
    "known and cut": (
        tcp(FAR, WEB, 80), "eth1", "tor1", {"state": "established", "connmark": REVOKED}, False,
    ),
    "invalid": (tcp(FAR, WEB), "eth1", "tor1", {"state": "invalid"}, False),
    "as many connections as may be": (tcp(FAR, WEB), "eth1", "tor1", {"connections": 5}, True),
    "one more": (tcp(FAR, WEB), "eth1", "tor1", {"connections": 6}, False),
    "to the host": (tcp(FAR, "192.0.2.1"), "eth0", None, {}, False),
    "to the host, failsafe": (tcp(FAR, "192.0.2.1", 22), "eth0", None, {}, True),
    "to the host, where nobody guards": (tcp(FAR, "192.0.2.1"), "eth1", None, {}, True),
    "to the host, discovery": (
        Packet("fe80::2", "fe80::1", 58, icmp=(135, 0)), "eth0", None, {}, True,
    ),
    "untracked": (Packet(FAR, "192.0.2.1", 17, 9, 9), "eth0", None, {}, True),
    "dropped in raw, though forwarded": (Packet(FAR, WEB, 47), "eth0", "eth1", {}, False),
    "from the host": (tcp("192.0.2.1", FAR), None, "eth0", {}, False),
    "from the host, another protocol": (Packet("192.0.2.1", FAR, 17, 9, 9), None, "eth0", {}, True),
    "from the host, translated to where nobody guards": (
        tcp("192.0.2.1", "10.96.0.1"), None, "eth1",
        {"first_oif": "eth0", "translated": tcp("192.0.2.1", FAR)}, True,
    ),
    "from the host, translated to where somebody does": (
        tcp("192.0.2.1", "10.96.0.1"), None, "eth0",
        {"first_oif": "eth1", "translated": tcp("192.0.2.1", FAR)}, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SEEN)
def test_a_packet_is_traced(what: str) -> None:
    packet, iif, oif, more, accepted = SEEN[what]
    journey = TRACER.trace(packet, iif, oif, **more)
    assert journey.accepted == accepted, journey


def test_the_one_of_all_others_says_nothing_of_an_interface_of_ours() -> None:
    shut = (TierStep("t", ("GlobalNetworkPolicy/shut",), "deny"),)
    host = HostEndpoint("all", "*", untracked_egress=shut, pre_dnat=shut)
    tracer = NftTracer(render(replace(FIREWALL, hosts=(host,))))
    assert tracer.judge(tcp("fe80::1", "fe80::2"), None, "tor3")
    assert not tracer.judge(tcp("fe80::1", "fe80::2"), None, "eth0")
    assert tracer.judge(tcp("fe80::2", "fe80::1"), "tor1", None, state="established")
    assert not tracer.judge(tcp("fe80::2", "fe80::1"), "eth0", None)


def test_a_journey_tells_what_happened() -> None:
    untracked = TRACER.trace(Packet(FAR, "192.0.2.1", 17, 9, 9), "eth0", None)
    assert untracked.state == "untracked"
    assert untracked.verdicts["base-prerouting"] == "accept"
    logged = TRACER.trace(Packet(FAR, WEB, 17, 9, 9), "eth1", "tor1")
    assert logged.logged == ["tortie NetworkPolicy/shop/web"]
    dropped = TRACER.trace(tcp(FAR, WEB, 91), "eth1", "tor1")
    assert dropped.rule == 'counter drop comment "end of tier t"'


NOT_OURS = (
    "accept accept",
    "jump nowhere",
    "tcp dport 80 accept",
    "ip saddr 10.0.0.1; flush ruleset",
    'accept comment "a$b"',
    "ct state new notrack",
    "th dport 80 accept",
    "oifname lo accept",
    "meta mark 7 accept extra",
    "snat to 10.0.0.1",
)


@pytest.mark.parametrize("rule", NOT_OURS)
def test_what_is_not_ours_is_refused(rule: str) -> None:
    base = Chain((rule,), "type filter hook prerouting priority raw; policy accept")
    ruleset = Ruleset((Table("inet", {"base": base}, {"s": SetSpec("ifname")}),))
    with pytest.raises((ValueError, KeyError, IndexError)):
        NftTracer(ruleset).judge(Packet(FAR, WEB, 47), "eth0", "eth1")
