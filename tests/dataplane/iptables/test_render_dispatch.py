"""Finding an interface's rules: every one its own, and few rules on the way."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from iptables_tracer import IptablesTracer
from iptables_worlds import GUARDED, OTHERS

from tortie.dataplane.iptables import render
from tortie.dataplane.iptables.dispatch import tree
from tortie.dataplane.matching import Packet
from tortie.dataplane.safe import digest
from tortie.desired import Endpoint, Filter, HostEndpoint, Policy, Rule

OPEN = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
NAMES = {
    "numbered": lambda at: f"tor{at}",
    "numbered with zeros": lambda at: f"tor{at:06d}",
    "digests": lambda at: "tor" + digest(str(at))[:11],
    "with names of their own": lambda at: "tap" + digest(str(at))[:11],
}


@cache
def crowd(names: str, amount: int) -> tuple[Filter, IptablesTracer]:
    endpoints = tuple(
        Endpoint(
            f"shop/w{at}",
            NAMES[names](at),
            (f"10.{65 + (at >> 16)}.{at >> 8 & 255}.{at & 255}",),
            profiles=(OPEN.id,),
        )
        for at in range(amount)
    )
    wanted = Filter(endpoints, (OPEN,))
    return wanted, IptablesTracer({4: render(wanted, 4)}, lazy=True)


def met(names: str, amount: int, sample: int = 200) -> int:
    """The most rules that a packet between two of these workloads meets."""
    wanted, tracer = crowd(names, amount)
    most = 0
    for at in range(0, amount, max(1, amount // sample)):
        one, two = wanted.endpoints[at], wanted.endpoints[at * 7 % amount]
        packet = Packet(one.addresses[0], two.addresses[0], 6, 80, 40000)
        journey = tracer.trace(packet, one.interface, two.interface)
        assert journey.accepted
        most = max(most, journey.met)
    return most


def test_rules_met_grow_as_the_logarithm_of_the_endpoints() -> None:
    found = {amount: met("digests", amount) for amount in (10, 100, 1000, 10000)}
    steps = [found[more] - found[less] for less, more in ((10, 100), (100, 1000), (1000, 10000))]
    # Ten times the endpoints: a letter more or less to be told apart, in each of two look-ups.
    assert all(each <= 2 * 17 for each in steps), found
    assert found[10000] < 120, found


@pytest.mark.parametrize("names", NAMES)
def test_a_tree_grows_as_the_logarithm_of_its_names(names: str) -> None:
    found = []
    for amount in (10, 100, 1000, 10000):
        targets = {NAMES[names](at): "-j RETURN" for at in range(amount)}
        chains = tree("tor-from", "-i", targets)
        found.append(max(rules_met(chains, "tor-from", each) for each in targets))
    assert all(more - less <= 17 for less, more in pairwise(found)), found


def rules_met(chains, name: str, interface: str) -> int:
    for met, rule in enumerate(chains[name], 1):
        _, which, verb, target = rule.split()
        if which == interface:
            return met
        if which.endswith("+") and interface.startswith(which[:-1]):
            assert verb == "-g"
            return met + rules_met(chains, target, interface)
    raise AssertionError(f"{interface} is not found")


@pytest.mark.parametrize("names", NAMES)
def test_everyone_is_known_by_its_own_address_only(names: str) -> None:
    wanted, tracer = crowd(names, 100)
    one, two, three = wanted.endpoints[3], wanted.endpoints[30], wanted.endpoints[33]

    def passes(source: Endpoint, destination: Endpoint, iif: Endpoint, oif: Endpoint) -> bool:
        packet = Packet(source.addresses[0], destination.addresses[0], 6, 80, 40000)
        return tracer.judge(packet, iif.interface, oif.interface)

    assert passes(one, two, one, two)
    assert not passes(one, two, three, two)
    assert not passes(one, two, one, three)


@pytest.mark.parametrize("stranger", ["tor", "tor3", "tor10x", "tor1", "torx", "tor99999"])
def test_an_interface_of_ours_that_nobody_speaks_for_is_dropped(stranger: str) -> None:
    _, tracer = crowd("numbered with zeros", 100)
    packet = Packet("10.65.0.1", "10.65.0.2", 6, 80, 40000)
    assert not tracer.judge(packet, stranger, "tor000002")
    assert not tracer.judge(packet, "tor000001", stranger)
    assert not tracer.judge(packet, stranger, None)
    assert not tracer.judge(packet, None, stranger)


def walk(chains, name: str, interface: str) -> str | None:
    """Where a tree leads."""
    for rule in chains[name]:
        _, which, verb, target = rule.split()
        if which == interface or (which.endswith("+") and interface.startswith(which[:-1])):
            return walk(chains, target, interface) if verb == "-g" else target
    return None


TREES = {
    "one": ["tor1"],
    "one that begins another": ["tor1", "tor11", "tor111", "tor1111", "tor11111", "tor111111"],
    "many": [f"tor{at}" for at in range(300)],
    "of all sorts": ["a", "b", "eth0", "eth1", "eth10", "ens5", "tap-1", "tap.1", "tap_1", "tor0"],
    "of fifteen letters": [f"abcdefghijklm{at:02d}" for at in range(40)],
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_leads_each_where_it_should_and_others_nowhere(name: str) -> None:
    names = TREES[name]
    chains = tree("tor-hosts-out", "-i", {each: f"-j {each.upper()}" for each in names})
    assert {each: walk(chains, "tor-hosts-out", each) for each in names} == {
        each: each.upper() for each in names
    }
    strangers = {each[:-1] for each in names} | {f"{each}x"[:15] for each in names}
    for each in strangers - set(names):
        assert walk(chains, "tor-hosts-out", each) is None
    assert all(len(each) <= 28 for each in chains)
    assert all(len(rules) <= 64 for rules in chains.values())


def test_a_new_endpoint_changes_few_chains() -> None:
    wanted, _ = crowd("digests", 1000)
    more = Endpoint("shop/new", "tor0123456789a", ("10.99.0.1",), profiles=(OPEN.id,))
    before = render(wanted, 4)
    after = render(Filter((*wanted.endpoints, more), (OPEN,)), 4)
    changed = {
        (table, name)
        for table in after.chains
        for name in after.chains[table].keys() | before.chains[table].keys()
        if after.chains[table].get(name) != before.chains[table].get(name)
    }
    # Its two chains, its places in two trees, and the three that look up live addresses.
    assert len(changed) <= 9, changed


def test_names_of_chains_fit_whatever_the_interfaces() -> None:
    long = tuple(
        Endpoint(f"lab/m{at}", f"abcdefghijklm{at:02d}", (f"10.0.0.{at}",), profiles=(OPEN.id,),
                 allowed_sources=("10.9.0.0/16",), max_egress=9, max_ingress=9)
        for at in range(20)
    )  # fmt: skip
    hosts = tuple(
        HostEndpoint(f"h{at}", f"nopqrstuvwxyz{at:02d}", *[OTHERS.untracked_egress] * 2, ())
        for at in range(20)
    )
    ours = (GUARDED.policies + (OPEN,), GUARDED.sets, GUARDED.port_sets)
    for everywhere in (hosts, (*hosts, OTHERS)):
        tracer = IptablesTracer({4: render(Filter(long, *ours, everywhere), 4)})  # refuses others
        packet = Packet("192.0.2.9", "192.0.2.1", 6, 9, 9)
        assert not tracer.judge(packet, "nopqrstuvwxyz07", None)
        assert tracer.judge(packet, "nopqrstuvwxyz77", None) is (everywhere is hosts)
