"""Which connections are cut and freed as one filter follows another."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tortie import desired as d
from tortie.dataplane.alike import Alike
from tortie.dataplane.connections import ConnectionDriver
from tortie.dataplane.revocation import Revocation
from tortie.errors import KernelError
from tortie.kernel.conntrack import Connection, Way
from tortie.kernel.conntrack_fake import FakeConntrack
from tortie.kernel.rtnetlink import Address, Change, LinkState
from tortie.kernel.rtnetlink import Route as KernelRoute
from tortie.kernel.rtnetlink_fake import FakeNetlink

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
WEB, API, HOST, FAR, MANY = "10.65.0.1", "10.65.0.2", "192.0.2.1", "203.0.113.9", "224.0.0.251"
LOST = "10.65.0.77"
WEB6, FAR6 = "fd65::1", "2001:db8::9"


def tcp(source: str, target: str, port: int = 80, behind: str = "", at: int = 0) -> Connection:
    """`behind` and `at`: the address and port that its destination is translated to."""
    back = Way(behind or target, source, TCP, at or port, 40000)
    return Connection(Way(source, target, TCP, 40000, port), back)


def ping(source: str, target: str) -> Connection:
    number, asks, answers = (
        (ICMPV6, (128, 0), (129, 0)) if ":" in source else (ICMP, (8, 0), (0, 0))
    )
    return Connection(
        Way(source, target, number, icmp=asks), Way(target, source, number, icmp=answers)
    )


INTO, OUT, BETWEEN = tcp(FAR, WEB), tcp(WEB, FAR), tcp(WEB, API)
INTO6, PINGED, PINGED6 = tcp(FAR6, WEB6), ping(FAR, WEB), ping(FAR6, WEB6)
NAMES = {INTO: "into", OUT: "out", BETWEEN: "between", INTO6: "into6", PINGED: "pinged",
         PINGED6: "pinged6"}  # fmt: skip
POLICIES = tuple(
    d.Policy(f"P/{name}", rules, rules)
    for name, rules in {
        "allow": (d.Rule("allow"),),
        "deny": (d.Rule("deny"),),
        "no-tcp": (d.Rule("deny", protocol=TCP), d.Rule("allow")),
        "no-v6": (d.Rule("deny", family=6), d.Rule("allow")),
        "http": (d.Rule("allow", protocol=TCP, destination=d.Side(ports=(d.PortRange(80, 80),))),),
        "near": (d.Rule("allow", source=d.Side(nets=("10.65.0.0/24",))),),
    }.items()
)


def tier(policy: str) -> tuple[d.TierStep, ...]:
    return (d.TierStep("t", (f"P/{policy}",), "deny"),)


def web(ingress: str = "allow", egress: str = "allow", ask: str = "") -> d.Endpoint:
    """`ask`: the directions that ask for cuts."""
    return d.Endpoint(
        "shop/web", "tor1", (WEB, WEB6), ingress=tier(ingress), egress=tier(egress),
        revoke_ingress="ingress" in ask, revoke_egress="egress" in ask,
    )  # fmt: skip


def firewall(*ends: d.Endpoint | d.HostEndpoint) -> d.Filter:
    api = d.Endpoint("shop/api", "tor2", (API,), ingress=tier("allow"), egress=tier("allow"))
    return d.Filter(
        endpoints=(*(each for each in ends if isinstance(each, d.Endpoint)), api),
        hosts=tuple(each for each in ends if isinstance(each, d.HostEndpoint)),
        policies=POLICIES,
    )


def machine() -> FakeNetlink:
    """A host with HOST on eth0, which leads out, and eth1 towards FAR6; LOST is behind tor1."""
    netlink = FakeNetlink()
    for name in ("eth0", "eth1", "tor1"):
        link = netlink.add_link(name)
        netlink.change([Change("replace", LinkState(link.index, up=True))])
    netlink.change([Change("add", Address(2, f"{HOST}/24"))])
    routes = (
        KernelRoute("0.0.0.0/0", "other", 12, 512, hops=(2, 3)),
        KernelRoute("0.0.0.0/0", "other", 12, 1024, 3),
        KernelRoute("::/0", "other", 12, 1024, 3),
        KernelRoute("198.51.100.0/24", "other", 12, 32, 3),
        KernelRoute(f"{LOST}/32", "unicast", 12, 32, 4),
    )
    netlink.change([Change("add", each) for each in routes])
    return netlink


class Host:
    """A host and its connections, as filters come into force there."""

    def __init__(self, *connections: Connection) -> None:
        self.conntrack = FakeConntrack(connections or NAMES)
        self.netlink = machine()
        self.revocation = Revocation(self.conntrack, self.netlink)

    def apply(self, *ends: d.Endpoint | d.HostEndpoint) -> str:
        """Names of the connections that are cut then."""
        self.revocation.apply(firewall(*ends))
        return self.cut()

    def cut(self) -> str:
        return " ".join(
            name
            for each, name in NAMES.items()
            if self.conntrack.marks.get(each.original, 0) & d.REVOKED
        )


ALL_IN = "into into6 pinged pinged6"
CUTS = {
    "nothing is asked": (web("deny", "deny"), ""),
    "in": (web("deny", ask="ingress"), ALL_IN),
    "out": (web(egress="deny", ask="egress"), "out between"),
    "both": (web("deny", "deny", ask="ingress egress"), "into out between into6 pinged pinged6"),
    "only where it is asked": (web("deny", "deny", ask="egress"), "out between"),
    "nothing is denied": (web(ask="ingress egress"), ""),
    "by protocol": (web("no-tcp", ask="ingress"), "into into6"),
    "by family": (web("no-v6", ask="ingress"), "into6 pinged6"),
    "by source": (web("near", ask="ingress"), ALL_IN),
}


@pytest.mark.parametrize(("guarded", "expected"), CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("start", ["first", "later"])
def test_what_policy_forbids_is_cut_and_only_that(guarded, expected: str, start: str) -> None:
    host = Host()
    if start == "later":
        assert host.apply(web()) == ""
    assert host.apply(guarded) == expected
    assert host.apply(web(ask="ingress egress")) == "", "allowed again"


STORIES = {
    "a policy that asks and denies goes": [
        (web("deny", ask="ingress"), ALL_IN), (web(), "")],
    "a policy that asks and allows goes": [
        (web("allow", ask="ingress"), ""), (web("deny"), ALL_IN)],
    "and stays gone": [
        (web("allow", ask="ingress"), ""), (web("deny"), ALL_IN), (web("deny", "deny"), ALL_IN),
        (web("no-tcp", "deny"), "into into6"), (web("allow", "deny"), "")],
    "and comes back": [
        (web(ask="ingress"), ""), (web("deny"), ALL_IN), (web(ask="ingress"), "")],
    "nobody asks any more": [
        (web("deny", ask="ingress"), ALL_IN), (web("deny"), "")],
    "nobody asks any more, and more is forbidden": [
        (web("no-tcp", ask="ingress"), "into into6"), (web("deny"), "pinged pinged6")],
    "it was forbidden long before": [
        (web("deny"), ""), (web("deny", ask="ingress"), ALL_IN)],
    "another asks no more": [
        (web("deny", "allow", ask="ingress egress"), ALL_IN), (web("deny", "deny"), "out between")],
    "the workload's interface goes": [
        (web("deny", ask="ingress"), ALL_IN), ((), "")],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_one_filter_after_another(story) -> None:
    host = Host()
    for ends, expected in story:
        assert host.apply(*((ends,) if isinstance(ends, d.Endpoint) else ends)) == expected


def test_other_bits_of_the_mark_are_left() -> None:
    host = Host(INTO)
    host.conntrack.add(INTO, 0x41)
    host.apply(web("deny", ask="ingress"))
    assert host.conntrack.marks == {INTO.original: 0x41 | d.REVOKED}
    host.apply(web())
    assert host.conntrack.marks == {INTO.original: 0x41}


# --- who is asked, by which interface -------------------------------------------------------------


def edge(interface: str, **evaluations) -> d.HostEndpoint:
    asks = {"revoke_ingress": True, "revoke_egress": True, "ingress": tier("allow")}
    return d.HostEndpoint("edge", interface, **({"egress": tier("allow")} | asks | evaluations))


DENY = tier("deny")
TO_HOST, FROM_HOST = tcp(FAR, HOST, 8080), tcp(HOST, FAR, 8080)
EDGES = {
    "in": (edge("eth0", ingress=DENY), TO_HOST, True),
    "in, not asked": (edge("eth0", ingress=DENY, revoke_ingress=False), TO_HOST, False),
    "in, all interfaces": (edge("*", ingress=DENY), TO_HOST, True),
    "in, another interface": (edge("eth1", ingress=DENY), TO_HOST, False),
    "in, by another route": (edge("eth1", ingress=DENY), tcp("198.51.100.7", HOST), True),
    "out": (edge("eth0", egress=DENY), FROM_HOST, True),
    "out, not of what comes in": (edge("eth0", egress=DENY), TO_HOST, False),
    "forwarded in": (edge("eth0", forward_ingress=DENY), INTO, True),
    "forwarded out": (edge("eth0", forward_egress=DENY), OUT, True),
    "forwarded in IPv6, its route": (edge("eth1", forward_ingress=DENY), INTO6, True),
    "forwarded in IPv6, not its route": (edge("eth0", forward_ingress=DENY), INTO6, False),
    "before NAT": (edge("eth0", pre_dnat=DENY), INTO, True),
    "without a route": (edge("*", ingress=DENY), tcp("2001:db8::7", "2001:db8:51::1"), False),
    "to many": (edge("*", ingress=DENY, forward_ingress=DENY), tcp(FAR, MANY), False),
    "to itself": (edge("*", ingress=DENY, egress=DENY), tcp(HOST, HOST), False),
    "from the link": (edge("*", forward_ingress=DENY), tcp("fe80::7", WEB6), False),
}


@pytest.mark.parametrize(("guard", "connection", "expected"), EDGES.values(), ids=EDGES)
def test_what_a_host_endpoint_cuts(guard, connection: Connection, expected: bool) -> None:
    host = Host(connection)
    host.apply(web(), guard)
    assert bool(host.conntrack.marks[connection.original]) is expected


def test_answers_of_a_failsafe_port_are_not_cut() -> None:
    """A session older than tracking is tracked backwards if the host speaks first."""
    answers = [Connection(Way(HOST, FAR, TCP, port, 40000), Way(FAR, HOST, TCP, 40000, port))
               for port in (8080, 22)]  # fmt: skip
    closed = firewall(edge("eth0", ingress=DENY, egress=DENY))
    conntrack = FakeConntrack(answers)
    open_to_ssh = replace(closed, failsafe_inbound=(d.OpenPort(TCP, 22),))
    Revocation(conntrack, machine()).apply(open_to_ssh)
    assert [conntrack.marks[each.original] for each in answers] == [d.REVOKED, 0]


def test_a_translated_connection_is_judged_by_where_it_goes() -> None:
    """A port of the host that is a workload's."""
    translated = tcp(FAR, HOST, 8080, behind=WEB, at=80)
    host = Host(translated)
    host.apply(web("http", ask="ingress"))
    assert host.conntrack.marks[translated.original] == 0
    host.apply(web("deny", ask="ingress"))
    assert host.conntrack.marks[translated.original] == d.REVOKED
    host.apply(web("allow", ask="ingress"), edge("eth0", ingress=DENY))
    assert host.conntrack.marks[translated.original] == 0, "it does not end on the host"
    host.apply(web(), edge("eth0", pre_dnat=tier("no-tcp")))
    assert host.conntrack.marks[translated.original] == d.REVOKED


