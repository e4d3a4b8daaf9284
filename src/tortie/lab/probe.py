"""Who reaches what, tried out: real connections from every machine to everything that is served.

Every workload and every machine outside connects to every served port of every other one; nobody
to itself. All attempts run at once, on sockets made in the source's network namespace. Addresses
are those of the WorkloadEndpoint resources at that moment: a workload without one is not reached.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from tortie.kernel import netns
from tortie.lab.document import Family, Service
from tortie.lab.plan import Plan
from tortie.lab.state import Lab
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store import open_store
from tortie.store.base import Store
from tortie.store.resources import read

TIMEOUT = 1.5
"""Seconds; a lost SYN is sent again after one."""
ANSWER_SECONDS = 1.0
"""Seconds more for the answer on a connection that was made."""
UDP_TIMES = (0.0, 0.3, 0.8)
"""Seconds at which a datagram is sent."""
AT_ONCE = 4000
"""Attempts at once; each is a socket."""
MAX_ANSWER = 512


class Result(Struct, frozen=True):
    """One pair. Workloads are called NAMESPACE/NAME, machines outside by name.

    `connected`: TCP made the connection, or a UDP answer came; `answered_by`: the name that the
    server gave, or None.
    """

    source: str
    destination: str
    protocol: str
    port: int
    connected: bool
    answered_by: str | None
    family: int = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """What to try: from a namespace to an address (None: it has none now)."""

    source: str
    space: str
    destination: str
    address: str | None
    service: Service


def probe(
    lab: Lab,
    sources: Callable[[str], bool] = lambda _: True,
    destinations: Callable[[str], bool] = lambda _: True,
) -> list[Result]:
    """Try all pairs whose ends are wanted; in order of source, destination and port.

    Raises StoreError, KernelError.
    """
    store = open_store(lab.record.outer_store_url)
    try:
        found = {family: endpoint_addresses(store, family) for family in lab.plan.families}
    finally:
        store.close()
    wanted = [
        pair
        for family, addresses in found.items()
        for pair in pairs(lab.plan, addresses, family)
        if sources(pair.source) and destinations(pair.destination)
    ]
    return attempt(wanted)


def endpoint_addresses(store: Store, family: Family = 4) -> dict[str, str]:
    """The first address of a family of each workload (NAMESPACE/NAME). Raises StoreError."""
    found: dict[str, str] = {}
    for stored in read(store, kinds.BY_NAME["WorkloadEndpoint"]):
        endpoint = stored.resource
        if isinstance(endpoint, r.WorkloadEndpoint):
            name = f"{endpoint.metadata.namespace or 'default'}/{endpoint.spec.workload}"
            for text in endpoint.spec.ip_networks:
                if net.parse_net(text).family == family:
                    found.setdefault(name, text.partition("/")[0])
    return found


def pairs(plan: Plan, addresses: dict[str, str], family: Family = 4) -> list[Pair]:
    """Every machine to every service of every other one, by addresses of one family."""
    sources = [(each.name, each.space) for each in plan.workloads]
    sources += [(each.name, each.space) for each in plan.outside]
    served = [(each.name, addresses.get(each.name), each.serve) for each in plan.workloads]
    served += [(each.name, each.addresses.get(family), each.serve) for each in plan.outside]
    return [
        Pair(source, space, destination, address, service)
        for source, space in sources
        for destination, address, services in served
        if destination != source
        for service in services
    ]


def attempt(wanted: Sequence[Pair], timeout: float = TIMEOUT) -> list[Result]:
    """Try pairs, all at once as far as there are sockets for it, each for so many seconds.

    Raises KernelError.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, AT_ONCE + 200)), hard))
    found: list[Result] = []
    for start in range(0, len(wanted), AT_ONCE):
        found += _round(wanted[start : start + AT_ONCE], timeout)
    return found


# --- one round of attempts ------------------------------------------------------------------------


