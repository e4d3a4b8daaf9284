"""Hosts on one network for tests of BGP, each in a namespace; and routers that are not ours."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tortie.bgp.bird import BirdDriver
from tortie.bgp.control import BirdControl
from tortie.desired import Bgp, BgpPeer, Desired, Report
from tortie.kernel import netns, process

POOLS = ("10.65.0.0/16", "fd65::/64")


def until(holds: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Wait for something; fail by its name."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class Host:
    """Host `number` of the fabric: a namespace with 172.16.0.NUMBER and fd00::NUMBER."""

    def __init__(self, number: int, fabric: str, directory: Path) -> None:
        self.number = number
        self.namespace = f"tbgp{os.getpid()}h{number}"
        self.address = {4: f"172.16.0.{number}", 6: f"fd00::{number}"}
        self.run_dir = directory / str(number)
        self.run_dir.mkdir()
        self.driver = BirdDriver(self.run_dir)
        netns.add(self.namespace)
        port = f"p{number}"
        process.run(
            ["ip", "-n", fabric, "link", "add", port, "type", "veth"]
            + ["peer", "name", "eth0", "netns", self.namespace]
        )
        process.run(["ip", "-n", fabric, "link", "set", port, "master", "br0", "up"])
        self.ip("address", "add", f"{self.address[4]}/24", "dev", "eth0")
        self.ip("address", "add", f"{self.address[6]}/64", "dev", "eth0", "nodad")
        self.ip("link", "set", "eth0", "up")

    def ip(self, *arguments: str) -> str:
        return process.run(["ip", "-n", self.namespace, *arguments]).stdout

    def bgp(self, *peers: BgpPeer, originate: tuple[str, ...] | None = None) -> Bgp:
        """This host's BGP; by default it originates a block of each family."""
        own = (f"10.65.{self.number}.0/26", f"fd65::{self.number}00/122")
        return Bgp(
            router_id=self.address[4],
            local_as=64512,
            source_v4=self.address[4],
            source_v6=self.address[6],
            peers=peers,
            originate=own if originate is None else originate,
            pools=POOLS,
        )

    def peer(self, other: Host, family: int = 4, **changes: object) -> BgpPeer:
        """A session of this host to another one."""
        session = BgpPeer(
            name=f"node_{other.number}_{family}",
            address=other.address[family],
            remote_as=64512,
            local_as=64512,
            kind="node",
            source_address=self.address[family],
        )
        return msgspec.structs.replace(session, **changes)

    def apply(self, bgp: Bgp | None) -> Report:
        desired = Desired(node=f"host-{self.number}", revision=1, bgp=bgp)
        return netns.call(self.namespace, lambda: self.driver.apply(desired))

    def learnt(self, family: int = 4) -> dict[str, dict[str, object]]:
        """The kernel's routes from BIRD, by prefix."""
        shown = self.ip("-j", f"-{family}", "route", "show", "proto", "bird")
        return {route["dst"]: route for route in json.loads(shown or "[]")}

    def pid(self) -> int:
        return int((self.run_dir / "bird/bird.pid").read_text())

    def kill(self) -> None:
        """kill -9 its BIRD."""
        process.kill(self.pid(), str(self.driver.control.path))

    def run_plain(self, config: str) -> BirdControl:
        """Run a BIRD with a configuration written by hand: a router that is not ours."""
        directory = self.run_dir / "bird"
        directory.mkdir(exist_ok=True)
        (directory / "bird.conf").write_text(
            f"router id {self.address[4]};\nprotocol device {{}}\n{config}"
        )
        files = ["-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"]
        paths = [each if each[0] == "-" else str(directory / each) for each in files]
        netns.call(self.namespace, lambda: process.run(["bird", *paths]))
        return self.driver.control

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.kill()
        netns.delete(self.namespace)


def three_hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Three hosts on one network."""
    fabric = f"tbgp{os.getpid()}fabric"
    made: list[Host] = []
    netns.add(fabric)
    try:
        process.run(["ip", "-n", fabric, "link", "add", "br0", "type", "bridge"])
        process.run(["ip", "-n", fabric, "link", "set", "br0", "up"])
        for number in (1, 2, 3):
            made.append(Host(number, fabric, tmp_path))
        yield made
    finally:
        for host in made:
            host.remove()
        netns.delete(fabric)


@contextlib.contextmanager
def watched(host: Host, log: Path) -> Iterator[None]:
    """Record all changes to a host's routes in `log`."""
    with log.open("wb") as output:
        monitor = subprocess.Popen(
            ["ip", "-n", host.namespace, "-o", "monitor", "route"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        # Only once it is seen to record does it prove anything.
        until(lambda: _seen(host, log, "192.0.2.1"), "the monitor to begin")
        yield
        until(lambda: _seen(host, log, "192.0.2.99"), "the monitor to have read all")
    finally:
        monitor.terminate()
        monitor.wait()


def _seen(host: Host, log: Path, address: str) -> bool:
    """Make and remove a route; whether the monitor has written of it."""
    host.ip("route", "add", address, "dev", "lo")
    host.ip("route", "del", address, "dev", "lo")
    return f"{address} " in log.read_text()


FOREIGN = """
protocol static {{
  ipv4;
{routes4}
}}
protocol static {{
  ipv6;
{routes6}
}}
"""
FOREIGN_SESSION = """
protocol bgp ours{family} {{
  local {own} as {local};
  neighbor {neighbour} as {remote};
  connect delay time 1;
  connect retry time 1;
  {channel} {{ import all; export all; }};
  {more}
}}
"""


def foreign(
    neighbour: Host,
    prefixes: tuple[str, ...],
    local: int = 65001,
    *,
    me: Host | None = None,
    remote: int = 64512,
    more: str = "",
) -> str:
    """A router of another AS that tells `neighbour` of prefixes, each with attributes if it has
    some (`10.0.0.0/8 { ... }`); of both families if it says who it is (`me`)."""
    lines: dict[int, list[str]] = {4: [], 6: []}
    for each in prefixes:
        prefix, _, attributes = each.partition(" ")
        lines[6 if ":" in prefix else 4].append(f"  route {prefix} blackhole {attributes};")
    text = FOREIGN.format(routes4="\n".join(lines[4]), routes6="\n".join(lines[6]))
    for family in (4, 6) if me else (4,):
        text += FOREIGN_SESSION.format(
            family=family if me else "",
            own=me.address[family] if me else "",
            neighbour=neighbour.address[family],
            local=local,
            remote=remote,
            channel=f"ipv{family}",
            more=more,
        )
    return text
