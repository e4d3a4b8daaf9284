"""Agents, BIRD and the store die while traffic runs: nothing breaks, nothing leaks, all heals."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_rig import RunningLab, running, tenants, tenants_verdict, unique, until

from tortie import client
from tortie.dataplane.nft.ruleset import without_dynamic
from tortie.kernel import netns, process
from tortie.lab import control
from tortie.lab.probe import Pair, Result, attempt
from tortie.lab.traffic import Count, Traffic
from tortie.model import resources as r
from tortie.model.manifest import load
from tortie.store.resources import apply, delete

pytestmark = pytest.mark.lab

HOSTS = ("a1", "a2", "b1", "b2")
HEALS = 10.0
"""Seconds within which what was removed by hand is back."""

LEDGER_SHUT = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ledger-shut, namespace: bank}
spec: {types: [Ingress]}
"""


@pytest.fixture(scope="module", params=["sqlite", "etcd"])
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    store = str(request.param)
    with running(tenants(store), unique(f"r{store}"), tmp_path_factory.mktemp("lab")) as built:
        yield built


def expected(pair: Pair) -> bool:
    service = pair.service
    return tenants_verdict(pair.source, pair.destination, service.protocol, service.port)


def traffic(lab: RunningLab) -> Traffic:
    """Connections across racks and within, and everything that is forbidden."""
    every = lab.pairs()
    allowed = [pair for pair in every if expected(pair) and pair.service.protocol == "tcp"]
    return Traffic(allowed[::3], [pair for pair in every if not expected(pair)])


def assert_clean(count: Count) -> None:
    assert count.exchanges > 100
    assert count.attempts > 500
    assert (count.broken, count.leaked) == (0, 0), count.notes


def restarts(lab: RunningLab) -> dict[str, int]:
    return {name: each.restarts for name, each in control.running(lab.lab).items()}


def ready(lab: RunningLab, host: str) -> bool:
    said = json.loads(lab.tortie("lab", "status", "-o", "json").stdout)
    return any(each["name"] == host and each["state"] == "up" for each in said["machines"])


def test_the_traffic_notices_what_breaks_and_what_leaks(lab: RunningLab) -> None:
    """So that the counts of the other tests mean something."""
    teller = next(
        pair
        for pair in lab.pairs()
        if (pair.source, pair.destination) == ("bank/teller-2", "bank/teller-1")
    )
    with Traffic([teller], [teller]) as watched:
        assert until(lambda: watched.count.leaked > 0 and watched.count.exchanges > 0)
        assert watched.count.broken == 0
        control.kill(lab.lab, "server/bank/teller-1")
        assert until(lambda: watched.count.broken == 1)
    assert until(lambda: attempt([teller])[0].connected)


def test_agents_killed_under_traffic_break_and_leak_nothing(lab: RunningLab) -> None:
    before = restarts(lab)
    with traffic(lab) as running_traffic:
        for host in HOSTS:
            control.kill(lab.lab, f"agent/{host}")
            assert until(lambda h=host: restarts(lab)[f"agent/{h}"] > before[f"agent/{h}"])
            assert until(lambda h=host: ready(lab, h))
        time.sleep(1.0)  # the new agents' own housekeeping is traffic's business too
    assert_clean(running_traffic.count)


def test_birds_killed_under_traffic_break_nothing(lab: RunningLab) -> None:
    with traffic(lab) as running_traffic:
        for host in ("a1", "b2"):
            file = Path(lab.lab.directory, "hosts", host, "bird/bird.pid")
            before = file.read_text()
            os.kill(int(before), signal.SIGKILL)
            assert until(lambda f=file, b=before: f.exists() and f.read_text() not in ("", b))
            assert until(lambda: settled(lab))
        before_router = restarts(lab)["router/tor-rack-a"]
        control.kill(lab.lab, "router/tor-rack-a")
        assert until(lambda: restarts(lab)["router/tor-rack-a"] > before_router)
        assert until(lambda: settled(lab))
        time.sleep(1.0)  # whoever would sweep after the restart has had the time to
    assert_clean(running_traffic.count)