@dataclass(slots=True)
class _Try:
    """An attempt that is under way; `sock` None: it is over."""

    pair: Pair
    sock: socket.socket | None
    ends: float = 0.0
    due: list[float] = field(default_factory=list)
    """when to send datagrams"""
    connected: bool = False
    answer: bytes = b""

    def result(self) -> Result:
        pair = self.pair
        name = self.answer.decode(errors="replace").strip()
        return Result(
            pair.source, pair.destination, pair.service.protocol, pair.service.port,
            self.connected, name or None, 6 if ":" in (pair.address or "") else 4,
        )  # fmt: skip


def _round(wanted: Sequence[Pair], timeout: float) -> list[Result]:
    waiting = selectors.DefaultSelector()
    with contextlib.ExitStack() as stack:
        stack.callback(waiting.close)
        tries = [
            _Try(pair, stack.enter_context(sock) if sock is not None else None)
            for pair, sock in _sockets(wanted)
        ]
        for each in tries:
            _begin(each, waiting, timeout)
        _wait(tries, waiting)
    return [each.result() for each in tries]


def _sockets(wanted: Iterable[Pair]) -> Iterator[tuple[Pair, socket.socket | None]]:
    """A socket for each pair, in the namespace of its source."""
    by_space: dict[str, list[Pair]] = {}
    for pair in wanted:
        by_space.setdefault(pair.space, []).append(pair)
    for space, some in by_space.items():
        with netns.entered(space):
            made = [(pair, _socket(pair)) for pair in some]
        yield from made


def _socket(pair: Pair) -> socket.socket | None:
    if pair.address is None:
        return None
    family = socket.AF_INET6 if ":" in pair.address else socket.AF_INET
    kind = socket.SOCK_STREAM if pair.service.protocol == "tcp" else socket.SOCK_DGRAM
    return socket.socket(family, kind | socket.SOCK_NONBLOCK)


def _begin(each: _Try, waiting: selectors.DefaultSelector, timeout: float) -> None:
    if each.sock is None:
        return
    code = each.sock.connect_ex((each.pair.address, each.pair.service.port))
    if code not in (0, errno.EINPROGRESS):
        each.sock = None
        return
    now = time.monotonic()
    each.ends = now + timeout
    if each.pair.service.protocol == "udp":
        each.due = [now + offset for offset in UDP_TIMES]
        waiting.register(each.sock, selectors.EVENT_READ, each)
    else:
        waiting.register(each.sock, selectors.EVENT_WRITE, each)


def _wait(tries: Sequence[_Try], waiting: selectors.DefaultSelector) -> None:
    open_ = [each for each in tries if each.sock is not None]
    next_ = 0.0
    while waiting.get_map():
        now = time.monotonic()
        if now >= next_:
            open_ = [each for each in open_ if each.sock is not None]
            for each in open_:
                _send_due(each, now)
                if now >= each.ends:
                    _over(each, waiting)
            next_ = min((min([each.ends, *each.due]) for each in open_), default=now)
        for key, _ in waiting.select(max(0.0, next_ - time.monotonic()) + 0.001):
            _react(key.data, waiting)
            next_ = min(next_, key.data.ends)


def _send_due(each: _Try, now: float) -> None:
    while each.due and each.due[0] <= now:
        each.due.pop(0)
        if each.sock is not None:
            with contextlib.suppress(OSError):  # an ICMP error of an earlier one: read tells it
                each.sock.send(b"?")


def _react(each: _Try, waiting: selectors.DefaultSelector) -> None:
    """Something has happened on the socket."""
    sock = each.sock
    if sock is None:
        return
    try:
        if each.pair.service.protocol == "tcp" and not each.connected:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                _over(each, waiting)
                return
            each.connected = True
            each.ends = time.monotonic() + ANSWER_SECONDS
            waiting.modify(sock, selectors.EVENT_READ, each)
            return
        data = sock.recv(MAX_ANSWER)
    except BlockingIOError:
        return
    except OSError:
        _over(each, waiting)
        return
    each.answer += data
    each.connected = each.connected or each.pair.service.protocol == "udp"
    if not data or b"\n" in each.answer or len(each.answer) >= MAX_ANSWER:
        _over(each, waiting)


def _over(each: _Try, waiting: selectors.DefaultSelector) -> None:
    if each.sock is not None:
        waiting.unregister(each.sock)
        each.sock = None
