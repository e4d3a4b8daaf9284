"""Address translation as nftables rules: what is written, and what becomes of a packet by it."""

from __future__ import annotations

from random import Random

import pytest
from filters import ADDRESSES, floating, guarded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from nat_rig import FLOATING, firewall
from nat_ways import ALL, HOST, OTHERS, UNSAFE, VXLAN, W1, WAYS, to_floating, translating
from nft_tracer import NftTracer

from tortie.dataplane.interpreter import Interpreter
from tortie.dataplane.matching import Packet
from tortie.dataplane.nft import Ruleset, nat, render
from tortie.dataplane.nft.ruleset import Chain
from tortie.desired import Filter, NatOutgoing, PortRange

BASES = ["base-nat-output", "base-nat-postrouting", "base-nat-prerouting"]
NAT = NatOutgoing(4, ("10.65.0.0/16",), ("10.64.0.0/15",))
FROM = "ip saddr 10.65.0.0/16 ip daddr != 10.64.0.0/15 fib saddr type != local"
PORTS = "meta l4proto { 6, 17, 132 }"
SIX = "ip6 saddr fd65::/64 fib saddr type != local"


def chains(wanted: Filter) -> dict[str, Chain]:
    found = next(each for each in render(wanted).tables if each.family == "inet").chains
    return {name: chain for name, chain in found.items() if name.startswith("base-nat")}


LEAVING = {
    "masqueraded": ({}, [f"{FROM} masquerade"]),
    "ports": (
        {"ports": PortRange(1024, 2047)},
        [f"{PORTS} {FROM} masquerade to :1024-2047", f"{FROM} masquerade"],
    ),
    "an address": ({"address": "192.0.2.8"}, [f"{FROM} snat ip to 192.0.2.8"]),
    "a range of addresses, and ports": (
        {"address": "192.0.2.8-192.0.2.9", "ports": PortRange(5000, 5000)},
        [
            f"{PORTS} {FROM} snat ip to 192.0.2.8-192.0.2.9:5000-5000",
            f"{FROM} snat ip to 192.0.2.8-192.0.2.9",
        ],
    ),
    "IPv6, nothing excluded": (
        {"family": 6, "sources": ("fd65::/64",), "exclude": (), "address": "fd00::1",
         "ports": PortRange(1, 2)},
        [f"{PORTS} {SIX} snat ip6 to [fd00::1]:1-2", f"{SIX} snat ip6 to fd00::1"],
    ),
    "only what is of the other family": ({"sources": ("fd65::/64",)}, None),
}  # fmt: skip


@pytest.mark.parametrize("what", LEAVING)
def test_what_leaves(what: str) -> None:
    fields, expected = LEAVING[what]
    given = {name: getattr(NAT, name) for name in NAT.__struct_fields__} | fields
    made = chains(Filter(nat_outgoing=(NatOutgoing(**given),)))
    assert list(made) == ([] if expected is None else ["base-nat-postrouting"])
    if expected is not None:
        rules = made["base-nat-postrouting"].rules
        assert list(rules) == ['oifname "tor*" return', *expected]


def test_nothing_translates_where_nothing_is_asked_for() -> None:
    assert chains(firewall()) == {}
    assert sorted(chains(firewall(floating=FLOATING))) == BASES


@pytest.mark.parametrize("wanted", UNSAFE)
def test_what_is_no_address_is_written_nowhere(wanted: Filter) -> None:
    with pytest.raises(ValueError):
        render(wanted)


# --- packets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", [6, 17, 47], ids=["TCP", "UDP", "GRE"])
@pytest.mark.parametrize("what", WAYS)
def test_where_a_packet_goes_and_as_whom(what: str, protocol: int, at: int) -> None:
    source, target, iif, oif, behind, seen = WAYS[what]
    packet = Packet(source[at], target[at], protocol, 80, 40000)
    journey = NftTracer(render(ALL)).trace(packet, iif, oif)
    assert journey.accepted
    assert (journey.translated and journey.translated.destination) == (behind and behind[at])
    assert journey.sent_as == (seen[at] if isinstance(seen, tuple) else seen or "")
    assert journey.mark & 0xFF0FFFFF == 0
    known = NftTracer(render(ALL)).trace(packet, iif, oif, state="established")
    assert (known.translated, known.sent_as) == (None, ""), "the kernel remembers"


# --- when nothing is asked for any more -----------------------------------------------------------


def test_one_chain_stays_for_the_connections_that_go_on() -> None:
    plain = render(firewall())
    assert nat.kept(plain, ["base-input"]) == plain
    stays = nat.kept(plain, BASES[2:])
    tables = {each.family: each for each in stays.tables}
    assert tables["inet"].chains["base-nat-postrouting"].rules == ()
    assert "base-nat-postrouting" not in tables["arp"].chains
    asked = render(ALL)
    assert nat.kept(asked, BASES) == asked
    assert isinstance(stays, Ruleset)


# --- VXLAN ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(guarded(), floating, st.integers(0, 2**32))
def test_policy_judges_what_is_behind(firewall, external, seed: int) -> None:
    """Host endpoints' early policies see the floating address, all others whose it is."""
    firewall = translating(firewall, external)
    tracer, plain = NftTracer(render(firewall)), Interpreter(firewall)
    for packet, translated, iif in to_floating(Random(seed), external):
        oif = "tor1" if translated.destination in ADDRESSES[1] else "tor2"
        wanted = plain.judge(packet, iif, oif, translated)
        assert tracer.judge(packet, iif, oif) == wanted.allowed, (packet, iif, oif, wanted.by)


@pytest.mark.parametrize("encapsulated", [OTHERS, None], ids=["VXLAN", "none"])
@pytest.mark.parametrize(("source", "iif", "oif", "passes"), VXLAN)
def test_vxlan_is_taken_from_other_hosts_only(source, iif, oif, passes, encapsulated) -> None:
    at = ":" in source
    target = W1[at] if oif else HOST[at]
    tracer = NftTracer(render(firewall(encapsulated=encapsulated)))
    for port, expected in ((4789, passes or encapsulated is None), (4790, True)):
        assert tracer.judge(Packet(source, target, 17, port, 40000), iif, oif) == expected
        assert tracer.judge(Packet(source, target, 6, port, 40000), iif, oif)
