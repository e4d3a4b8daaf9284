"""The host's own interfaces: how they are read, and what a change of them leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.rig import BASE, Host, batch
from namespaces import eventually, inside_fresh, ip
from worlds import host as host_endpoint

from tortie.agent import loop
from tortie.agent.events import KernelChanged
from tortie.kernel.monitor import KernelEvent, Monitor
from tortie.kernel.rtnetlink import Address, Change, Netlink
from tortie.kernel.rtnetlink_fake import FakeNetlink
from tortie.node import host_facts

NOWHERE = Path("/nonexistent")

EDGE = host_endpoint("edge", "172.18.0.1", "fd18::1")


def governed(host: Host) -> list[tuple[str, str]]:
    return [(each.id, each.interface) for each in host.filter.last.filter.hosts]


def test_a_host_endpoint_takes_effect_when_its_address_appears_and_ends_when_it_goes(host) -> None:
    seen: list[list[tuple[str, str]]] = []
    look = host.look(seen, lambda: governed(host))

    def now(**interfaces: tuple[str, ...]):
        return lambda: host.interfaces.clear() or host.interfaces.update(interfaces)

    host.at(0, batch(7, *BASE, EDGE))
    host.at(1, look, now(eth0=("172.18.0.1",)), KernelChanged())
    host.at(2, look, now(eth0=(), eth1=("fd18::1",)), KernelChanged())
    host.at(3, look, now(), KernelChanged())
    host.at(4, look)
    host.run(5)
    assert seen == [[], [("edge", "eth0")], [("edge", "eth1")], []]
    assert host.filter.times == [0, 1 + loop.SETTLE, 2 + loop.SETTLE, 3 + loop.SETTLE]


def test_a_host_that_cannot_see_its_interfaces_keeps_what_is_in_force(host: Host) -> None:
    def blind(why: str):
        return lambda: setattr(host, "blind", why)

    host.interfaces["eth1"] = ("172.18.0.1",)
    host.at(0, batch(7, *BASE, EDGE))
    host.at(1, blind("no answer"), batch(8, gone=[EDGE]))
    seen: list[tuple[str, str]] = []
    host.at(1.1, host.look(seen, lambda: host.state), host.look(seen, lambda: governed(host)))
    host.at(1.2, blind(""))
    host.run(3)
    assert seen == [("error", "calc: no answer"), [("edge", "eth1")]]
    assert governed(host) == []
    assert host.state == ("ready", "")


def test_links_without_addresses_count_and_those_of_workloads_and_lo_do_not() -> None:
    kernel = FakeNetlink()
    links = {name: kernel.add_link(name) for name in ("eth1", "eth0", "tor1")}
    kernel.change(
        [
            Change("add", Address(links[name].index, prefix))
            for name, prefix in (("eth0", "172.18.0.1/24"), ("eth0", "fd18::1/64"),
                                 ("tor1", "169.254.9.9/32"))
        ]
    )  # fmt: skip
    assert host_facts(kernel, NOWHERE).interfaces == {"eth0": ("172.18.0.1", "fd18::1"), "eth1": ()}


def link(name: str, deleted: bool = False) -> KernelEvent:
    return KernelEvent("link", name, deleted=deleted)


def address(prefix: str, deleted: bool = False) -> KernelEvent:
    return KernelEvent("address", "eth0", prefix, deleted)


@pytest.mark.kernel
def test_an_address_or_link_that_comes_or_goes_in_the_kernel_is_told_and_read() -> None:
    with inside_fresh():
        events: list[KernelEvent] = []
        monitor = Monitor(events.append, 84)
        netlink = Netlink()
        monitor.start()
        try:
            for command, told, expected in (
                ("link add eth0 type veth peer name tor1", link("eth0"), {"eth0": ()}),
                ("addr add 172.18.0.1/24 dev eth0", address("172.18.0.1/24"),
                 {"eth0": ("172.18.0.1",)}),
                ("addr add fd18::1/64 dev eth0 nodad", address("fd18::1/64"),
                 {"eth0": ("172.18.0.1", "fd18::1")}),
                ("addr del 172.18.0.1/24 dev eth0", address("172.18.0.1/24", True),
                 {"eth0": ("fd18::1",)}),
                ("link set eth0 name eth5", link("eth5"), {"eth5": ("fd18::1",)}),
                ("link delete eth5", link("eth5", True), {}),
            ):  # fmt: skip
                ip(command)
                eventually(lambda told=told: told in events, f"{told} among {events}")
                assert host_facts(netlink, NOWHERE).interfaces == expected
        finally:
            monitor.stop()
            netlink.close()
