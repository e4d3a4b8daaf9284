"""`python -m bench.convergence`: how long the fabric takes to know. Needs root.

A new workload reached from another rack; a workload that moves with its address; a host that falls
silent, with and without BFD; a route reflector that dies; BIRD restarted as planned; fifty hosts
started at once. Times come from the kernel's own events and from a question each millisecond.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from bench.apply import Failed
from bench.echo import Asking, answering
from bench.labs import running
from bench.machine import machine
from bench.stats import percentile
from bench.watching import watching
from tortie import client
from tortie.errors import TortieError
from tortie.kernel import netns, process
from tortie.lab.state import Lab

RACKS = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: x}
spec:
  bfd: BFD
  racks:
  - {name: rack-a, hosts: [a1, a2]}
  - {name: rack-b, hosts: [b1, b2]}
  workloads:
  - {name: asker, namespace: shop, host: a1}
  - {name: other, namespace: shop, host: b1}
"""
ONE_RACK = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: x}
spec:
  bgp: BGP
  reflectors: REFLECTORS
  racks:
  - {name: rack-a, hosts: HOSTS}
  workloads: WORKLOADS
"""
SILENT = (
    "table netdev bench { chain in { type filter hook ingress device eth0 priority -500; "
    "policy drop; }; chain out { type filter hook egress device eth0 priority -500; "
    "policy drop; }; }"
)


class Figure(Struct, frozen=True):
    """What was measured, in seconds, once for each trial."""

    name: str
    seconds: list[float]


Tell = Callable[[str], None]


def racks(trials: int, tell: Tell) -> Iterator[Figure]:
    """What is measured in two racks, without BFD."""
    with running("racks", RACKS.replace("BFD", "false")) as (lab, _, _):
        tell("new workloads")
        found = [_appears(lab, f"10.65.200.{number}") for number in range(1, trials + 1)]
        yield Figure("new workload: from the request to its first answer to another rack",
                     [whole for whole, _ in found])  # fmt: skip
        yield Figure("of which after the agent has said that its policy is in force",
                     [rest for _, rest in found])  # fmt: skip
        tell("workloads that move")
        gaps = [_moves(lab, f"10.65.201.{number}") for number in range(1, trials + 1)]
        yield Figure("workload moved to another host, same address: without an answer", gaps)
        tell("BIRD restarted as planned")
        yield Figure("BIRD of a host restarted (`tortie bgp restart`): longest time without an"
                     " answer", [_restarts(lab) for _ in range(min(trials, 5))])  # fmt: skip
        tell("a host that falls silent, without BFD (takes minutes)")
        yield Figure("host silent, no BFD: until its block left every other table",
                     [_falls_silent(lab, 400.0)])  # fmt: skip


def with_bfd(trials: int, tell: Tell) -> Iterator[Figure]:
    """A host that falls silent, with BFD everywhere."""
    found, killed = [], []
    for number in range(min(trials, 5)):
        tell(f"a host that falls silent, with BFD, {number + 1}")
        with running("bfd", RACKS.replace("BFD", "true")) as (lab, _, _):
            found.append(_falls_silent(lab, 60.0))
            if not number:
                tell("BIRD killed, with BFD")
                killed.append(_bird_killed(lab))
                yield Figure("BIRD of a host restarted as planned, with BFD: longest time without"
                             " an answer", [_restarts(lab)])  # fmt: skip
    yield Figure("host silent, BFD (200 ms, 3): until its block left every other table", found)
    yield Figure("BIRD of a host killed (-9), with BFD: longest time without an answer", killed)


def reflectors(trials: int, tell: Tell) -> Iterator[Figure]:
    """One of two route reflectors dies."""
    tell("a route reflector that dies")
    workloads = (
        "[{name: asker, namespace: shop, host: h3}, {name: other, namespace: shop, host: h4}]"
    )
    text = _one_rack("reflectors", 4, ["h1", "h2"], workloads)
    with running("rr", text) as (lab, _, _):
        yield Figure("one of two route reflectors killed: longest time without an answer",
                     [_reflector_dies(lab)])  # fmt: skip


def fifty(hosts: int, tell: Tell) -> Iterator[Figure]:
    """Many hosts at once, each with a workload."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    workloads = (
        "["
        + ", ".join(f"{{name: w-{each}, namespace: shop, host: {each}}}" for each in names)
        + "]"
    )
    for bgp, some in (("mesh", []), ("reflectors", names[:2])):
        tell(f"{hosts} hosts at once, {bgp}")
        with running(bgp, _one_rack(bgp, hosts, some, workloads)) as (lab, _, up):
            yield Figure(f"{hosts} hosts, {bgp}: the lab from nothing to every route known", [up])
            yield Figure(f"{hosts} hosts, {bgp}: all BIRDs killed at once until every session and"
                         " route is back", [_all_birds(lab, names)])  # fmt: skip


