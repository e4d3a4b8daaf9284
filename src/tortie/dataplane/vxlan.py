"""The driver of VXLAN: one interface for each family, the other hosts' ends, and nothing learnt.

Each end is a permanent neighbour and a permanent forwarding entry, so nothing is ever flooded or
asked for. The interfaces are ours by their names, VXLAN_DEVICES: what else has one is replaced.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from tortie.dataplane.problems import as_error
from tortie.desired import VXLAN_DEVICES, VXLAN_OVERHEAD, Desired, Family, Report, Vxlan
from tortie.errors import KernelError
from tortie.kernel import rtnetlink
from tortie.kernel.rtnetlink import (
    Address,
    Change,
    Forward,
    Link,
    LinkState,
    Neighbour,
    NetlinkPort,
    NewVxlan,
)
from tortie.kernel.sysctl import SysctlPort

LEAST_MTU: dict[Family, int] = {4: 68, 6: 1280}
"""What the protocol itself needs (RFC 791, RFC 8200 section 5)."""
_LENGTH: dict[Family, int] = {4: 32, 6: 128}

# Other hosts' redirects are heeded no more than workloads', and none is sent to them. Nobody gets
# an address of the interface but the tunnel's: what we have not set is no part of the tunnel.
_SETTINGS: dict[Family, dict[str, str]] = {
    4: {
        "net/ipv6/conf/{}/disable_ipv6": "1",
        "net/ipv4/conf/{}/forwarding": "1",
        "net/ipv4/conf/{}/accept_redirects": "0",
        "net/ipv4/conf/{}/send_redirects": "0",
    },
    6: {
        "net/ipv6/conf/{}/disable_ipv6": "0",
        "net/ipv6/conf/{}/addr_gen_mode": "1",
        "net/ipv6/conf/{}/accept_ra": "0",
        "net/ipv6/conf/{}/accept_redirects": "0",
        "net/ipv6/conf/{}/forwarding": "1",
    },
}
_RP_FILTER = "net/ipv4/conf/{}/rp_filter"


class VxlanDriver:
    """Makes the host's VXLAN interfaces, and what they know, equal to those of a Desired."""

    name = "vxlan"

    def __init__(self, netlink: NetlinkPort, sysctl: SysctlPort) -> None:
        self._netlink = netlink
        self._sysctl = sysctl

    def prepare(self) -> None:
        """The interfaces of an earlier run go on until the first apply."""

    def apply(self, desired: Desired) -> Report:
        """Make the interfaces so, and remove those that nobody wants.

        Raises KernelError that names what could not be had, and why. An interface that cannot work
        is not there.
        """
        links = {link.name: link for link in self._netlink.links()}
        if not desired.vxlan and not links.keys() & VXLAN_DEVICES.values():
            return Report()
        addresses = self._netlink.addresses()
        wanted, problems = dict[str, Vxlan](), list[str]()
        for each in desired.vxlan:
            hindrance = _hindrance(each, links, addresses)
            if hindrance:
                problems.append(f"{each.device}: {hindrance}")
            else:
                wanted[each.device] = each
        changed = self._sweep(links, wanted, problems)
        for each in wanted.values():
            try:
                changed += self._set_up(each, links.get(each.device), addresses)
            except KernelError as error:
                problems.append(f"{each.device}: {error}")
        if problems:
            raise as_error("VXLAN is not set up", problems)
        return Report(changed=changed)

    def close(self) -> None:
        """Let go of netlink. The interfaces stay."""
        self._netlink.close()

    def _sweep(
        self, links: dict[str, Link], wanted: Mapping[str, Vxlan], problems: list[str]
    ) -> int:
        """Delete what has a name of ours and is not wanted as it is; `links` no longer has it."""
        stale = [
            link
            for name, link in links.items()
            if name in VXLAN_DEVICES.values()
            and (name not in wanted or link.vxlan != _parameters(wanted[name]))
        ]
        refusals = self._netlink.change([Change("delete", LinkState(link.index)) for link in stale])
        problems += [str(each) for each in refusals]
        for link in stale:
            del links[link.name]
        return len(stale) - len(refusals)

    def _set_up(self, want: Vxlan, link: Link | None, addresses: Iterable[Address]) -> int:
        """Make one interface so; how many things were changed. Raises KernelError."""
        changed = 0
        if link is None:
            link, changed = self._made(want), 1
            addresses = ()
        # First the MTU: IPv6 comes and goes with it, and so do its settings.
        changed += self._change(_of_link(want, link))
        changed += len(self._sysctl.ensure(self._settings(want)))
        changes = [
            *_of_addresses(want, link.index, addresses),
            *_of_neighbours(want, link.index, self._netlink.neighbours(link.index)),
            *_of_forwards(want, link.index, self._netlink.forwards(link.index)),
        ]
        if not link.up:
            changes.append(Change("replace", LinkState(link.index, up=True)))
        return changed + self._change(changes)

    def _change(self, changes: Sequence[Change]) -> int:
        """Raises KernelError that names what was refused."""
        refusals = self._netlink.change(changes)
        if refusals:
            raise as_error("not all could be set", [str(each) for each in refusals])
        return len(changes)

    def _made(self, want: Vxlan) -> Link:
        new = NewVxlan(want.device, _parameters(want), want.mac, want.mtu)
        for refusal in self._netlink.change([Change("add", new)]):
            if refusal.error == errno.EOPNOTSUPP:
                raise KernelError("this kernel has no VXLAN", "load its module: modprobe vxlan")
            if refusal.error == errno.EEXIST:
                raise KernelError(
                    f"another VXLAN interface here has VNI {want.vni} and port {want.port}",
                    "remove it (see `ip -d link show type vxlan`), or set vxlanVNI in "
                    "FelixConfiguration default",
                )
            raise KernelError(str(refusal))
        for link in self._netlink.links():
            if link.name == want.device:
                return link
        raise KernelError("somebody removed it at once")

    def _settings(self, want: Vxlan) -> dict[str, str]:
        """The sysctls of the interface. One too small for IPv6 has none of IPv6."""
        settings = {key.format(want.device): value for key, value in _SETTINGS[want.family].items()}
        if want.family == 4:
            # Who has moved is heard by the tunnel before the way to it is known here. The kernel
            # takes the larger of `all` and this: where all is strict (1), loose (2).
            strict = self._sysctl.read(_RP_FILTER.format("all")) not in ("0", None)
            settings[_RP_FILTER.format(want.device)] = "2" if strict else "0"
            off = f"net/ipv6/conf/{want.device}/disable_ipv6"
            if self._sysctl.read(off) is None:
                del settings[off]
        return settings


