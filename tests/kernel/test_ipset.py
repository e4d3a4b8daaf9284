"""One contract for IP sets and their fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from namespaces import inside_fresh

from tortie.errors import KernelError
from tortie.kernel import process
from tortie.kernel.ipset import FakeIpSet, IpSet, IpSetFound, IpSetPort

TYPES = {
    "hash:ip": {"inet": "10.0.0.1", "inet6": "fd00::1"},
    "hash:net": {"inet": "10.0.0.0/24", "inet6": "fd00::/64"},
    "hash:ip,port": {"inet": "10.0.0.1,tcp:80", "inet6": "fd00::1,udp:53"},
    "hash:net,iface": {"inet": "10.0.0.1,tor1", "inet6": "fd00::1,tor1"},
}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def ipset(request: pytest.FixtureRequest) -> Iterator[IpSetPort]:
    if request.param == "fake":
        yield FakeIpSet()
        return
    with inside_fresh():
        yield IpSet()


def look_into(ipset: IpSetPort, name: str) -> None:
    """A rule looks into a set."""
    if isinstance(ipset, FakeIpSet):
        ipset.held.add(name)
    else:
        rule = f"*filter\n-A FORWARD -m set --match-set {name} src -j DROP\nCOMMIT\n"
        process.run(["iptables-nft-restore", "--noflush"], stdin=rule)


def test_nothing_is_there_at_first(ipset: IpSetPort) -> None:
    assert ipset.save() == {} and ipset.references() == {}


@pytest.mark.parametrize("family", ["inet", "inet6"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_set_is_listed_as_it_was_made(ipset: IpSetPort, kind: str, family: str) -> None:
    member = TYPES[kind][family]
    ipset.restore(f"create one {kind} family {family} maxelem 1\nadd one {member}\n")
    assert ipset.save() == {"one": IpSetFound(kind, family, frozenset({member}))}


@pytest.mark.parametrize(
    "line",
    [
        "create one hash:ip family inet maxelem 1",
        "add one 10.0.0.1",
        "add two 10.0.0.1",
        "swap one two",
        "swap one net",
        "destroy two",
    ],
)
def test_what_cannot_be_done_fails(ipset: IpSetPort, line: str) -> None:
    ipset.restore("create one hash:ip family inet maxelem 9\nadd one 10.0.0.1\n")
    ipset.restore("create net hash:net family inet maxelem 1\n")
    with pytest.raises(KernelError, match="ipset"):
        ipset.restore(f"{line}\n")


def test_two_sets_change_places(ipset: IpSetPort) -> None:
    ipset.restore("create one hash:ip family inet maxelem 1\nadd one 10.0.0.1\n")
    ipset.restore("create two hash:ip family inet maxelem 1\nadd two 10.0.0.2\n")
    look_into(ipset, "one")
    ipset.restore("swap two one\ndestroy two\n")
    assert ipset.save() == {"one": IpSetFound("hash:ip", "inet", frozenset({"10.0.0.2"}))}


def test_a_set_that_rules_look_into_stays(ipset: IpSetPort) -> None:
    ipset.restore("create one hash:ip family inet maxelem 1\n")
    ipset.restore("create two hash:ip family inet maxelem 1\n")
    look_into(ipset, "one")
    assert ipset.references() == {"one": 1, "two": 0}
    with pytest.raises(KernelError, match="use"):
        ipset.restore("destroy one\n")
    ipset.restore("destroy two\n")
    assert list(ipset.references()) == ["one"]
