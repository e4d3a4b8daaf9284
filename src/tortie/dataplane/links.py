"""The driver of the host's ends of workload links, and of what the host needs to be a router.

It runs after the firewall: an interface is brought up only when its policy is in force. Those with
our prefix that no Link speaks for are left alone; the firewall's static rule drops what they send.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tortie.dataplane.problems import as_error
from tortie.desired import (
    GATEWAY_MAC,
    GATEWAY_V4,
    GATEWAY_V6,
    Desired,
    Family,
    Link,
    Report,
)
from tortie.errors import KernelError
from tortie.kernel import rtnetlink
from tortie.kernel.rtnetlink import Address, Change, LinkState, Neighbour, NetlinkPort
from tortie.kernel.sysctl import SysctlPort

_LOOPBACK = "lo"

# With global scope the host would take it as the source of what it sends.
_HOST_GATEWAY = f"{GATEWAY_V4}/32"
_LINK_GATEWAY = f"{GATEWAY_V6}/64"

_FORWARDING: dict[Family, str] = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}

# Per interface. Redirects: workloads have one way out, and may not tell us ours. Proxies answer at
# once: by default they wait up to 0.8 s. IPv6: no address but fe80::1, and no router over there.
_INTERFACE: dict[Family, dict[str, str]] = {
    4: {
        "net/ipv4/conf/{}/forwarding": "1",
        "net/ipv4/conf/{}/accept_redirects": "0",
        "net/ipv4/conf/{}/send_redirects": "0",
        "net/ipv4/neigh/{}/proxy_delay": "0",
    },
    6: {
        "net/ipv6/conf/{}/disable_ipv6": "0",
        "net/ipv6/conf/{}/addr_gen_mode": "1",
        "net/ipv6/conf/{}/accept_ra": "0",
        "net/ipv6/conf/{}/accept_redirects": "0",
        "net/ipv6/conf/{}/forwarding": "1",
        "net/ipv6/neigh/{}/proxy_delay": "0",
    },
}
_RP_FILTER = "net/ipv4/conf/{}/rp_filter"
_ACCEPT_RA = "net/ipv6/conf/{}/accept_ra"
_RTPROT_RA = 9  # linux/rtnetlink.h: a route from a router advertisement


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What one interface lacks, in order; bringing it up comes last."""

    interface: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What each interface that is there lacks (often nothing), and those that are not there."""

    links: tuple[LinkPlan, ...]
    missing: frozenset[str]


class LinkDriver:
    """Makes the host's ends of links equal to the links of a Desired."""

    name = "links"

    def __init__(self, netlink: NetlinkPort, sysctl: SysctlPort) -> None:
        self._netlink = netlink
        self._sysctl = sysctl

    def prepare(self) -> None:
        """Make the host a router with our gateway address; the firewall must be prepared before.

        Raises KernelError.
        """
        self._host(self._netlink.links(), self._netlink.addresses())

    def apply(self, desired: Desired) -> Report:
        """Set up every link whose interface is there, as far as the kernel lets us.

        An interface whose settings are refused is not brought up. Raises KernelError that names
        what was refused, and why.
        """
        links, addresses = self._netlink.links(), self._netlink.addresses()
        neighbours = self._netlink.neighbours() if desired.links else []
        changed = self._host(links, addresses)
        ipv6 = self._sysctl.read(_FORWARDING[6]) is not None
        plan = diff(desired.links, links, addresses, neighbours, ipv6=ipv6)
        settings = self._settings(ipv6)
        problems: list[tuple[str, str]] = []
        changes: list[Change] = []
        owner: dict[Change, str] = {}
        for each in plan.links:
            try:
                wanted = {key.format(each.interface): value for key, value in settings.items()}
                changed += len(self._sysctl.ensure(wanted))
            except KernelError as error:
                problems.append((each.interface, str(error)))
                continue
            changes += each.changes
            owner |= dict.fromkeys(each.changes, each.interface)
        refusals = self._netlink.change(changes)
        problems += [(owner[each.change], f"{owner[each.change]}: {each}") for each in refusals]
        vanished = self._vanished({name for name, _ in problems})
        left = [text for name, text in problems if name not in vanished]
        if left:
            raise as_error("workload interfaces could not be set up", left)
        return Report(
            changed=changed + len(changes) - len(refusals), missing=plan.missing | vanished
        )

    def close(self) -> None:
        """Let go of netlink. The links stay as they are."""
        self._netlink.close()

    def _host(self, links: Iterable[rtnetlink.Link], addresses: Iterable[Address]) -> int:
        changed = self._gateway(links, addresses)
        changed += len(self._sysctl.ensure({_FORWARDING[4]: "1"}))
        if self._sysctl.read(_FORWARDING[6]) == "0":
            # A router ignores other routers' advertisements, unless told so for an interface:
            # those that the host has its default route from.
            names = {link.index: link.name for link in links}
            uplinks = {
                names[route.index]
                for route in self._netlink.routes(_RTPROT_RA)
                if route.prefix == "::/0" and route.index in names
            }
            heed = {_ACCEPT_RA.format(name): "2" for name in sorted(uplinks)}
            # 0 means that another program reads the advertisements, or nobody shall.
            heed = {name: two for name, two in heed.items() if self._sysctl.read(name) == "1"}
            changed += len(self._sysctl.ensure({**heed, _FORWARDING[6]: "1"}))
        return changed

    def _gateway(self, links: Iterable[rtnetlink.Link], addresses: Iterable[Address]) -> int:
        """See that the loopback has the gateway's IPv4 address: it is answered for on all links."""
        loopback = next((link.index for link in links if link.name == _LOOPBACK), None)
        if loopback is None:
            raise KernelError(f"this host has no interface {_LOOPBACK}")
        want = Address(loopback, _HOST_GATEWAY, "link")
        there = [each for each in addresses if each.prefix == want.prefix]
        there = [each for each in there if each.index == loopback]
        if any(each.scope == want.scope for each in there):
            return 0
        changes = [Change("delete", each) for each in there]
        changes.append(Change("add", want))
        refusals = self._netlink.change(changes)
        if refusals:
            raise KernelError(f"the workloads' gateway is not to be had: {refusals[0]}")
        return len(changes)

    def _settings(self, ipv6: bool) -> dict[str, str]:
        """What every interface of ours has, with {} for its name."""
        # Whose address a packet may carry is the firewall's business: a reverse path test breaks
        # when a workload moves. The kernel takes the larger of `all` and the interface's value,
        # so where all is strict (1) loose (2) is the least that can be had without touching it.
        strict = self._sysctl.read(_RP_FILTER.format("all")) not in ("0", None)
        settings = {_RP_FILTER: "2" if strict else "0", **_INTERFACE[4]}
        return settings | _INTERFACE[6] if ipv6 else settings

    def _vanished(self, interfaces: set[str]) -> set[str]:
        """Those that went away meanwhile, which explains why they were refused."""
        if not interfaces:
            return set()
        return interfaces - {link.name for link in self._netlink.links()}


