"""Whole filters as rule sets: golden text that nft takes, and nothing hostile in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from dataplane_nft import fresh_kernel
from iptables_worlds import GUARDED

from tortie.dataplane.nft import render, script_full
from tortie.desired import (
    AddressSet,
    Endpoint,
    Filter,
    HostEndpoint,
    Icmp,
    OpenPort,
    Policy,
    PortRange,
    PortSet,
    Rule,
    Side,
    TierStep,
)

HERE = Path(__file__).parent

WEB = Endpoint("shop/web-1", "tor1web", ("10.65.0.1", "fd65::1"), profiles=("Default/tenant/shop",))
MATES = AddressSet("mates", frozenset({"10.65.0.1", "10.65.0.2", "fd65::1"}))
TENANT = Policy(
    "Default/tenant/shop",
    ingress=(Rule("allow", source=Side(sets=("mates",))),),
    egress=(Rule("deny", destination=Side(nets=("172.16.0.0/24",))), Rule("allow")),
)
LOGGED = Policy(
    "NetworkPolicy/shop/db-only",
    ingress=(
        Rule("log", source=Side(sets=("corp",))),
        Rule("allow", protocol=6, source=Side(sets=("corp",)), destination=Side(port_sets=("db",))),
        Rule("deny", protocol=1, icmp=Icmp(8)),
    ),
)
ADMIN = Policy(
    "GlobalNetworkPolicy/admin.first",
    ingress=(
        Rule("pass", protocol=6, destination=Side(ports=(PortRange(5432, 5433),))),
        Rule("deny", not_protocol=17),
    ),
    egress=(Rule("pass", destination=Side(not_nets=("10.0.0.0/8",))), Rule("allow", protocol=6)),
)
DB = Endpoint(
    "shop/db-1",
    "tor2db",
    ("10.65.0.2",),
    mac="02:00:00:00:00:02",
    allowed_sources=("10.66.0.0/24", "fd66::/64"),
    ingress=(
        TierStep("admin", ("GlobalNetworkPolicy/admin.first",), "deny"),
        TierStep("default", ("NetworkPolicy/shop/db-only",), "deny"),
    ),
    egress=(TierStep("admin", ("GlobalNetworkPolicy/admin.first",), "pass"),),
    profiles=("Default/tenant/shop",),
)
CORP = AddressSet("corp", frozenset({"192.0.2.1"}), frozenset({"198.51.100.0/24"}))
FULL = Filter(
    endpoints=(WEB, DB),
    policies=(ADMIN, TENANT, LOGGED),
    sets=(CORP, MATES),
    port_sets=(PortSet("db", frozenset({("10.65.0.2", 6, 5432)})),),
)

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


@pytest.mark.parametrize("name", WORLDS)
def test_the_text_is_the_golden_one(name: str) -> None:
    assert script_full(render(WORLDS[name])) == (HERE / f"golden/{name}.nft").read_text()


@pytest.mark.kernel
@pytest.mark.parametrize("name", WORLDS)
def test_nft_accepts_it(name: str) -> None:
    with fresh_kernel() as nft:
        nft.check((HERE / f"golden/{name}.nft").read_text())
        assert nft.list_table("inet", "tortie") is None


def test_the_same_filter_gives_the_same_text() -> None:
    turned = msgspec.structs.replace(
        GUARDED,
        endpoints=GUARDED.endpoints[::-1],
        policies=GUARDED.policies[::-1],
        sets=GUARDED.sets[::-1],
        hosts=GUARDED.hosts[::-1],
    )
    assert script_full(render(turned)) == script_full(render(GUARDED))


def test_a_host_endpoint_governs_no_workload_s_interface_and_not_lo() -> None:
    hosts = tuple(HostEndpoint(f"h-{name}", name) for name in ("tor2db", "tor9", "lo"))
    guarded = msgspec.structs.replace(FULL, hosts=hosts)
    assert script_full(render(guarded)) == script_full(render(FULL))


NAMED = Filter(
    (msgspec.structs.replace(WEB, profiles=("Profile/named",)),),
    (
        Policy(
            "Profile/named",
            ingress=(
                Rule("log", name="1. look", protocol=6),
                Rule("log", name="2. look -_./:", source=Side(sets=("corp",))),
                Rule("pass", name="3"),
                Rule("deny", name="4" * 100),
                Rule("allow"),
            ),
        ),
    ),
    (CORP,),
    never_from_workloads=(Rule("deny", protocol=4, name="5"),),
)


def test_what_people_call_a_rule_is_told_where_it_stands() -> None:
    (table, _) = render(NAMED).tables
    lines = [line for chain in table.chains.values() for line in chain.rules]
    ends = {"look": 'group 84 comment "1. look"', "jump": 'comment "2. look -_./:"',
            "pass": 'return comment "3"', "deny": f'counter drop comment "{"4" * 100}"',
            "never": 'meta l4proto 4 counter drop comment "5"'}  # fmt: skip
    assert {what: sum(line.endswith(end) for line in lines) for what, end in ends.items()} == (
        dict.fromkeys(ends, 1)
    )


@pytest.mark.kernel
def test_nft_takes_names_of_rules() -> None:
    with fresh_kernel() as nft:
        nft.run(script_full(render(NAMED)))
        assert 'comment "2. look -_./:"' in (nft.list_table("inet", "tortie") or "")


HOSTILE = (
    'a" drop',
    "a\nflush ruleset",
    "a; flush ruleset",
    "a}",
    "$(reboot)",
    "a*",
    "",
    "ä",
    'x" } ; #',
)


def endpoint(**changed) -> Filter:
    return msgspec.structs.replace(FULL, endpoints=(msgspec.structs.replace(DB, **changed),))


def policy_named(name: str) -> Filter:
    step = TierStep("default", (name,), "deny")
    allow = (Rule("log"), Rule("allow"))
    return Filter(
        (msgspec.structs.replace(DB, ingress=(step,), egress=(), profiles=()),),
        (Policy(name, allow, allow),),
    )


def hosted(**changed: object) -> Filter:
    return msgspec.structs.replace(GUARDED, **changed)


PLACES = {
    "host endpoint": lambda text: hosted(hosts=(HostEndpoint(text, "eth0"),)),
    "interface of the host": lambda text: hosted(hosts=(HostEndpoint("h", f"e{text or ' '}"),)),
    "net of a failsafe": lambda text: hosted(
        failsafe_inbound=(OpenPort(6, 22, f"10.0.0.0/8{text or ' '}"),)
    ),
    "name of a rule": lambda text: Filter(
        policies=(Policy("Profile/p", (Rule("allow", name=f"{text or '#'}"),)),),
        endpoints=(msgspec.structs.replace(WEB, profiles=("Profile/p",)),),
    ),
    "interface": lambda text: endpoint(interface=f"tor{text}" if text else ""),
    "endpoint": lambda text: endpoint(id=text),
    "address": lambda text: endpoint(addresses=(f"10.0.0.1{text}" if text else " ",)),
    "zone of an address": lambda text: endpoint(addresses=(f"fe80::1%{text}",)),
    "mac": lambda text: endpoint(mac=text or " "),
    "source prefix": lambda text: endpoint(allowed_sources=(f"10.0.0.0/8{text or ' '}",)),
    "tier": lambda text: endpoint(
        ingress=(TierStep(text, ("NetworkPolicy/shop/db-only",), "deny"),)
    ),
    "policy": policy_named,
    "set member": lambda text: msgspec.structs.replace(
        FULL, sets=(AddressSet("corp", frozenset({f"1.2.3.4{text or ' '}"})), MATES)
    ),
    "port set member": lambda text: msgspec.structs.replace(
        FULL, port_sets=(PortSet("db", frozenset({(f"1.2.3.4{text or ' '}", 6, 80)})),)
    ),
}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_never_reaches_a_script(place: str, text: str) -> None:
    with pytest.raises(ValueError):
        render(PLACES[place](text))


def test_an_id_of_a_set_is_never_written_but_hashed() -> None:
    wicked = 'x" } flush ruleset'
    sets = (AddressSet(wicked, frozenset({"10.0.0.1"})),)
    policy = Policy("Profile/p", (Rule("allow", source=Side(sets=(wicked,))),))
    guarded = msgspec.structs.replace(WEB, profiles=("Profile/p",))
    script = script_full(render(Filter((guarded,), (policy,), sets)))
    assert "flush" not in script and "10.0.0.1" in script


def test_a_long_id_is_cut_and_stays_unique() -> None:
    texts = {script_full(render(policy_named("NetworkPolicy/" + "x" * 300 + end))) for end in "ab"}
    assert len(texts) == 2
    assert all(len(line) < 300 for text in texts for line in text.splitlines())


def test_two_endpoints_on_one_interface_are_refused() -> None:
    twin = msgspec.structs.replace(DB, id="bank/db-1")
    with pytest.raises(ValueError, match="claim the interface tor2db"):
        render(msgspec.structs.replace(FULL, endpoints=(DB, twin)))