def _one_rack(bgp: str, hosts: int, some: Sequence[str], workloads: str) -> str:
    names = json.dumps([f"h{number}" for number in range(1, hosts + 1)])
    text = ONE_RACK.replace("BGP", bgp).replace("HOSTS", names).replace("WORKLOADS", workloads)
    return text.replace("REFLECTORS", json.dumps(list(some)))


# --- single trials --------------------------------------------------------------------------------


def _space(lab: Lab, workload: str) -> str:
    return next(each.space for each in lab.plan.workloads if each.name == workload)


def _address(lab: Lab, host: str, workload: str) -> str:
    said = client.call("GET", "/status", at=lab.agent_socket(host))
    interface = next(e["interface"] for e in said["endpoints"] if workload in e["id"])
    space = next(each.space for each in lab.plan.hosts if each.name == host)
    with netns.entered(space):
        shown = process.run(["ip", "-j", "-4", "route", "show", "dev", interface]).stdout
    return str(json.loads(shown)[0]["dst"])


@contextlib.contextmanager
def _spaces(*names: str) -> Iterator[None]:
    """Namespaces for workloads that come and go."""
    for name in names:
        process.run(["ip", "netns", "add", name])
    try:
        yield
    finally:
        for name in names:
            process.run(["ip", "netns", "delete", name])


def _attach(lab: Lab, host: str, name: str, space: str, address: str) -> None:
    request = {"name": name, "namespace": "shop", "netns": space, "addresses": [address],
               "waitSeconds": 30}  # fmt: skip
    client.call("POST", "/workloads", request, at=lab.agent_socket(host), timeout=60)


def _detach(lab: Lab, host: str, name: str) -> None:
    client.call("DELETE", f"/workloads/shop/{name}", at=lab.agent_socket(host), timeout=60)


def _appears(lab: Lab, address: str) -> tuple[float, float]:
    """Seconds to the first answer: from the request, and from when the agent was done."""
    new = f"tortie-{lab.name}-new"
    with _spaces(new), answering(new), Asking(_space(lab, "shop/asker"), address) as asking:
        began = time.monotonic()
        _attach(lab, "b2", "new", new, address)
        ready = time.monotonic()
        first = asking.first_after(began, 30.0)
        _detach(lab, "b2", "new")
    return first - began, max(0.0, first - ready)


def _moves(lab: Lab, address: str) -> float:
    """Seconds without an answer while a workload goes from b1 to a2 with its address."""
    here, there = (f"tortie-{lab.name}-{end}" for end in ("here", "there"))
    asker = _space(lab, "shop/asker")
    with _spaces(here, there), answering(here), answering(there), Asking(asker, address) as asking:
        _attach(lab, "b1", "mover", here, address)
        asking.first_after(time.monotonic(), 30.0)
        time.sleep(0.3)
        began = time.monotonic()
        _detach(lab, "b1", "mover")
        _attach(lab, "a2", "mover", there, address)
        done = time.monotonic()
        first = asking.first_after(done, 30.0)
        gap = asking.longest_gap(began, first)
        _detach(lab, "a2", "mover")
    return gap


@contextlib.contextmanager
def _steady(lab: Lab, asker: str, other: str, host: str) -> Iterator[Asking]:
    """Questions that are answered all the time, from one workload of the lab to another."""
    address = _address(lab, host, other.partition("/")[2])
    with answering(_space(lab, other)), Asking(_space(lab, asker), address) as asking:
        asking.first_after(time.monotonic(), 30.0)
        time.sleep(0.5)
        yield asking


def _restarts(lab: Lab) -> float:
    with _steady(lab, "shop/asker", "shop/other", "b1") as asking:
        began = time.monotonic()
        client.call("POST", "/bgp/restart", at=lab.agent_socket("b1"), timeout=60)
        time.sleep(3.0)
        return asking.longest_gap(began, time.monotonic())


