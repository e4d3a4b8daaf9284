"""The judge of changes under traffic sees what it is there to see; its changes are all valid."""

from __future__ import annotations

import pytest
from e2e_changes import Dice
from e2e_leak import Attempt, Delta, Lived, Part, Version
from e2e_tenants import lab, put, resource
from lab_rig import unique

from tortie.dataplane.interpreter import Packet
from tortie.lab import paper, spec
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.memory import MemoryStore
from tortie.store.resources import apply, check

EVERYBODY = resource("GlobalNetworkPolicy", "p", {"ingress": [{"action": "Allow"}]})
NOBODY = resource("GlobalNetworkPolicy", "p", {"types": ["Ingress"]})
HOME = {"a1": {"eth0": ("172.16.1.2",)}, "b1": {"eth0": ("172.16.2.2",)}}


def world() -> tuple[Delta, tuple[Part, ...], Packet]:
    """The lab on paper, and the way from p1 (a1) to s3 (b1)."""
    _, resources = paper.draw(spec.load(lab("sqlite", "nft"), "lab", unique("paper")))
    ends = {one.spec.workload: one.spec for one in resources if isinstance(one, r.WorkloadEndpoint)}
    way = (
        Part("a1", ends["p1"].interface_name, "eth0"),
        Part("b1", "eth0", ends["s3"].interface_name),
    )
    return put(*resources), way, Packet("10.65.10.17", "10.65.10.3", 6, 80, 1024)


def lived(*versions: tuple[r.Resource, float, float, float]) -> tuple[Lived, Attempt]:
    """Versions of the policy, each as (it, commit began, a1 enforced it, b1 did)."""
    start, way, packet = world()
    made = [Version("the start", start, 0.0, {"a1": 0.0, "b1": 0.0})]
    for policy, began, at_a1, at_b1 in versions:
        made.append(Version("next", put(policy), began, {"a1": at_a1, "b1": at_b1}))
    attempt = Attempt("p1", "s3", packet, way, 0.0, 0.0, True)
    return Lived(made, HOME), attempt


# Closed at 10 (in force at 11 and 12), open again at 20 (in force at 21 and 22).
CASES = {
    "answered while it was open": (5.0, 5.1, True, ""),
    "answered before the host could know that it is closed": (10.5, 10.6, True, ""),
    "answered before the target's host had closed": (11.5, 11.6, True, ""),
    "answered after the target's host had closed": (12.5, 12.6, True, "leak"),
    "answered while it was to be opened": (19.9, 20.1, True, ""),
    "not answered while it was open": (5.0, 5.9, False, "refused"),
    "not answered while it was to be closed": (9.9, 10.8, False, ""),
    "not answered while it was closed": (15.0, 15.9, False, ""),
    "not answered before the target's host had opened": (20.5, 21.4, False, ""),
    "not answered after it was open": (22.1, 23.0, False, "refused"),
}


@pytest.mark.parametrize("sentence", CASES)
def test_an_attempt_is_held_against_what_its_hosts_may_have_enforced(sentence: str) -> None:
    began, ended, answered, wanted = CASES[sentence]
    history, attempt = lived((NOBODY, 10.0, 11.0, 12.0), (EVERYBODY, 20.0, 21.0, 22.0))
    made = attempt._replace(began=began, ended=ended, answered=answered)
    found = history.examine([made])
    assert (found.leaks, found.refused) == (
        [made] if wanted == "leak" else [], [made] if wanted == "refused" else []
    )  # fmt: skip
    if wanted == "leak":
        told = history.tell(found.leaks)
        assert "b1 at 1: denies: ingress of shop/" in told
        assert "oracle: DENIED: tier-default" in told


def test_two_hosts_may_differ_but_one_of_them_may_not_be_of_two_minds() -> None:
    """What version 1 forbids at the source and version 2 at the target, no pair allows."""
    out = resource("GlobalNetworkPolicy", "p", {"selector": "role == 'api'", "types": ["Egress"]})
    history, attempt = lived((out, 10.0, 11.0, 11.0), (NOBODY, 20.0, 21.0, 30.0))
    during = attempt._replace(began=25.0, ended=25.1)
    # a1 enforces the second and lets it out; b1 is still at the first and lets it in.
    assert history.examine([during]).leaks == []
    after = attempt._replace(began=31.0, ended=31.1)
    assert history.examine([after]).leaks == [after]


def test_every_change_that_is_drawn_is_one_that_the_door_lets_in() -> None:
    start, _, _ = world()
    store, dice, words = MemoryStore(), Dice(7), set()
    apply(store, [each for each in start.values() if each is not None])
    now = {entry.key: kinds.decode(entry.value) for entry in store.list(kinds.WORLD).entries}
    for _ in range(300):
        text, delta = dice.draw(now)
        words.add(text.partition(":")[0])
        check(store, [each for each in delta.values() if each is not None])
        for key, each in delta.items():
            now.pop(key, None)
            if each is not None:
                now[key] = each
    assert len(words) >= 13
