"""In the kernel: a policy comes into force, and connections that it forbids are cut where that is
asked for, on workloads and on the host, by every dataplane."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from msgspec import structs
from namespaces import eventually
from nft_rig import ROUTER, UP, WORKLOADS, Rig, rig

from tortie import desired as d
from tortie.dataplane.connections import ConnectionDriver
from tortie.dataplane.iptables.driver import IptablesDriver
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.ipset import IpSet
from tortie.kernel.iptables import Iptables
from tortie.kernel.rtnetlink import Netlink

pytestmark = pytest.mark.kernel

MOMENT = 0.25  # seconds in which a word that should not arrive would
KEPT, CUT = 81, 80
PLACES = {"w1": WORKLOADS["w1"][1:], "w2": WORKLOADS["w2"][1:], "up": UP, "r": ROUTER}
ALLOW = (d.Rule("allow"),)
PINGS = (
    (socket.AF_INET, 1, b"\x08\0\xf7\xf8\0\x07\0\0"),  # RFC 792, with its checksum
    (socket.AF_INET6, 58, b"\x80\0\0\0\0\x07\0\0"),  # the kernel writes ICMPv6's
)
BUT_80 = (d.Rule("deny", destination=d.Side(ports=(d.PortRange(CUT, CUT),))), *ALLOW)


def policy(forbids: bool, asks: bool, where: str) -> d.Filter:
    """A firewall that forbids port 80 from w1, to w1 or to the host (up0), or nothing."""
    rules = BUT_80 if forbids else ALLOW
    part = where.removeprefix("host ")
    direction = part.removeprefix("forward_")
    given = {part: (d.TierStep("default", ("P/a",), "deny"),), f"revoke_{direction}": asks}
    ends = {name: d.Endpoint(f"shop/{name}", *_end(name), profiles=("P/all",)) for name in
            ("w1", "w2")}  # fmt: skip
    hosts = ()
    if where.startswith("host"):
        hosts = (d.HostEndpoint("edge", "up0", profiles=("P/all",), **given),)
    else:
        ends["w1"] = d.Endpoint("shop/w1", *_end("w1"), profiles=("P/all",), **given)
    policies = (d.Policy("P/a", rules, rules), d.Policy("P/all", ALLOW, ALLOW))
    return d.Filter(endpoints=tuple(ends.values()), policies=policies, hosts=hosts)


def _end(name: str) -> tuple[str, tuple[str, ...]]:
    interface, *addresses = WORKLOADS[name]
    return interface, tuple(addresses)


class Site:
    """A host with its workloads, guarded by one dataplane."""

    def __init__(self, made: Rig, driver: d.Driver, connections: ConnectionDriver) -> None:
        self.rig = made
        self.drivers = (driver, connections)

    def apply(self, wanted: d.Filter) -> int:
        """How many connections were cut or freed."""
        with netns.entered(self.rig.ns("r")):
            *_, last = (each.apply(d.Desired("router", 1, wanted)) for each in self.drivers)
        return last.changed

    @contextlib.contextmanager
    def calls(self, origin: str, target: str) -> Iterator[dict[tuple[str, int, int], Call]]:
        """Between two places over both protocols and families, to the ports KEPT and CUT."""
        with contextlib.ExitStack() as stack:
            yield {
                (kind, family, port): stack.enter_context(
                    self._call(kind, origin, PLACES[target][family == 6], target, port)
                )
                for kind in ("tcp", "udp")
                for family in (4, 6)
                for port in (KEPT, CUT)
            }

    @contextlib.contextmanager
    def _call(self, kind: str, origin: str, address: str, target: str, port: int) -> Iterator[Call]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        typed = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        with contextlib.ExitStack() as stack:
            with netns.entered(self.rig.ns(target)):
                listener = stack.enter_context(socket.socket(family, typed))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
            with netns.entered(self.rig.ns(origin)):
                near = stack.enter_context(socket.socket(family, typed))
                near.settimeout(5)
            if kind == "tcp":
                listener.listen()
                near.connect((address, port))
                far = stack.enter_context(listener.accept()[0])
            else:
                near.connect((address, port))
                near.send(b"hello")
                listener.settimeout(5)
                far = listener
                far.connect(listener.recvfrom(10)[1])
            yield Call(near, far)


class Call:
    """A connection; what is said over it are numbered words."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far

    def say(self, word: bytes) -> None:
        """Both ways at once: neither end answers what did not come."""
        for end in (self.near, self.far):
            with contextlib.suppress(PermissionError):  # so a host tells itself of a drop
                end.send(word)

    def heard(self) -> list[bytes]:
        """What has come to the near end, and to the far one."""
        found = []
        for end in (self.near, self.far):
            end.setblocking(False)
            words = b""
            with contextlib.suppress(BlockingIOError):
                while more := end.recv(100):
                    words += more
            found.append(words)
            end.setblocking(True)
        return found


def passing(calls: dict[tuple[str, int, int], Call]) -> set[tuple[str, int, int]]:
    """The calls over which a word comes both ways; over all others it comes neither way."""
    for call in calls.values():
        call.heard()
        call.say(b"x")
    heard = {key: [b"", b""] for key in calls}

    def look() -> bool:
        for key, call in calls.items():
            heard[key] = [a + b for a, b in zip(heard[key], call.heard(), strict=True)]
        return all(all(each) for key, each in heard.items() if key[2] == KEPT)

    eventually(look, "what nothing forbids is heard")
    with contextlib.suppress(AssertionError):
        eventually(lambda: look() and all(map(all, heard.values())), "all else, too", MOMENT)
    halves = {key for key, each in heard.items() if any(each) and not all(each)}
    assert not halves, "cut in one direction only"
    return {key for key, each in heard.items() if all(each)}


