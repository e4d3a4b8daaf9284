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


def _may_be_governed(interface: str) -> bool:
    """Not a workload's and not `lo`; and of a name that can stand in a rule set."""
    return not interface.startswith(d.INTERFACE_PREFIX) and not any(checks.interface("", interface))
