"""Whole filters as rule sets: golden text, what each hook does, and nothing hostile in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from iptables_text import rules_text, sets_text
from iptables_tracer import IptablesTracer, Journey
from iptables_worlds import DB, FULL, GUARDED, MATES, TENANT, WEB

from tortie.dataplane.iptables import render
from tortie.dataplane.matching import Packet
from tortie.desired import (
    MARK_MASK,
    REVOKED,
    AddressSet,
    Endpoint,
    Filter,
    HostEndpoint,
    OpenPort,
    Policy,
    PortRange,
    PortSet,
    Rule,
    Side,
    TierStep,
)

HERE = Path(__file__).parent
replace = msgspec.structs.replace

WORLDS = {
    "nothing-yet": Filter(),
    "one-tenant": Filter((WEB,), (TENANT,), (MATES,)),
    "tiers-logs-and-names": FULL,
    "hosts-and-limits": GUARDED,
    "an-interface-with-a-name-of-its-own": Filter(
        (Endpoint("lab/metal", "ens5", ("10.65.0.9",), profiles=("Default/tenant/shop",)),),
        (TENANT,),
        (MATES,),
    ),
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", WORLDS)
def test_the_text_is_the_golden_one(name: str, family: int) -> None:
    ruleset = render(WORLDS[name], family)
    golden = HERE / f"golden/{name}.v{family}"
    assert sets_text(ruleset) + rules_text(ruleset) == golden.read_text()


def test_the_same_filter_gives_the_same_rules() -> None:
    turned = replace(
        GUARDED,
        endpoints=GUARDED.endpoints[::-1],
        policies=GUARDED.policies[::-1],
        sets=GUARDED.sets[::-1],
        hosts=GUARDED.hosts[::-1],
    )
    for family in (4, 6):
        assert render(turned, family) == render(GUARDED, family)


OPEN = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
ONE = Endpoint("shop/one", "tor1", ("10.65.0.1",), profiles=("Profile/open",))
TWO = Endpoint("shop/two", "tor2", ("10.65.0.2",), profiles=("Profile/open",))
PAIR = Filter((ONE, TWO), (OPEN,))
HELLO = Packet("10.65.0.1", "10.65.0.2", 6, 80, 40000)
OUT = Packet("10.65.0.1", "192.0.2.2", 6, 80, 40000)
IN = Packet("192.0.2.2", "10.65.0.1", 6, 80, 40000)
TO_ROUTER = Packet("192.0.2.2", "192.0.2.1", 6, 80, 40000)
FROM_ROUTER = Packet("192.0.2.1", "192.0.2.2", 6, 80, 40000)


def trace(wanted: Filter, packet: Packet, iif: str | None, oif: str | None, **more) -> Journey:
    return IptablesTracer({4: render(wanted, 4)}).trace(packet, iif, oif, **more)


def guarded_by(*rules: Rule, default: str = "deny") -> Filter:
    """What may reach the second workload."""
    steps = (TierStep("first", ("NetworkPolicy/shop/p",), default),)
    policy = Policy("NetworkPolicy/shop/p", rules)
    return Filter((ONE, replace(TWO, ingress=steps)), (OPEN, policy))


def test_accepted_traffic_of_workloads_is_accepted_before_the_rules_of_others() -> None:
    for packet, ways in ((HELLO, ("tor1", "tor2")), (OUT, ("tor1", "up")), (IN, ("up", "tor1"))):
        verdicts = trace(PAIR, packet, *ways).verdicts
        assert verdicts["filter FORWARD"] == "ACCEPT"
        assert verdicts["raw PREROUTING"] is None


GUARD = HostEndpoint("guard", "up", profiles=("Profile/open",))


def test_what_is_not_ours_is_left_alone() -> None:
    for wanted in (PAIR, replace(PAIR, hosts=(GUARD,))):
        for packet, ways in (
            (IN, ("br0", "br1")),
            (TO_ROUTER, ("br0", None)),
            (OUT, (None, "br0")),
        ):
            journey = trace(wanted, packet, *ways, mark=0xFFFFFFFF, connmark=0xFFFFFFFF)
            assert set(journey.verdicts.values()) == {None}
            assert journey.mark == 0xFFFFFFFF


def test_marks_that_are_not_ours_stay() -> None:
    others = 0xFFFFFFFF & ~MARK_MASK
    for packet, ways in ((HELLO, ("tor1", "tor2")), (TO_ROUTER, ("up", None))):
        journey = trace(replace(PAIR, hosts=(GUARD,)), packet, *ways, mark=others)
        assert journey.accepted and journey.mark & others == others


STATES = {
    "a known connection, though policy has changed": (HELLO, {"state": "ESTABLISHED"}, True),
    "what belongs to a known one": (HELLO, {"state": "RELATED"}, True),
    "what policy has cut": (HELLO, {"state": "ESTABLISHED", "connmark": REVOKED}, False),
    "what is of no connection": (HELLO, {"state": "INVALID"}, False),
    "a new one": (HELLO, {}, False),
    "a known one to an address that is gone": (
        HELLO._replace(destination="10.65.0.7"),
        {"state": "ESTABLISHED"},
        False,
    ),
    "a known one from an address that is gone": (
        HELLO._replace(source="10.65.0.7"),
        {"state": "ESTABLISHED"},
        False,
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_between_workloads_that_may_not_talk(name: str) -> None:
    packet, more, passes = STATES[name]
    assert trace(guarded_by(), packet, "tor1", "tor2", **more).accepted is passes


def test_what_is_of_no_connection_is_judged_if_so_wanted() -> None:
    lenient = replace(PAIR, drop_invalid=False)
    assert trace(lenient, HELLO, "tor1", "tor2", state="INVALID").accepted
    assert not trace(PAIR, HELLO, "tor1", "tor2", state="INVALID").accepted


@pytest.mark.parametrize("way", [("up", None), (None, "up"), ("up", "eth9"), ("eth9", "up")])
def test_what_policy_has_cut_is_cut_at_the_interfaces_of_the_host(way) -> None:
    wanted = replace(PAIR, hosts=(GUARD,))
    packet = FROM_ROUTER if way[0] is None else TO_ROUTER
    for connmark, passes in ((REVOKED, False), (0xFFFFFFFF & ~REVOKED, True)):
        journey = trace(wanted, packet, *way, state="ESTABLISHED", connmark=connmark)
        assert journey.accepted is passes


def test_connections_over_a_limit_are_reset_or_dropped() -> None:
    wanted = Filter((replace(ONE, max_egress=5), replace(TWO, max_ingress=3)), (OPEN,))
    for packet, ways, most in ((HELLO, ("tor1", "tor2"), 3), (OUT, ("tor1", "up"), 5)):
        assert trace(wanted, packet, *ways, connections=most).accepted
        over = trace(wanted, packet, *ways, connections=most + 1)
        assert over.verdicts["filter FORWARD"] == "REJECT"
        udp = trace(wanted, packet._replace(protocol=17), *ways, connections=most + 1)
        assert udp.verdicts["filter FORWARD"] == "DROP"
        known = trace(wanted, packet, *ways, connections=most + 1, state="ESTABLISHED")
        assert known.accepted
    assert trace(wanted, IN, "up", "tor1", connections=99).accepted


def test_a_limit_stands_alone_with_what_it_leads_to() -> None:
    """A rule forgets what it has counted when its chain changes."""
    limited = replace(ONE, max_egress=5, max_ingress=6)
    before = render(Filter((limited,), (OPEN,)), 4).chains["filter"]
    more = replace(limited, egress=(TierStep("t", ("NetworkPolicy/shop/p",), "pass"),))
    policy = Policy("NetworkPolicy/shop/p", egress=(Rule("pass"),))
    after = render(Filter((more, TWO), (OPEN, policy)), 4).chains["filter"]
    counting = [name for name in before if "connlimit" in " ".join(before[name])]
    assert len(counting) == 2
    assert all(before[name] == after[name] for name in counting)


LOG = Rule("log", protocol=6, destination=Side(ports=(PortRange(80, 80),)))
PREFIX = "tortie NetworkPolicy/shop/p"
LOGS = {
    "one match": LOG,
    "several matches, of which the packet fits more than one": replace(
        LOG, destination=Side(ports=tuple(PortRange(at, at) for at in range(80, 120, 2)))
    ),
    "any protocol with ports": replace(LOG, protocol=None),
    "with exceptions": Rule("log", destination=Side(not_ports=(PortRange(1, 2),))),
    "with a number or a name": replace(
        LOG, destination=Side(ports=(PortRange(80, 80),), port_sets=("web",))
    ),
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("then", ["allow", "deny"])
def test_a_packet_is_logged_once_and_judged_by_the_next_rule(name: str, then: str) -> None:
    web = PortSet("web", frozenset({("10.65.0.2", 6, 80)}))
    wanted = replace(guarded_by(LOGS[name], Rule(then)), port_sets=(web,))
    journey = trace(wanted, HELLO, "tor1", "tor2")
    assert journey.logged == [PREFIX]
    assert journey.accepted is (then == "allow")
    other = trace(wanted, HELLO._replace(port=2), "tor1", "tor2")
    assert other.logged == []


def test_a_rule_with_exceptions_decides_for_the_others_only() -> None:
    side = Side(not_ports=(PortRange(80, 80),))
    for action, other in (("allow", "deny"), ("deny", "allow")):
        wanted = guarded_by(Rule(action, destination=side), Rule(other))
        assert trace(wanted, HELLO, "tor1", "tor2").accepted is (other == "allow")
        for packet in (HELLO._replace(port=81), HELLO._replace(protocol=47)):
            assert trace(wanted, packet, "tor1", "tor2").accepted is (action == "allow")


def test_a_pass_with_exceptions_leaves_the_tier() -> None:
    side = Side(not_ports=(PortRange(80, 80),))
    wanted = guarded_by(Rule("pass", destination=side))
    assert not trace(wanted, HELLO, "tor1", "tor2").accepted
    assert trace(wanted, HELLO._replace(port=81), "tor1", "tor2").accepted


def test_a_rule_s_name_is_told_to_people_and_starts_with_no_dash() -> None:
    rules = (
        Rule("deny", name="no web"),
        Rule("allow", name="--table -t nat"),
        Rule("pass", name="-"),
    )
    text = rules_text(render(guarded_by(*rules), 4))
    assert '-m comment --comment "no web" -j DROP' in text
    assert '-m comment --comment "table -t nat" -g tor-allow' in text
    assert '--comment ""' not in text and "--comment -" not in text


UNTRACKED = Policy(
    "GlobalNetworkPolicy/untracked",
    (Rule("allow", protocol=17), Rule("deny", protocol=132)),
    (Rule("allow", protocol=17), Rule("deny", protocol=132)),
)
STEP = (TierStep("default", (UNTRACKED.id,), "pass"),)


def test_what_an_untracked_policy_allows_is_neither_tracked_nor_judged_again() -> None:
    deny_all = HostEndpoint(
        "guard", "up", untracked_ingress=STEP, untracked_egress=STEP, forward_ingress=(
            TierStep("default", ("Profile/none",), "deny"),
        )
    )  # fmt: skip
    wanted = replace(PAIR, policies=(OPEN, UNTRACKED, Policy("Profile/none")), hosts=(deny_all,))
    for packet, ways in (
        (TO_ROUTER, ("up", None)),
        (FROM_ROUTER, (None, "up")),
        (IN, ("up", "tor1")),
    ):
        udp = trace(wanted, packet._replace(protocol=17), *ways)
        assert udp.accepted and udp.state == "UNTRACKED"
        tcp = trace(wanted, packet, *ways)
        assert not tcp.accepted and tcp.state == "NEW"
        sctp = trace(wanted, packet._replace(protocol=132), *ways)
        assert list(sctp.verdicts.values()) == ["DROP"]


def test_a_mark_that_somebody_brings_along_opens_nothing() -> None:
    guard = HostEndpoint("guard", "up", untracked_ingress=STEP, untracked_egress=STEP)
    wanted = replace(PAIR, policies=(OPEN, UNTRACKED), hosts=(guard,))
    for packet, ways in ((TO_ROUTER, ("up", None)), (FROM_ROUTER, (None, "up"))):
        assert not trace(wanted, packet, *ways, mark=MARK_MASK).accepted
    assert not trace(guarded_by(), HELLO, "tor1", "tor2", mark=MARK_MASK).accepted


def test_failsafe_ports_are_open_both_ways_before_anything_is_tracked() -> None:
    drop = Policy("GlobalNetworkPolicy/drop", (Rule("deny"),), (Rule("deny"),))
    step = (TierStep("default", (drop.id,), "pass"),)
    guard = HostEndpoint(
        "guard", "up", untracked_ingress=step, untracked_egress=step, pre_dnat=step
    )
    wanted = Filter(
        policies=(drop,),
        hosts=(guard,),
        failsafe_inbound=(OpenPort(6, 22),),
        failsafe_outbound=(OpenPort(17, 53, "192.0.2.0/24"),),
    )
    ssh, dns = TO_ROUTER._replace(port=22), FROM_ROUTER._replace(protocol=17, port=53)
    for packet, ways in ((ssh, ("up", None)), (dns, (None, "up"))):
        assert trace(wanted, packet, *ways).accepted
        answer = Packet(packet.destination, packet.source, packet.protocol, 40000, packet.port)
        assert trace(wanted, answer, *ways[::-1], state="ESTABLISHED").accepted
    assert not trace(wanted, TO_ROUTER, "up", None).accepted
    assert not trace(wanted, dns._replace(destination="198.51.100.1"), None, "up").accepted


def test_what_hosts_forward_undecided_is_left_to_others_and_what_they_allow_is_accepted() -> None:
    allow = Policy("GlobalNetworkPolicy/web", (Rule("allow", protocol=6),), ())
    step = (TierStep("default", (allow.id,), "pass"),)
    for wanted in (GUARD, replace(GUARD, interface="*")):
        firewall = replace(PAIR, policies=(OPEN, allow), hosts=(wanted,))
        assert trace(firewall, TO_ROUTER, "up", "br0").verdicts["filter FORWARD"] is None
        asked = replace(firewall, hosts=(replace(wanted, forward_ingress=step),))
        assert trace(asked, TO_ROUTER, "up", "br0").verdicts["filter FORWARD"] == "ACCEPT"
        udp = trace(asked, TO_ROUTER._replace(protocol=17), "up", "br0")
        assert udp.verdicts["filter FORWARD"] is None

    marked = trace(firewall, TO_ROUTER, "up", "br0", mark=MARK_MASK)
    assert marked.verdicts["filter FORWARD"] is None


DENY = Policy("GlobalNetworkPolicy/deny", (Rule("deny"),), (Rule("deny"),))
DENY_STEP = (TierStep("default", (DENY.id,), "pass"),)


def test_what_is_translated_is_judged_by_the_interface_it_leaves_by() -> None:
    shut = HostEndpoint("shut", "eth0")
    for closed, passes in (("eth0", True), ("eth1", False)):
        hosts = replace(shut, interface=closed), replace(GUARD, interface=OTHER[closed])
        firewall = Filter(policies=(OPEN,), hosts=hosts)
        translated = FROM_ROUTER._replace(destination="198.51.100.1")
        ways = {"first_oif": "eth0", "translated": translated}
        journey = trace(firewall, FROM_ROUTER, None, "eth1", **ways)
        assert journey.accepted is passes
        known = trace(firewall, FROM_ROUTER, None, "eth1", state="ESTABLISHED", **ways)
        assert known.accepted


OTHER = {"eth0": "eth1", "eth1": "eth0"}


def test_all_others_are_not_those_that_have_a_guard_of_their_own() -> None:
    strict = HostEndpoint(
        "strict", "*", untracked_ingress=DENY_STEP, pre_dnat=DENY_STEP, forward_ingress=DENY_STEP
    )
    firewall = Filter(policies=(OPEN, DENY), hosts=(GUARD, strict))
    for oif in (None, "br0"):
        assert trace(firewall, TO_ROUTER, "up", oif).accepted
        assert not trace(firewall, TO_ROUTER, "eth7", oif).accepted
    assert trace(firewall, TO_ROUTER, "lo", None).accepted


def test_what_an_untracked_policy_allows_no_pre_dnat_policy_denies() -> None:
    guard = HostEndpoint("guard", "up", untracked_ingress=STEP, pre_dnat=DENY_STEP)
    firewall = Filter(policies=(UNTRACKED, DENY), hosts=(guard,))
    assert trace(firewall, TO_ROUTER._replace(protocol=17), "up", None).accepted
    assert not trace(firewall, TO_ROUTER, "up", None).accepted


def test_a_pass_holds_for_its_tier_only() -> None:
    """A mark that stayed would end the next tier, or a profile, too early."""
    first, second, third = (f"NetworkPolicy/shop/{each}" for each in ("first", "second", "third"))
    steps = TierStep("one", (first,), "deny"), TierStep("two", (second, third), "pass")
    policies = (
        OPEN,
        Policy(first, (Rule("pass"),)),
        Policy(second, (Rule("pass", protocol=17),)),
        Policy(third, (Rule("deny", protocol=6),)),
        Policy(
            "Profile/odd",
            (
                Rule("allow", destination=Side(not_ports=(PortRange(80, 80),))),
                Rule("allow", protocol=17),
            ),
        ),
    )
    two = replace(TWO, ingress=steps, profiles=("Profile/odd",))
    firewall = Filter((ONE, two), policies)
    assert not trace(firewall, HELLO._replace(port=81), "tor1", "tor2").accepted
    assert trace(firewall, HELLO._replace(protocol=17), "tor1", "tor2").accepted
    only_one = replace(firewall, endpoints=(ONE, replace(two, ingress=steps[:1])))
    assert trace(only_one, HELLO._replace(protocol=17), "tor1", "tor2").accepted
    assert not trace(only_one, HELLO, "tor1", "tor2").accepted


def test_what_policy_has_cut_the_host_does_not_go_on_with() -> None:
    packet = Packet("192.0.2.1", "10.65.0.1", 6, 80, 40000)
    for connmark, passes in ((0, True), (REVOKED, False)):
        journey = trace(PAIR, packet, None, "tor1", state="ESTABLISHED", connmark=connmark)
        assert journey.accepted is passes
        answer = Packet("10.65.0.1", "192.0.2.1", 6, 40000, 80)
        journey = trace(PAIR, answer, "tor1", None, state="ESTABLISHED", connmark=connmark)
        assert journey.accepted is passes


HOSTILE = (
    'a" -j ACCEPT',
    "a\n-A FORWARD -j ACCEPT",
    "a; reboot",
    "-t nat",
    "$(reboot)",
    "a+",
    "",
    "ä",
    "a b",
)


def endpoint(**changed) -> Filter:
    return replace(FULL, endpoints=(replace(DB, **changed),))


def policy_named(name: str) -> Filter:
    step = TierStep("default", (name,), "deny")
    allow = (Rule("log"), Rule("allow"))
    guarded = replace(DB, ingress=(step,), egress=(), profiles=())
    return Filter((guarded,), (Policy(name, allow, allow),))


PLACES = {
    "interface": lambda text: endpoint(interface=f"tor{text}" if text else ""),
    "endpoint": lambda text: endpoint(id=text),
    "address": lambda text: endpoint(addresses=(f"10.0.0.1{text}" if text else " ",)),
    "zone of an address": lambda text: endpoint(addresses=(f"10.0.0.1%{text}",)),
    "source prefix": lambda text: endpoint(allowed_sources=(f"10.0.0.0/8{text or ' '}",)),
    "tier": lambda text: endpoint(
        ingress=(TierStep(text, ("NetworkPolicy/shop/db-only",), "deny"),)
    ),
    "policy": policy_named,
    "host endpoint": lambda text: replace(FULL, hosts=(HostEndpoint(text, "eth0"),)),
    "host endpoint's interface": lambda text: replace(FULL, hosts=(HostEndpoint("x", text),)),
    "failsafe net": lambda text: replace(
        FULL,
        hosts=(GUARD,),
        policies=(*FULL.policies, OPEN),
        failsafe_inbound=(OpenPort(6, 22, f"10.0.0.0/8{text or ' '}"),),
    ),
    "set member": lambda text: replace(
        FULL, sets=(AddressSet("corp", frozenset({f"1.2.3.4{text or ' '}"})), MATES)
    ),
    "port set member": lambda text: replace(
        FULL, port_sets=(PortSet("db", frozenset({(f"1.2.3.4{text or ' '}", 6, 80)})),)
    ),
}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_never_reaches_a_rule(place: str, text: str) -> None:
    with pytest.raises(ValueError):
        render(PLACES[place](text), 4)


@pytest.mark.parametrize("name", [each for each in HOSTILE if each not in ("", "a b", "-t nat")])
def test_a_hostile_name_of_a_rule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="comment"):
        render(guarded_by(Rule("allow", name=name)), 4)


def test_a_long_id_is_cut_and_stays_unique() -> None:
    rulesets = [render(policy_named("NetworkPolicy/" + "x" * 300 + end), 4) for end in "ab"]
    prefixes = set()
    for ruleset in rulesets:
        tracer = IptablesTracer({4: ruleset})
        packet = Packet("192.0.2.2", DB.addresses[0], 6, 80, 40000)
        prefixes |= set(tracer.trace(packet, "up", DB.interface).logged)
    assert len(prefixes) == 2 and all(len(each) == 63 for each in prefixes)


def test_two_on_one_interface_are_refused() -> None:
    twin = replace(DB, id="bank/db-1")
    with pytest.raises(ValueError, match="two endpoints claim the interface tor2db"):
        render(replace(FULL, endpoints=(DB, twin)), 4)
    with pytest.raises(ValueError, match="two host endpoints claim the interface up"):
        render(replace(FULL, hosts=(GUARD, replace(GUARD, id="twin"))), 4)