def diff(
    wanted: Iterable[Link],
    links: Iterable[rtnetlink.Link],
    addresses: Iterable[Address],
    neighbours: Iterable[Neighbour],
    *,
    ipv6: bool,
) -> Plan:
    """What each wanted link lacks. Without `ipv6` on this host nothing of IPv6 is set up."""
    by_name = {link.name: link for link in links}
    gateways = {each.index for each in addresses if each.prefix == _LINK_GATEWAY}
    permanent: dict[int, dict[str, str]] = defaultdict(dict)
    for each in neighbours:
        permanent[each.index][each.address] = each.mac
    plans = []
    missing = set()
    for link in wanted:
        there = by_name.get(link.interface)
        if there is None:
            missing.add(link.interface)
            continue
        changes: list[Change] = []
        if there.mac != GATEWAY_MAC:
            changes.append(Change("replace", LinkState(there.index, mac=GATEWAY_MAC)))
        if ipv6 and there.index not in gateways:
            gateway = Address(there.index, _LINK_GATEWAY, "link", nodad=True)
            changes.append(Change("add", gateway))
        changes += _neighbours(link, there.index, permanent[there.index])
        if not there.up:
            changes.append(Change("replace", LinkState(there.index, up=True)))
        plans.append(LinkPlan(link.interface, tuple(changes)))
    return Plan(tuple(plans), frozenset(missing))


def _neighbours(link: Link, index: int, there: dict[str, str]) -> list[Change]:
    """Nobody but the agent sets permanent neighbours on a workload's interface."""
    wanted = dict.fromkeys(link.addresses, link.mac) if link.mac else {}
    changes = [
        Change("replace", Neighbour(index, address, mac))
        for address, mac in wanted.items()
        if mac and there.get(address) != mac
    ]
    changes += [
        Change("delete", Neighbour(index, address, mac))
        for address, mac in there.items()
        if address not in wanted
    ]
    return changes
