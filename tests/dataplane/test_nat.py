"""Address translation in the kernel, by every dataplane: who is seen by whom, what stays as it is,
what policy judges, and what becomes of open connections."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from nat_rig import (
    ALLOW,
    FLOAT,
    FLOATING,
    OTHER_POOL,
    OUTGOING,
    PLACES,
    SECOND,
    Site,
    endpoint,
    firewall,
    nat_rig,
)
from twonodes import DATAPLANES

from tortie import desired as d
from tortie.dataplane.firewall import Firewall, Usable
from tortie.kernel import netns

pytestmark = pytest.mark.kernel

BOTH = pytest.mark.parametrize("at", (0, 1), ids=("IPv4", "IPv6"))
KINDS = pytest.mark.parametrize("kind", ("tcp", "udp"))
HOST, UP, W1, W2 = (PLACES[each] for each in ("host", "up", "w1", "w2"))
ALL = firewall(floating=FLOATING, nat_outgoing=OUTGOING)


@pytest.fixture(scope="module", params=DATAPLANES)
def site(request) -> Iterator[Site]:
    with nat_rig(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def forgotten(request) -> None:
    """Each begins with nothing that is translated."""
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        site.apply(firewall())
        site.forget()


@contextlib.contextmanager
def both_kinds(site: Site, place: str, target: str) -> Iterator[dict[str, socket.socket]]:
    """An open connection of each kind, that has been answered."""
    with contextlib.ExitStack() as stack:
        calls = {
            kind: stack.enter_context(site.call(place, target, kind=kind))
            for kind in ("tcp", "udp")
        }
        assert all(map(site.goes_on, calls.values()))
        yield calls


def go_on(site: Site, calls: dict[str, socket.socket]) -> set[str]:
    """The kinds of those that still get answers; none is due."""
    return {kind for kind, call in calls.items() if site.goes_on(call, expected=False)}


# --- outgoing -------------------------------------------------------------------------------------


@BOTH
@KINDS
def test_a_workload_is_seen_outside_as_its_host(site: Site, kind: str, at: int) -> None:
    site.apply(firewall(nat_outgoing=OUTGOING))
    for name in ("w1", "w2"):
        assert site.seen(name, UP[at], kind=kind)[::2] == (HOST[at], "up")
        assert site.seen(name, OTHER_POOL[at], kind=kind)[::2] == (PLACES[name][at], "up")
    assert site.seen("w1", W2[at], kind=kind)[::2] == (W1[at], "w2")
    assert site.seen("up", W1[at], kind=kind)[::2] == (UP[at], "w1"), "nobody is hidden within"
    assert site.seen("host", W1[at], kind=kind)[::2] == (HOST[at], "w1")
    assert site.pings("w1", UP[at])


@BOTH
@KINDS
def test_as_a_chosen_address_and_with_chosen_ports(site: Site, kind: str, at: int) -> None:
    chosen = replace(OUTGOING[at], address=SECOND[at], ports=d.PortRange(20000, 20009))
    site.apply(firewall(nat_outgoing=(chosen,)))
    address, port, _ = site.seen("w1", UP[at], kind=kind)
    assert (address, 20000 <= port <= 20009) == (SECOND[at], True)
    assert site.pings("w1", UP[at]), "what has no ports is translated, too"
    first_to_last = f"{SECOND[at]}-{SECOND[at][:-1]}9"
    site.apply(firewall(nat_outgoing=(replace(chosen, address=first_to_last),)))
    assert site.seen("w2", OTHER_POOL[at], kind=kind)[0] == W2[at]
    site.apply(firewall(nat_outgoing=(replace(chosen, address="", ports=d.PortRange(99, 99)),)))
    site.forget()
    assert site.seen("w2", UP[at], kind=kind) == (HOST[at], 99, "up")


@BOTH
def test_but_not_where_it_is_excluded(site: Site, at: int) -> None:
    single = f"{UP[at]}/{128 if at else 32}"
    excluded = replace(OUTGOING[at], exclude=(*OUTGOING[at].exclude, single))
    site.apply(firewall(nat_outgoing=(excluded,)))
    assert site.seen("w1", UP[at])[0] == W1[at]


@BOTH
def test_the_host_itself_is_never_hidden(site: Site, at: int) -> None:
    """Its tunnel's address may lie in a pool."""
    own = ("10.65.9.9/32", "fd65::99/128")[at]
    site.run("host", "ip", "address", "add", own, "dev", "lo")
    try:
        site.apply(firewall(nat_outgoing=OUTGOING))
        source = own.partition("/")[0]
        assert site.seen("host", UP[at], source=source)[0] == source
    finally:
        site.run("host", "ip", "address", "del", own, "dev", "lo")


