"""Host endpoints in a real kernel: destinations that somebody else translates, and any firewall
at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random

import pytest
from filters import filters as workloads
from filters import guards
from host_rig import LINKS, PLACES, SIDE, arrivals, forget, host_rig
from host_worlds import FORWARD_SHUT, POLICIES, SHUT, TCP, UDP, guard, guarded, steps
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nft_rig import Packet, Rig
from nft_tracer import NftTracer

from tortie.dataplane import matching
from tortie.dataplane.nft import render
from tortie.desired import Filter, Policy, PortRange, Rule, Side
from tortie.errors import KernelError
from tortie.kernel import netns

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def net() -> Iterator[Rig]:
    with host_rig() as made:
        yield made


PUBLIC = ("203.0.113.7", "2001:db8:7::7")
NAT = f"""
table inet other {{
  chain before {{
    type nat hook prerouting priority -100;
    ip daddr {PLACES["host"][0]} udp dport 8000 dnat ip to {PLACES["w1"][0]}:80
    ip6 daddr {PLACES["host"][1]} udp dport 8000 dnat ip6 to [{PLACES["w1"][1]}]:80
  }}
  chain own {{
    type nat hook output priority -100;
    ip daddr {PUBLIC[0]} dnat ip to {PLACES["up"][0]}
    ip6 daddr {PUBLIC[1]} dnat ip6 to {PLACES["up"][1]}
  }}
}}
"""


@pytest.fixture
def nat(net: Rig) -> Iterator[Rig]:
    """Port 8000 of the host is w1's port 80; what the host sends to PUBLIC is routed by side0, and
    goes to up."""
    with netns.entered(net.ns("host")):
        net.nft.run(NAT)
    try:
        net.run("host", "ip", "route", "add", PUBLIC[0], "via", PLACES["side"][0])
        net.run("host", "ip", "route", "add", PUBLIC[1], "via", PLACES["side"][1])
        yield net
    finally:
        net.nft.run("delete table inet other")
        for address in PUBLIC:
            with contextlib.suppress(KernelError):
                net.run("host", "ip", "route", "del", address)


PORT_8000 = Rule("deny", protocol=UDP, destination=Side(ports=(PortRange(8000, 8000),)))
ALLOW_8000 = replace(PORT_8000, action="allow")
BEFORE = {
    "before translation, its port denied": (
        {"pre_dnat": steps("8000", default="pass")}, PORT_8000, False),
    "before translation, its port allowed, and nothing else": (
        {"pre_dnat": steps("8000"), **SHUT, **FORWARD_SHUT}, ALLOW_8000, True),
    "behind translation, another port is denied": (
        {"forward_ingress": steps("8000", default="pass")}, PORT_8000, True),
    "behind translation, only another port is allowed": (
        {"forward_ingress": steps("8000")}, ALLOW_8000, False),
    "behind translation, its port is denied": (
        {"forward_ingress": steps("deny-80", default="pass")}, PORT_8000, False),
    "in raw, before translation": (
        {"untracked_ingress": steps("8000", default="pass")}, PORT_8000, False),
}  # fmt: skip


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("what", BEFORE)
def test_what_comes_in_and_is_translated(nat: Rig, what: str, family: int) -> None:
    parts, rule, arrives = BEFORE[what]
    policy = Policy("P/8000", (rule,), (rule,))
    nat.apply(guarded(guard(**parts), policies=(*POLICIES, policy)))
    forget(nat)
    packet = Packet(PLACES["up"][family], PLACES["host"][family], UDP, 40000, 8000)
    due = {"it"} if arrives else set()
    assert arrivals(nat, "up", {"it": packet}, due) == due


OWN = {
    "the interface that it leaves by is shut": ((guard("up0", **SHUT),), set()),
    "only the one that it would have left by": ((guard("side0", **SHUT),), {80, 81}),
    "one port": ((guard("up0", egress=steps("allow-80")), guard("side0", **SHUT)), {80}),
    "the shut one is all but the other": ((guard("up0"), guard("*", **SHUT)), {80, 81}),
    "all": ((guard("*", egress=steps("deny-80", default="pass")),), {81}),
}


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("what", OWN)
def test_what_the_host_sends_and_is_translated(nat: Rig, what: str, family: int) -> None:
    hosts, ports = OWN[what]
    nat.apply(guarded(*hosts))
    forget(nat)
    sent = {f"{port}": Packet(SIDE[family], PUBLIC[family], UDP, 40000, port) for port in (80, 81)}
    due = {f"{port}" for port in ports}
    assert arrivals(nat, "host", sent, due) == due


# --- any host endpoint ----------------------------------------------------------------------------


@st.composite
def any_filters(draw) -> Filter:
    names = draw(st.sampled_from((("up0",), ("*",), ("side0", "*"), ("up0", "side0"))))
    made = draw(workloads((1,)))
    return replace(
        made,
        hosts=tuple(draw(guards(each)) for each in names),
        to_host=draw(st.sampled_from(("drop", "policy"))),
    )


def any_packets(random: Random, origin: str) -> dict[str, Packet]:
    found = {}
    for number in range(30):
        six = random.random() < 0.5
        place = random.choice([each for each in PLACES if each not in (origin, "w2")])
        protocol = random.choice((TCP, UDP, UDP, 58 if six else 1, 47))
        # No two alike, and none that looks like another's answer.
        sport, dport = (1000 + number, random.choice((53, 80, 81, 8080)))
        if protocol not in (TCP, UDP):
            sport = dport = 0
        icmp = (128 if six else 8, 0) if protocol in (1, 58) else None
        own, other = PLACES[origin][six], PLACES[place][six]
        found[f"{place} {number}"] = Packet(own, other, protocol, sport, dport, icmp)
    return found


@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(any_filters(), st.integers(0, 2**32))
def test_the_kernel_says_what_the_tracer_says(net: Rig, wanted: Filter, seed: int) -> None:
    net.apply(wanted)
    tracer, random = NftTracer(render(wanted)), Random(seed)
    for origin in ("host", "up", "side", "w1"):
        forget(net)
        sent = {}
        for name, packet in any_packets(random, origin).items():
            ports = (packet.dport, packet.sport) if packet.protocol in (TCP, UDP) else (None, None)
            asked = matching.Packet(
                packet.source, packet.destination, packet.protocol, *ports, packet.icmp
            )
            place = name.split()[0]
            passed = tracer.judge(asked, LINKS.get(origin), LINKS.get(place))
            sent[f"{name} {passed}"] = packet
        due = {name for name in sent if name.endswith("True")}
        assert arrivals(net, origin, sent, due) == due, origin
