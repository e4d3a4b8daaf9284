"""The codec against scripted answers: what a quiet kernel seldom shows."""

from __future__ import annotations

import errno
import struct

import pytest

from tortie.errors import KernelError
from tortie.kernel import netlink
from tortie.kernel.netlink import HEADER, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Channel

DATA, WHO = 24, (0, 0)
SOMEBODY = (4711, 0)


class Script:
    """A socket that answers each send with the next list of datagrams."""

    def __init__(self, *answers: list[tuple[bytes, tuple[int, int]]]) -> None:
        self.answers = list(answers)
        self.waiting: list[tuple[bytes, tuple[int, int]]] = []
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.sent += 1
        self.waiting = self.answers.pop(0)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.waiting:
            raise TimeoutError
        return self.waiting.pop(0)


def channel(*answers: list[tuple[bytes, tuple[int, int]]]) -> tuple[Channel, Script]:
    made, script = Channel(netlink.ROUTE), Script(*answers)
    made.close()
    made._socket = script  # type: ignore[assignment]
    return made, script


def entry(sequence: int, text: bytes, flags: int = 0) -> bytes:
    return netlink.pack(DATA, flags, sequence, text)


def done(sequence: int, code: int = 0, flags: int = 0) -> bytes:
    return netlink.pack(NLMSG_DONE, flags, sequence, struct.pack("=i", code))


def ack(sequence: int, code: int, said: bytes = b"") -> bytes:
    body = struct.pack("=i", code) + HEADER.pack(99, DATA, 0, sequence, 0)
    flags = 0x100  # capped: the refused message is not repeated
    if said:
        flags, body = flags | 0x200, body + netlink.attribute(1, said + b"\0")
    return netlink.pack(NLMSG_ERROR, flags, sequence, body)


def text(body: bytes) -> str:
    return body.decode()


def test_a_dump_that_was_torn_is_begun_again() -> None:
    made, script = channel(
        [(entry(1, b"half", NLM_F_DUMP_INTR) + done(1), WHO)],
        [(entry(2, b"aaaa"), WHO), (done(2, flags=NLM_F_DUMP_INTR), WHO)],
        [(entry(3, b"whole") + entry(3, b"more"), WHO), (done(3), WHO)],
    )
    assert made.dump("routes", 26, b"", text) == ["whole", "more"]
    assert script.sent == 3


def test_a_table_that_never_rests_is_an_error() -> None:
    made, script = channel(*([(done(n, flags=NLM_F_DUMP_INTR), WHO)] for n in range(1, 11)))
    with pytest.raises(KernelError, match="the routes of the kernel changed during each of 10"):
        made.dump("routes", 26, b"", text)
    assert script.answers == []


def test_answers_to_other_questions_and_from_other_senders_are_passed_over() -> None:
    made, _ = channel(
        [
            (entry(1, b"forged") + done(1), SOMEBODY),
            (entry(77, b"late") + ack(77, -errno.EPERM), WHO),
            (entry(1, b"true") + done(1), WHO),
        ]
    )
    assert made.dump("routes", 26, b"", text) == ["true"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ack(1, -errno.EPERM), "Operation not permitted; run as root"),
        (ack(1, -errno.EINVAL, b"No such thing"), r"Invalid argument \(No such thing\)"),
        (done(1, -errno.ENOMEM), "Cannot allocate memory"),
    ],
)
def test_why_a_table_cannot_be_read(answer: bytes, reason: str) -> None:
    made, _ = channel([(answer, WHO)])
    with pytest.raises(KernelError, match=f"^cannot read routes from the kernel: {reason}$"):
        made.dump("routes", 26, b"", text)


def test_a_kernel_that_does_not_answer() -> None:
    made, _ = channel([])
    with pytest.raises(KernelError, match="did not answer on netlink: no answer within 10 s"):
        made.submit([netlink.Message(24, 0, b"")])


def test_each_message_has_its_own_answer_in_whatever_order_they_come() -> None:
    first = [(ack(n, -n), WHO) for n in range(50, 0, -1)]
    second = [(ack(51, 0) + ack(52, -errno.EEXIST, b"there already"), WHO)]
    made, script = channel(first, second)
    acks = made.submit([netlink.Message(24, 0, b"")] * 52)
    assert [each.error for each in acks] == [*range(1, 51), 0, errno.EEXIST]
    assert acks[-1].text == "File exists (there already)"
    assert script.sent == 2


@pytest.mark.parametrize(
    "broken", [b"\1", HEADER.pack(3, 1, 0, 0, 0), struct.pack("=HH", 0, 1), b"\xff" * 40]
)
def test_broken_messages_end_quietly(broken: bytes) -> None:
    assert len(list(netlink.unpack(broken))) <= 1
    assert len(netlink.attributes(broken)) <= 1
