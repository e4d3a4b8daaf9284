"""The examples of policies in a lab, behind either dataplane: what each says of itself is what its
packets meet, and what `tortie can` says there."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from expectations import FILES, LAB, Expected, expected
from lab_rig import RunningLab, running, unique

from tortie.kernel import netns, process
from tortie.lab.probe import endpoint_addresses

pytestmark = pytest.mark.lab
PATIENCE = 1.4
"""Seconds for what should arrive: a lost SYN is sent again after one."""
PORTS = {"http": 8080, "sql": 5432}
"""What the lab's workloads call their ports."""
DEFAULTS = [
    Expected("internet", "shop/web-1", "tcp/80", "DENIED"),
    Expected("shop/web-1", "shop/database", "tcp/5432", "ALLOWED"),
    Expected("internet", "a1", "tcp/8080", "ALLOWED"),
]
"""What holds in the lab without any policy."""


class Town:
    """The lab of the examples: who is where, and packets between them."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab, plan = lab, lab.lab.plan
        hosts = [(each.name, each.space) for each in plan.hosts]
        others = [(each.name, each.space) for each in (*plan.workloads, *plan.outside)]
        self.spaces = dict([*hosts, *others])
        with lab.store() as store:
            self.addresses = endpoint_addresses(store)
        self.addresses |= {each.name: each.address.partition("/")[0] for each in plan.hosts}
        self.addresses |= {each.name: each.address for each in plan.outside}

    def try_all(self, questions: Sequence[Expected]) -> list[str]:
        """The verdict of the packets on each: ALLOWED if anything came back."""
        tried = [self._begin(each) for each in questions]
        ends = time.monotonic() + PATIENCE
        open_ = {sock: number for number, sock in enumerate(tried)}
        came: set[int] = set()
        with selectors.DefaultSelector() as waiting:
            for sock in tried:
                tcp = sock.type == socket.SOCK_STREAM
                waiting.register(sock, selectors.EVENT_WRITE if tcp else selectors.EVENT_READ)
            while waiting.get_map() and (left := ends - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if answered(sock):
                        came.add(open_[sock])
                    waiting.unregister(sock)
        for sock in tried:
            sock.close()
        return ["ALLOWED" if number in came else "DENIED" for number in range(len(tried))]

    def _begin(self, question: Expected) -> socket.socket:
        protocol, _, port = question.what.partition("/")
        target = self.addresses[question.destination]
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}.get(protocol, socket.SOCK_RAW)
        number = socket.IPPROTO_ICMP if protocol == "icmp" else 0
        with netns.entered(self.spaces[question.source]):
            sock = socket.socket(socket.AF_INET, kind, number)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, PermissionError):
            if protocol == "icmp":
                sock.connect((target, 0))
                sock.send(ECHO)
            else:
                sock.connect((target, int(PORTS.get(port, port))))
                if protocol == "udp":
                    sock.send(b"who?\n")
        return sock


ECHO = bytes((8, 0, 0xF7, 0xFE, 0, 1, 0, 0))  # RFC 792, with its sum


def answered(sock: socket.socket) -> bool:
    """Something came back: a connection, a refusal of the other end's own, an answer."""
    if sock.type == socket.SOCK_STREAM:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED)
    try:
        return bool(sock.recv(512))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="module", params=["nft", "iptables-legacy"])
def town(request, tmp_path_factory) -> Iterator[Town]:
    text = LAB.read_text().replace("spec:\n", f"spec:\n  dataplane: {request.param}\n", 1)
    where: Path = tmp_path_factory.mktemp("examples")
    with running(text, unique(f"ex-{request.param[:4]}"), where) as lab:
        yield Town(lab)


@pytest.fixture
def applied(town: Town, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An example, in force on every host; taken back afterwards."""
    file: Path = request.param
    town.lab.tortie("apply", "-f", str(file), "--wait")
    try:
        yield file
    finally:
        town.lab.tortie("delete", "-f", str(file))


@pytest.mark.parametrize("applied", FILES, ids=lambda file: file.stem, indirect=True)
def test_an_example_does_what_it_says(town: Town, applied: Path) -> None:
    questions = expected(applied)
    wanted = [each.verdict for each in questions]
    assert dict(zip(questions, town.try_all(questions), strict=True)) == dict(
        zip(questions, wanted, strict=True)
    )
    for question in (questions[0], next(one for one in questions if one.verdict == "DENIED")):
        asked = [question.source, question.destination, question.what]
        said = town.lab.tortie("can", *asked, check=False)
        assert (said.returncode, said.stdout.split()[0]) == (
            {"ALLOWED": 0, "DENIED": 1}[question.verdict],
            question.verdict,
        )


def test_without_them_the_lab_is_as_it_was(town: Town) -> None:
    assert town.try_all(DEFAULTS) == [each.verdict for each in DEFAULTS]


@pytest.mark.parametrize(
    "applied", [each for each in FILES if each.stem == "untracked-ddos"], indirect=True
)
def test_what_the_deny_list_stops_is_never_tracked(town: Town, applied: Path) -> None:
    question = Expected("partner", "a1", "tcp/8080", "DENIED")
    assert town.try_all([question]) == ["DENIED"]
    with netns.entered(town.spaces["a1"]):
        tracked = process.run(["conntrack", "-L", "-s", town.addresses["partner"]])
    assert town.addresses["partner"] not in tracked.stdout
