"""A rule of the model as iptables matches: one table, rule by rule."""

from __future__ import annotations

import pytest

from tortie.dataplane.iptables.lookups import Lookups
from tortie.dataplane.iptables.rules import SOURCE, matches, openings, port_lists
from tortie.dataplane.iptables.ruleset import SetSpec
from tortie.desired import AddressSet, Filter, Icmp, OpenPort, PortRange, PortSet, Rule, Side

SETS = (
    AddressSet("hosts", frozenset({"10.0.0.1", "fd00::1"})),
    AddressSet("both", frozenset({"10.0.0.1"}), frozenset({"10.1.0.0/16"})),
    AddressSet("empty"),
    AddressSet("all", nets=frozenset({"0.0.0.0/0"})),
)
PORT_SETS = (PortSet("http", frozenset({("10.0.0.1", 6, 80)})), PortSet("none"))
FILTER = Filter(sets=SETS, port_sets=PORT_SETS)
SPECS = {
    "HOSTS": SetSpec("hash:ip", frozenset({"10.0.0.1"})),
    "BOTH": SetSpec("hash:net", frozenset({"10.0.0.1", "10.1.0.0/16"})),
    "ALL": SetSpec("hash:net", frozenset({"0.0.0.0/1", "128.0.0.0/1"})),
    "HTTP": SetSpec("hash:ip,port", frozenset({"10.0.0.1,tcp:80"})),
    "TWO": SetSpec("hash:net", frozenset({"10.2.0.0/16", "10.4.0.0/16"})),
    "HOSTS6": SetSpec("hash:ip", frozenset({"fd00::1"})),
}
"""What the sets hold that stand in the table by these names."""

WEB = (PortRange(80, 80),)
MANY = tuple(PortRange(at, at) for at in range(100, 132, 2))  # 16 ports
MANY_WORDS = ("100,102,104,106,108,110,112,114,116,118,120,122,124,126,128", "130")
TWO = ("10.4.0.0/16", "10.2.0.0/16")
ANY = Side()


def rule(protocol: int | None = None, source: Side = ANY, to: Side = ANY, **more) -> Rule:
    return Rule("allow", protocol=protocol, source=source, destination=to, **more)


def each(text: str) -> list[str]:
    return [f"-p {protocol} {text}" for protocol in ("tcp", "udp", "sctp")]


