"""A rule of the model as nftables matches: one table, rule by rule."""

from __future__ import annotations

import pytest

from tortie.dataplane.nft import words
from tortie.dataplane.nft.rules import Members, matches, ranges
from tortie.desired import AddressSet, Icmp, PortRange, PortSet, Rule, Side

SETS = (
    AddressSet("hosts", frozenset({"10.0.0.1", "fd00::1"})),
    AddressSet("both", frozenset({"10.0.0.1"}), frozenset({"10.1.0.0/16"})),
    AddressSet("empty"),
    AddressSet("many", nets=frozenset({"10.4.0.0/16", "10.2.0.0/16"})),
)
PORT_SETS = (PortSet("http", frozenset({("10.0.0.1", 6, 80)})), PortSet("none"))
MEMBERS = Members.of(SETS, PORT_SETS)

HOSTS4, HOSTS6 = words.address_set("hosts", 4), words.address_set("hosts", 6)
BOTH_A, BOTH_N = words.address_set("both", 4), "10.1.0.0/16"
MANY = words.interval_set("ipv4_addr", ("10.2.0.0/16", "10.4.0.0/16"))
HTTP = words.port_set("http", 4)
WEB = (PortRange(80, 80),)
WEB_SET = words.interval_set("inet_service", ("80",))


ANY = Side()


def rule(protocol: int | None = None, source: Side = ANY, to: Side = ANY, **more) -> Rule:
    return Rule("allow", protocol=protocol, source=source, destination=to, **more)


