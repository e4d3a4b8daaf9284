"""The benchmark's rig: every contender carries the traffic, and the firewalls are firewalls."""

from __future__ import annotations

import pytest

from bench import rig, stats, traffic

CONTENDERS = {each.name: each for each in rig.contenders((1, 7))}


@pytest.mark.kernel
@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_carries_every_kind_of_traffic(name: str) -> None:
    with rig.standing(CONTENDERS[name]) as built, traffic.traffic(built) as peers:
        traffic.await_server(peers)
        for measure in ("throughput", "round_trips", "connections"):
            assert peers.measure(measure, 0.02) > 0


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name, each in CONTENDERS.items() if each.policies])
def test_a_firewall_drops_a_client_that_no_policy_allows(name: str) -> None:
    with rig.standing(CONTENDERS[name], allowed=False) as built:
        with traffic.traffic(built, loopback=True) as local:
            traffic.await_server(local)
        with traffic.traffic(built) as peers:
            assert peers.measure("reaches", 0.3) == 0


@pytest.mark.parametrize(
    ("values", "median", "low", "high"),
    [
        ([3.0, 1.0, 2.0], 2, 1, 3),  # too few for 95 %: their range
        ([float(each) for each in range(1, 7)], 3.5, 1, 6),  # 1 - 2 / 2**6 = 0.969
        ([float(each) for each in range(1, 12)], 6, 2, 10),  # ranks of the sign test's table
        ([float(each) for each in range(1, 26)], 13, 8, 18),
    ],
)
def test_an_interval_is_that_of_the_sign_test(
    values: list[float], median: float, low: float, high: float
) -> None:
    assert stats.middle(values) == stats.Middle(median, low, high)