def test_an_announced_connection_is_judged_as_the_one_that_announced_it() -> None:
    control = tcp(FAR, WEB, 21)
    data = tcp(WEB, FAR, 20)._replace(master=control.original)
    for guarded, expected in (
        (web(egress="deny", ask="ingress egress"), 0),
        (web("deny", ask="ingress egress"), d.REVOKED),
    ):
        host = Host(control, data)
        host.apply(guarded)
        assert set(host.conntrack.marks.values()) == {expected}


def test_source_ports_count_where_a_rule_asks_for_them() -> None:
    low = d.Side(ports=(d.PortRange(1, 1023),))
    asks = d.Policy("P/low", (d.Rule("allow", protocol=TCP, source=low),))
    guarded = replace(web(ask="ingress"), ingress=tier("low"))
    wanted = replace(firewall(guarded), policies=(*POLICIES, asks))
    ways = [Way(FAR, WEB, TCP, port, 80) for port in (1023, 1024)]
    conntrack = FakeConntrack(
        Connection(each, Way(WEB, FAR, TCP, 80, each.source_port)) for each in ways
    )
    Revocation(conntrack, machine()).apply(wanted)
    assert [conntrack.marks[each] for each in ways] == [0, d.REVOKED]


# --- when it looks --------------------------------------------------------------------------------


