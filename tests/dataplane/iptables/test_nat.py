"""Address translation as iptables rules: what is written, and what becomes of a packet by it."""

from __future__ import annotations

from random import Random

import pytest
from filters import ADDRESSES, floating, guarded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from iptables_tracer import IptablesTracer
from nat_rig import FLOATING, firewall
from nat_ways import ALL, HOST, OTHERS, UNSAFE, VXLAN, W1, WAYS, to_floating, translating

from tortie.dataplane.interpreter import Interpreter
from tortie.dataplane.iptables import render
from tortie.dataplane.matching import Packet
from tortie.desired import Filter, NatOutgoing, PortRange

NAT = NatOutgoing(4, ("10.65.0.0/16",), ("10.64.0.0/15",))


def chains(wanted: Filter, family=4) -> dict[str, tuple[str, ...]]:
    return dict(render(wanted, family).chains["nat"])


def named(wanted: Filter, family=4) -> dict[str, frozenset[str]]:
    """The members of sets by name."""
    return {name: spec.members for name, spec in render(wanted, family).sets.items()}


LEAVING = {
    "masqueraded": ({}, ["{} -j MASQUERADE"]),
    "ports": (
        {"ports": PortRange(1024, 2047)},
        [
            *(f"-p {each} {{}} -j MASQUERADE --to-ports 1024-2047" for each in
              ("tcp", "udp", "sctp")),
            "{} -j MASQUERADE",
        ],
    ),
    "a range of addresses, and a port": (
        {"address": "192.0.2.8-192.0.2.9", "ports": PortRange(5000, 5000)},
        [
            *(f"-p {each} {{}} -j SNAT --to-source 192.0.2.8-192.0.2.9:5000" for each in
              ("tcp", "udp", "sctp")),
            "{} -j SNAT --to-source 192.0.2.8-192.0.2.9",
        ],
    ),
    "only what is of the other family": ({"sources": ("fd65::/64",)}, None),
}  # fmt: skip


@pytest.mark.parametrize("what", LEAVING)
def test_what_leaves(what: str) -> None:
    fields, expected = LEAVING[what]
    given = {name: getattr(NAT, name) for name in NAT.__struct_fields__} | fields
    wanted = Filter(nat_outgoing=(NatOutgoing(**given),))
    if expected is None:
        assert chains(wanted) == {}
        return
    members = {each: name for name, each in named(wanted).items()}
    sources = members[frozenset(("10.65.0.0/16",))]
    inside = members[frozenset(("10.64.0.0/15",))]
    match = (
        f"-m set --match-set {sources} src -m set ! --match-set {inside} dst"
        " -m addrtype ! --src-type LOCAL"
    )
    assert chains(wanted) == {
        "tor-nat-from": ("-o tor+ -j RETURN", *(each.format(match) for each in expected))
    }
    assert chains(wanted, 6) == {}


def test_ports_and_addresses_of_ipv6() -> None:
    ports = PortRange(1, 2)
    wanted = Filter(nat_outgoing=(NatOutgoing(6, ("fd65::/64",), (), "fd00::1", ports),))
    _, first, *_, last = chains(wanted, 6)["tor-nat-from"]
    assert first.endswith("-j SNAT --to-source [fd00::1]:1-2")
    assert last.endswith("-j SNAT --to-source fd00::1")


def test_nothing_translates_where_nothing_is_asked_for() -> None:
    for family in (4, 6):
        assert chains(firewall(), family) == {}
        made = render(firewall(floating=FLOATING), family)
        assert dict(made.hooks["nat"]) == {
            "PREROUTING": ("-j tor-nat-to",),
            "OUTPUT": ("-j tor-nat-to",),
            "POSTROUTING": ("-j tor-nat-from",),
        }


@pytest.mark.parametrize("wanted", UNSAFE)
def test_what_is_no_address_is_written_nowhere(wanted: Filter) -> None:
    with pytest.raises(ValueError):
        for family in (4, 6):
            render(wanted, family)


def traced(wanted: Filter) -> IptablesTracer:
    return IptablesTracer({family: render(wanted, family) for family in (4, 6)})


@pytest.mark.parametrize("at", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", [6, 17, 47], ids=["TCP", "UDP", "GRE"])
@pytest.mark.parametrize("what", WAYS)
def test_where_a_packet_goes_and_as_whom(what: str, protocol: int, at: int) -> None:
    source, target, iif, oif, behind, seen = WAYS[what]
    packet = Packet(source[at], target[at], protocol, 80, 40000)
    journey = traced(ALL).trace(packet, iif, oif)
    assert journey.accepted
    assert (journey.translated and journey.translated.destination) == (behind and behind[at])
    assert journey.sent_as == (seen[at] if isinstance(seen, tuple) else seen or "")
    known = traced(ALL).trace(packet, iif, oif, state="ESTABLISHED")
    assert (known.translated, known.sent_as) == (None, ""), "the kernel remembers"


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(guarded(), floating, st.integers(0, 2**32))
def test_policy_judges_what_is_behind(firewall, external, seed: int) -> None:
    """Host endpoints' early policies see the floating address, all others whose it is."""
    firewall = translating(firewall, external)
    tracer, plain = traced(firewall), Interpreter(firewall)
    for packet, translated, iif in to_floating(Random(seed), external):
        oif = "tor1" if translated.destination in ADDRESSES[1] else "tor2"
        wanted = plain.judge(packet, iif, oif, translated)
        assert tracer.judge(packet, iif, oif) == wanted.allowed, (packet, iif, oif, wanted.by)


@pytest.mark.parametrize("encapsulated", [OTHERS, None], ids=["VXLAN", "none"])
@pytest.mark.parametrize(("source", "iif", "oif", "passes"), VXLAN)
def test_vxlan_is_taken_from_other_hosts_only(source, iif, oif, passes, encapsulated) -> None:
    at = ":" in source
    target = W1[at] if oif else HOST[at]
    tracer = traced(firewall(encapsulated=encapsulated))
    for port, expected in ((4789, passes or encapsulated is None), (4790, True)):
        assert tracer.judge(Packet(source, target, 17, port, 40000), iif, oif) == expected
        assert tracer.judge(Packet(source, target, 6, port, 40000), iif, oif)