def settled(lab: RunningLab) -> bool:
    """All hosts' sessions are up, and hosts have been told the routes: one failure at a time."""
    sockets = [lab.lab.agent_socket(host) for host in HOSTS]
    sessions = [each for at in sockets for each in client.call("GET", "/bgp", at=at)]
    return all(each["state"] == "Established" and each["imported"] for each in sessions)


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "route", "flush", "proto", "84"],
        ["ip", "route", "flush", "proto", "bird"],
        ["nft", "delete", "table", "inet", "tortie"],
        ["nft", "flush", "chain", "inet", "tortie", "base-forward"],
        ["nft", "flush", "set", "inet", "tortie", "live4"],
    ],
    ids=lambda words: "-".join(words),
)
def test_what_is_removed_by_hand_is_put_back_within_seconds(
    lab: RunningLab, damage: list[str]
) -> None:
    space = next(host.space for host in lab.lab.plan.hosts if host.name == "b2")
    before = words_of_kernel(space)
    with netns.entered(space):
        process.run(damage)
    assert words_of_kernel(space) != before
    assert until(lambda: words_of_kernel(space) == before, HEALS)
    about = [pair for pair in lab.pairs() if pair.destination == "bank/ledger"]
    assert [one for one in attempt(about) if one.connected != expected_of(one)] == []


def words_of_kernel(space: str) -> list[str]:
    """All that a namespace's routes and rules are made of; the order in a set means nothing,
    nor what packets have put into one."""
    with netns.entered(space):
        shown = [
            process.run(["ip", "route", "show"]).stdout,
            without_dynamic(process.run(["nft", "--stateless", "list", "ruleset"]).stdout),
        ]
    return sorted(" ".join(shown).replace(",", " ").split())


def expected_of(one: Result) -> bool:
    return tenants_verdict(one.source, one.destination, one.protocol, one.port)


@pytest.mark.parametrize(
    ("interface", "subnet", "passes"),
    [("tor0stray", "192.168.77", False), ("stray", "192.168.78", True)],
)
def test_an_interface_of_ours_that_no_resource_speaks_for_is_dropped(
    lab: RunningLab, interface: str, subnet: str, passes: bool
) -> None:
    """A cable plugged in by hand, with an address and a route; and one that is not ours at all."""
    host = next(each for each in lab.lab.plan.hosts if each.name == "a2")
    stray = f"tortie-{lab.name}-stray"
    process.run(["ip", "netns", "add", stray])
    try:
        with netns.entered(host.space):
            process.run(["ip", "link", "add", interface, "type", "veth",
                         "peer", "name", "eth0", "netns", stray])  # fmt: skip
            process.run(["ip", "address", "add", f"{subnet}.1/24", "dev", interface])
            process.run(["ip", "link", "set", interface, "up"])
        for words in (["address", "add", f"{subnet}.2/24", "dev", "eth0"],
                      ["link", "set", "eth0", "up"],
                      ["route", "add", "default", "via", f"{subnet}.1"]):  # fmt: skip
            process.run(["ip", "-n", stray, *words])
        pair = next(each for each in lab.pairs() if each.destination == "open/alone")
        from_stray = Pair("stray", stray, pair.destination, pair.address, pair.service)
        assert [one.connected for one in attempt([from_stray])] == [passes]
    finally:
        process.run(["ip", "netns", "delete", stray])


@pytest.mark.parametrize("lab", ["etcd"], indirect=True)
def test_the_store_goes_away_and_comes_back(lab: RunningLab) -> None:
    every = lab.pairs()
    policy = load(LEDGER_SHUT, "ledger-shut.yaml")[0].resource
    assert isinstance(policy, r.NetworkPolicy)
    with traffic(lab) as running_traffic:
        control.stop(lab.lab, "store/etcd")
        time.sleep(2.0)
        assert [one for one in attempt(every) if one.connected != expected_of(one)] == []
        control.start(lab.lab, "store/etcd")
        time.sleep(1.0)
    assert_clean(running_traffic.count)
    ledger = [pair for pair in every if pair.destination == "bank/ledger"]
    with lab.store() as store:
        apply(store, [policy])
        assert until(lambda: not any(one.connected for one in attempt(ledger)))
        delete(store, policy)
        assert until(lambda: all(one.connected == expected_of(one) for one in attempt(ledger)))
