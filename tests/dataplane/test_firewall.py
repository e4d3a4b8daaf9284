"""Which dataplane guards a host, and how it is switched under traffic."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import eventually, ip, namespaces

from tortie.dataplane.firewall import BACKENDS, Firewall, Usable, choose, look
from tortie.dataplane.iptables.driver import IptablesDriver
from tortie.dataplane.nft import NftDriver
from tortie.desired import Dataplane, Desired, Endpoint, Filter, Policy, PortRange, Rule, Side
from tortie.errors import KernelError, Missing
from tortie.kernel import netns, process
from tortie.kernel.ipset import FakeIpSet, IpSet, IpSetPort
from tortie.kernel.iptables import Iptables, IptablesPort, Variant
from tortie.kernel.iptables_fake import FakeIptables
from tortie.kernel.nft import FakeNft, Nft, NftPort

ALL = frozenset({"nft", *BACKENDS})
OPEN, GUARD = "Profile/open", "Profile/guard"
SENDER, TARGET = ("10.0.0.2", "fd00::2"), ("10.0.1.2", "fd00:1::2")
TCP, FORBIDDEN = 7000, 9


def wanted(dataplane: Dataplane, revision: int = 1) -> Desired:
    """The target takes TCP connections to one port, and nothing else."""
    port = Side(ports=(PortRange(TCP, TCP),))
    allow = (Rule("allow"),)
    endpoints = (
        Endpoint("n/sender", "tor1", SENDER, profiles=(OPEN,)),
        Endpoint("n/target", "tor2", TARGET, profiles=(GUARD,)),
    )
    guard = Policy(GUARD, (Rule("allow", protocol=6, destination=port),), allow)
    made = Filter(endpoints, (Policy(OPEN, allow, allow), guard), dataplane=dataplane)
    return Desired("node", revision, made)


class Host:
    """A firewall with its doors."""

    def __init__(
        self, nft: NftPort, iptables: dict[str, IptablesPort], ipset: IpSetPort,
        forced: Dataplane | None = None,
    ) -> None:  # fmt: skip
        self.nft, self.iptables, self.ipset = nft, iptables, ipset
        self.backends = {name: IptablesDriver(door, ipset) for name, door in iptables.items()}
        self.drivers = {"nft": NftDriver(nft), **self.backends}
        self.firewall = Firewall(self.drivers, self.usable, forced)

    def usable(self) -> Usable:
        return look(self.drivers["nft"], self.backends)

    def again(self, forced: Dataplane | None = None) -> Host:
        """The same kernel with an agent that remembers nothing."""
        return Host(self.nft, self.iptables, self.ipset, forced)

    def guards(self) -> list[str]:
        """The dataplanes that have rules of ours."""
        return [name for name, driver in self.drivers.items() if driver.present()]


VARIANTS: tuple[Variant, ...] = ("nft", "legacy")


def fake(forced: Dataplane | None = None) -> Host:
    doors: dict[str, IptablesPort] = {f"iptables-{each}": FakeIptables(each) for each in VARIANTS}
    return Host(FakeNft(), doors, FakeIpSet(), forced)


def real() -> Host:
    doors: dict[str, IptablesPort] = {f"iptables-{each}": Iptables(each) for each in VARIANTS}
    return Host(Nft(), doors, IpSet())


# --- which one --------------------------------------------------------------------------------

LEGACY = Usable(ALL, "iptables-legacy")
NO_NFT = Usable(frozenset({"iptables-legacy"}), "iptables-legacy")


@pytest.mark.parametrize(
    ("asked", "usable", "chosen"),
    [
        ("auto", Usable(ALL), "nft"),
        ("auto", LEGACY, "nft"),
        ("auto", NO_NFT, "iptables-legacy"),
        ("iptables", Usable(ALL), "iptables-nft"),
        ("iptables", LEGACY, "iptables-legacy"),
        ("nft", LEGACY, "nft"),
        ("iptables-nft", LEGACY, "iptables-nft"),
        ("iptables-legacy", Usable(ALL), "iptables-legacy"),
    ],
)
def test_what_is_asked_for_is_chosen(asked: Dataplane, usable: Usable, chosen: str) -> None:
    assert choose(asked, usable) == chosen


def test_what_others_have_rules_in_is_the_backend() -> None:
    host = fake()
    assert host.usable() == Usable(ALL, "iptables-nft")
    host.iptables["iptables-legacy"].restore(4, "*filter\n-A FORWARD -j DROP\nCOMMIT\n")
    assert host.usable() == Usable(ALL, "iptables-legacy")
    host.drivers["iptables-nft"].apply(wanted("nft"))  # ours do not count
    assert host.usable() == Usable(ALL, "iptables-legacy")


class Gone:
    """A program that this host does not have."""

    variant: Variant = "nft"

    def __getattr__(self, name: str) -> object:
        raise Missing("it is not on this machine")


def test_what_a_host_does_not_have_is_not_used() -> None:
    host = fake()
    none = {"iptables-nft": IptablesDriver(Gone(), FakeIpSet())}  # type: ignore[arg-type]
    assert look(host.drivers["nft"], none) == Usable(frozenset({"nft"}), "iptables-nft")
    no_sets = {"iptables-legacy": IptablesDriver(FakeIptables("legacy"), Gone())}  # type: ignore[arg-type]
    assert look(host.drivers["nft"], no_sets).drivers == {"nft"}


def test_what_a_host_does_not_have_is_not_chosen() -> None:
    found = [Usable(frozenset({"nft"})), Usable(ALL)]
    host = fake()
    firewall = Firewall(host.drivers, lambda: found.pop(0))
    firewall.apply(wanted("nft"))
    with pytest.raises(Missing, match="cannot be guarded by iptables-nft"):
        firewall.apply(wanted("iptables-nft"))
    assert host.guards() == ["nft"]
    firewall.apply(wanted("iptables-nft"))  # it was installed meanwhile
    assert host.guards() == ["iptables-nft"]


# --- switching --------------------------------------------------------------------------------


@pytest.mark.parametrize("dataplane", sorted(ALL))
def test_one_guards_the_host_and_is_told(dataplane: Dataplane) -> None:
    host = fake()
    host.firewall.prepare()
    assert host.guards() == ["nft"]
    assert host.firewall.apply(wanted(dataplane)).dataplane == dataplane
    assert host.guards() == [dataplane]


def test_what_the_agent_is_told_stands_before_the_store() -> None:
    host = fake(forced="iptables-legacy")
    host.firewall.prepare()
    assert host.guards() == ["iptables-legacy"]
    assert host.firewall.apply(wanted("nft")).dataplane == "iptables-legacy"
    assert host.guards() == ["iptables-legacy"]


@pytest.mark.parametrize("dataplane", sorted(ALL))
def test_rules_of_an_earlier_run_are_left_whichever_they_are(dataplane: Dataplane) -> None:
    host = fake()
    host.firewall.apply(wanted(dataplane))
    host.again().firewall.prepare()
    assert host.guards() == [dataplane]


def test_new_rules_are_in_force_before_old_ones_go() -> None:
    host = fake()
    host.firewall.apply(wanted("nft"))
    door = host.iptables["iptables-nft"]
    assert isinstance(door, FakeIptables)
    door.refuse = ["raw"]
    with pytest.raises(KernelError, match="as told"):
        host.firewall.apply(wanted("iptables-nft"))
    assert host.guards() == ["nft", "iptables-nft"]
    host.firewall.apply(wanted("iptables-nft"))
    assert host.guards() == ["iptables-nft"]


def test_who_has_nothing_is_not_looked_at_for_ever() -> None:
    host = fake()
    for revision in range(3):
        host.firewall.apply(wanted("nft", revision))
    door = host.iptables["iptables-legacy"]
    assert isinstance(door, FakeIptables)
    saves = door.saves
    host.firewall.apply(wanted("nft", 3))
    assert door.saves == saves


def test_drift_is_that_of_the_one_in_force() -> None:
    host = fake()
    assert not host.firewall.drifted()
    host.firewall.apply(wanted("iptables-nft"))
    assert not host.firewall.drifted()
    host.iptables["iptables-nft"].restore(6, "*filter\n-I FORWARD -j ACCEPT\nCOMMIT\n")
    assert host.firewall.drifted()


# --- under traffic ------------------------------------------------------------------------------

OTHERS = (
    "*filter\n:THEIRS - [0:0]\n-A FORWARD -j THEIRS\n-A THEIRS -s 192.0.2.0/24 -j DROP\nCOMMIT\n"
)
WATCH = f"""
table inet t {{
  chain in {{
    type filter hook prerouting priority -300;
    udp dport {FORBIDDEN} counter
  }}
}}
"""


@contextlib.contextmanager
def router() -> Iterator[tuple[str, str, str]]:
    """Namespaces of a router, and of a sender and a target behind it."""
    with namespaces(3) as (inside, sender, target):
        for number, (name, own) in enumerate(((sender, SENDER), (target, TARGET)), 1):
            gateways = [f"{each.removesuffix('2')}1" for each in own]
            lengths = (24, 64)
            with netns.entered(inside):
                ip(f"link add tor{number} type veth peer name eth0 netns {name}")
                for gateway, length in zip(gateways, lengths, strict=True):
                    ip(f"addr add {gateway}/{length} dev tor{number} nodad")
                ip(f"link set tor{number} up")
            with netns.entered(name):
                for address, length in zip(own, lengths, strict=True):
                    ip(f"addr add {address}/{length} dev eth0 nodad")
                ip("link set eth0 up")
                for gateway in gateways:
                    ip(f"route add default via {gateway}")
        with netns.entered(inside):
            for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", key).write_text("1")
        with netns.entered(target):
            process.run(["nft", "-f", "-"], stdin=WATCH)
        yield inside, sender, target


def arrived(target: str) -> int:
    """How many forbidden datagrams came to the target."""
    with netns.entered(target):
        text = process.run(["nft", "list", "chain", "inet", "t", "in"]).stdout
    return int(re.findall(r"counter packets (\d+)", text)[0])


class Traffic:
    """Forbidden datagrams of both families as fast as they go, and a TCP connection of each, over
    which a word goes to and fro."""

    def __init__(self, sender: str, target: str) -> None:
        self.over = threading.Event()
        self.sent, self.words = [0, 0], [0, 0]
        self.broken: list[str] = []
        with netns.entered(target):
            self.listeners = [listener(address) for address in TARGET]
        with netns.entered(sender):
            self.near = [socket.create_connection((each, TCP), timeout=5) for each in TARGET]
            self.flood = [datagrams(address) for address in TARGET]
        self.far = [each.accept()[0] for each in self.listeners]
        self.threads = [
            threading.Thread(target=act, args=(which,))
            for act in (self._flood, self._talk)
            for which in (0, 1)
        ]

    def __enter__(self) -> Traffic:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        for each in (*self.listeners, *self.near, *self.far, *self.flood):
            each.close()

    def goes_on(self) -> None:
        """Wait until both connections have carried another word."""
        before = list(self.words)
        eventually(
            lambda: all(now > was + 1 for now, was in zip(self.words, before, strict=True)),
            f"words go to and fro {self.broken}",
        )

    def _flood(self, which: int) -> None:
        while not self.over.is_set():
            for _ in range(20):
                with contextlib.suppress(OSError):
                    self.flood[which].send(b"x")
            self.sent[which] += 20
            self.over.wait(0.001)

    def _talk(self, which: int) -> None:
        near, far = self.near[which], self.far[which]
        try:
            while not self.over.is_set():
                near.sendall(b"x")
                far.sendall(far.recv(1))
                near.recv(1)
                self.words[which] += 1
                self.over.wait(0.001)
        except OSError as error:
            self.broken.append(str(error))


def listener(address: str) -> socket.socket:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, TCP), family=kind)


def datagrams(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((address, FORBIDDEN))
    return made


@pytest.mark.kernel
def test_a_switch_opens_nothing_and_breaks_no_connection() -> None:
    """Each way between two, and starts of an agent that remembers nothing."""
    with router() as (inside, sender, target), netns.entered(inside):
        host = real()
        for door in host.iptables.values():
            door.restore(4, OTHERS)
        before = theirs(host)
        host.firewall.prepare()
        host.firewall.apply(wanted("nft"))
        with Traffic(sender, target) as traffic:
            for number, name in enumerate(WAY):
                host = host if number % 2 else host.again()
                host.firewall.prepare()
                traffic.goes_on()
                host.firewall.apply(wanted(name, number))
                traffic.goes_on()
                host.firewall.apply(wanted(name, number))
                assert host.guards() == ["nft" if name == "auto" else name]
        assert arrived(target) == 0
        assert min(traffic.sent) > 200 and not traffic.broken
        assert theirs(host) == before
        assert all(kept.startswith("tor") for kept in host.ipset.save())
        for driver in host.drivers.values():
            driver.sweep()
            driver.sweep()
        assert host.guards() == [] and host.ipset.save() == {}
        assert theirs(host) == before
        traffic_after_all_is_swept(sender, target)
        host.firewall.close()


WAY: tuple[Dataplane, ...] = (
    "iptables-nft", "nft", "iptables-legacy", "iptables-nft", "iptables-legacy", "nft", "auto",
)  # fmt: skip


def theirs(host: Host) -> list[str]:
    """Rules and chains of others."""
    lines = [line for door in host.iptables.values() for line in door.save(4).splitlines()]
    return [line for line in lines if "THEIRS" in line and " [" not in line]


def traffic_after_all_is_swept(sender: str, target: str) -> None:
    """So that the zero means something."""
    with netns.entered(sender):
        for address in TARGET:
            with contextlib.closing(datagrams(address)) as flood:
                flood.send(b"x")
    eventually(lambda: arrived(target) == 2, "what nobody forbids arrives")