@BOTH
def test_open_connections_go_on_when_it_ends(site: Site, at: int) -> None:
    site.apply(firewall(nat_outgoing=OUTGOING))
    with both_kinds(site, "w1", UP[at]) as calls:
        site.apply(firewall())
        assert all(map(site.goes_on, calls.values())), "they are hidden still"
        assert site.seen("w1", UP[at], kind="tcp")[0] == W1[at], "others are no longer"
        site.apply(firewall(nat_outgoing=OUTGOING))
        assert all(map(site.goes_on, calls.values()))


# --- floating -------------------------------------------------------------------------------------


@BOTH
@KINDS
def test_everybody_reaches_a_floating_address(site: Site, kind: str, at: int) -> None:
    site.apply(ALL)
    seen = {"up": UP[at], "host": HOST[at], "w2": W2[at], "w1": FLOAT[at]}
    for place, address in seen.items():
        assert site.seen(place, FLOAT[at], kind=kind)[::2] == (address, "w1"), place
        assert site.pings(place, FLOAT[at]), place


@BOTH
@KINDS
def test_it_is_who_its_workload_is_outside(site: Site, kind: str, at: int) -> None:
    site.apply(ALL)
    assert site.seen("w1", UP[at], kind=kind)[0] == FLOAT[at]
    assert site.seen("w1", OTHER_POOL[at], kind=kind)[0] == W1[at]
    assert site.seen("w1", W2[at], kind=kind)[0] == W1[at]
    assert site.seen("w2", UP[at], kind=kind)[0] == HOST[at]
    assert site.seen("up", W1[at], kind=kind)[::2] == (UP[at], "w1"), "its own address serves, too"


def ruled(*rules: d.Rule, **fields) -> d.Filter:
    """w1 with these rules in both directions, then all is allowed."""
    policy = d.Policy("P/own", (*rules, d.Rule("allow")), (*rules, d.Rule("allow")))
    guarded = endpoint("w1", profiles=("P/own",), **fields)
    return firewall(guarded, endpoint("w2"), policies=(ALLOW, policy), floating=FLOATING)


def to(address: str, action="deny") -> d.Rule:
    return d.Rule(action, destination=d.Side(nets=(f"{address}/{128 if ':' in address else 32}",)))


@BOTH
@pytest.mark.parametrize("place", ["up", "w2", "w1"])
def test_policy_sees_the_address_of_the_workload(site: Site, place: str, at: int) -> None:
    site.apply(ruled(to(W1[at])))
    assert site.seen(place, FLOAT[at], answered=False) is None
    site.forget()
    site.apply(ruled(to(FLOAT[at])))
    assert site.seen(place, FLOAT[at])[2] == "w1"
    deny_81 = d.Rule("deny", destination=d.Side(ports=(d.PortRange(81, 81),)))
    site.apply(ruled(deny_81))
    assert site.seen(place, FLOAT[at], 80)[2] == "w1"
    assert site.seen(place, FLOAT[at], 81, answered=False) is None


@BOTH
def test_pre_dnat_policy_sees_the_floating_address(site: Site, at: int) -> None:
    for address, expected in ((FLOAT[at], None), (W1[at], "w1")):
        early = d.Policy("P/early", (to(address),), ())
        steps = (d.TierStep("default", ("P/early",), "pass"),)
        edge = d.HostEndpoint("edge", "up0", profiles=("P/all",), pre_dnat=steps)
        site.apply(replace(ALL, policies=(ALLOW, early), hosts=(edge,)))
        site.forget()
        found = site.seen("up", FLOAT[at], answered=expected is not None)
        assert (found and found[2]) == expected


@BOTH
def test_it_ends_at_once_with_its_endpoint(site: Site, at: int) -> None:
    site.apply(ALL)
    with both_kinds(site, "up", FLOAT[at]) as calls:
        site.apply(firewall(endpoint("w2"), nat_outgoing=OUTGOING))
        assert go_on(site, calls) == set()
        assert site.seen("up", FLOAT[at], kind="tcp", answered=False) is None


@BOTH
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "while no agent ran"])
def test_its_connections_end_when_it_is_taken_away(site: Site, watched: bool, at: int) -> None:
    site.apply(ALL)
    with (
        both_kinds(site, "up", FLOAT[at]) as there,
        both_kinds(site, "w1", UP[at]) as out,
        both_kinds(site, "up", W1[at]) as own,
    ):
        if not watched:
            site.restart()
        site.apply(firewall(nat_outgoing=OUTGOING))
        assert go_on(site, there) == set()
        assert go_on(site, out) == {"udp"}, "it begins anew, as another"
        assert all(map(site.goes_on, own.values()))
        assert site.seen("w1", UP[at])[0] == HOST[at]


