"""The monitor tells what happens in the kernel, of its own namespace only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import eventually, inside_fresh, ip

from tortie.kernel.monitor import KernelEvent, Monitor

pytestmark = pytest.mark.kernel


@contextmanager
def watched(protocol: int | None = None) -> Iterator[list[KernelEvent]]:
    """The events of a fresh namespace that the calling thread is in."""
    events: list[KernelEvent] = []
    with inside_fresh():
        monitor = Monitor(events.append, protocol)
        monitor.start()
        try:
            yield events
        finally:
            monitor.stop()
            monitor.stop()


def expect(events: list[KernelEvent], wanted: KernelEvent) -> None:
    eventually(lambda: wanted in events, f"{wanted} among {events}")


def test_links_that_appear_and_vanish_are_told() -> None:
    with watched() as events:
        ip("link add tor1 type veth peer name far")
        expect(events, KernelEvent("link", interface="tor1"))
        ip("link delete tor1")
        expect(events, KernelEvent("link", interface="tor1", deleted=True))


@pytest.mark.parametrize("prefix", ["10.65.0.1/32", "fd65::1/128"])
def test_routes_and_addresses_that_come_and_go_are_told(prefix: str) -> None:
    with watched() as events:
        for verb, deleted in (("add", False), ("delete", True)):
            ip(f"route {verb} blackhole {prefix} proto 84", f"addr {verb} {prefix} dev lo")
            expect(events, KernelEvent("route", prefix=prefix, deleted=deleted, protocol=84))
            expect(events, KernelEvent("address", "lo", prefix, deleted))


def test_only_routes_of_one_protocol_if_so_asked() -> None:
    with watched(protocol=84) as events:
        ip("route add blackhole 10.65.0.1/32 proto 12", "route add blackhole default proto 84")
        expect(events, KernelEvent("route", prefix="0.0.0.0/0", protocol=84))
        assert [each.protocol for each in events] == [84]


@pytest.mark.parametrize("name", ["ipv4/ip_forward", "ipv6/conf/all/forwarding"])
def test_a_host_that_no_longer_forwards_is_told(name: str) -> None:
    with inside_fresh():
        setting = Path("/proc/sys/net", name)
        setting.write_text("1")
        events: list[KernelEvent] = []
        monitor = Monitor(events.append)
        monitor.start()
        try:
            setting.write_text("0")
            expect(events, KernelEvent("setting"))
        finally:
            monitor.stop()


def test_a_burst_that_does_not_fit_is_told_as_lost() -> None:
    events: list[KernelEvent] = []
    go_on = threading.Event()

    def hear(event: KernelEvent) -> None:
        go_on.wait()
        events.append(event)

    with inside_fresh():
        monitor = Monitor(hear, room=4096)
        monitor.start()
        try:
            ip(*(f"route add blackhole 10.{n}.0.0/16" for n in range(250)))
            go_on.set()
            expect(events, KernelEvent("resync"))
        finally:
            go_on.set()
            monitor.stop()


def test_nothing_of_another_namespace_is_told() -> None:
    with watched() as events:
        with inside_fresh():
            ip("link add torelse type veth peer name far")
        ip("link add torhere type veth peer name far")
        expect(events, KernelEvent("link", interface="torhere"))
        assert "torelse" not in {each.interface for each in events}