def _hindrance(want: Vxlan, links: Mapping[str, Link], addresses: Iterable[Address]) -> str:
    """Why an interface cannot work on this host; "" if it can."""
    own = ip_address(want.local)
    here = {each.index for each in addresses if ip_address(each.prefix.partition("/")[0]) == own}
    if not here:
        return f"{want.local}, which this host's Node says is its address, is not on this host"
    if want.mtu >= LEAST_MTU[want.family]:
        return ""
    names = sorted(
        f"{link.name} ({link.mtu} bytes)" for link in links.values() if link.index in here
    )
    return (
        f"packets of {want.mtu} bytes are too small for IPv{want.family}, which needs "
        f"{LEAST_MTU[want.family]}: raise the MTU of {' or '.join(names)} to at least "
        f"{LEAST_MTU[want.family] + VXLAN_OVERHEAD[want.family]}"
    )


def _parameters(want: Vxlan) -> rtnetlink.Vxlan:
    # Without checksums over IPv6 (RFC 6935): the packet within has its own.
    return rtnetlink.Vxlan(want.vni, want.port, want.local, zero_sums=want.family == 6)


def _of_link(want: Vxlan, link: Link) -> list[Change]:
    mac = None if link.mac == want.mac else want.mac
    mtu = None if link.mtu == want.mtu else want.mtu
    if mac is None and mtu is None:
        return []
    return [Change("replace", LinkState(link.index, mac=mac, mtu=mtu))]


def _of_addresses(want: Vxlan, index: int, there: Iterable[Address]) -> list[Change]:
    """The tunnel's address, and no other."""
    own = Address(index, f"{want.address}/{_LENGTH[want.family]}", nodad=want.family == 6)
    here = [each for each in there if each.index == index]
    changes = [Change("delete", each) for each in here if each != own]
    return changes if own in here else [*changes, Change("add", own)]


def _of_neighbours(want: Vxlan, index: int, there: Iterable[Neighbour]) -> list[Change]:
    wanted = {Neighbour(index, each.address, each.mac) for each in want.peers}
    kept = {each.address for each in wanted}
    have = set(there)
    changes = [Change("replace", each) for each in _ordered(wanted - have)]
    return changes + [Change("delete", each) for each in _ordered(have) if each.address not in kept]


def _of_forwards(want: Vxlan, index: int, there: Iterable[Forward]) -> list[Change]:
    """One way for each MAC: all that the kernel keeps for one that is no group's."""
    wanted = {each.mac: Forward(index, each.mac, each.underlay) for each in want.peers}
    have: dict[str, list[Forward]] = {}
    for each in there:
        have.setdefault(each.mac, []).append(each)
    changes = []
    for mac, forward in sorted(wanted.items()):
        if have.pop(mac, []) != [forward]:
            changes.append(Change("replace", forward))
    return changes + [Change("delete", stale[0]) for _, stale in sorted(have.items())]


def _ordered(neighbours: Iterable[Neighbour]) -> list[Neighbour]:
    return sorted(neighbours, key=lambda each: each.address)
