"""Who and what a question means: names, addresses, `outside`, PROTO/PORT."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import CALICO, host, meta, netset, node, policy, rule, workload

from tortie.errors import UsageError
from tortie.explain import answer, question
from tortie.explain.oracle import Flow, Reading, judge_in
from tortie.explain.places import Place, concerning, outside, resolve
from tortie.model import resources as r

STAR = r.HostEndpoint(
    api_version=CALICO,
    metadata=meta("beta-star"),
    spec=r.HostEndpointSpec(node="beta", interface_name="*"),
)
TOWN = (
    node("alpha", "192.168.50.1/24", "fd50::1/64", more=("203.0.113.1",)),
    node("beta", "192.168.50.2/24"),
    node("bare"),
    host("gate", "192.168.50.3", on="alpha", ports=[("ssh", "TCP", 22)]),
    host("alpha", "192.168.50.4", on="alpha"),
    STAR,
    workload(
        "shop/web-1",
        "10.0.0.1",
        "fd00::1",
        ports=[("http", "TCP", 80), ("http", "TCP", 8080), ("dns", "UDP", 53)],
    ),
    workload("shop/db", "10.0.0.2", on="beta"),
    workload("bank/db", "10.0.1.2"),
    workload("bank/lost"),
    workload("bank/beta", "10.0.1.3"),
    workload("one/twin", "10.0.2.1"),
    workload("two/sister", "10.0.2.1"),
)
MACHINES = {"internet": "203.0.113.2"}

# what is typed, kind, name, addresses
FOUND = [
    ("shop/web-1", "workload", "shop/web-1", "10.0.0.1 fd00::1"),
    ("web-1", "workload", "shop/web-1", "10.0.0.1 fd00::1"),
    ("alpha-tortie-web--1-eth0", "workload", "shop/web-1", "10.0.0.1 fd00::1"),
    ("shop/alpha-tortie-web--1-eth0", "workload", "shop/web-1", "10.0.0.1 fd00::1"),
    ("bank/db", "workload", "bank/db", "10.0.1.2"),
    ("alpha", "host", "alpha", "192.168.50.1 fd50::1"),
    ("gate", "host endpoint", "gate", "192.168.50.3"),
    ("beta-star", "host endpoint", "beta-star", "192.168.50.2"),
    ("internet", "machine", "internet", "203.0.113.2"),
    ("10.0.0.2", "workload", "shop/db", "10.0.0.2"),
    ("fd00:0::1", "workload", "shop/web-1", "fd00::1"),
    ("192.168.50.1", "host", "alpha", "192.168.50.1"),
    ("203.0.113.2", "machine", "internet", "203.0.113.2"),
    ("10.0.2.1", "address", "10.0.2.1", "10.0.2.1"),
    ("8.8.8.8", "address", "8.8.8.8", "8.8.8.8"),
    ("169.254.1.1", "address", "169.254.1.1", "169.254.1.1"),
]
# what is typed, what is said
REFUSED = [
    ("shop/web-2", 'nothing is called "shop/web-2"; did you mean shop/web-1?'),
    ("alhpa", 'nothing is called "alhpa"; did you mean alpha?'),
    ("outsid", "did you mean outside?"),
    ("zzzzzz", "give NAMESPACE/NAME, a host, an address"),
    ("db", '"db" may mean workload shop/beta-tortie-db-eth0, workload bank/alpha-tortie-db-eth0;'),
    ("beta", '"beta" may mean workload bank/alpha-tortie-beta-eth0, host beta;'),
    ("lost", "workload bank/lost has no address"),
    ("bare", "host bare has no address"),
    ("10.0.0.0/24", '"10.0.0.0/24" is a prefix; give one address, such as 10.0.0.255'),
    ("10.0.300.1", '"10.0.300.1" is no address; give four numbers from 0 to 255'),
    ("fd00::0::1", '"fd00::0::1" is no address'),
    ("shop/nope", '"shop/nope"; give NAMESPACE/NAME'),
    ("fe80::1%eth0", "nothing is called"),
    ("", 'nothing is called ""'),
    ("\x1b[31m", r'nothing is called "\u001b[31m"'),
]


@pytest.mark.parametrize(("text", "kind", "name", "addresses"), FOUND)
def test_a_name_or_address_is_somebody(text: str, kind: str, name: str, addresses: str) -> None:
    place = resolve(text, TOWN, MACHINES)
    assert (place.kind, place.name, " ".join(place.addresses)) == (kind, name, addresses)


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_is_nobody_is_said_with_the_nearest(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(text, TOWN, MACHINES)
    assert says in str(caught.value)


def test_a_hosts_ports_are_those_of_its_host_endpoints() -> None:
    assert resolve("alpha", TOWN).ports == (("ssh", 6, 22),)


# --- outside ----------------------------------------------------------------------------------


def test_outside_is_an_address_of_each_family() -> None:
    assert [ip_address(one).version for one in outside(TOWN).addresses] == [4, 6]


@pytest.mark.parametrize(
    "named",
    [
        netset("partners", "198.51.100.0/24", "2001:db8::/32"),
        netset("shop/partners", "198.51.100.9/32", "2001:db8:ffff::9/128"),
        policy("p", ingress=[rule("Allow", {"nets": ["198.51.100.0/25", "2001:db8:ffff::/48"]})]),
        policy("p", egress=[rule("Deny", None, {"not_nets": ["198.51.100.0/25", "2001:db8::/33",
                                                            "2001:db8:8000::/33"]})]),
        node("gamma", "198.51.100.1/24", "2001:db8:ffff::1/64"),
        host("gate", "198.51.100.9", "2001:db8:ffff::9"),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_outside_is_in_no_prefix_that_is_named(named: r.Resource) -> None:
    assert set(outside([named]).addresses).isdisjoint(outside([]).addresses)


NETS = st.lists(st.builds(
    lambda number, length: str(ip_network((number, length), strict=False)),
    st.integers(0, 2**32 - 1), st.integers(1, 32),
), max_size=12)  # fmt: skip


@given(NETS)
def test_outside_is_outside_whatever_is_named(nets: list[str]) -> None:
    for text in outside([netset("named", *nets)]).addresses:
        assert not any(ip_address(text) in ip_network(net) for net in nets)


def test_the_prefix_of_all_leaves_an_outside() -> None:
    every = netset("every", "0.0.0.0/0", "::/0")
    assert outside([every]) == outside([])


def test_if_everything_is_named_nothing_is_outside() -> None:
    with pytest.raises(UsageError, match="none is outside"):
        outside([netset("halves", "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")])


# --- PROTO/PORT -------------------------------------------------------------------------------

BOTH = Place("workload", "shop/web-1", ("10.0.0.1", "fd00::1"), ports=(("http", 6, 80),
             ("http", 6, 8080), ("dns", 17, 53)))  # fmt: skip
FOUR = Place("address", "10.9.9.9", ("10.9.9.9",))
SIX = Place("address", "fd09::9", ("fd09::9",))


def asked(what: str, source: Place, destination: Place, port: int | None = None) -> str:
    found = question.flows(question.parse(what), source, destination, port)
    return ", ".join(_shown(flow) for flow in found)


def _shown(flow: Flow) -> str:
    parts = [flow.protocol, *(flow.icmp or ()), *([flow.port] if flow.port else ())]
    text = f"{ip_address(flow.source).version}: {'/'.join(map(str, parts))}"
    return text + (f" from {flow.source_port}" if flow.source_port else "")


# what, from, to, the packets
MEANT = [
    ("tcp/80", FOUR, BOTH, "4: 6/80 from 40000"),
    ("TCP/80", SIX, BOTH, "6: 6/80 from 40000"),
    ("udp/53", BOTH, BOTH, "4: 17/53 from 40000, 6: 17/53 from 40000"),
    ("sctp/9", FOUR, BOTH, "4: 132/9 from 40000"),
    ("6/80", FOUR, BOTH, "4: 6/80 from 40000"),
    ("tcp/http", FOUR, BOTH, "4: 6/80 from 40000, 4: 6/8080 from 40000"),
    ("udp/dns", FOUR, BOTH, "4: 17/53 from 40000"),
    ("47", BOTH, BOTH, "4: 47, 6: 47"),
    ("udplite", FOUR, BOTH, "4: 136"),
    ("icmp", BOTH, BOTH, "4: 1/8/0, 6: 58/128/0"),
    ("icmp/8", BOTH, BOTH, "4: 1/8/0, 6: 58/128/0"),
    ("icmp/8/0", SIX, BOTH, "6: 58/128/0"),
    ("icmp/128", FOUR, BOTH, "4: 1/8/0"),
    ("icmp/3/4", BOTH, BOTH, "4: 1/3/4, 6: 58/3/4"),
    ("icmpv6", BOTH, BOTH, "6: 58/128/0"),
    ("icmpv6/135", BOTH, BOTH, "6: 58/135/0"),
    ("1/8", BOTH, BOTH, "4: 1/8/0"),
    ("58/8", BOTH, BOTH, "6: 58/8/0"),
    ("tcp/80", FOUR, SIX, "4: 6/80 from 40000"),
]
# what, what is said
UNASKABLE = [
    ("tcp", '"tcp" names no port; write tcp/80'),
    ("tcp/", "names no port"),
    ("tcp/80/1", "names no port"),
    ("tcp/0", '"0" is no port; ports are 1 to 65535'),
    ("tcp/65536", "is no port"),
    ("tcp/htp", 'shop/web-1 names no tcp port "htp"; did you mean http?'),
    ("udp/http", 'shop/web-1 names no udp port "http"; known: dns'),
    ("sctp/http", 'names no sctp port "http"; give a number'),
    ("tpc/80", '"tpc" is no protocol; did you mean tcp?'),
    ("0", '"0" is no protocol; write tcp/80'),
    ("256", "is no protocol"),
    ("", "is no protocol"),
    ("47/1", "protocol 47 has no ports; write 47 alone"),
    ("icmp/echo", '"icmp/echo" is no ICMP type'),
    ("icmp/256", "is no ICMP type"),
    ("icmp/8/0/0", "is no ICMP type"),
]


@pytest.mark.parametrize(("what", "source", "destination", "packets"), MEANT)
def test_what_is_asked_is_these_packets(
    what: str, source: Place, destination: Place, packets: str
) -> None:
    assert asked(what, source, destination) == packets


@pytest.mark.parametrize(("what", "says"), UNASKABLE)
def test_what_cannot_be_asked(what: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(what, FOUR, BOTH)
    assert says in str(caught.value)


def test_icmp_of_a_family_that_nobody_has() -> None:
    with pytest.raises(UsageError, match="of a family that these ends do not have"):
        asked("icmpv6", FOUR, BOTH)


def test_a_source_port_is_for_what_has_ports() -> None:
    assert asked("tcp/80", FOUR, BOTH, 53) == "4: 6/80 from 53"
    with pytest.raises(UsageError, match="47 has no ports; leave --source-port out"):
        asked("47", FOUR, BOTH, 53)


# --- the answer -------------------------------------------------------------------------------


def test_endpoints_that_nobody_asked_about_change_no_answer() -> None:
    world = (*TOWN, policy("shop/p", selector="all()", ingress=[rule("Allow", "all()")]))
    ends = [resolve("shop/db", world), resolve("web-1", world)]
    fewer = concerning(world, ends)
    assert len(fewer) == len(world) - 5
    flows = question.flows(question.parse("tcp/80"), *ends)
    for flow in flows:
        assert judge_in(Reading(tuple(fewer)), flow) == judge_in(Reading(world), flow)


def test_an_answer_calls_everybody_by_a_short_name() -> None:
    world = (*TOWN, policy("shop/p", selector="all()", ingress=[rule("Deny")]))
    ends = [resolve("shop/db", world), resolve("web-1", world)]
    flows = question.flows(question.parse("tcp/80"), *ends)
    made = answer.make("tcp/80", *ends, answer.judge(Reading(world), flows))
    assert made.verdict == "DENIED"
    assert made.source.addresses == ["10.0.0.2"]
    assert made.destination.addresses == ["10.0.0.1"]  # nobody asked about the other
    assert made.judged[0].by == "NetworkPolicy/shop/p"
    assert made.judged[0].steps[-1].evaluation == "ingress of shop/web-1"
