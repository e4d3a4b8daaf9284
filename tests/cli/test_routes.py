"""bgp routes and bgp why, against agents that only answer."""

from __future__ import annotations

import json

import pytest
from cli_rig import Serve, Shell
from worlds import node, workload

from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Put

HEARD = [
    {
        "prefix": "10.65.1.0/26", "peer": "tor-a", "session": "peer_tor_a_1", "asPath": "65002",
        "nextHops": [{"gateway": "172.16.0.1", "interface": "eth0"}], "localPref": 100,
        "best": True, "refused": "", "kind": "unicast",
    },
    {
        "prefix": "0.0.0.0/0", "peer": "injector", "session": "peer_injector_2", "asPath": "64999",
        "nextHops": [{"gateway": "172.16.0.9", "interface": "eth0"}], "localPref": 100,
        "best": False, "refused": "it is a default route", "kind": "unicast",
    },
    {
        "prefix": "10.65.0.0/26", "peer": "", "session": "tor_static_4", "asPath": "",
        "nextHops": [], "localPref": None, "best": True, "refused": "", "kind": "blackhole",
    },
]  # fmt: skip
THERE = {
    "prefix": "10.65.1.0/26", "inKernel": True, "reason": "BGP put it there", "heard": HEARD[:1],
    "kernel": [{"protocol": 12, "metric": 2048, "kind": "unicast",
                "nextHops": [{"gateway": "172.16.0.1", "interface": "eth0"}]}],
    "told": ["a2"], "silent": [],
}  # fmt: skip
REFUSED = {
    "prefix": "0.0.0.0/0", "inKernel": False, "heard": HEARD[1:2], "kernel": [], "told": [],
    "reason": "refused from injector: it is a default route", "silent": [],
}  # fmt: skip


def answers(rest: str, body: object) -> object:
    if rest == "routes":
        return HEARD
    return {"why/10.65.1.0/26": THERE, "why/10.65.1.7": THERE, "why/0.0.0.0/0": REFUSED}[rest]


@pytest.fixture
def bird(tortie: Shell, serve: Serve) -> Shell:
    serve({("GET", "bgp"): answers})
    return tortie


# what is asked beside `bgp routes`, and the prefixes that are shown
SHOWN = [
    ((), ["10.65.1.0/26", "0.0.0.0/0", "10.65.0.0/26"]),
    (("--refused",), ["0.0.0.0/0"]),
    (("--peer", "tor-a"), ["10.65.1.0/26"]),
    (("10.65.0.0/16",), ["10.65.1.0/26", "10.65.0.0/26"]),
    (("10.65.0.0/16", "--refused"), []),
]


@pytest.mark.parametrize(("arguments", "prefixes"), SHOWN)
def test_which_routes_are_shown(bird: Shell, arguments, prefixes) -> None:
    said = bird("bgp", "routes", *arguments, "-o", "json")
    assert said.code == 0
    assert [each["prefix"] for each in json.loads(said.out)] == prefixes


def test_each_route_says_whose_it_is_and_what_came_of_it(bird: Shell) -> None:
    lines = bird("bgp", "routes").out.splitlines()
    assert lines[0].split() == ["PREFIX", "FROM", "VIA", "AS", "PATH", "STATE"]
    assert lines[1].split() == ["10.65.1.0/26", "tor-a", "172.16.0.1", "65002", "best"]
    assert lines[2].endswith("refused: it is a default route")
    assert lines[3].split()[:4] == ["10.65.0.0/26", "this", "host", "blackhole"]


def test_why_a_prefix_is_there(bird: Shell) -> None:
    store = bird.store()
    store.commit(
        [
            Put(kinds.key(each), kinds.encode(each))
            for each in (
                node("b1", "172.16.1.2/24"),
                workload("shop/web", "10.65.1.7", on="b1"),
                affinity("b1", "10.65.1.0/26"),
                affinity("b1", "10.65.9.0/26", "pending"),
            )
        ]
    )
    store.close()
    said = bird("bgp", "why", "10.65.1.0/26")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "IN THE KERNEL: 10.65.1.0/26: BGP put it there"
    assert lines[1] == "  kernel: unicast 172.16.0.1 proto 12 metric 2048"
    assert lines[2] == "  from tor-a: 172.16.0.1, AS path 65002: best"
    assert lines[3] == "  told to a2"
    assert lines[4] == "to be announced by node b1 (its block 10.65.1.0/26)"
    said = bird("bgp", "why", "10.65.1.7")
    assert said.out.splitlines()[-1] == (
        "to be announced by node b1 (endpoint shop/b1-tortie-web-eth0),"
        " node b1 (its block 10.65.1.0/26)"
    )
    data = json.loads(bird("bgp", "why", "10.65.1.0/26", "-o", "json").out)
    assert data["announcedBy"] == ["node b1 (its block 10.65.1.0/26)"]


def test_why_a_prefix_is_not_there_and_exit_1(bird: Shell) -> None:
    bird.store().close()
    said = bird("bgp", "why", "0.0.0.0/0")
    assert said.code == 1
    assert said.out.startswith(
        "NOT IN THE KERNEL: 0.0.0.0/0: refused from injector: it is a default route\n"
        "  from injector: 172.16.0.9, AS path 64999: refused: it is a default route\n"
    )
    assert "announced by nobody" in said.out


def test_a_store_that_is_away_keeps_nothing_else_from_being_said(bird: Shell) -> None:
    said = bird("bgp", "why", "10.65.1.0/26")
    assert said.code == 0 and "BGP put it there" in said.out
    assert "who should announce 10.65.1.0/26 is not known" in said.err.replace('"', "")


@pytest.mark.parametrize("what", ["10.65.1.0/33", "tor-a", "10.65.1.7%eth0"])
def test_what_is_no_prefix_is_refused(bird: Shell, what: str) -> None:
    for command in ("why", "routes"):
        assert bird("bgp", command, what).code in (1, 2)
        assert bird("bgp", command, what).err.startswith("error: ")


def affinity(name: str, cidr: str, state: str = "confirmed") -> r.BlockAffinity:
    spec = r.BlockAffinitySpec(cidr=cidr, node=name, state=state)  # type: ignore[arg-type]
    dashes = cidr.replace(".", "-").replace("/", "-")
    return r.BlockAffinity(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name=f"{name}-{dashes}"),
        spec=spec,
    )
