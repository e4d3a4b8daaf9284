"""Tracked connections through a router in the kernel: counted, listed, marked, forgotten."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from namespaces import ip, namespaces

from tortie.kernel import netns, process
from tortie.kernel.conntrack import Connection, Conntrack, ConntrackPort, Way
from tortie.kernel.conntrack_fake import FakeConntrack

pytestmark = pytest.mark.kernel

TRACK = """
table inet t {
  chain c {
    type filter hook forward priority 0;
    ct state new accept
  }
}
"""
TRANSLATE = """
table ip n {
  chain c {
    type nat hook prerouting priority dstnat;
    ip daddr 10.99.0.1 dnat to 10.65.2.2
  }
}
"""
NETS = {4: ("10.65.1.{}", "10.65.2.{}", 24), 6: ("fd65:1::{}", "fd65:2::{}", 64)}


@contextmanager
def router() -> Iterator[tuple[str, str, str]]:
    """Client, router, server: 10.65.1.2-4 and fd65:1::2-4 to 10.65.2.2 and fd65:2::2."""
    with namespaces(3) as (client, middle, server):
        for name in (client, middle, server):
            with netns.entered(name):  # duplicate address detection would take a second
                process.run(["sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0"])
        with netns.entered(middle):
            for name, namespace in (("west", client), ("east", server)):
                ip(f"link add {name} type veth peer name eth0 netns {namespace}")
                ip(f"link set {name} up")
            for west, east, length in NETS.values():
                ip(f"addr add {west.format(1)}/{length} dev west nodad")
                ip(f"addr add {east.format(1)}/{length} dev east nodad")
            process.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
            process.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1"])
            process.run(["nft", "-f", "-"], stdin=TRACK)
        for namespace, side, hosts in ((client, 0, (2, 3, 4)), (server, 1, (2,))):
            with netns.entered(namespace):
                ip("link set eth0 up")
                for net in NETS.values():
                    text, length = str(net[side]), net[2]
                    for number in hosts:
                        ip(f"addr add {text.format(number)}/{length} dev eth0 nodad")
                    ip(f"route add default via {text.format(1)}")
        yield client, middle, server


def connect(stack: ExitStack, client: str, server: str, source: str, target: str) -> socket.socket:
    """A TCP connection that stays open; the client's end."""
    kind = socket.AF_INET6 if ":" in target else socket.AF_INET
    with netns.entered(server):
        listener = stack.enter_context(closing(socket.socket(kind)))
        listener.bind((target, 0))
        listener.listen()
        listener.settimeout(5)
    with netns.entered(client):
        near = stack.enter_context(closing(socket.socket(kind)))
        near.bind((source, 0))
        near.settimeout(5)
        near.connect(listener.getsockname()[:2])
    stack.enter_context(closing(listener.accept()[0]))
    return near


def listed(namespace: str) -> str:
    """What the standard tool says is tracked."""
    return "".join(
        process.run(["ip", "netns", "exec", namespace, "conntrack", "-L", "-f", family]).stdout
        for family in ("ipv4", "ipv6")
    )


def test_connections_of_an_address_are_forgotten_and_no_others() -> None:
    """And by the fake alike."""
    ends = [
        (west.format(number), east.format(2))
        for west, east, _ in NETS.values()
        for number in (2, 3, 4)
    ]
    with router() as (client, middle, server), ExitStack() as stack:
        for source, target in ends:
            connect(stack, client, server, source, target)
        with netns.entered(middle):
            conntrack = stack.enter_context(closing(Conntrack()))
        assert "src=10.65.1.2 " in listed(middle)
        holds(conntrack)
        left = listed(middle)
        assert "src=10.65.1.4 " in left
        assert "src=10.65.1.2 " not in left
        assert left.count("ESTABLISHED") == 1
    holds(FakeConntrack(ends))


def holds(conntrack: ConntrackPort) -> None:
    """What is true of any table with those six connections in it; one is left."""
    assert conntrack.count() == 6
    gone = {"10.65.1.2", "10.65.1.3", "fd65:1::2", "10.99.0.1"}
    assert gone & conntrack.addresses() == gone - {"10.99.0.1"}
    assert conntrack.forget(gone) == 3
    assert conntrack.count() == 3
    assert conntrack.addresses() == {
        "10.65.1.4",
        "10.65.2.2",
        "fd65:1::3",
        "fd65:1::4",
        "fd65:2::2",
    }
    many = [f"10.1.0.{number}" for number in range(1, 100)]
    assert conntrack.forget([*many, "fd65:2::2"]) == 2, "named as the destination"
    assert conntrack.forget([]) == 0
    assert conntrack.forget(many) == 0
    assert conntrack.count() == 1


