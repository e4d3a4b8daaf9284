"""The examples of policies: each is valid, and gives the verdicts that it says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from expectations import FILES, FOLDER, LAB, Expected, expected

from tortie.calc import World, desired_for
from tortie.cli import world as worlds
from tortie.cli.ask import answer
from tortie.dataplane.interpreter import Interpreter, Packet
from tortie.explain import places, question
from tortie.explain.oracle import Flow
from tortie.model import resources as r

EXAMPLES = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
WORDS = {True: "ALLOWED", False: "DENIED"}


@cache
def read(*files: Path) -> worlds.World:
    return worlds.of_files(files)


def judged(there: worlds.World, each: Expected) -> str:
    return answer(there, each.source, each.destination, question.parse(each.what)).verdict


@EXAMPLES
def test_an_example_says_what_is_allowed_and_what_is_not(file: Path) -> None:
    assert {each.verdict for each in expected(file)} == {"ALLOWED", "DENIED"}


@EXAMPLES
def test_an_example_does_what_it_says(file: Path) -> None:
    there = read(LAB, file)
    for each in expected(file):
        assert (each, judged(there, each)) == (each, each.verdict)


@EXAMPLES
def test_without_the_example_it_would_not_be_so(file: Path) -> None:
    assert any(judged(read(LAB), each) != each.verdict for each in expected(file))


@EXAMPLES
def test_the_hosts_are_told_to_do_what_an_example_says(file: Path) -> None:
    """What calc makes of it for each host on the way, read by the plain interpreter."""
    there = read(LAB, file)
    made = World.of(there.resources)
    hosts = {
        name: Interpreter(
            desired_for(made, name, interfaces={one.name: one.addresses for one in own})
            .filter
        )
        for name, own in there.interfaces.items()
    }  # fmt: skip
    for each in expected(file):
        ends = (places.resolve(one, there.resources, there.machines)
                for one in (each.source, each.destination))  # fmt: skip
        said = all(
            hosts[host].judge(_packet(flow), incoming, outgoing).allowed
            for flow in question.flows(question.parse(each.what), *ends)
            for host, incoming, outgoing in _hops(there, flow)
        )
        assert (each, WORDS[said]) == (each, each.verdict)


def _packet(flow: Flow) -> Packet:
    return Packet(
        flow.source, flow.destination, flow.protocol, flow.port, flow.source_port, flow.icmp
    )


def _hops(there: worlds.World, flow: Flow) -> Iterator[tuple[str, str | None, str | None]]:
    """The hosts on the way, each with the interfaces that a packet comes in by and leaves by."""
    (near, incoming), (far, outgoing) = (_at(there, one) for one in (flow.source, flow.destination))
    if near == far and near is not None:
        yield near, incoming, outgoing
        return
    if near is not None:
        yield near, incoming, "eth0"
    if far is not None:
        yield far, "eth0", outgoing


def _at(there: worlds.World, address: str) -> tuple[str | None, str | None]:
    """(host, a workload's interface) of an address; None: it is no host's, no workload's."""
    for each in there.resources:
        if isinstance(each, r.WorkloadEndpoint) and f"{address}/32" in each.spec.ip_networks:
            return each.spec.node, each.spec.interface_name
    for host, own in there.interfaces.items():
        if any(address in one.addresses for one in own):
            return host, None
    return None, None


def test_every_example_is_in_the_list() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert [file.name for file in FILES if f"| `{file.name}` |" not in listed] == []
