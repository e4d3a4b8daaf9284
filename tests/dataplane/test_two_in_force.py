"""While a dataplane takes over from another both are in force, and use the same bits of the packet
mark: together they judge as each does alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from filters import HOSTS, PORTS, filters, guards, open_ports
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nft_rig import ROUTER, UP, WORKLOADS, Packet, Rig, rig

from tortie.dataplane.iptables.driver import IptablesDriver
from tortie.dataplane.nft import NftDriver
from tortie.desired import Desired, Filter, OpenPort
from tortie.kernel import netns, process
from tortie.kernel.ipset import IpSet
from tortie.kernel.iptables import Iptables, Variant

pytestmark = pytest.mark.kernel

VARIANTS: tuple[Variant, ...] = ("nft", "legacy")
TRANSLATED = ("203.0.113.7", "2001:db8:7::7")
NAT = f"""
table inet n {{
  chain out {{
    type nat hook output priority -100;
    ip daddr {TRANSLATED[0]} dnat ip to {UP[0]}
    ip6 daddr {TRANSLATED[1]} dnat ip6 to {UP[1]}
  }}
}}
"""
PLACES = {"w1": WORKLOADS["w1"][1:], "w2": WORKLOADS["w2"][1:], "up": UP, "r": ROUTER}


@pytest.fixture(scope="module")
def site() -> Iterator[Rig]:
    with rig() as made, netns.entered(made.ns("r")):
        process.run(["nft", "-f", "-"], stdin=NAT)
        for target in TRANSLATED:
            process.run(["ip", "route", "add", target, "dev", "up0"])
        made.driver.sweep()
        yield made


def packets(random: Random) -> dict[str, list[Packet]]:
    """By place: from there, to anywhere."""
    found: dict[str, list[Packet]] = {place: [] for place in PLACES}
    for place, own in PLACES.items():
        for _ in range(12):
            six = random.random() < 0.5
            targets = [each for each in HOSTS if (":" in each) == six and each != own[six]]
            target = random.choice([*targets, TRANSLATED[six]] if place == "r" else targets)
            sport, dport = random.choice((*PORTS, 40000)), random.choice(PORTS)
            packet = Packet(own[six], target, random.choice((6, 17)), sport, dport)
            found[place].append(packet)
    return found


Arrived = set[tuple[str, int]]


def arriving(site: Rig, sent: dict[str, list[Packet]], expected: Arrived | None = None) -> Arrived:
    """Which of these arrive anywhere: their places and numbers."""
    found = set()
    for place, some in sent.items():
        site.forget_connections()
        due = {some[at].token for where, at in expected or () if where == place}
        tokens = site.arrivals(place, some, None if expected is None else due)
        found |= {(place, at) for at, packet in enumerate(some) if packet.token in tokens}
    return found


def prepared(firewall: Filter, guard: object, opened: Sequence[OpenPort]) -> Desired:
    made = replace(firewall, hosts=(guard,), failsafe_inbound=opened, failsafe_outbound=opened)
    return Desired("node", 1, made)


def drivers(site: Rig) -> dict[str, NftDriver | IptablesDriver]:
    """All that remember nothing."""
    backends = [IptablesDriver(Iptables(variant), IpSet()) for variant in VARIANTS]
    return {"nft": NftDriver(site.nft), **{each.name: each for each in backends}}


@pytest.mark.parametrize(
    ("old", "new"), [("iptables-nft", "iptables-legacy"), ("nft", "iptables-legacy")]
)
@settings(
    max_examples=3, deadline=None, phases=[Phase.generate], database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(filters(), guards("up0"), open_ports, st.integers(0, 2**32))
def test_together_they_judge_as_one(
    site: Rig, old: str, new: str, firewall, guard, opened, seed: int
) -> None:
    desired = prepared(firewall, guard, opened)
    sent = packets(Random(seed))
    made = drivers(site)
    try:
        made[old].apply(desired)
        alone = arriving(site, sent)
        made[new].apply(desired)
        assert arriving(site, sent, alone) == alone
        made[old].sweep()
        assert arriving(site, sent, alone) == alone
    finally:
        for driver in made.values():
            driver.sweep()
            driver.sweep()
            driver.close()