@BOTH
def test_they_end_when_it_moves_to_another_workload(site: Site, at: int) -> None:
    site.apply(ALL)
    with both_kinds(site, "up", FLOAT[at]) as calls:
        moved = tuple(d.Floating(FLOAT[each], W2[each]) for each in (0, 1))
        site.apply(replace(ALL, floating=moved))
        assert go_on(site, calls) == {"udp"}, "the other answers"
        assert site.seen("up", FLOAT[at])[2] == "w2"


@BOTH
def test_what_policy_revokes_is_cut(site: Site, at: int) -> None:
    site.apply(ruled())
    with both_kinds(site, "up", FLOAT[at]) as calls, site.call("w1", UP[at], 81, "tcp") as out:
        assert site.goes_on(out)
        deny = d.Rule("deny", destination=d.Side(ports=(d.PortRange(80, 80),)))
        site.apply(ruled(deny, revoke_ingress=True))
        assert go_on(site, calls) == set()
        assert site.goes_on(out)


# --- VXLAN ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shut", [False, True], ids=["open", "shut by a host endpoint"])
def test_vxlan_is_taken_from_other_hosts_only(site: Site, shut: bool, at: int) -> None:
    """Port 81 stands for VXLAN's."""
    other = d.Encapsulated(81, UP)
    edge = d.HostEndpoint("edge", "up0", profiles=() if shut else ("P/all",))
    site.apply(firewall(encapsulated=other, hosts=(edge,)))
    assert site.seen("up", HOST[at], 81)[2] == "host"
    assert site.seen("up", HOST[at], 81, source=OTHER_POOL[at], answered=False) is None
    assert site.seen("w1", HOST[at], 81, answered=False) is None
    assert site.seen("up", W1[at], 81, source=OTHER_POOL[at])[2] == "w1", "forwarded: as usual"
    assert site.seen("host", UP[at], 81)[2] == "up"
    assert (site.seen("host", OTHER_POOL[at], 81, answered=not shut) is None) == shut
    assert (site.seen("up", HOST[at], 80, answered=not shut) is None) == shut


# --- drivers --------------------------------------------------------------------------------------


def tables(site: Site) -> str:
    """All that translates, as text."""
    found = [site.run("host", "nft", "list", "ruleset")]
    found += [site.run("host", f"{each}-legacy-save") for each in ("iptables", "ip6tables")]
    return "".join(found)


def test_a_table_that_nobody_needs_is_not_made() -> None:
    for dataplane in DATAPLANES:
        with nat_rig(dataplane) as fresh:
            fresh.apply(firewall())
            found = tables(fresh)
            assert not any(word in found for word in ("type nat", "table ip nat", "*nat"))


@BOTH
def test_what_somebody_else_broke_is_put_right(site: Site, at: int) -> None:
    site.apply(ALL)
    site.apply(ALL)
    program = ("iptables", "ip6tables")[at]
    if site.dataplane == "nft":
        site.run("host", "nft", "flush", "chain", "inet", "tortie", "base-nat-prerouting")
    else:
        variant = site.dataplane.partition("-")[2]
        site.run("host", f"{program}-{variant}", "-t", "nat", "-F", "tor-nat-to")
    with netns.entered(site.ns("host")):
        assert site.driver.drifted()
    assert site.seen("up", FLOAT[at], answered=False) is None
    site.apply(ALL)
    assert site.seen("up", FLOAT[at])[2] == "w1"


def test_a_switch_of_dataplanes_breaks_no_translated_connection() -> None:
    with nat_rig("nft") as site, contextlib.ExitStack() as undo:
        with netns.entered(site.ns("host")):
            drivers = {name: make() for name, make in DATAPLANES.items()}
        site.driver = Firewall(drivers, lambda: Usable(frozenset(drivers)))
        order = [*DATAPLANES, "nft"]
        site.apply(replace(ALL, dataplane="nft"))
        calls = [
            undo.enter_context(site.call(place, target[at], kind=kind))
            for at in (0, 1)
            for kind in ("tcp", "udp")
            for place, target in (("up", FLOAT), ("w1", FLOAT), ("w1", UP), ("w2", UP))
        ]
        assert all(map(site.goes_on, calls))
        for name in order:
            site.apply(replace(ALL, dataplane=name))
            assert all(map(site.goes_on, calls)), name
            for at in (0, 1):
                assert site.seen("up", FLOAT[at])[2] == "w1"
                assert site.seen("w1", UP[at])[0] == FLOAT[at]
                assert site.seen("w2", UP[at], kind="tcp")[0] == HOST[at]
            found = tables(site)
            assert ("table inet tortie" in found) == (name == "nft")
            saved = [site.run("host", f"iptables-{each}-save") for each in ("nft", "legacy")]
            assert ["tor-nat" in each for each in saved] == [
                name == "iptables-nft",
                name == "iptables-legacy",
            ]