V4, V6 = "meta nfproto ipv4", "meta nfproto ipv6"
PORTS = "{ 6, 17, 132 }"
RULES = {
    "anything": (rule(), [""]),
    "one rule serves both families": (rule(6, to=Side(ports=WEB)), ["meta l4proto 6 th dport 80"]),
    "one family": (rule(family=6), [V6]),
    "ports are joined": (
        rule(17, Side(ports=(PortRange(9, 12), *WEB, PortRange(10, 20)))),
        [f"meta l4proto 17 th sport @{words.interval_set('inet_service', ('9-20', '80'))}"],
    ),
    "ports of any protocol that has them": (
        rule(to=Side(ports=WEB)),
        [f"meta l4proto {PORTS} th dport 80"],
    ),
    "ports of a protocol that has none": (rule(47, to=Side(ports=WEB)), []),
    "not a port": (
        rule(6, to=Side(not_ports=WEB)),
        [f"meta l4proto 6 th dport != @{WEB_SET}"],
    ),
    "not a port: what has no ports matches": (
        rule(to=Side(not_ports=WEB)),
        [f"meta l4proto != {PORTS}", f"meta l4proto {PORTS} th dport != @{WEB_SET}"],
    ),
    "not a port of a protocol that has none": (
        rule(47, to=Side(not_ports=WEB)),
        ["meta l4proto 47"],
    ),
    "a prefix binds to its family": (
        rule(source=Side(nets=("10.0.0.0/8",))),
        [f"{V4} ip saddr 10.0.0.0/8"],
    ),
    "prefixes are collapsed, hosts bare": (
        rule(source=Side(nets=("10.0.1.0/24", "10.0.0.0/24", "10.9.9.9/32", "fd00::/64"))),
        [
            f"{V4} ip saddr @{words.interval_set('ipv4_addr', ('10.0.0.0/23', '10.9.9.9'))}",
            f"{V6} ip6 saddr fd00::/64",
        ],
    ),
    "the whole of a family": (rule(to=Side(nets=("0.0.0.0/0",))), [V4]),
    "a prefix of the other family": (rule(family=6, to=Side(nets=("10.0.0.0/8",))), []),
    "not in a prefix": (
        rule(to=Side(not_nets=("10.0.0.0/8",))),
        [f"{V4} ip daddr != 10.0.0.0/8", V6],
    ),
    "not in the whole of a family": (rule(to=Side(not_nets=("0.0.0.0/0",))), [V6]),
    "a set": (
        rule(source=Side(sets=("hosts",))),
        [f"{V4} ip saddr @{HOSTS4}", f"{V6} ip6 saddr @{HOSTS6}"],
    ),
    "a set of addresses and prefixes": (
        rule(source=Side(sets=("both",))),
        [f"{V4} ip saddr @{BOTH_A}", f"{V4} ip saddr {BOTH_N}"],
    ),
    "several sets must all match": (
        rule(family=4, source=Side(sets=("hosts", "both"))),
        [
            f"{V4} ip saddr @{HOSTS4} ip saddr @{BOTH_A}",
            f"{V4} ip saddr @{HOSTS4} ip saddr {BOTH_N}",
        ],
    ),
    "not in a set": (
        rule(family=4, source=Side(not_sets=("both",))),
        [f"{V4} ip saddr != @{BOTH_A} ip saddr != {BOTH_N}"],
    ),
    "a set of prefixes": (rule(source=Side(sets=("many",))), [f"{V4} ip saddr @{MANY}"]),
    "the same prefixes": (
        rule(source=Side(not_nets=("10.2.0.0/16", "10.4.0.0/16"))),
        [f"{V4} ip saddr != @{MANY}", V6],
    ),
    "in an empty set": (rule(source=Side(sets=("empty",))), []),
    "not in an empty set": (rule(source=Side(not_sets=("empty",))), [V4, V6]),
    "a named port or a number": (
        rule(6, to=Side(ports=WEB, port_sets=("http", "none"))),
        [
            f"{V4} meta l4proto 6 th dport 80",
            f"{V4} meta l4proto 6 ip daddr . meta l4proto . th dport @{HTTP}",
            f"{V6} meta l4proto 6 th dport 80",
        ],
    ),
    "a named port that nobody has": (rule(6, to=Side(port_sets=("none",))), []),
    "not a named port": (
        rule(6, to=Side(not_port_sets=("http",))),
        [
            f"{V4} meta l4proto 6 ip daddr . meta l4proto . th dport != @{HTTP}",
            f"{V6} meta l4proto 6",
        ],
    ),
    "ICMP is IPv4": (rule(1), [f"{V4} meta l4proto 1"]),
    "ICMPv6 is IPv6": (rule(58), [f"{V6} meta l4proto 58"]),
    "ICMP in IPv6": (rule(1, family=6), []),
    "an ICMP type": (rule(1, icmp=Icmp(8)), [f"{V4} meta l4proto 1 icmp type 8"]),
    "an ICMPv6 type and code": (
        rule(58, icmp=Icmp(1, 4)),
        [f"{V6} meta l4proto 58 icmpv6 type 1 icmpv6 code 4"],
    ),
    "not a type and code, as one thing": (
        rule(1, not_icmp=Icmp(8, 0)),
        [f"{V4} meta l4proto 1 icmp type . icmp code != {{ 8 . 0 }}"],
    ),
    "not a type": (rule(58, not_icmp=Icmp(128)), [f"{V6} meta l4proto 58 icmpv6 type != 128"]),
    "not a protocol": (rule(not_protocol=6), ["meta l4proto != 6"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_matches_as(name: str) -> None:
    wanted, expected = RULES[name]
    assert matches(wanted, MEMBERS) == expected


def test_what_rules_look_into_is_gathered() -> None:
    members = Members.of(SETS, PORT_SETS)
    matches(rule(6, to=Side(ports=(*WEB, PortRange(9, 12)))), members)
    wanted = {"10.2.0.0/16", "10.4.0.0/16"}, {"9-12", "80"}
    assert [(spec.elements, spec.interval) for spec in members.intervals.values()] == [
        (each, True) for each in wanted
    ]


@pytest.mark.parametrize("bad", [PortRange(5, 4), PortRange(-1, 4), PortRange(1, 65536)])
def test_what_is_no_range_of_ports_is_refused(bad: PortRange) -> None:
    with pytest.raises(ValueError, match="not a range"):
        ranges([bad])
