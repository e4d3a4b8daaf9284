"""Rendered rules against the plain interpreter: the same verdict on every packet."""

from __future__ import annotations

from random import Random

from filters import ADDRESSES, HOSTS, INTERFACES, PORTS, guarded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from iptables_tracer import IptablesTracer
from msgspec.structs import replace

from tortie.dataplane.interpreter import Interpreter
from tortie.dataplane.iptables import render
from tortie.dataplane.matching import Packet
from tortie.desired import GATEWAY_V4, GATEWAY_V6

TYPES = ((8, 0), (128, 0), (13, 0), (135, 0), (143, 0), (8, 1))
SOURCES = (*HOSTS, "10.65.0.9", "10.66.0.7", "fe80::5", "::", "0.0.0.0", "fd66::1")
TARGETS = (*HOSTS, "10.65.0.9", "fd65::9", GATEWAY_V4, GATEWAY_V6, "255.255.255.255", "ff02::1")


def packets(random: Random, amount: int):
    """Packets, where they come in and leave, and what a destination NAT makes of some."""
    for _ in range(amount):
        v6 = random.random() < 0.5
        source = random.choice([each for each in SOURCES if (":" in each) == v6])
        iif = random.choice([*INTERFACES, None, None])
        oif = random.choice([*INTERFACES, None, None] if iif else INTERFACES)
        if iif in ("tor1", "tor2") and random.random() < 0.8:
            source = ADDRESSES[int(iif[-1])][v6]
        if oif in ("tor1", "tor2") and random.random() < 0.8:
            target = ADDRESSES[int(oif[-1])][v6]
        else:
            target = random.choice([each for each in TARGETS if (":" in each) == v6])
        protocol = random.choice([6, 6, 6, 17, 17, 132, 47, 58 if v6 else 1])
        ports = (None, None)
        if protocol in (6, 17, 132):
            ports = random.choice([*PORTS, 67]), random.choice([*PORTS, 68, 40000])
        icmp = random.choice(TYPES) if protocol in (1, 58) else None
        yield Packet(source, target, protocol, *ports, icmp), iif, oif


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(guarded(), st.integers(0, 2**32))
def test_the_rules_say_what_the_filter_says(firewall, seed: int) -> None:
    tracer = IptablesTracer({family: render(firewall, family) for family in (4, 6)})
    plain = Interpreter(firewall)
    for packet, iif, oif in packets(Random(seed), 60):
        wanted = plain.judge(packet, iif, oif)
        assert tracer.judge(packet, iif, oif) == wanted.allowed, (packet, iif, oif, wanted.by)


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(guarded(), st.integers(0, 2**32))
def test_what_is_translated_is_judged_where_it_goes(firewall, seed: int) -> None:
    """What the host sends leaves by another interface than it would have."""
    tracked = tuple(
        replace(each, untracked_ingress=(), untracked_egress=()) for each in firewall.hosts
    )
    firewall = replace(firewall, hosts=tracked)
    tracer = IptablesTracer({family: render(firewall, family) for family in (4, 6)})
    plain = Interpreter(firewall)
    random = Random(seed)
    for packet, iif, oif in packets(random, 40):
        translated = packet._replace(destination=HOSTS[":" in packet.source], port=80)
        ways = {"first_oif": random.choice(("eth0", "eth1", "lo"))} if iif is None else {}
        journey = tracer.trace(packet, iif, oif, translated=translated, **ways)
        if iif is None and oif not in ("eth0", "eth1"):
            continue  # a workload's interface is looked at where it would have gone
        wanted = plain.judge(packet, iif, oif, translated)
        assert journey.accepted == wanted.allowed, (packet, translated, iif, oif, ways, wanted.by)