def _kill_bird(lab: Lab, host: str) -> None:
    pid = int((lab.agent_socket(host).parent / "bird" / "bird.pid").read_text())
    os.kill(pid, signal.SIGKILL)


def _bird_killed(lab: Lab) -> float:
    with _steady(lab, "shop/asker", "shop/other", "b1") as asking:
        began = time.monotonic()
        _kill_bird(lab, "b1")
        time.sleep(1.0)
        last = asking.first_after(time.monotonic(), 60.0)
        time.sleep(3.0)
        return asking.longest_gap(began, max(last, time.monotonic()))


def _reflector_dies(lab: Lab) -> float:
    space = next(each.space for each in lab.plan.hosts if each.name == "h1")
    with _steady(lab, "shop/asker", "shop/other", "h4") as asking:
        began = time.monotonic()
        with netns.entered(space):
            process.run(["nft", SILENT])
        _kill_bird(lab, "h1")
        time.sleep(10.0)
        return asking.longest_gap(began, time.monotonic())


def _blocks(lab: Lab, host: str) -> list[str]:
    space = next(each.space for each in lab.plan.hosts if each.name == host)
    with netns.entered(space):
        shown = process.run(["ip", "-j", "-4", "route", "show", "type", "blackhole"]).stdout
    return [str(each["dst"]) for each in json.loads(shown or "[]")]


def _falls_silent(lab: Lab, seconds: float) -> float:
    """Seconds from when a host falls silent until its blocks have left every other table."""
    blocks = _blocks(lab, "b1")
    others = [each.space for each in lab.plan.hosts if each.name != "b1"]
    others += [each.space for each in lab.plan.routers]
    silent = next(each.space for each in lab.plan.hosts if each.name == "b1")
    with watching(others) as watch:
        began = time.time()
        with netns.entered(silent):
            process.run(["nft", SILENT])
        try:
            return max(watch.last(blocks, began, seconds, gone=True).values())
        finally:
            with netns.entered(silent):
                process.run(["nft", "delete table netdev bench"])


def _all_birds(lab: Lab, hosts: Sequence[str]) -> float:
    began = time.monotonic()
    for host in hosts:
        _kill_bird(lab, host)
    time.sleep(1.0)
    waiting = set(hosts)
    while waiting and time.monotonic() - began < 300:
        for host in sorted(waiting):
            with contextlib.suppress(TortieError):
                said = client.call("GET", "/bgp", at=lab.agent_socket(host), timeout=10)
                if said and all(each["state"] == "Established" for each in said):
                    waiting.discard(host)
        time.sleep(0.1)
    if waiting:
        raise Failed(f"the sessions of {sorted(waiting)} are not back after 300 s")
    return time.monotonic() - began


# --- the command ----------------------------------------------------------------------------------


PARTS: dict[str, Callable[[int, Tell], Iterator[Figure]]] = {
    "racks": racks,
    "bfd": with_bfd,
    "reflectors": reflectors,
}


@click.command()
@click.option("--trials", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option("--hosts", type=click.IntRange(2, 60), default=50, show_default=True)
@click.option("--only", type=click.Choice([*PARTS, "hosts"]), help="Leave the others out.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(trials: int, hosts: int, only: str | None, output: Path | None) -> None:
    """Measure how long routes take to be where they should be."""
    if os.geteuid() != 0:
        raise click.ClickException("run as root: this makes network namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures: list[Figure] = []
    try:
        for name, part in PARTS.items():
            if only in (None, name):
                figures += _told(part(trials, _tell))
        if only in (None, "hosts"):
            figures += _told(fifty(hosts, _tell))
    except (TortieError, Failed, TimeoutError) as error:
        raise click.ClickException(str(error)) from error
    if output is not None:
        output.write_bytes(msgspec.json.encode({"machine": machine(), "figures": figures}))


def _told(figures: Iterator[Figure]) -> Iterator[Figure]:
    for each in figures:
        middle, most = percentile(each.seconds, 50), max(each.seconds)
        click.echo(f"{each.name:90} {middle:9.3f} s  (most {most:.3f}, {len(each.seconds)} trials)")
        yield each


def _tell(text: str) -> None:
    click.echo(f"... {text}", err=True)


if __name__ == "__main__":
    main()
