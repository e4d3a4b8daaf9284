"""Policy changes under traffic, on every dataplane: what no version allowed is never answered, and
what all versions allow always is."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from e2e_changes import Dice
from e2e_rig import PROMPT
from e2e_scenarios import FROM_P2, ONLY_P2, SCENARIOS
from e2e_storm import PORT, counting, counting_in
from e2e_tenants import DATAPLANES, gone, labels, policy, put, resource, settings
from e2e_versions import Changes, Stage, watched
from lab_rig import until

from tortie import client
from tortie.kernel import netns
from tortie.lab.traffic import Traffic

pytestmark = pytest.mark.lab
on_two = pytest.mark.parametrize("stage", ["nft", "iptables-nft"], indirect=True, scope="module")
"""Both variants of iptables have one renderer and one driver."""

SECONDS = {"nft": 60.0, "iptables-nft": 60.0, "iptables-legacy": 12.0}
RATE = 900.0
"""Attempts in a second."""
ROUNDS, AT_LEAST = 10, 1.0
"""Times that states are gone through, and seconds."""


# --- any change -----------------------------------------------------------------------------------


def test_random_changes_leak_nothing_and_refuse_nothing(stage: Stage, changes: Changes) -> None:
    seed, seconds = random.randrange(10**6), SECONDS[stage.dataplane]
    dice, pace = Dice(seed), random.Random(seed)
    with watched(stage.site, changes, stage.targets, stage.ports, RATE) as seen:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            changes.commit(*dice.draw(changes.world))
            if changes.behind() > 6 or pace.random() < 0.5:
                changes.settle()
            if pace.random() < 0.8:
                time.sleep(pace.uniform(0.01, 0.15))
    assert seen.told == "", f"seed {seed}\n{seen.told}"
    # There was enough of everything to tell.
    counts = seen.findings.counts
    wanted = {"answered": 50, "allowed": 50, "denied": 100, "during": 50}
    assert [each for each, rate in wanted.items() if counts[each] < rate * seconds] == [], counts
    assert len(changes.versions) > 2 * seconds


@on_two
@pytest.mark.parametrize("action", ["Accept", "Deny"])
def test_a_version_that_nobody_wrote_down_is_noticed(
    stage: Stage, changes: Changes, action: str
) -> None:
    """So that the zeros of the other tests mean something."""
    rules = [{"action": action, "from": [{"namespaces": {}}]}]
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": rules}
    hole = put(resource("ClusterNetworkPolicy", "hole", spec))
    with watched(stage.site, changes, stage.targets, stage.ports, RATE) as seen:
        changes.commit("a hole", hole, hidden=True)
        changes.settle()
        time.sleep(0.5)
        changes.commit("no hole", gone(hole), hidden=True)
    found = seen.findings
    if action == "Accept":
        assert (len(found.leaks) > 30, found.refused) == (True, [])
        assert "LEAKED" in seen.told
        assert "tenant: Deny" in seen.told
    else:
        assert (found.leaks, len(found.refused) > 30) == ([], True)
        assert "REFUSED" in seen.told


# --- changes that leave something as it was -------------------------------------------------------


@on_two
@pytest.mark.parametrize("sentence", SCENARIOS)
def test_what_is_forbidden_before_and_after_never_passes(
    stage: Stage, changes: Changes, sentence: str
) -> None:
    scenario = SCENARIOS[sentence]
    questions = [*scenario.never, *scenario.always]
    lasting = [stage.site.pair(each) for each in scenario.always]
    named = scenario.labels or [{}] * len(scenario.states)
    states = [
        (f"state {number}", {**delta, **labels(changes.world, wanted)})
        for number, (delta, wanted) in enumerate(zip(scenario.states, named, strict=True))
    ]
    changes.commit("before", {**scenario.before, **states[-1][1]})
    changes.settle()
    with (
        Traffic(lasting, []) as traffic,
        watched(stage.site, changes, stage.asked(questions), stage.ports, RATE) as seen,
    ):
        ends = time.monotonic() + AT_LEAST
        for turn in itertools.count():
            if turn >= ROUNDS and time.monotonic() > ends:
                break
            for text, delta in states:
                changes.commit(text, delta)
                if turn % 2:
                    changes.settle()
                else:
                    time.sleep(0.02)
    assert seen.told == ""
    assert (traffic.count.broken, traffic.count.exchanges > 20) == (0, True), traffic.count.notes
    answered = {f"{one.source} {one.destination}" for one in seen.attempts if one.answered}
    assert answered == {each.rpartition(" ")[0] for each in scenario.always}
    assert seen.findings.counts["answered"] > 50
    assert seen.findings.counts["denied"] == seen.findings.counts["unanswered"] > 50


@on_two
def test_a_host_that_changes_its_dataplane_opens_and_breaks_nothing(
    stage: Stage, changes: Changes
) -> None:
    lasting = [
        stage.site.pair(each)
        for each in ("plaza/p2 plaza/p1 tcp/80", "bank/k1 bank/k2 tcp/80", "shop/s1 shop/s2 tcp/81")
    ]
    edge = {"node": "a1", "interfaceName": "eth0"}
    changes.commit("policies", {
        **ONLY_P2,
        **policy("alpha.q", tier="alpha", selector="role == 'db'", types=["Egress"], egress=[
            {"action": "Deny", "protocol": "TCP", "destination": {"ports": [81]}},
            {"action": "Pass"}]),
        **put(resource("HostEndpoint", "edge", {**edge, "profiles": ["kiosk"]})),
    })  # fmt: skip
    changes.settle()
    turns = [*DATAPLANES, "nft", stage.dataplane]
    with (
        Traffic(lasting, []) as traffic,
        watched(stage.site, changes, stage.targets, stage.ports, RATE) as seen,
    ):
        for dataplane in turns:
            wanted = DATAPLANES[dataplane]
            changes.commit(dataplane, settings(
                changes.world, nftables_mode=wanted["nftablesMode"],
                iptables_backend=wanted.get("iptablesBackend"),
            ))  # fmt: skip
            changes.settle()
            assert until(lambda name=dataplane: stage.guarded_by(name), PROMPT)
            time.sleep(0.3)
    assert seen.told == ""
    assert (traffic.count.broken, traffic.count.exchanges > 100) == (0, True), traffic.count.notes


# --- a new workload -------------------------------------------------------------------------------


@contextlib.contextmanager
def flood(streams: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Within the block datagrams without pause, each stream from a namespace to an address, as
    soon as there is a way."""
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        socks = []
        for space, address in streams:
            with netns.entered(space):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            socks.append((sock, address))

        def send() -> None:
            while not over.wait(0.001):
                for sock, address in socks:
                    with contextlib.suppress(OSError):
                        sock.sendto(b"x", (address, PORT))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def empty(space: str) -> Iterator[None]:
    """Within the block there is a network namespace with nothing in it."""
    netns.add(space)
    try:
        yield
    finally:
        netns.delete(space)


