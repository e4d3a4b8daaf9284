"""The loop: when a pass happens, what it does, and what becomes of it if a driver fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.rig import BASE, ME, MINE, Host, barrier, batch, cluster, status_key, web
from worlds import node, policy

from tortie.agent import loop
from tortie.agent.events import KernelChanged
from tortie.errors import KernelError, TortieError
from tortie.model import kinds
from tortie.store.syncer import Lost

DRIVERS = ["firewall", "links", "routes", "bird"]


# --- when -----------------------------------------------------------------------------------------


def test_nothing_is_applied_before_the_store_was_read_in_full(tmp_path: Path) -> None:
    host = Host(tmp_path, probe=lambda: True, resync=5)
    host.at(0.1, KernelChanged())
    host.at(2, Lost("no answer"))
    host.at(3, batch(7, *BASE, in_sync=False))
    host.run(20)
    assert host.journal == []
    assert host.filter.prepared >= host.bird.prepared == 1
    assert host.state == ("starting", "the store has not been read yet")
    assert {key for key, _ in host.written} == {kinds.node_status_key(ME)}


def test_the_first_pass_comes_with_the_first_full_batch_filter_first(host: Host) -> None:
    host.at(1, batch(7, *BASE))
    host.run(5)
    assert host.journal == DRIVERS
    assert host.filter.times == [1]
    assert [each.id for each in host.filter.last.filter.endpoints] == ["shop/alpha-tortie-web-eth0"]
    assert host.filter.last.revision == 7
    assert host.state == ("ready", "")


def test_batches_that_wait_are_one_pass(host: Host) -> None:
    host.at(1, batch(7, *BASE), batch(8, web("10.65.0.2")), batch(9, gone=[web()]))
    host.run(5)
    assert host.filter.times == [1]
    assert host.filter.last.revision == 9
    assert host.filter.last.filter.endpoints == ()


def test_a_swarm_of_kernel_events_is_one_pass(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    for index in range(20):
        host.at(1 + index / 500, KernelChanged())
    host.run(5)
    assert host.filter.times == [0, 1 + loop.SETTLE]


def test_a_batch_waits_for_no_kernel_event_to_settle(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    host.at(1, KernelChanged())
    host.at(1.01, batch(8, web()))
    host.run(5)
    assert host.filter.times == [0, 1.01]


def broken() -> bool:
    raise KernelError("nobody can tell")


@pytest.mark.parametrize("sees", [lambda: True, broken], ids=["a change", "nothing"])
def test_a_probe_that_sees_a_change_or_cannot_see_has_all_put_right(tmp_path, sees) -> None:
    looks = []

    def probe() -> bool:
        looks.append(host.time.now)
        return sees() if len(looks) == 3 else False

    host = Host(tmp_path, probe)
    host.at(0, batch(7, *BASE))
    host.run(8.5)
    assert looks == pytest.approx([loop.LOOK * n for n in range(1, 9)])
    assert host.filter.times == [0, 3 * loop.LOOK]


def test_everything_is_compared_now_and_then(tmp_path: Path) -> None:
    host = Host(tmp_path, resync=30)
    host.at(0, batch(7, *BASE))
    host.run(95)
    assert host.filter.times == [0, 30, 60, 90]


def test_the_end_leaves_everything_as_it_is(host: Host) -> None:
    host.at(0, batch(7, *BASE))
    host.at(1, batch(8, gone=[web()]))
    host.run(1)  # the end comes in the same moment
    assert host.filter.times == [0]


# --- failures -------------------------------------------------------------------------------------


def test_a_failing_filter_stops_the_pass_and_is_tried_again_ever_more_slowly(host: Host) -> None:
    host.at(0, host.filter.fails("no memory"), batch(7, *BASE))
    host.at(20, host.filter.fails(""))
    host.run(60)
    assert host.filter.times == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5]
    assert host.routes.times == [25.5]
    told = [(each["state"], each["reason"]) for each in host.said(status_key())]
    assert told == [("error", "no memory"), ("up", "")]
    assert [each["state"] for each in host.own] == ["error", "ready"]
    assert host.own[0]["reason"] == "firewall: no memory"


def test_after_a_success_the_pause_is_short_again(host: Host) -> None:
    host.at(0, host.filter.fails("no memory"), batch(7, *BASE))
    host.at(3, host.filter.fails(""))
    host.at(10, host.filter.fails("again"), batch(8))
    host.run(12)
    assert host.filter.times == [0, 0.5, 1.5, 3.5, 10, 10.5, 11.5]


def test_news_do_not_wait_for_the_pause(host: Host) -> None:
    host.at(0, host.filter.fails("this one"), batch(7, *BASE))
    host.at(20, host.filter.fails(""), batch(8, web("10.65.0.2")))
    host.run(25)
    assert host.filter.times[-1] == 20
    assert host.state == ("ready", "")


@pytest.mark.parametrize(
    ("failing", "endpoint"), [("links", "error"), ("routes", "error"), ("bird", "up")]
)
def test_another_driver_that_fails_does_not_stop_the_rest(host, failing, endpoint) -> None:
    host.at(0, getattr(host, failing).fails("not today"), batch(7, *BASE))
    host.run(0.4)
    assert host.journal == DRIVERS
    assert host.state == ("error", f"{failing}: not today")
    assert [each["state"] for each in host.said(status_key())] == [endpoint]
    assert host.agent.snapshot.outcome.changed == dict.fromkeys(set(DRIVERS) - {failing}, 1)


def test_what_is_in_force_is_what_all_drivers_have_done(host: Host) -> None:
    seen: list[tuple[int, int]] = []
    revisions = host.look(seen, lambda: (
        host.agent.snapshot.revision, host.agent.snapshot.store_revision
    ))  # fmt: skip
    host.at(0, batch(7, *BASE))
    host.at(1, host.bird.fails("not today"), batch(8, web("10.65.0.2")))
    host.at(2, revisions, host.bird.fails(""))
    host.at(9, revisions)
    host.run(10)
    assert seen == [(7, 8), (8, 8)]
    assert [(each["state"], each["revision"]) for each in host.own] == [
        ("ready", 7),
        ("error", 7),
        ("ready", 8),
    ]


def test_resources_that_calc_refuses_leave_what_is_in_force(host, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise TortieError("cannot be")

    host.at(0, batch(7, *BASE))
    host.at(1, lambda: monkeypatch.setattr(loop, "desired_for", refuse), batch(8, policy("shop/p")))
    host.run(1.2)
    assert host.filter.revisions == [7]
    assert host.state == ("error", "calc: cannot be")
    assert [each["state"] for each in host.said(status_key())] == ["up", "error"]


# --- a store that goes away -----------------------------------------------------------------------


def test_a_lost_store_changes_nothing_and_says_so_until_it_is_back(host: Host) -> None:
    seen: list[object] = []
    state = host.look(seen, lambda: (host.agent.snapshot.state, host.agent.snapshot.store_lost))
    host.at(0, batch(7, *BASE))
    host.at(1, Lost("no answer"))
    host.at(2, state, KernelChanged())
    host.at(3, state)
    host.at(60, batch(9, web("10.65.0.2")))
    host.at(61, state)
    host.run(62)
    assert seen == [("ready", "no answer"), ("ready", "no answer"), ("ready", "")]
    assert host.filter.times == [0, 2 + loop.SETTLE, 60]
    before, repaired, after = (desired for _, desired in host.filter.applied)
    assert repaired == before
    assert after.filter.endpoints[0].addresses == ("10.65.0.2",)


# --- what cannot be read --------------------------------------------------------------------------

GOOD = policy("shop/p")
KEY = kinds.key(GOOD)
BROKEN = {
    "no JSON": b"{",
    "a kind of tomorrow": b'{"kind": "Wish", "apiVersion": "projectcalico.org/v3"}',
    "another's key": kinds.encode(policy("shop/q")),
    "a selector without end": kinds.encode(policy("shop/p", selector="a ==")),
    "a protocol that nobody knows": kinds.encode(GOOD).replace(
        b'"spec":{', b'"spec":{"ingress":[{"action":"Allow","protocol":"FOO"}]'
    ),
}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_policy_that_cannot_be_read_holds_what_is_in_force(host: Host, value: bytes) -> None:
    held: list[tuple[str, str]] = []
    host.at(0, batch(7, *BASE))
    host.at(1, batch(8, web("10.65.0.2"), raw={KEY: value}))
    host.at(2, host.look(held, lambda: host.state))
    host.at(3, batch(9, GOOD))
    host.run(4)
    ((state, reason),) = held
    assert state == "holding"
    assert reason.startswith(KEY)
    assert host.filter.revisions == host.bird.revisions == [7, 9]
    assert host.filter.last.filter.endpoints[0].addresses == ("10.65.0.2",)
    assert host.state == ("ready", "")


def test_a_network_set_without_sense_holds_and_kills_nobody(host: Host) -> None:
    value = b'{"kind":"GlobalNetworkSet","apiVersion":"projectcalico.org/v3",' \
            b'"metadata":{"name":"x"},"spec":{"nets":["bogus"]}}'  # fmt: skip
    host.at(0, batch(7, *BASE, raw={f"{kinds.WORLD}globalnetworksets/x": value}))
    host.run(1)
    assert host.journal == []
    assert host.state[0] == "holding"
    assert "bogus" in host.state[1]


NO_ENDPOINT = {
    "no JSON": b"{",
    "no address": kinds.encode(web()).replace(b"10.65.0.1/32", b"bogus"),
    "no interface": kinds.encode(web()).replace(b'"tor1"', b'"tor1\\"; accept"'),
}


@pytest.mark.parametrize("value", NO_ENDPOINT.values(), ids=NO_ENDPOINT)
@pytest.mark.parametrize("before", [True, False], ids=["served before", "new"])
def test_an_endpoint_that_cannot_be_read_is_only_not_served(host, value, before) -> None:
    other = web("10.65.0.9", "other", "tor9")
    host.at(0, batch(7, *(BASE if before else BASE[:2]), other))
    host.at(1, batch(8, raw={kinds.key(web()): value}))
    host.run(2)
    assert [each.interface for each in host.filter.last.filter.endpoints] == ["tor9"]
    assert host.state == ("ready", "")
    last = host.said(status_key())[-1]
    assert (last["state"], last["revision"]) == ("error", 8)
    assert last["reason"].startswith("stored object ")


def test_an_endpoint_of_another_host_that_cannot_be_read_is_that_hosts_business(host) -> None:
    host.at(0, batch(7, *BASE, raw={f"{kinds.WORLD}workloadendpoints/beta/shop/x": b"{"}))
    host.run(1)
    assert host.state == ("ready", "")
    assert [each["endpoints"] for each in host.own] == [1]


def test_hostile_keys_and_values_reach_no_log_as_they_are(host: Host, caplog) -> None:
    hostile = "x\n2026-01-01 CRITICAL \u202eall is lost"
    host.at(0, batch(7, *BASE, raw={f"{MINE}shop/{hostile}": b"{"}))
    host.at(1, batch(8, raw={f"{kinds.WORLD}tiers/{hostile}": b"{"}))
    value = kinds.encode(node("x")).replace(b'"Node"', b'"No\\n\\u202ede"')
    host.at(2, batch(9, raw={f"{kinds.WORLD}tiers/{hostile}": None, f"{kinds.WORLD}y": value}))
    host.run(3)
    assert host.filter.revisions == [7]
    assert len(caplog.records) >= 2
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert all(key.isprintable() for key, _ in host.written)
    assert all(each["reason"].isprintable() for each in host.own)


# --- what is measured -----------------------------------------------------------------------------


def test_passes_failures_and_losses_are_counted(host: Host) -> None:
    host.at(0, host.bird.fails("not today"), batch(7, *BASE, barrier("b")))
    host.at(0.2, host.bird.fails(""), Lost("no answer"))
    host.at(1, batch(8, cluster()))
    host.run(2)
    text = host.metrics.text(lambda: host.agent.snapshot).decode()
    for line in (
        'tortie_agent_info{node="alpha"} 1.0', "tortie_passes_total 3.0",
        'tortie_driver_errors_total{driver="bird"} 1.0',
        'tortie_driver_changes_total{driver="firewall"} 3.0',
        "tortie_store_lost_total 1.0", "tortie_store_connected 1.0",
        'tortie_state{state="ready"} 1.0', 'tortie_state{state="holding"} 0.0',
        "tortie_revision 8.0", "tortie_store_revision 8.0", "tortie_endpoints 1.0",
    ):  # fmt: skip
        assert line in text.splitlines()
