"""Host endpoints in a real kernel: which packets to, from and through the host arrive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host_rig import PLACES, arrivals, forget, host_rig
from host_worlds import FORWARD_SHUT, SHUT, TENANTS, UDP, guard, guarded, steps
from msgspec.structs import replace
from nft_rig import Packet, Rig

from tortie.desired import Filter

pytestmark = pytest.mark.kernel

# What is sent: from where, to whom. Each once to port 80 and once to 81.
WAYS = {
    "in": ("up", "host"),
    "out": ("host", "up"),
    "through": ("up", "side"),
    "back": ("side", "up"),
    "w1 out": ("w1", "up"),
    "w1 in": ("up", "w1"),
    "w1 to w2": ("w1", "w2"),
    "host to w2": ("host", "w2"),
    "w2 to host": ("w2", "host"),
}
ALL = {f"{way} {port}" for way in WAYS for port in (80, 81)}
TO_HOST = {"w2 to host 80", "w2 to host 81"}


@pytest.fixture(scope="module")
def net() -> Iterator[Rig]:
    with host_rig() as made:
        yield made


def arriving(net: Rig, wanted: Filter, due: set[str]) -> tuple[set[str], set[str]]:
    """What arrives in IPv4, and what in IPv6."""
    net.apply(wanted)
    found: tuple[set[str], set[str]] = set(), set()
    for origin in PLACES:
        forget(net)
        sent = {
            f"{way} {port} {family}": Packet(
                PLACES[origin][family], PLACES[to][family], UDP, 40000, port
            )
            for way, (start, to) in WAYS.items()
            for port in (80, 81)
            for family in (0, 1)
            if start == origin
        }
        for name in arrivals(net, origin, sent, {each for each in sent if each[:-2] in due}):
            found[int(name[-1])].add(name[:-2])
    return found


def but(*gone: str) -> set[str]:
    """All but what goes these ways, or this way to this port."""
    return {
        each for each in ALL - TO_HOST if each not in gone and each.rpartition(" ")[0] not in gone
    }


FORWARD_80 = {"forward_ingress": steps("allow-80"), "forward_egress": steps("allow-80")}
UNTRACKED_80 = {
    "untracked_ingress": steps("allow-80", "deny-81", default="pass"),
    "untracked_egress": steps("allow-80", "deny-81", default="pass"),
}
STAR_SHUT = guard("*", **SHUT, **FORWARD_SHUT, pre_dnat=steps("none", default="pass"))
WORLDS = {
    "no host endpoint": (guarded(), but()),
    "normal: what ends or begins here": (
        guarded(guard(ingress=steps("allow-80"), egress=steps("allow-80"))),
        but("in 81", "out 81"),
    ),
    "normal: nothing allows it": (guarded(guard(profiles=())), but("in", "out")),
    "normal: a tier passes, a profile allows": (
        guarded(guard(ingress=steps("deny-81", default="pass"), egress=steps("shut"))),
        but("in 81", "out"),
    ),
    "forward: whatever goes through": (
        guarded(guard(**FORWARD_80)),
        but("through 81", "back 81", "w1 out 81", "w1 in 81"),
    ),
    "forward: only into the host's side": (
        guarded(guard(forward_ingress=steps("shut"))),
        but("through", "w1 in"),
    ),
    "forward: undecided goes on, and no profile is asked": (
        guarded(guard(forward_ingress=steps("deny-81", default="pass"), profiles=())),
        but("in", "out", "through 81", "w1 in 81"),
    ),
    "forward: allowed is not all, workloads say for themselves": (
        guarded(
            guard(**FORWARD_80),
            endpoints=tuple(replace(each, profiles=()) for each in TENANTS),
        ),
        but("through 81", "back 81", "w1 out", "w1 in", "w1 to w2"),
    ),
    "preDNAT: denied, though all else allows": (
        guarded(guard(pre_dnat=steps("deny-81", default="pass"))),
        but("in 81", "through 81", "w1 in 81"),
    ),
    "preDNAT: allowed, and the rest of this endpoint is not asked": (
        guarded(guard(pre_dnat=steps("allow-80", default="pass"), **SHUT, **FORWARD_SHUT)),
        but("in 81", "out", "through 81", "back", "w1 in 81", "w1 out"),
    ),
    "preDNAT: allowed, but the way out is another's": (
        guarded(
            guard(pre_dnat=steps("open")),
            guard("side0", forward_egress=steps("shut")),
        ),
        but("through"),
    ),
    "untracked: denied, though all else allows": (
        guarded(guard(untracked_ingress=steps("deny-81", default="pass"))),
        but("in 81", "through 81", "w1 in 81"),
    ),
    "untracked: allowed, and the rest of this endpoint is not asked": (
        guarded(guard(**UNTRACKED_80, **SHUT, **FORWARD_SHUT, pre_dnat=steps("shut"))),
        but("in 81", "out 81", "through 81", "back", "w1 in 81", "w1 out"),
    ),
    "untracked: only what the host sends": (
        guarded(guard(untracked_egress=steps("deny-81", default="pass"))),
        but("out 81"),
    ),
    "all interfaces but the workloads'": (
        guarded(STAR_SHUT),
        but("in", "out", "through", "back", "w1 in", "w1 out"),
    ),
    "all other interfaces": (
        guarded(STAR_SHUT, guard()),
        but("through", "back"),
    ),
    "all interfaces, in every evaluation": (
        guarded(
            guard(
                "*",
                untracked_ingress=steps("shut"),
                untracked_egress=steps("shut"),
                pre_dnat=steps("shut"),
                **SHUT,
                **FORWARD_SHUT,
            )
        ),
        but("in", "out", "through", "back", "w1 in", "w1 out"),
    ),
    "a workload's interface is no host endpoint's": (
        guarded(guard("ens5", **SHUT, **FORWARD_SHUT, pre_dnat=steps("shut"))),
        but(),
    ),
    "a workload's own policy says what it may tell its host": (
        guarded(guard("*", **SHUT), to_host="policy"),
        but("in", "out") | TO_HOST,
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_what_arrives(net: Rig, name: str) -> None:
    wanted, due = WORLDS[name]
    assert arriving(net, wanted, due) == (due, due)


def connects(net: Rig, origin: str, to: str, family: int, patience: float = 2) -> bool:
    with net.listen(to, 9080):
        return net.connect(origin, PLACES[to][family], 9080, patience)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("shut", ["ingress", "pre_dnat", "forward_ingress"])
def test_answers_to_what_is_allowed_come_in(net: Rig, shut: str, family: int) -> None:
    net.apply(guarded(guard(**{shut: steps("shut")})))
    forget(net)
    assert connects(net, "host", "up", family)
    assert connects(net, "w1", "up", family)
    assert connects(net, "up", "host", family, 0.2) == (shut == "forward_ingress")
