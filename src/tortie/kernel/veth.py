"""Workloads' cables: a veth pair from the host into a workload's namespace, and taps taken over.

The calling thread must be in the host's network namespace. The host's end is left down: whoever
puts its policy into force brings it up. `RealCables` works on the kernel; `FakeCables` remembers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tortie.errors import KernelError
from tortie.kernel import netns, process


@dataclass(frozen=True, slots=True)
class Gateway:
    """The host as a workload sees it: `address` is link-local, on the cable only."""

    family: Literal[4, 6]
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair. All values are validated by the caller: they go into a batch for `ip`.

    `addresses` are the workload's, without masks; each gets full length, and a family that has one
    gets a default route through its gateway. `mtu` in bytes.
    """

    interface: str
    host_mac: str
    namespace: str
    """name or path of the workload's network namespace"""
    guest: str
    """name of the interface inside"""
    guest_mac: str
    addresses: tuple[str, ...]
    gateways: tuple[Gateway, ...]
    mtu: int = 1500


class Cables(Protocol):
    """What attaching a workload needs of the kernel."""

    def check(self, namespace: str) -> None:
        """Raise KernelError unless this is a network namespace, and not the host's own."""

    def attach(self, cable: Cable) -> bool:
        """Make or repair a cable; True if the host's end is new. Raises KernelError."""

    def claim(self, interface: str, mac: str) -> None:
        """Take over an existing interface: down, with this MAC. Raises KernelError.

        Refused if the interface has an address: the host itself uses it.
        """

    def exists(self, interface: str) -> bool:
        """Whether the host has this interface."""

    def remove(self, interface: str) -> None:
        """Delete an interface, and with it the other end; nothing if it is not there."""

    def lower(self, interface: str) -> None:
        """Bring an interface down; nothing if it is not there."""


class RealCables:
    """Cables in the kernel, through `ip`."""

    def check(self, namespace: str) -> None:
        """Raise KernelError unless this is a network namespace, and not the host's own."""
        with netns.entered(namespace):
            there = os.stat("/proc/thread-self/ns/net")  # noqa: PTH116
        here = os.stat("/proc/thread-self/ns/net")  # noqa: PTH116
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            raise KernelError(f"{namespace} is the host's own network namespace")

    def attach(self, cable: Cable) -> bool:
        """Make or repair a cable; True if the host's end is new. Raises KernelError."""
        made = not self._whole(cable)
        if made:
            self._require_room(cable)
            self.remove(cable.interface)
            mtu = ["mtu", str(cable.mtu)]
            near = ["address", cable.host_mac, *mtu, "type", "veth"]
            far = ["peer", "name", cable.guest, "address", cable.guest_mac, *mtu]
            where = ["netns", str(netns.path(cable.namespace))]
            process.run(["ip", "link", "add", cable.interface, *near, *far, *where])
        try:
            with netns.entered(cable.namespace):
                process.run(["ip", "-batch", "-"], stdin=guest_batch(cable))
        except BaseException:
            if made:
                with contextlib.suppress(KernelError):
                    self.remove(cable.interface)
            raise
        return made

    def claim(self, interface: str, mac: str) -> None:
        """Take over an existing interface: down, with this MAC. Raises KernelError."""
        for address in _show(["addr", "show", "dev", interface])[0].get("addr_info", []):
            if address.get("scope") != "link":
                raise KernelError(f"the host itself uses {interface}: it has an address")
        process.run(["ip", "link", "set", "dev", interface, "down"])
        process.run(["ip", "link", "set", "dev", interface, "address", mac])

    def exists(self, interface: str) -> bool:
        """Whether the host has this interface."""
        return _index(interface) is not None

    def remove(self, interface: str) -> None:
        """Delete an interface, and with it the other end; nothing if it is not there."""
        self._unless_gone(interface, ["ip", "link", "delete", "dev", interface])

    def lower(self, interface: str) -> None:
        """Bring an interface down; nothing if it is not there."""
        self._unless_gone(interface, ["ip", "link", "set", "dev", interface, "down"])

    def _unless_gone(self, interface: str, command: list[str]) -> None:
        if not self.exists(interface):
            return
        try:
            process.run(command)
        except KernelError:
            if self.exists(interface):  # else it went by itself, as with its namespace
                raise

    def _whole(self, cable: Cable) -> bool:
        """Both ends are there, and belong together."""
        near = _index(cable.interface)
        if near is None:
            return False
        far = _show(["link", "show", "dev", cable.interface])[0].get("link_index")
        with netns.entered(cable.namespace):
            if _index(cable.guest) != far:
                return False
            return bool(_show(["link", "show", "dev", cable.guest])[0].get("link_index") == near)

    def _require_room(self, cable: Cable) -> None:
        with netns.entered(cable.namespace):
            if _index(cable.guest) is not None:
                raise KernelError(
                    f"the namespace {cable.namespace} has an interface {cable.guest} already",
                    "name another one for the workload, or remove that one",
                )


@dataclass
class FakeCables:
    """Cables that are only remembered. `namespaces` are those that exist; `fail` is raised once."""

    namespaces: set[str] = field(default_factory=set)
    cables: dict[str, Cable] = field(default_factory=dict)
    taps: dict[str, str] = field(default_factory=dict)
    """existing interfaces that can be taken over, and their MAC"""
    fail: KernelError | None = None

    def check(self, namespace: str) -> None:
        if namespace not in self.namespaces:
            raise KernelError(f"there is no network namespace {namespace}")

    def attach(self, cable: Cable) -> bool:
        if self.fail is not None:
            failure, self.fail = self.fail, None
            raise failure
        self.check(cable.namespace)
        made = cable.interface not in self.cables
        self.cables[cable.interface] = cable
        return made

    def claim(self, interface: str, mac: str) -> None:
        if interface not in self.taps:
            raise KernelError(f"there is no interface {interface}")
        self.taps[interface] = mac

    def exists(self, interface: str) -> bool:
        return interface in self.cables or interface in self.taps

    def remove(self, interface: str) -> None:
        self.cables.pop(interface, None)

    def lower(self, interface: str) -> None:
        pass


def guest_batch(cable: Cable) -> str:
    """The lines for `ip -batch` that set up the workload's end; harmless when done twice."""
    dev = f"dev {cable.guest}"
    lines = [
        "link set dev lo up",
        f"link set {dev} address {cable.guest_mac} mtu {cable.mtu} up",
    ]
    families = {_family(address) for address in cable.addresses}
    for address in cable.addresses:
        # Duplicate address detection finds nobody on a cable of two, and takes a second.
        full = f"{address}/128 {dev} nodad" if _family(address) == 6 else f"{address}/32 {dev}"
        lines.append(f"addr replace {full}")
    for gateway in cable.gateways:
        if gateway.family not in families:
            continue
        if gateway.family == 4:
            lines.append(f"route replace {gateway.address}/32 {dev} scope link")
        lines.append(f"neigh replace {gateway.address} lladdr {gateway.mac} {dev} nud permanent")
        # onlink: the kernel knows of no link-local network while the host's end is down.
        lines.append(f"route replace default via {gateway.address} {dev} onlink")
    return "".join(f"{line}\n" for line in lines)


def _family(address: str) -> Literal[4, 6]:
    return 6 if ":" in address else 4


def _index(interface: str) -> int | None:
    """The number of an interface in the thread's namespace."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def _show(query: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(process.run(["ip", "-j", *query]).stdout)
    return found
