"""Faults of every kind in a running lab, in an order that a seed decides."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from e2e_rig import PROMPT, Site
from lab_rig import until

from tortie.kernel import process
from tortie.lab import control
from tortie.lab.plan import Cable

BOUND = 30.0
"""Seconds after the end of a fault within which everything is as it should be."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong: `name` says it, `begin` does it and gives what mends it."""

    name: str
    begin: Callable[[], Callable[[], object]]


def faults(site: Site) -> list[Fault]:
    """Everything that may go wrong in this lab, one by one."""
    return [*_links(site), *_birds(site), *_tasks(site)]


def _links(site: Site) -> Iterator[Fault]:
    """Each cable between hosts and routers: pulled out, and gone deaf without a sign."""
    spaces = {each.space: each.name for each in (*site.plan.hosts, *site.plan.routers)}
    for cable in site.plan.cables:
        ends = [spaces.get(space) for space, _ in (cable.near, cable.far)]
        if None not in ends:
            named = f"{ends[0]} - {ends[1]}"
            yield Fault(f"the link {named} is pulled out", lambda cable=cable: _pull(site, cable))
            yield Fault(f"the link {named} goes deaf", lambda cable=cable: _deafen(site, cable))


def _pull(site: Site, cable: Cable) -> Callable[[], object]:
    space, interface = cable.near

    def put(state: str) -> None:
        _run(space, "ip", "link", "set", interface, state)

    before = _routes(space, interface)
    put("down")

    def mend() -> None:
        put("up")
        # What the lab set there by hand goes with the link; a real host's own tools set it again.
        for line in before:
            _run(space, "ip", "route", "replace", *line.split())

    return mend


def _deafen(site: Site, cable: Cable) -> Callable[[], object]:
    space, interface = cable.near
    rules = (
        "add table netdev chaos; "
        f"add chain netdev chaos in {{ type filter hook ingress device {interface} priority -500; "
        "policy drop; }; "
        f"add chain netdev chaos out {{ type filter hook egress device {interface} priority -500; "
        "policy drop; }"
    )
    _run(space, "nft", rules)
    return lambda: _run(space, "nft", "delete table netdev chaos")


def _birds(site: Site) -> Iterator[Fault]:
    """The BIRD of each host is killed; its agent starts another."""
    for host in site.plan.hosts:

        def kill(host: str = host.name) -> Callable[[], object]:
            pid_file = site.running.lab.agent_socket(host).parent / "bird" / "bird.pid"
            process.kill(int(pid_file.read_text()), "bird.ctl")
            return lambda: None

        yield Fault(f"BIRD on {host.name} is killed", kill)


def _tasks(site: Site) -> Iterator[Fault]:
    """Agents, routers and etcd's members are killed; the lab starts them again."""
    for name in sorted(control.running(site.running.lab)):
        if name.partition("/")[0] in ("agent", "router", "store"):

            def kill(name: str = name) -> Callable[[], object]:
                before = site.restarts(name)
                control.kill(site.running.lab, name)

                def back() -> None:
                    assert until(lambda: site.restarts(name) > before, PROMPT), name

                return back

            yield Fault(f"{name} is killed", kill)


def order(some: Sequence[Fault], seed: int) -> Iterator[tuple[Fault, ...]]:
    """Faults without end, one or two at a time, each as often as the others."""
    chance = random.Random(seed)
    while True:
        left = list(some)
        chance.shuffle(left)
        while left:
            count = min(chance.choice((1, 1, 2)), len(left))
            yield tuple(left.pop() for _ in range(count))


def strike(together: Sequence[Fault], seconds: float) -> None:
    """Faults at once; they last so long, and are mended."""
    cures = [each.begin() for each in together]
    time.sleep(seconds)
    for cure in cures:
        cure()


def _run(space: str, *command: str) -> str:
    from tortie.kernel import netns

    with netns.entered(space):
        return process.run(command).stdout


def _routes(space: str, interface: str) -> list[str]:
    """The routes over an interface that neither the kernel nor a routing daemon made."""
    shown = _run(space, "ip", "route", "show", "dev", interface, "proto", "boot")
    return [f"{line} dev {interface}" for line in shown.splitlines() if line.strip()]
