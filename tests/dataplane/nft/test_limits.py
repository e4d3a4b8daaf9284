"""Limits of connections in the kernel: who is over it is told so, and the count outlives changes of
the rules."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from namespaces import eventually
from nft_rig import UP, WORKLOADS, Packet, Rig, rig

from tortie.dataplane.nft import NftDriver
from tortie.dataplane.nft.ruleset import without_dynamic
from tortie.desired import Endpoint, Filter, Policy, Report, Rule
from tortie.kernel import netns

OPEN = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
MOST, PORT = 3, 7000
LISTING = """table inet tortie {
\tset limit_out_3 {
\t\ttype ifname
\t\tsize 65535
\t\tflags dynamic
%s\t}

\tset names {
\t\ttype ifname
\t\telements = { "a",
\t\t\t     "b" }
\t}
}
"""


def test_only_what_packets_put_there_is_not_looked_at() -> None:
    filled = (
        LISTING % '\t\telements = { "tor1" ct count over 3,\n\t\t\t     "tor2" ct count over 3 }\n'
    )
    assert without_dynamic(filled) == without_dynamic(LISTING % "")
    assert without_dynamic(filled) != without_dynamic(filled.replace('"b"', '"c"'))


def limited(*more: Endpoint, **limits: int) -> Filter:
    one = Endpoint("shop/one", "tor1", WORKLOADS["w1"][1:], profiles=(OPEN.id,), **limits)
    return Filter((one, *more), (OPEN,))


TWO = Endpoint("shop/two", "tor2", WORKLOADS["w2"][1:], profiles=(OPEN.id,))


@pytest.fixture(scope="module")
def site() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def fresh(site: Rig) -> Iterator[Rig]:
    with contextlib.ExitStack() as held, netns.entered(site.ns("r")):
        for place in ("w1", "up"):
            held.enter_context(site.listen(place, PORT))
        site.apply(Filter())
        site.forget_connections()
        yield site


def opening(site: Rig, origin: str, target: str) -> socket.socket:
    """A connection that is over at once when it is closed."""
    made = site.connected(origin, target, PORT)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return made


def install(site: Rig, wanted: Filter) -> Report:
    """By a driver that knows nothing."""
    site.driver = NftDriver(site.nft)
    return site.apply(wanted)


WAYS = {
    "it has open to others": ({"max_egress": MOST}, "w1", UP),
    "others have open to it": ({"max_ingress": MOST}, "up", WORKLOADS["w1"][1:]),
}


@pytest.mark.kernel
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("which", WAYS)
def test_one_too_many_is_reset_until_another_closes(fresh: Rig, which: str, family: int) -> None:
    limits, origin, targets = WAYS[which]
    fresh.apply(limited(**limits))
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(opening(fresh, origin, targets[family])) for _ in range(MOST)]
        started = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            fresh.connected(origin, targets[family], PORT)
        assert time.monotonic() - started < 1
        opened.pop().close()
        # The kernel looks for what has closed now and then only.
        eventually(lambda: fresh.connect(origin, targets[family], PORT), "there is room again")


@pytest.mark.kernel
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_datagrams_of_one_too_many_are_dropped(fresh: Rig, family: int) -> None:
    fresh.apply(limited(max_egress=MOST))
    sent = [
        Packet(WORKLOADS["w1"][1 + family], UP[family], 17, 1000 + at, 9) for at in range(MOST + 2)
    ]
    expected = {each.token for each in sent[:MOST]}
    assert fresh.arrivals("w1", sent, expected) == expected


CHANGES: dict[str, Callable[[Rig], Report]] = {
    "another endpoint comes": lambda site: site.apply(limited(TWO, max_egress=MOST)),
    "all is written anew": lambda site: install(site, limited(max_egress=MOST)),
    "nothing is to do": lambda site: site.apply(limited(max_egress=MOST)),
}


@pytest.mark.kernel
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_counted_stays_counted(fresh: Rig, change: str) -> None:
    fresh.apply(limited(max_egress=MOST))
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            held.enter_context(opening(fresh, "w1", UP[0]))
        CHANGES[change](fresh)
        with pytest.raises(ConnectionRefusedError):
            fresh.connected("w1", UP[0], PORT)


@pytest.mark.kernel
def test_counting_is_no_drift(fresh: Rig) -> None:
    wanted = limited(max_egress=MOST)
    install(fresh, wanted)
    assert fresh.apply(wanted) == Report()  # takes the listing
    opening(fresh, "w1", UP[0]).close()
    assert "ct count over 3" in (fresh.nft.list_table("inet", "tortie") or "").split("chain")[0]
    fresh.run("r", "nft", "add table inet other; delete table inet other")
    assert not fresh.driver.drifted()
    assert fresh.apply(wanted) == Report()


@pytest.mark.kernel
def test_what_closed_is_not_counted(fresh: Rig) -> None:
    fresh.apply(limited(max_egress=MOST))
    for _ in range(MOST * 4):
        eventually(lambda: closed(fresh), "there is room again")


def closed(site: Rig) -> bool:
    """Whether a connection could be opened and closed."""
    with contextlib.suppress(ConnectionRefusedError):
        opening(site, "w1", UP[0]).close()
        return True
    return False