def test_a_translated_connection_is_found_by_the_address_behind_the_translation() -> None:
    with router() as (client, middle, server), ExitStack() as stack:
        with netns.entered(middle):
            process.run(["nft", "-f", "-"], stdin=TRANSLATE)
            conntrack = stack.enter_context(closing(Conntrack()))
        with netns.entered(server):
            listener = stack.enter_context(closing(socket.create_server(("10.65.2.2", 0))))
        with netns.entered(client):
            address = ("10.99.0.1", listener.getsockname()[1])
            stack.enter_context(closing(socket.create_connection(address, timeout=5)))
        assert conntrack.addresses() == {"10.65.1.2", "10.99.0.1", "10.65.2.2"}
        assert conntrack.forget({"10.65.2.2"}) == 1
        assert listed(middle) == ""


# --- marks ----------------------------------------------------------------------------------------

BIT, THEIRS = 0x00800000, 0x00000041
TCP, UDP = 6, 17
ECHO = {4: (1, (8, 0), (0, 0)), 6: (58, (128, 0), (129, 0))}


def way_back(way: Way) -> Way:
    return Way(way.destination, way.source, way.protocol, way.port, way.source_port)


def spoken(stack: ExitStack, client: str, server: str) -> set[tuple[Way, Way]]:
    """TCP, UDP and a ping from host 2 of the client in both families; each is answered."""
    found = set()
    for family, (west, east, _) in NETS.items():
        source, target = west.format(2), east.format(2)
        near = connect(stack, client, server, source, target)
        ports = near.getsockname()[1], near.getpeername()[1]
        ways = [Way(source, target, TCP, *ports)]
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        with netns.entered(client):
            call = stack.enter_context(closing(socket.socket(kind, socket.SOCK_DGRAM)))
            call.bind((source, 0))
            call.connect((target, 53))
            call.send(b"?")
            process.run(["ping", "-c1", "-W5", "-I", source, target])
        ways.append(Way(source, target, UDP, call.getsockname()[1], 53))
        found |= {(way, way_back(way)) for way in ways}
        protocol, asks, answers = ECHO[family]
        found.add(
            (Way(source, target, protocol, icmp=asks), Way(target, source, protocol, icmp=answers))
        )
    return found


def test_connections_are_listed_and_marked_and_other_bits_are_left() -> None:
    """And by the fake alike."""
    with router() as (client, middle, server), ExitStack() as stack:
        expected = spoken(stack, client, server)
        with netns.entered(middle):
            conntrack = stack.enter_context(closing(Conntrack()))
            for family in ("ipv4", "ipv6"):
                process.run(["conntrack", "-U", "-f", family, "--mark", str(THEIRS)])
        found = conntrack.connections(BIT)
        assert {(each.original, each.reply) for each in found} == expected
        held_to(conntrack)
        assert listed(middle).count(f"mark={THEIRS | BIT} ") == 3
        assert conntrack.mark(conntrack.connections(BIT), BIT, False) == 3
        assert listed(middle).count(f"mark={THEIRS} ") == 3
    held_to(FakeConntrack(Connection(way, back) for way, back in expected))


def held_to(conntrack: ConntrackPort) -> None:
    """What is true of any table with those six connections, none of which has the bit."""
    everything = conntrack.connections(BIT)
    assert [each.marked for each in everything] == [False] * 6
    assert conntrack.connections(BIT, naming=()) == []
    six = conntrack.connections(BIT, naming={"fd65:1::2"})
    assert {each.original.source for each in six} == {"fd65:1::2"}
    assert conntrack.mark(six, BIT, True) == 3
    assert conntrack.mark(six, BIT, True) == 3, "it stays"
    assert conntrack.mark([], BIT, True) == 0
    for naming in ((), {"10.9.9.9"}):
        found = conntrack.connections(BIT, naming)
        assert {each.original for each in found} == {each.original for each in six}
        assert all(each.marked for each in found)
    for naming in ({"10.65.2.2"}, {f"10.65.2.{number}" for number in range(99)}, None):
        found = conntrack.connections(BIT, naming)
        assert sorted(each.marked for each in found) == [False] * 3 + [True] * 3
    (ping,) = conntrack.connections(BIT, choose=lambda each: each.original.protocol == 58)
    assert ping.marked
    assert conntrack.mark(found, BIT, False) == 6
    assert conntrack.connections(BIT, naming=()) == []
    assert conntrack.forget({"10.65.2.2"}) == 3
    assert conntrack.mark(everything, BIT, True) == 3, "those that ended meanwhile do not matter"
    conntrack.settle()
    assert conntrack.count() == 3