@on_two
def test_policy_is_in_force_before_the_first_packet_of_a_new_workload(
    stage: Stage, changes: Changes
) -> None:
    """It may speak with p2 only; it and others try everything from before it is there."""
    site, space = stage.site, f"tortie-{stage.site.running.name}-new"
    changes.commit("for the new", policy(
        "plaza/for-new", selector="new == 'yes'", types=["Ingress", "Egress"], ingress=[FROM_P2],
        egress=[{"action": "Allow", "destination": {"selector": "colour == 'blue'"}}],
    ))  # fmt: skip
    changes.settle()
    at = site.running.lab.agent_socket("b1")
    friend, stranger = site.addresses["plaza/p2"], site.addresses["shop/s1"]
    for address in ("10.65.10.41", "10.65.10.42", "10.65.10.43"):
        request = {
            "name": "new", "namespace": "plaza", "netns": space, "labels": {"new": "yes"},
            "addresses": [address],
        }  # fmt: skip
        streams = [
            (space, friend), (space, stranger),
            (site.space("plaza/p2"), address), (site.space("shop/s1"), address),
        ]  # fmt: skip
        with (
            empty(space),
            counting_in(space) as at_new,
            counting(site, "plaza/p2") as at_friend,
            counting(site, "shop/s1") as at_stranger,
            flood(streams),
        ):
            client.call("POST", "/workloads", request, at=at, timeout=20)
            try:
                assert until(lambda count=at_new: count().get(friend, 0) > 50, PROMPT)
                assert until(lambda count=at_friend, a=address: count().get(a, 0) > 50, PROMPT)
                assert stranger not in at_new()
                assert address not in at_stranger()
            finally:
                client.call("DELETE", "/workloads/plaza/new", at=at, timeout=20)
