"""While rules are replaced and changed without pause, not one packet passes that every version of
them forbids: a flood of datagrams, and a count of those that arrive."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tortie.dataplane.nft import NftDriver
from tortie.desired import (
    AddressSet,
    Desired,
    Endpoint,
    Filter,
    HostEndpoint,
    Policy,
    PortRange,
    Rule,
    Side,
    TierStep,
)
from tortie.kernel import netns, process
from tortie.kernel.nft import Nft

pytestmark = pytest.mark.kernel

SECONDS, ENOUGH = 1.5, 60
SENDER, TARGET, PORT = "10.0.0.2", "10.0.1.2", 9
ELSEWHERE = ("10.7.0.0/16", "10.9.0.0/16")

# Each denies what SENDER sends, then allows; the second only differs in what does not matter here.
DENIALS: dict[str, tuple[tuple[Rule, ...], tuple[Rule, ...]]] = {
    "several prefixes": (
        (Rule("deny", source=Side(nets=("10.0.0.0/24", *ELSEWHERE))), Rule("allow")),
        (Rule("deny", source=Side(nets=("10.0.0.0/24", "10.3.0.0/16"))), Rule("allow")),
    ),
    "all but several prefixes": (
        (Rule("allow", source=Side(not_nets=("10.0.0.0/24", *ELSEWHERE))),),
        (Rule("allow", source=Side(not_nets=("10.0.0.0/24", "10.3.0.0/16"))),),
    ),
    "ranges of ports": (
        (Rule("deny", 4, 17, destination=Side(ports=(PortRange(7, 9), PortRange(20, 30)))),
         Rule("allow")),
        (Rule("deny", 4, 17, destination=Side(ports=(PortRange(9, 11), PortRange(20, 30)))),
         Rule("allow")),
    ),
    "a set of hosts": (
        (Rule("deny", source=Side(sets=("hosts",))), Rule("allow")),
        (Rule("deny", source=Side(sets=("more-hosts",))), Rule("allow")),
    ),
    "a set of prefixes": (
        (Rule("deny", source=Side(sets=("nets",))), Rule("allow")),
        (Rule("deny", source=Side(sets=("more-nets",))), Rule("allow")),
    ),
    "no rule": ((), (Rule("allow", protocol=6),)),
}  # fmt: skip
SETS = (
    AddressSet("hosts", frozenset({SENDER, "10.0.0.77"})),
    AddressSet("more-hosts", frozenset({SENDER})),
    AddressSet("nets", nets=frozenset({"10.0.0.0/24", *ELSEWHERE})),
    AddressSet("more-nets", nets=frozenset({"10.0.0.0/25", *ELSEWHERE})),
)


def desired(rules: tuple[Rule, ...]) -> Desired:
    allow = (Rule("allow"),)
    return Desired("node", 1, Filter(
        endpoints=(
            Endpoint("n/sender", "tor1", (SENDER,), profiles=("Profile/open",)),
            Endpoint("n/target", "tor2", (TARGET,), profiles=("Profile/guard",)),
        ),
        policies=(Policy("Profile/open", allow, allow), Policy("Profile/guard", rules, allow)),
        sets=SETS,
    ))  # fmt: skip


def guarded(**evaluations: tuple[TierStep, ...]) -> Desired:
    """Both ends are no workloads; what SENDER sends is denied as it comes in to be forwarded."""
    deny = TierStep("t", ("GlobalNetworkPolicy/deny",), "pass")
    hosts = (
        HostEndpoint("in", SENDERS, forward_ingress=(deny,), **evaluations),
        *((HostEndpoint("all", "*", **evaluations),) if evaluations else ()),
    )
    rules = (Rule("deny", source=Side(nets=("10.0.0.0/24", *ELSEWHERE))), Rule("allow"))
    other = (Rule("allow", protocol=6), Rule("deny", protocol=47))
    policies = Policy("GlobalNetworkPolicy/deny", rules), Policy("GlobalNetworkPolicy/x", other)
    return Desired("node", 1, Filter(policies=policies, hosts=hosts))


OTHER = (TierStep("t", ("GlobalNetworkPolicy/x",), "pass"),)
SENDERS = "ens1"
HOSTS = (
    guarded(),
    guarded(untracked_ingress=OTHER, untracked_egress=OTHER, pre_dnat=OTHER, egress=OTHER),
)
"""The second has base chains that the first has not: in raw, mangle and behind translation."""


@contextlib.contextmanager
def router(senders: str = "tor1") -> Iterator[tuple[str, str, str]]:
    """Namespaces of a router, and of a sender and a target behind it; the router's interface
    towards the sender has the name `senders`."""
    names = [f"tnfta{os.getpid()}{which}" for which in ("r", "s", "t")]
    try:
        for name in names:
            netns.add(name)
        inside = names[0]
        for number, (name, address) in enumerate(zip(names[1:], (SENDER, TARGET), strict=True)):
            link, gateway = (senders, "tor2")[number], f"10.0.{number}.1"
            for line in (
                f"-n {inside} link add {link} type veth peer name eth0 netns {name}",
                f"-n {inside} address add {gateway}/24 dev {link}",
                f"-n {inside} link set {link} up",
                f"-n {name} address add {address}/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} route add default via {gateway}",
            ):
                process.run(["ip", *line.split()])
        with netns.entered(inside):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for line in ("add table inet t",
                     "add chain inet t in { type filter hook prerouting priority -300 ; }",
                     f"add rule inet t in udp dport {PORT} counter"):  # fmt: skip
            with netns.entered(names[2]):
                process.run(["nft", line])
        yield names[0], names[1], names[2]
    finally:
        for name in names:
            netns.delete(name)


def arrived(target: str) -> int:
    with netns.entered(target):
        text = process.run(["nft", "list", "chain", "inet", "t", "in"]).stdout
    return int(re.findall(r"counter packets (\d+)", text)[0])


@contextlib.contextmanager
def flood(sender: str) -> Iterator[list[int]]:
    """Datagrams as fast as they go, from two ports; how many were sent."""
    over, sent = threading.Event(), [0, 0]

    def send(which: int) -> None:
        with netns.entered(sender):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.connect((TARGET, PORT))
            while not over.is_set():
                for _ in range(100):
                    with contextlib.suppress(OSError):
                        sock.send(b"x")
                sent[which] += 100

    threads = [threading.Thread(target=send, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        over.set()
        for thread in threads:
            thread.join()


def swapped(place: tuple[str, str, str], versions: Sequence[Desired], how: str) -> int:
    """How many packets arrived while one version followed the other."""
    inside, sender, target = place

    def work() -> int:
        nft = Nft()
        driver = NftDriver(nft)
        driver.prepare()
        driver.apply(versions[0])
        swaps = 0
        with flood(sender) as sent:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline or swaps < ENOUGH:
                driver = NftDriver(nft) if how == "agents start" else driver
                driver.apply(versions[swaps % 2])
                swaps += 1
        nft.close()
        return sum(sent)

    assert netns.call(inside, work) > 10_000
    return arrived(target)


@pytest.mark.parametrize("how", ["agents start", "policies change"])
@pytest.mark.parametrize("what", DENIALS)
def test_what_every_version_forbids_never_passes(what: str, how: str) -> None:
    versions = [desired(rules) for rules in DENIALS[what]]
    with router() as place:
        assert swapped(place, versions, how) == 0


@pytest.mark.parametrize("how", ["agents start", "policies change"])
def test_hooks_that_come_and_go_leave_no_gap(how: str) -> None:
    with router(SENDERS) as place:
        assert swapped(place, HOSTS, how) == 0


def test_what_is_allowed_arrives() -> None:
    """So that the zeros mean something."""
    with router() as (inside, sender, target):

        def work() -> None:
            nft = Nft()
            driver = NftDriver(nft)
            driver.prepare()
            driver.apply(desired((Rule("allow"),)))
            with flood(sender) as sent:
                deadline = time.monotonic() + 0.3
                while time.monotonic() < deadline or not sum(sent):
                    time.sleep(0.05)
            nft.close()

        netns.call(inside, work)
        assert arrived(target) > 100
