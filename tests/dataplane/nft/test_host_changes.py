"""While host endpoints change without pause, and base chains come and go with them, not one packet
passes that every version forbids, and no connection is held up that every version allows."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from host_rig import PLACES, forget, host_rig
from host_worlds import FORWARD_SHUT, SHUT, TCP, guard, guarded, steps
from nft_rig import Rig

from tortie.dataplane.nft import NftDriver, render, reshaped, script_diff
from tortie.desired import Filter, HostEndpoint, OpenPort
from tortie.kernel import netns

pytestmark = pytest.mark.kernel

SECONDS = 1.0
OPEN_PORT, PORT = 9022, 80
FAILSAFE = {
    "failsafe_inbound": (OpenPort(TCP, OPEN_PORT),),
    "failsafe_outbound": (OpenPort(TCP, OPEN_PORT),),
}
CLOSED = {**SHUT, **FORWARD_SHUT}
BARE = (guard(**CLOSED),)
CHANGES = {
    "untracked comes": (
        guard(
            untracked_ingress=steps("deny-80", default="pass"),
            untracked_egress=steps("deny-80", default="pass"),
            **CLOSED,
        ),
    ),
    "preDNAT comes": (guard(pre_dnat=steps("deny-80", default="pass"), **CLOSED),),
    "other policies": (guard(**dict.fromkeys(CLOSED, steps("deny-80", "deny-81"))),),
    "all interfaces": (guard("*", **CLOSED),),
    "two interfaces": (*BARE, guard("side0", **CLOSED)),
    "three interfaces": (*BARE, guard("side0", **CLOSED), guard("eth9", **CLOSED)),
}
PAIRS = {
    **{name: (BARE, changed) for name, changed in CHANGES.items()},
    "one more than two": (CHANGES["two interfaces"], CHANGES["three interfaces"]),
}
"""All of them deny port 80 at up0, in whichever direction; only failsafe ports are open."""


@pytest.fixture(scope="module")
def net() -> Iterator[Rig]:
    with host_rig() as made:
        yield made


def version(hosts: tuple[HostEndpoint, ...]) -> Filter:
    return guarded(*hosts, **FAILSAFE)


@contextlib.contextmanager
def flood(net: Rig, origin: str, to: str) -> Iterator[tuple[list[int], socket.socket]]:
    """Datagrams as fast as they go: how many were sent, and where they would arrive."""
    over, sent = threading.Event(), [0]
    with netns.entered(net.ns(to)):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.bind((PLACES[to][0], PORT))
        ear.setblocking(False)

    def send() -> None:
        with netns.entered(net.ns(origin)):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.connect((PLACES[to][0], PORT))
            while not over.is_set():
                for _ in range(100):
                    with contextlib.suppress(OSError):
                        sock.send(b"x")
                sent[0] += 100

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent, ear
    finally:
        over.set()
        thread.join()
        ear.close()


def heard(ear: socket.socket) -> int:
    found = 0
    with contextlib.suppress(BlockingIOError):
        while ear.recv(16):
            found += 1
    return found


@contextlib.contextmanager
def calls(net: Rig, origin: str, to: str) -> Iterator[list[float]]:
    """New connections one after the other: how long each took, or was waited for."""
    over, took = threading.Event(), []

    def call() -> None:
        while not over.is_set():
            started = time.monotonic()
            if net.connect(origin, PLACES[to][0], OPEN_PORT, patience=5):
                server.accept()[0].close()
            took.append(time.monotonic() - started)

    with net.listen(to, OPEN_PORT) as server:
        thread = threading.Thread(target=call)
        thread.start()
        try:
            yield took
        finally:
            over.set()
            thread.join()


WAYS = {"in": ("up", "host"), "out": ("host", "up"), "through": ("up", "side")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", PAIRS)
def test_what_every_version_forbids_never_passes(net: Rig, how: str, way: str) -> None:
    versions = [version(each) for each in PAIRS[how]]
    origin, to = WAYS[way]
    net.apply(versions[0])
    forget(net)
    swaps = 0
    with flood(net, origin, to) as (sent, ear):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            swaps += 1
            net.apply(versions[swaps % 2])
        assert heard(ear) == 0
    assert swaps > 20 and sent[0] > 5_000


@pytest.mark.parametrize("starts", [False, True], ids=["policies change", "agents start"])
@pytest.mark.parametrize("way", ["in", "out"])
def test_what_every_version_allows_is_not_held_up(net: Rig, way: str, starts: bool) -> None:
    """A connection whose first packet is lost takes a second."""
    versions = [version(BARE), *(version(each) for each in CHANGES.values())]
    net.apply(versions[0])
    forget(net)
    swaps = 0
    with calls(net, *WAYS[way]) as took:
        deadline = time.monotonic() + 2 * SECONDS
        while time.monotonic() < deadline:
            swaps += 1
            if starts:
                net.driver = NftDriver(net.nft)
            net.apply(versions[swaps % len(versions)])
    assert swaps > 20 and len(took) > 100
    assert max(took) < 0.9


def test_what_is_allowed_arrives(net: Rig) -> None:
    """So that the zeros mean something."""
    for way in WAYS.values():
        net.apply(guarded(guard()))
        with flood(net, *way) as (_, ear):
            time.sleep(0.3)
            assert heard(ear) > 100


@pytest.mark.parametrize("how", PAIRS)
def test_base_chains_come_and_go_in_one_transaction(net: Rig, how: str) -> None:
    one, other = (version(each) for each in PAIRS[how])
    net.apply(one)
    for old, new in ((one, other), (other, one)):
        assert not reshaped(render(old), render(new))
        with netns.entered(net.ns("host")):
            before = net.nft.generation()
            net.apply(new)
            assert net.nft.generation() == before + 1
        assert "delete table" not in script_diff(render(old), render(new))
