"""Links, BIRDs, agents, routers and etcd's members fail in random order, for minutes if asked to:
what should be reachable is so again within the bound, and what is forbidden never is.

TORTIE_CHAOS_SECONDS makes it longer, TORTIE_CHAOS_SEED makes it another order.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence

import pytest
from e2e_chaos import BOUND, faults, order, strike
from e2e_rig import Site
from lab_rig import remains, running, tenants, tenants_verdict, unique, until

from tortie.lab.probe import Pair, attempt
from tortie.lab.traffic import Traffic

pytestmark = pytest.mark.lab

SECONDS = float(os.environ.get("TORTIE_CHAOS_SECONDS", "45"))
SEED = int(os.environ.get("TORTIE_CHAOS_SEED", "0")) or random.randrange(1, 10**6)
LASTS = 1.5  # seconds of a fault
THIRD_RACK = "  - {name: rack-c, hosts: [c1]}\n  outside:"
"""so that a cut between two racks has a way around"""

MORE = """\
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web-is-public-too, namespace: shop}
spec:
  selector: role == 'web'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {notNets: ['fd65::/64']}, destination: {ports: [http]}}
"""
"""the same over IPv6: a rule's prefixes are of one family"""


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    text = tenants("etcd").replace("  outside:", THIRD_RACK)
    text = text.replace("  store: etcd", "  store: etcd\n  etcdMembers: 3\n  families: [4, 6]")
    text += MORE
    with running(text, unique("chaos"), tmp_path_factory.mktemp("lab")) as lab:
        yield Site(lab)
    assert remains(lab.name) == []


def pairs(site: Site, verdict: bool) -> list[Pair]:
    """All that a reader of the file expects to be connected, or not."""
    return [
        each
        for each in site.running.pairs()
        if verdict
        == tenants_verdict(each.source, each.destination, each.service.protocol, each.service.port)
    ]


def unreachable(allowed: Sequence[Pair]) -> list[str]:
    """What should be reachable and is not."""
    tried = zip(allowed, attempt(allowed, 2.0), strict=True)
    return [f"{pair.source} {pair.destination}" for pair, one in tried if not one.connected]


def test_whatever_fails_all_is_reachable_again_and_nothing_forbidden_ever(battered: Site) -> None:
    struck, slowest = 0, 0.0
    allowed = pairs(battered, True)
    rounds = order(faults(battered), SEED)
    end = time.monotonic() + SECONDS
    with Traffic([], pairs(battered, False)) as traffic:
        while time.monotonic() < end:
            together = next(rounds)
            names = " and ".join(each.name for each in together)
            strike(together, LASTS)
            mended = time.monotonic()
            assert until(lambda: not unreachable(allowed), BOUND), (
                SEED, names, unreachable(allowed)[:5],
            )  # fmt: skip
            slowest = max(slowest, time.monotonic() - mended)
            struck += len(together)
    count = traffic.count
    assert (count.leaked, count.notes) == (0, []), SEED
    assert count.attempts > 20 * SECONDS
    assert struck >= 3
    print(f"seed {SEED}: {struck} faults, all reachable again within {slowest:.1f} s")


def test_the_rig_would_see_a_leak_and_a_loss(battered: Site) -> None:
    """So that the zeros of the other test mean something."""
    allowed = pairs(battered, True)
    with Traffic([], allowed[:3]) as traffic:
        assert until(lambda: traffic.count.leaked > 0)
    pull = next(each for each in faults(battered) if each.name.startswith("the link a1"))
    mend = pull.begin()
    try:
        assert unreachable(allowed)
    finally:
        mend()
    assert until(lambda: not unreachable(allowed), BOUND)