IPV4 = {
    "anything": (rule(), [""]),
    "the other family": (rule(family=6), []),
    "a protocol": (rule(6), ["-p tcp"]),
    "a protocol by number": (rule(47), ["-p 47"]),
    "not a protocol": (rule(not_protocol=6), ["! -p tcp"]),
    "not its own protocol": (rule(6, not_protocol=6), []),
    "a port": (rule(6, to=Side(ports=WEB)), ["-p tcp -m multiport --dports 80"]),
    "ports are joined": (
        rule(17, Side(ports=(PortRange(9, 12), *WEB, PortRange(10, 20)))),
        ["-p udp -m multiport --sports 9:20,80"],
    ),
    "more than fifteen ports": (
        rule(6, to=Side(ports=MANY)),
        [f"-p tcp -m multiport --dports {words}" for words in MANY_WORDS],
    ),
    "none of more than fifteen ports": (
        rule(6, to=Side(not_ports=MANY)),
        ["-p tcp " + " ".join(f"-m multiport ! --dports {words}" for words in MANY_WORDS)],
    ),
    "ports of any protocol that has them": (
        rule(to=Side(ports=WEB)),
        each("-m multiport --dports 80"),
    ),
    "ports of any protocol but one": (
        rule(to=Side(ports=WEB), not_protocol=17),
        [*each("-m multiport --dports 80")[::2]],
    ),
    "both ports of one protocol": (
        rule(to=Side(ports=WEB), source=Side(ports=WEB)),
        each("-m multiport --sports 80 -m multiport --dports 80"),
    ),
    "ports of a protocol that has none": (rule(47, to=Side(ports=WEB)), []),
    "not a port": (rule(6, to=Side(not_ports=WEB)), ["-p tcp -m multiport ! --dports 80"]),
    "not a port of a protocol that has none": (rule(47, to=Side(not_ports=WEB)), ["-p 47"]),
    "a prefix": (rule(source=Side(nets=("10.0.0.0/8",))), ["-s 10.0.0.0/8"]),
    "a host": (rule(to=Side(nets=("10.0.0.1/32",))), ["-d 10.0.0.1/32"]),
    "prefixes are joined": (
        rule(source=Side(nets=("10.0.1.0/24", "10.0.0.0/24"))),
        ["-s 10.0.0.0/23"],
    ),
    "one of several prefixes": (rule(source=Side(nets=TWO)), ["-m set --match-set TWO src"]),
    "none of several": (rule(to=Side(not_nets=TWO)), ["-m set ! --match-set TWO dst"]),
    "not in a prefix": (rule(to=Side(not_nets=("10.0.0.0/8",))), ["! -d 10.0.0.0/8"]),
    "in a prefix and not in others": (
        rule(to=Side(nets=("10.0.0.0/8",), not_nets=TWO)),
        ["-d 10.0.0.0/8 -m set ! --match-set TWO dst"],
    ),
    "the whole of a family": (rule(to=Side(nets=("0.0.0.0/0",))), [""]),
    "not in the whole of a family": (rule(to=Side(not_nets=("0.0.0.0/0",))), []),
    "a prefix of the other family": (rule(to=Side(nets=("fd00::/8",))), []),
    "not in a prefix of the other family": (rule(to=Side(not_nets=("fd00::/8",))), [""]),
    "a set of hosts": (rule(source=Side(sets=("hosts",))), ["-m set --match-set HOSTS src"]),
    "a set of hosts and prefixes": (rule(to=Side(sets=("both",))), ["-m set --match-set BOTH dst"]),
    "a set that is all of the family": (
        rule(to=Side(sets=("all",))),
        ["-m set --match-set ALL dst"],
    ),
    "several sets must all match": (
        rule(source=Side(sets=("hosts", "both"))),
        ["-m set --match-set HOSTS src -m set --match-set BOTH src"],
    ),
    "not in a set": (
        rule(source=Side(not_sets=("both",))),
        ["-m set ! --match-set BOTH src"],
    ),
    "in an empty set": (rule(source=Side(sets=("empty",))), []),
    "not in an empty set": (rule(source=Side(not_sets=("empty",))), [""]),
    "a named port or a number": (
        rule(6, to=Side(ports=WEB, port_sets=("http", "none"))),
        ["-p tcp -m multiport --dports 80", "-p tcp -m set --match-set HTTP dst,dst"],
    ),
    "a named port that nobody has": (rule(6, to=Side(port_sets=("none",))), []),
    "not a named port": (
        rule(to=Side(not_port_sets=("http", "none"))),
        ["-m set ! --match-set HTTP dst,dst"],
    ),
    "ICMP": (rule(1), ["-p icmp"]),
    "ICMPv6 is IPv6": (rule(58), []),
    "an ICMP type": (rule(1, icmp=Icmp(8)), ["-p icmp -m icmp --icmp-type 8"]),
    "an ICMP type says the protocol": (rule(icmp=Icmp(8)), ["-p icmp -m icmp --icmp-type 8"]),
    "an ICMP type of a protocol that has none": (rule(6, icmp=Icmp(8)), []),
    "not a type and code, as one thing": (
        rule(1, not_icmp=Icmp(8, 0)),
        ["-p icmp -m icmp ! --icmp-type 8/0"],
    ),
    "what is not ICMP is not that ICMP": (rule(6, not_icmp=Icmp(8)), ["-p tcp"]),
}
"""Without exceptions."""

EXCEPT = {
    "not a port: what has no ports matches": (
        rule(source=Side(sets=("hosts",)), to=Side(not_ports=WEB)),
        ["-m set --match-set HOSTS src"],
        each("-m multiport --dports 80"),
    ),
    "neither these ports nor those": (
        rule(source=Side(not_ports=MANY), to=Side(not_ports=WEB)),
        [""],
        [
            line
            for protocol in ("tcp", "udp", "sctp")
            for line in (f"-p {protocol} -m multiport --sports {words}" for words in MANY_WORDS)
        ]
        + each("-m multiport --dports 80"),
    ),
    "not an ICMP type: what is not ICMP matches": (
        rule(not_icmp=Icmp(8, 0), not_protocol=6),
        ["! -p tcp"],
        ["-p icmp -m icmp --icmp-type 8/0"],
    ),
    "not an ICMP type, and not ICMP": (rule(not_icmp=Icmp(8), not_protocol=1), ["! -p icmp"], []),
}

