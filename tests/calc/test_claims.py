"""Two endpoints that claim one address: on every host the first claim has it, and it alone."""

from __future__ import annotations

import itertools

import pytest
from calc.calcrig import who
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as d_replace
from worlds import policy, rule, workload

from tortie.calc import World, desired_for
from tortie.calc.claims import Claims
from tortie.model import kinds
from tortie.model import resources as r

ON = ("alpha", "beta")
LIFE = [("a1", ("10.0.0.1",), 5), ("b1", ("10.0.0.1", "10.0.0.2"), 3), ("b2", ("10.0.0.2",), 9)]


@pytest.mark.parametrize("order", [*itertools.permutations(LIFE)])
def test_the_first_claim_has_the_address_whoever_was_heard_of_first(order) -> None:
    claims = Claims()
    for claimant, addresses, created in order:
        claims.put(claimant, addresses, created)
    assert [claims.owner(f"10.0.0.{each}") for each in (1, 2, 3)] == ["b1", "b1", None]
    assert list(claims.lost("a1")) == [("10.0.0.1", "b1")]
    assert claims.put("b1", (), 3) == {"a1", "b2"}
    assert [claims.owner(f"10.0.0.{each}") for each in (1, 2, 3)] == ["a1", "b2", None]
    assert not list(claims.lost("a1"))


some = st.sampled_from("abc")
events = st.lists(st.tuples(some, st.sets(st.sampled_from("1234")), st.integers(0, 3)))


@given(events)
def test_claims_are_a_function_of_who_claims_what_now(history) -> None:
    claims, now = Claims(), {}
    for claimant, addresses, created in history:
        claims.put(claimant, addresses, created)
        now[claimant] = (created, addresses)
    for address in "1234":
        plain = sorted((when, who) for who, (when, has) in now.items() if address in has)
        assert claims.owner(address) == (plain[0][1] if plain else None)


def two(first: int, second: int) -> World:
    """One address on two hosts; the claims came to be at these revisions."""
    world = World.of(
        [policy("open", selector="all()", ingress=[rule("Allow", {"selector": "role == 'db'"})])]
    )
    for host, created, role in ((ON[0], first, "web"), (ON[1], second, "db")):
        endpoint = workload(f"shop/{role}", "10.65.0.9", on=host, labels={"role": role})
        world.put(kinds.key(endpoint), endpoint, created)
    return world


def served(world: World) -> dict[str, tuple[list[str], list[str]]]:
    """By host: the endpoints that are served, and why others are not."""
    found = {host: desired_for(world, host) for host in ON}
    return {
        host: ([each.id for each in it.filter.endpoints], [why for _, why in it.refused])
        for host, it in found.items()
    }


def name(world: World, host: str) -> str:
    return f"shop/{world.endpoints_on(host)[0].metadata.name}"


@pytest.mark.parametrize(("first", "second", "has"), [(5, 7, 0), (7, 5, 1), (5, 5, 0)])
def test_two_hosts_with_one_address(first: int, second: int, has: int) -> None:
    world = two(first, second)
    winner, loser = ON[has], ON[1 - has]
    found = served(world)
    assert found[winner] == ([name(world, winner)], [])
    said = f"10.65.0.9/32 belongs to {name(world, winner)} on host {winner}"
    assert found[loser] == ([], [said])
    everywhere = [desired_for(world, host) for host in ON]
    assert [len(it.routes) for it in everywhere] == [1 - has, has], "one host alone has a route"


def sources(world: World, host: str) -> set[str]:
    firewall = desired_for(world, host).filter
    return {
        member
        for each in firewall.policies
        for part in each.ingress
        if each.id == "GlobalNetworkPolicy/open"
        for member in who(firewall, part.source)
    }


def test_a_lost_address_brings_nobody_the_rights_of_its_labels() -> None:
    watcher = workload(
        "default/watcher", "10.65.0.1", on=ON[0], labels={"role": "watcher"}, interface="tor8"
    )
    for first, second, members in ((5, 7, set()), (7, 5, {"10.65.0.9"})):
        world = two(first, second)
        world.put(kinds.key(watcher), watcher, 1)
        assert sources(world, ON[0]) == members
    world.put(kinds.key(winner := world.endpoints_on(ON[1])[0]), None)
    assert winner.metadata.labels == {"role": "db"}
    assert sources(world, ON[0]) == set(), "the other has it now, and is no db"
    assert len(served(world)[ON[0]][0]) == 2


def test_the_address_passes_on_when_the_first_goes() -> None:
    world = two(5, 7)
    world.put(kinds.key(world.endpoints_on(ON[0])[0]), None)
    assert served(world) == {ON[0]: ([], []), ON[1]: ([name(world, ON[1])], [])}


def test_a_lost_floating_address_costs_nothing_else() -> None:
    world = World()
    for host, created in zip(ON, (5, 7), strict=True):
        plain = workload(f"shop/{host}", f"10.65.0.{created}", on=host)
        nat = r.IpNat(internal_ip=f"10.65.0.{created}", external_ip="192.0.2.1")
        spec = d_replace(plain.spec, ip_nats=[nat])
        world.put(kinds.key(plain), d_replace(plain, spec=spec), created)
    found = served(world)
    assert [len(ids) for ids, _ in found.values()] == [1, 1]
    assert world.claims.owner("192.0.2.1/32") == kinds.key(world.endpoints_on(ON[0])[0])