def test_connections_are_read_only_when_something_is_to_be_done() -> None:
    host = Host()
    looks = []
    for ends in (
        (web(),),  # the first: marks may be left from an earlier run
        (web("deny"),),
        (web("deny"),),
        (web("no-tcp", ask="ingress"),),  # asked
        (web("no-tcp", ask="ingress"),),  # nothing new
        (web("no-tcp"),),  # nobody asks any more
        (web("allow"),),  # and nothing is marked
    ):
        host.apply(*ends)
        looks.append((host.conntrack.dumps, host.conntrack.settled))
    assert looks == [(1, 0), (1, 0), (1, 0), (2, 1), (2, 1), (3, 2), (3, 2)]
    tables = 3  # interfaces, addresses, routes
    assert host.netlink.dumps == 3 * tables


def test_what_is_cut_without_being_asked_for_any_more_is_kept_in_sight() -> None:
    host = Host()
    host.apply(web(ask="ingress"))
    assert host.apply(web("deny")) == ALL_IN
    before = host.conntrack.settled
    assert host.apply(web("no-v6")) == "into6 pinged6"
    assert host.conntrack.settled == before, "nothing can be cut now, only freed"


def test_what_an_earlier_run_has_cut_is_freed_when_it_is_allowed() -> None:
    host = Host(INTO)
    host.conntrack.add(INTO, d.REVOKED)
    assert host.apply(web("deny")) == "into", "who knows why"
    assert host.apply(web("allow")) == ""


