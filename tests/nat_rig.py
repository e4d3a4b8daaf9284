"""A host that translates, in namespaces: everybody answers with the address that it sees.

up ----- up0 [ host ] tor1 --- w1       `up` has an address in another pool, too
             [      ] ens5 --- w2       the workload's interface has a name of the host's own
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from twonodes import DATAPLANES, SYSCTLS

from tortie import desired as d
from tortie.dataplane.connections import ConnectionDriver
from tortie.dataplane.routes import RouteDriver
from tortie.kernel import netns, process
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.rtnetlink import Netlink

PLACES = {
    "host": ("192.0.2.1", "2001:db8::1"),
    "up": ("192.0.2.2", "2001:db8::2"),
    "w1": ("10.65.0.1", "fd65::1"),
    "w2": ("10.65.0.2", "fd65::2"),
}
LINKS = {"up": "up0", "w1": "tor1", "w2": "ens5"}
OTHER_POOL = ("10.66.0.9", "fd66::9")
"""`up` has these too"""
SECOND = ("192.0.2.8", "2001:db8::8")
"""the host has these too"""
FLOAT = ("203.0.113.5", "2001:db8:f::5")
PORTS = (80, 81)
POOLS = (("10.65.0.0/16", "fd65::/64"), ("10.66.0.0/16", "fd66::/64"))
MOMENT, PATIENCE = 0.15, 5.0  # seconds: for what should not, and should, be answered

_number = count()

ALLOW = d.Policy("P/all", (d.Rule("allow"),), (d.Rule("allow"),))
INSIDE = tuple(each for pool in POOLS for each in pool)
OUTGOING = tuple(
    d.NatOutgoing(family, (POOLS[0][at],), tuple(pool[at] for pool in POOLS))
    for at, family in enumerate((4, 6))
)
FLOATING = tuple(d.Floating(FLOAT[at], PLACES["w1"][at]) for at in (0, 1))


def endpoint(name: str, **fields) -> d.Endpoint:
    given = {"profiles": ("P/all",), **fields}
    return d.Endpoint(f"shop/{name}", LINKS[name], PLACES[name], **given)


def firewall(*endpoints: d.Endpoint, **fields) -> d.Filter:
    ends = endpoints or (endpoint("w1"), endpoint("w2"))
    given = {"inside": INSIDE, "policies": (ALLOW,), **fields}
    return d.Filter(endpoints=tuple(sorted(ends, key=lambda each: each.id)), **given)


class Site:
    """The namespaces, guarded by one dataplane; whoever speaks gets an answer."""

    def __init__(self, name: str, dataplane: str) -> None:
        self.name = name
        self.dataplane = dataplane
        # Their sockets belong to the namespace that they are made in.
        with netns.entered(self.ns("host")):
            self.netlink = Netlink()
            self.driver = DATAPLANES[dataplane]()
            self.connections = ConnectionDriver(Conntrack(), Netlink())
            self.connections.prepare()

    def ns(self, place: str) -> str:
        return f"{self.name}{place}"

    def run(self, place: str, *command: str, check: bool = True) -> str:
        with netns.entered(self.ns(place)):
            return process.run(command, check=check).stdout

    def apply(self, wanted: d.Filter) -> None:
        """The firewall, the routes, the connections: as the agent does."""
        behind = {each: one.interface for one in wanted.endpoints for each in one.addresses}
        routes = [d.Route(_single(address), link) for address, link in behind.items()]
        routes += [d.Route(_single(e.external), behind[e.internal]) for e in wanted.floating]
        desired = d.Desired("host", 1, wanted, routes=tuple(routes))
        with netns.entered(self.ns("host")):
            for driver in (self.driver, RouteDriver(self.netlink), self.connections):
                driver.apply(desired)

    def restart(self) -> None:
        """The agent that knows of connections starts anew."""
        self.connections.close()
        with netns.entered(self.ns("host")):
            self.connections = ConnectionDriver(Conntrack(), Netlink())
            self.connections.prepare()

    def close(self) -> None:
        self.driver.close()
        self.connections.close()
        self.netlink.close()

    def forget(self) -> None:
        self.run("host", "conntrack", "-F", check=False)

    # --- asking -------------------------------------------------------------------------------

    def seen(
        self, place: str, target: str, port: int = 80, kind: str = "udp", **more
    ) -> tuple[str, int, str] | None:
        """The address and port that the one at the other end sees, and which place that is; None:
        nobody answers. `more` as of `call`.
        """
        try:
            with self.call(place, target, port, kind, **more) as call:
                call.send(b"?")
                return _read(call.recv(200))
        except OSError:
            return None

    def call(
        self,
        place: str,
        target: str,
        port: int = 80,
        kind: str = "udp",
        *,
        source: str = "",
        answered: bool = True,
    ) -> socket.socket:
        """A connection; who is not `answered` waits a moment only."""
        with netns.entered(self.ns(place)):
            family = socket.AF_INET6 if ":" in target else socket.AF_INET
            sort = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[kind]
            made = socket.socket(family, sort)
        made.settimeout(PATIENCE if answered else MOMENT)
        try:
            if source:
                made.bind((source, 0))
            made.connect((target, port))
        except BaseException:
            made.close()
            raise
        return made

    def goes_on(self, call: socket.socket, expected: bool = True) -> bool:
        """Does an open connection still get answers?"""
        call.settimeout(PATIENCE if expected else MOMENT)
        try:
            call.send(b"?")
            return bool(call.recv(200))
        except OSError:
            return False

    def pings(self, place: str, target: str, answered: bool = True) -> bool:
        patience = PATIENCE if answered else MOMENT
        with netns.entered(self.ns(place)):
            done = process.run(["ping", "-c1", f"-W{patience}", target], check=False)
        return done.returncode == 0


def _read(answer: bytes) -> tuple[str, int, str]:
    address, port, place = answer.decode().split()
    return address, int(port), place


def _single(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


@contextlib.contextmanager
def nat_rig(dataplane: str) -> Iterator[Site]:
    """All is gone afterwards."""
    name = f"tnat{os.getpid()}x{next(_number)}"
    with contextlib.ExitStack() as undo:
        for place in PLACES:
            netns.add(f"{name}{place}")
            undo.callback(netns.delete, f"{name}{place}")
            netns.call(f"{name}{place}", _settings)
        site = Site(name, dataplane)
        undo.callback(site.close)
        _build(site)
        undo.enter_context(_answering(site))
        with netns.entered(site.ns("host")):
            site.driver.prepare()
        yield site


@contextlib.contextmanager
def _answering(site: Site) -> Iterator[None]:
    """A thread that answers for all places, with the address and port that are seen there."""
    chosen = selectors.DefaultSelector()
    done = threading.Event()
    for place in PLACES:
        with netns.entered(site.ns(place)):
            for port in PORTS:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    ear = socket.socket(socket.AF_INET6, kind)
                    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    # The answer comes from the address that was asked.
                    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                    ear.bind(("::", port))
                    if kind == socket.SOCK_STREAM:
                        ear.listen(64)
                    ear.setblocking(False)
                    chosen.register(ear, selectors.EVENT_READ, place)
    thread = threading.Thread(target=_answer, args=(chosen, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for key in list(chosen.get_map().values()):
            key.fileobj.close()


def _answer(chosen: selectors.BaseSelector, done: threading.Event) -> None:
    while not done.is_set():
        for key, _ in chosen.select(0.05):
            with contextlib.suppress(OSError):
                _serve(chosen, key)


def _serve(chosen: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    ear = key.fileobj
    if ear.type == socket.SOCK_DGRAM:
        _, extra, _, peer = ear.recvmsg(200, 256)
        ear.sendmsg([_said(peer, key.data)], extra, 0, peer)
    elif ear.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        call, _ = ear.accept()
        call.setblocking(False)
        chosen.register(call, selectors.EVENT_READ, key.data)
    else:
        try:
            asked = ear.recv(200)
        except OSError:
            asked = b""
        if asked:
            ear.send(_said(ear.getpeername(), key.data))
        else:
            chosen.unregister(ear)
            ear.close()


def _said(peer, place: str) -> bytes:
    return f"{peer[0].removeprefix('::ffff:')} {peer[1]} {place}".encode()


def _settings() -> None:
    for name, value in SYSCTLS.items():
        Path(f"/proc/sys/{name}").write_text(value)


def _build(site: Site) -> None:
    host = ["link set lo up", "address add 169.254.1.1/32 dev lo scope link"]
    host += [f"link add {link} type veth peer name eth0 netns {site.ns(place)}"
             for place, link in LINKS.items()]  # fmt: skip
    for link in LINKS.values():
        host += [f"link set {link} up", f"address add fe80::1/64 dev {link} nodad"]
    for (four, six), chosen in ((PLACES["host"], ""), (SECOND, "preferred_lft 0")):
        host.append(f"address add {four}/24 dev up0")
        host.append(f"address add {six}/64 dev up0 nodad {chosen}")
    for address in OTHER_POOL:
        host.append(f"route add {address} via {PLACES['up'][':' in address]}")
    _ip(site, "host", host)
    for place in LINKS:
        far = place == "up"
        four, six = PLACES[place]
        lines = [
            "link set lo up",
            "link set eth0 up",
            "address add fe80::2/64 dev eth0 nodad",
            f"address add {four}/{24 if far else 32} dev eth0",
            f"address add {six}/{64 if far else 128} dev eth0 nodad",
            f"route add default via {PLACES['host'][0] if far else d.GATEWAY_V4} dev eth0 onlink",
            f"route add default via {PLACES['host'][1] if far else d.GATEWAY_V6} dev eth0",
        ]
        if far:
            # Nobody speaks from these unless told to.
            lines += [
                f"address add {_single(each)} dev eth0{' nodad preferred_lft 0' * (':' in each)}"
                for each in OTHER_POOL
            ]
        _ip(site, place, lines)


def _ip(site: Site, place: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    process.run(["ip", "-n", site.ns(place), "-batch", "-"], stdin=text)