@pytest.fixture(scope="module", params=["nft", "iptables-nft", "iptables-legacy"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with rig() as made, contextlib.ExitStack() as stack:
        driver: d.Driver = made.driver
        with netns.entered(made.ns("r")):
            if request.param != "nft":
                made.driver.sweep()
                driver = IptablesDriver(Iptables(request.param.removeprefix("iptables-")), IpSet())
                driver.prepare()
                stack.callback(driver.close)
            connections = ConnectionDriver(Conntrack(), Netlink())
        stack.callback(connections.close)
        yield Site(made, driver, connections)


WAYS = {
    "to a workload": ("ingress", "up", "w1"),
    "from a workload": ("egress", "w1", "up"),
    "between workloads": ("ingress", "w2", "w1"),
    "to the host": ("host ingress", "up", "r"),
    "from the host": ("host egress", "r", "up"),
    "forwarded": ("host forward_ingress", "up", "w2"),
}


@pytest.mark.parametrize(("where", "origin", "target"), WAYS.values(), ids=WAYS)
def test_only_what_is_forbidden_is_cut_in_both_directions(
    site: Site, where: str, origin: str, target: str
) -> None:
    site.rig.forget_connections()
    site.apply(policy(False, False, where))
    with site.calls(origin, target) as calls:
        everything, kept = set(calls), {key for key in calls if key[2] == KEPT}
        assert passing(calls) == everything
        assert site.apply(policy(True, False, where)) == 0
        assert passing(calls) == everything, "nobody asked"
        assert site.apply(policy(True, True, where)) == 4
        assert passing(calls) == kept
        assert site.apply(policy(False, True, where)) == 4
        revived(calls)
        assert site.apply(policy(True, True, where)) == 4
        assert passing(calls) == kept
        assert site.apply(policy(True, False, where)) == 4
        revived(calls)


def revived(calls: dict[tuple[str, int, int], Call]) -> None:
    """What was said meanwhile comes now, as far as it is TCP's; then all talk as before."""
    for key, call in calls.items():
        if key[0] == "tcp" and key[2] == CUT:
            come = [b"", b""]

            def look(call: Call = call, come: list[bytes] = come) -> bool:
                come[:] = [a + b for a, b in zip(come, call.heard(), strict=True)]
                return all(come)

            eventually(look, f"{key} is heard again", 10)
    eventually(lambda: passing(calls) == set(calls), "all talk again")


def test_a_deletion_of_the_policy_that_asks_cuts_too(site: Site) -> None:
    site.rig.forget_connections()
    allows = policy(False, True, "ingress")
    (w1, w2) = allows.endpoints
    bare = structs.replace(w1, ingress=(), profiles=(), revoke_ingress=False)
    site.apply(allows)
    with site.calls("up", "w1") as calls, site.calls("up", "w2") as others:
        assert site.apply(structs.replace(allows, endpoints=(bare, w2))) == len(calls)
        assert passing(others) == set(others)
        assert not any(map(any, (call.heard() for call in calls.values())))
        for call in calls.values():
            call.say(b"x")
        assert passing(others) == set(others)
        assert not any(map(any, (call.heard() for call in calls.values())))


def test_a_ping_that_goes_on_is_cut(site: Site) -> None:
    """A tracked connection like any other: echo requests of one identifier."""
    site.rig.forget_connections()
    allows = policy(False, True, "ingress")
    site.apply(allows)
    with netns.entered(site.rig.ns("up")):
        pings = [socket.socket(AF, socket.SOCK_RAW, number) for AF, number, _ in PINGS]
    with contextlib.ExitStack() as stack:
        for (_, _, request), each, target in zip(PINGS, pings, PLACES["w1"], strict=True):
            stack.enter_context(each).connect((target, 0))
            each.settimeout(5)
            each.send(request)
            assert each.recv(100)
        no_icmp = d.Policy("P/a", (d.Rule("allow", protocol=6),))
        assert site.apply(structs.replace(allows, policies=(no_icmp, *allows.policies[1:]))) == 2
        for (_, _, request), each in zip(PINGS, pings, strict=True):
            each.send(request)
            each.settimeout(MOMENT)
            with pytest.raises(TimeoutError):
                each.recv(100)


def test_nothing_that_begins_during_the_change_is_missed(site: Site) -> None:
    """New flows, thousands a second: of those tracked none is left that policy forbids."""
    site.rig.forget_connections()
    with netns.entered(site.rig.ns("r")):
        conntrack = Conntrack()

    def uncut() -> set[int | None]:
        found = conntrack.connections(d.REVOKED, PLACES["w1"])
        return {each.original.source_port for each in found if not each.marked}

    with contextlib.closing(conntrack), flood(site.rig.ns("up")):
        for _ in range(5):
            site.apply(policy(False, True, "ingress"))
            site.rig.forget_connections()
            eventually(lambda: len(uncut()) > 50, "new flows come")
            site.apply(policy(True, True, "ingress"))
            assert uncut() == set()


@contextlib.contextmanager
def flood(namespace: str) -> Iterator[None]:
    """Datagrams of both families to w1, each from another port."""
    over = threading.Event()

    def run() -> None:
        with netns.entered(namespace):
            while not over.wait(0.0002):
                for address, (family, *_) in zip(PLACES["w1"], PINGS, strict=True):
                    with socket.socket(family, socket.SOCK_DGRAM) as each:
                        each.sendto(b"x", (address, CUT))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
