"""Traffic without pause, while things are killed and broken; and what became of it.

Four sorts: connections that must last (and exchange data), new ones that must be made, attempts
that must fail, and a flood of forbidden datagrams of which not one packet may arrive.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from e2e_rig import PROMPT, Site
from lab_rig import until

from tortie.kernel import netns, process
from tortie.lab.probe import Pair
from tortie.lab.traffic import Traffic

PORT = 7777
"""Where floods and forged packets go; nobody listens there, they are counted as they arrive."""
BURST, PAUSE = 20, 0.002
"""Datagrams of a flood at once, and seconds between two bursts."""


@contextlib.contextmanager
def counting(site: Site, where: str) -> Iterator[Callable[[], dict[str, int]]]:
    """Within the block UDP to PORT is counted where it arrives; gives packets by source."""
    with counting_in(site.space(where)) as counted:
        yield counted


@contextlib.contextmanager
def counting_in(space: str) -> Iterator[Callable[[], dict[str, int]]]:
    """As `counting`, in a network namespace."""

    def nft(line: str) -> str:
        with netns.entered(space):
            return process.run(["nft", line]).stdout

    for line in (
        "table inet e2e",
        "chain inet e2e in { type filter hook prerouting priority -300 ; }",
        "set inet e2e seen { type ipv4_addr ; flags dynamic ; counter ; }",
        f"rule inet e2e in udp dport {PORT} add @seen {{ ip saddr }}",
    ):
        nft(f"add {line}")

    def counted() -> dict[str, int]:
        found = re.findall(r"([0-9.]+) counter packets (\d+)", nft("list set inet e2e seen"))
        return {source: int(packets) for source, packets in found}

    try:
        yield counted
    finally:
        nft("delete table inet e2e")


@dataclass
class Storm:
    """What is going on, and after the block what came of it."""

    traffic: Traffic
    made: int = 0
    """new connections that were made and answered"""
    sent: int = 0
    """forbidden datagrams"""
    failures: list[str] = field(default_factory=list)
    """new connections that were not made"""
    arrived: list[str] = field(default_factory=list)
    """forbidden datagrams that arrived"""

    def goes_on(self, exchanges: int = 200, made: int = 30, attempts: int = 200) -> None:
        """Returns when so much more has happened from now on."""
        count = self.traffic.count
        wanted = (
            (count.exchanges + exchanges, lambda: count.exchanges),
            (self.made + made, lambda: self.made),
            (count.attempts + attempts, lambda: count.attempts),
            (self.sent + 10 * attempts, lambda: self.sent),
        )
        assert until(lambda: all(now() >= goal for goal, now in wanted), PROMPT), (
            [(goal, now()) for goal, now in wanted], count.notes, self.failures,
        )  # fmt: skip

    def assert_clean(self, exchanges: int = 400, made: int = 60, attempts: int = 400) -> None:
        """Nothing broke, nothing leaked; and there was enough of everything to tell."""
        count = self.traffic.count
        assert count.exchanges >= exchanges
        assert self.made >= made
        assert count.attempts >= attempts
        assert self.sent >= 10 * attempts
        assert (count.broken, count.leaked) == (0, 0), count.notes
        assert self.failures == []
        assert self.arrived == []


@contextlib.contextmanager
def storm(
    site: Site,
    lasting: Sequence[str],
    fresh: Sequence[str],
    forbidden: Sequence[str],
    floods: Sequence[tuple[str, str]],
    patience: float = 5.0,
) -> Iterator[Storm]:
    """Questions (see e2e_rig) of each sort; floods are pairs of source and destination.

    `patience`: seconds that a new connection may take.
    """
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        counters = {
            where: stack.enter_context(counting(site, where))
            for where in sorted({destination for _, destination in floods})
        }
        traffic = Traffic(*([site.pair(each) for each in some] for some in (lasting, forbidden)))
        found = Storm(stack.enter_context(traffic))
        pairs = [site.pair(each) for each in fresh]
        threads = [
            threading.Thread(target=_make, args=(found, pairs, patience, over)),
            threading.Thread(target=_flood, args=(found, site, floods, over)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield found
        finally:
            over.set()
            for thread in threads:
                thread.join()
            for source, destination in floods:
                packets = counters[destination]().get(site.addresses[source], 0)
                if packets:
                    found.arrived.append(f"{packets} from {source} to {destination}")


def _make(found: Storm, pairs: Sequence[Pair], patience: float, over: threading.Event) -> None:
    while not over.is_set():
        for pair in pairs:
            try:
                with netns.entered(pair.space):
                    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                with sock:
                    sock.settimeout(patience)
                    sock.connect((pair.address, pair.service.port))
                    assert sock.recv(512)
                found.made += 1
            except (OSError, AssertionError) as error:
                found.failures.append(f"{pair.source} to {pair.destination}: {error!r}")
        over.wait(0.02)


def _flood(
    found: Storm, site: Site, floods: Sequence[tuple[str, str]], over: threading.Event
) -> None:
    with contextlib.ExitStack() as stack:
        socks = []
        for source, destination in floods:
            with netns.entered(site.space(source)):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.connect((site.addresses[destination], PORT))
            socks.append(sock)
        while not over.is_set():
            for sock in socks:
                for _ in range(BURST):
                    with contextlib.suppress(OSError):
                        sock.send(b"x")
                found.sent += BURST
            time.sleep(PAUSE)
