"""Which host endpoint governs which interface of a host, and what judges there (Calico v3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tortie import desired as d
from tortie.model import checks, net
from tortie.model import resources as r

EVERY = "*"


def governed(
    hosts: Sequence[r.HostEndpoint], interfaces: Mapping[str, tuple[str, ...]]
) -> dict[str, r.HostEndpoint]:
    """The host endpoint of each interface that one governs; "*" is for all others.

    `hosts` are those of this host by name, and the first that fits has an interface: one that names
    it, or names none and expects an address of it. One that names an interface which is not there
    yet holds for it already, so that nothing passes when it comes.
    """
    found: dict[str, r.HostEndpoint] = {}
    for host in hosts:
        name = host.spec.interface_name
        if name:
            names = [name]
        else:
            expected = {net.parse_net(each).address for each in host.spec.expected_ips}
            names = [name for name, have in interfaces.items() if expected & set(have)]
        for each in names:
            if each == EVERY or _may_be_governed(each):
                found.setdefault(each, host)
    return {name: found[name] for name in sorted(found)}


def idle(
    hosts: Sequence[r.HostEndpoint], interfaces: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, str], ...]:
    """The names of those that guard no interface now, and why."""
    guards = governed(hosts, interfaces)
    busy = {host.metadata.name for name, host in guards.items() if name in (EVERY, *interfaces)}
    return tuple(
        (host.metadata.name, _why_idle(host, interfaces, guards))
        for host in hosts
        if host.metadata.name not in busy
    )


def _why_idle(
    host: r.HostEndpoint,
    interfaces: Mapping[str, tuple[str, ...]],
    guards: Mapping[str, r.HostEndpoint],
) -> str:
    name = host.spec.interface_name
    if name and name != EVERY and name not in interfaces:
        return f"interface {name} is not on this host"
    if not name and not governed([host], interfaces):
        return "no interface of this host has an address that it expects"
    others = {each.metadata.name for each in guards.values()} - {host.metadata.name}
    return f"another guards its interface, one of {', '.join(sorted(others))}"


def _may_be_governed(interface: str) -> bool:
    """Not a workload's and not `lo`; and of a name that can stand in a rule set."""
    return not interface.startswith(d.INTERFACE_PREFIX) and not any(checks.interface("", interface))