IPV6 = {
    "a prefix": (rule(source=Side(nets=("fd00::/8", "10.0.0.0/8"))), ["-s fd00::/8"]),
    "a host": (rule(to=Side(nets=("fd00::1/128",))), ["-d fd00::1/128"]),
    "a set": (rule(source=Side(sets=("hosts",))), ["-m set --match-set HOSTS6 src"]),
    "ICMP is IPv4": (rule(1), []),
    "an ICMPv6 type and code": (
        rule(58, icmp=Icmp(1, 4)),
        ["-p ipv6-icmp -m icmp6 --icmpv6-type 1/4"],
    ),
    "not an ICMPv6 type": (
        rule(58, not_icmp=Icmp(128)),
        ["-p ipv6-icmp -m icmp6 ! --icmpv6-type 128"],
    ),
}


def rendered(wanted: Rule, family: int) -> tuple[list[str], list[str]]:
    """What it matches and what not; sets by the names in SPECS."""
    lookups = Lookups(FILTER, family)
    found = matches(wanted, lookups)
    names = {
        name: key for name, spec in lookups.sets.items() for key in SPECS if SPECS[key] == spec
    }

    def named(lines):
        return [" ".join(names.get(word, word) for word in line.split()) for line in lines]

    return named(found.any_of), sorted(named(found.but))


@pytest.mark.parametrize("name", IPV4)
def test_a_rule_matches_in_ipv4_as(name: str) -> None:
    wanted, expected = IPV4[name]
    assert rendered(wanted, 4) == (expected, [])


@pytest.mark.parametrize("name", EXCEPT)
def test_a_rule_matches_with_exceptions(name: str) -> None:
    wanted, expected, but = EXCEPT[name]
    assert rendered(wanted, 4) == (expected, sorted(but))


@pytest.mark.parametrize("name", IPV6)
def test_a_rule_matches_in_ipv6_as(name: str) -> None:
    wanted, expected = IPV6[name]
    assert rendered(wanted, 6) == (expected, [])


def test_equal_members_are_one_set() -> None:
    twins = (*SETS, AddressSet("twin", frozenset({"10.0.0.1"})))
    lookups = Lookups(Filter(sets=twins), 4)
    assert lookups.addresses("hosts") == lookups.addresses("twin")
    assert len(lookups.sets) == 1
    assert lookups.addresses("empty") is None


def test_a_range_takes_two_of_fifteen_places() -> None:
    ranges = [PortRange(at, at + 1) for at in range(0, 40, 4)]
    assert [each.count(":") for each in port_lists(ranges)] == [7, 3]


def test_open_ports_are_listed_by_net() -> None:
    ports = (
        OpenPort(6, 22),
        OpenPort(6, 179, "10.0.0.0/8"),
        OpenPort(6, 2379),
        OpenPort(17, 68),
        OpenPort(17, 53, "fd00::/8"),
        OpenPort(17, 67, "0.0.0.0/0"),
    )
    assert openings(ports, 4, SOURCE) == [
        "-p tcp -m multiport --dports 22,2379",
        "-p udp -m multiport --dports 68",
        "-p udp -m multiport --dports 67",
        "-s 10.0.0.0/8 -p tcp -m multiport --dports 179",
    ]


BAD = {
    "ports that end before they begin": rule(6, to=Side(ports=(PortRange(5, 4),))),
    "a negative port": rule(6, to=Side(not_ports=(PortRange(-1, 4),))),
    "a port that is too large": rule(6, to=Side(ports=(PortRange(1, 65536),))),
    "no prefix": rule(source=Side(nets=("10.0.0.0/8 -j ACCEPT",))),
    "a prefix with host bits": rule(source=Side(nets=("10.0.0.1/8",))),
    "protocol 0, which would mean any": rule(0),
    "no protocol": rule(256),
    "ICMP type 255, which would mean any": rule(1, icmp=Icmp(255)),
    "no ICMP code": rule(1, not_icmp=Icmp(8, 256)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        matches(BAD[name], Lookups(FILTER, 4))