def test_what_is_dropped_for_its_address_is_not_cut_for_that() -> None:
    """By which interface it comes is only believed, so that would be for good."""
    lost = tcp(LOST, FAR)
    host = Host(lost)
    host.conntrack.add(lost, d.REVOKED)
    host.apply(web(ask="ingress egress"))
    assert host.conntrack.marks[lost.original] == 0


def test_what_is_half_done_is_remembered() -> None:
    host = Host()
    host.apply(web())
    done = host.conntrack.mark

    def mark(connections, bit: int, on: bool) -> int:
        if not on:
            raise KernelError("no")
        return done(connections, bit, on)

    host.conntrack.mark = mark
    with pytest.raises(KernelError):
        host.apply(web("deny", ask="ingress"))
    host.conntrack.mark = done
    assert host.cut() == ALL_IN
    assert host.apply(web()) == ""


def test_a_packet_under_way_when_the_filter_changed_is_not_missed() -> None:
    host = Host(OUT)
    host.apply(web(ask="ingress"))
    host.conntrack.arriving = [INTO]
    assert host.apply(web("deny", ask="ingress")) == "into"


def test_a_failed_look_is_repeated() -> None:
    host = Host()
    host.apply(web(ask="ingress"))
    host.conntrack.fail = KernelError("no")
    with pytest.raises(KernelError):
        host.apply(web("deny"))
    assert host.cut() == ""
    assert host.apply(web("deny")) == ALL_IN


def test_the_driver_forgets_what_left_and_cuts_what_is_forbidden() -> None:
    conntrack = FakeConntrack([INTO, tcp(FAR, API)])
    driver = ConnectionDriver(conntrack, machine())
    before = firewall(web(ask="ingress"))
    driver.apply(d.Desired("host", 1, before))
    after = replace(before, endpoints=(web("deny", ask="ingress"),))
    assert driver.apply(d.Desired("host", 2, after)) == d.Report(changed=2)
    assert conntrack.marks == {INTO.original: d.REVOKED}
    conntrack.fail = KernelError("no")
    freed = d.Desired("host", 3, replace(before, endpoints=(web(ask="ingress"),)))
    with pytest.raises(KernelError):
        driver.apply(freed)
    assert driver.apply(freed) == d.Report(changed=1)
    assert conntrack.marks == {INTO.original: 0}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("203.0.113.9", "203.0.113.10", True),
        ("203.0.113.9", "198.51.100.9", False),
        ("198.51.100.0", "198.51.100.255", True),
        ("198.51.100.255", "198.51.101.0", False),
        ("10.65.0.1", "10.65.0.2", False),
        ("10.65.0.2", "10.65.0.3", True),
        ("224.0.0.1", "223.255.255.255", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("fd99::ffff:ffff:ffff:ffff", "fd99:0:0:1::", False),
        ("fe80::1", "fe80::2", False),
        ("fe80::2", "fec0::", False),
    ],
)
def test_which_addresses_are_alike(one: str, other: str, expected: bool) -> None:
    sorted_by = Alike([WEB], ["198.51.100.0/24", "fd99::/64"])
    assert (sorted_by.of(one) == sorted_by.of(other)) is expected