def test_no_connection_is_made_by_marking_one_that_ended() -> None:
    with router() as (client, middle, server), ExitStack() as stack:
        connect(stack, client, server, "10.65.1.2", "10.65.2.2")
        with netns.entered(middle):
            conntrack = stack.enter_context(closing(Conntrack()))
        (gone,) = conntrack.connections(BIT)
        assert conntrack.forget({"10.65.1.2"}) == 1
        assert conntrack.mark([gone], BIT, True) == 0
        assert conntrack.count() == 0


def test_a_translated_connection_says_both_destinations() -> None:
    with router() as (client, middle, server), ExitStack() as stack:
        with netns.entered(middle):
            process.run(["nft", "-f", "-"], stdin=TRANSLATE)
            conntrack = stack.enter_context(closing(Conntrack()))
        with netns.entered(server):
            listener = stack.enter_context(closing(socket.create_server(("10.65.2.2", 0))))
        port = listener.getsockname()[1]
        with netns.entered(client):
            stack.enter_context(closing(socket.create_connection(("10.99.0.1", port), timeout=5)))
        for naming in ({"10.99.0.1"}, {"10.65.2.2"}, {"10.65.1.2"}, None):
            (found,) = conntrack.connections(BIT, naming)
            assert found.original.destination == "10.99.0.1"
            assert (found.reply.source, found.reply.source_port) == ("10.65.2.2", port)
        assert conntrack.mark([found], BIT, True) == 1
        assert f"mark={BIT} " in listed(middle)


def test_connections_of_a_zone_are_marked_there() -> None:
    zone = "table inet z { chain c { type filter hook prerouting priority raw; ct zone set 7; }; }"
    with router() as (client, middle, server), ExitStack() as stack:
        with netns.entered(middle):
            process.run(["nft", "-f", "-"], stdin=zone)
            conntrack = stack.enter_context(closing(Conntrack()))
        connect(stack, client, server, "10.65.1.2", "10.65.2.2")
        found = conntrack.connections(BIT)
        assert conntrack.mark(found, BIT, True) == len(found) == 1
        assert f"mark={BIT} zone=7 " in listed(middle)


def test_a_connection_that_another_announced_names_that_one() -> None:
    """As FTP's control connection announces one for data."""
    track = """
    table inet f {
      ct helper ftp { type "ftp" protocol tcp; }
      chain c { type filter hook prerouting priority 0; tcp dport 21 ct helper set "ftp"; }
    }
    """
    with router() as (client, middle, server), ExitStack() as stack:
        with netns.entered(middle):
            process.run(["nft", "-f", "-"], stdin=track)
            conntrack = stack.enter_context(closing(Conntrack()))
        with netns.entered(server):
            control = stack.enter_context(closing(socket.create_server(("10.65.2.2", 21))))
        with netns.entered(client):
            data = stack.enter_context(closing(socket.create_server(("10.65.1.2", 0))))
            call = stack.enter_context(closing(socket.create_connection(("10.65.2.2", 21), 5)))
        far = stack.enter_context(closing(control.accept()[0]))
        port = data.getsockname()[1]
        for line in ("USER me", f"PORT 10,65,1,2,{port // 256},{port % 256}"):
            call.send(f"{line}\r\n".encode())
            assert far.recv(100)
        with netns.entered(server):
            stack.enter_context(closing(socket.create_connection(("10.65.1.2", port), 5)))
        masters = {each.original.port: each.master for each in conntrack.connections(BIT)}
        assert masters[21] is None
        assert masters[port] == Way("10.65.1.2", "10.65.2.2", TCP, call.getsockname()[1], 21)
