"""A lab's namespaces and cables in the kernel: made, and removed."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tortie.errors import LabError
from tortie.kernel import netns, process
from tortie.lab.plan import Plan, Space

_WORKERS = 8


def require_free(plan: Plan) -> None:
    """Raise LabError if a namespace of the plan is there already: it is somebody else's."""
    for space in plan.spaces:
        if netns.path(space.name).exists():
            raise LabError(
                f"the network namespace {space.name} is there already, and not this lab's",
                f"call the lab otherwise (--name), or remove it: ip netns delete {space.name}",
            )


def build(plan: Plan) -> None:
    """Make all namespaces and cables. Raises KernelError."""
    lines = [f"netns add {space.name}" for space in plan.spaces]
    for cable in plan.cables:
        (near, near_name), (far, far_name) = cable.near, cable.far
        lines.append(
            f"link add {near_name} netns {near} type veth peer name {far_name} netns {far}"
        )
    _batch(["ip"], lines)
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(_furnish, plan.spaces))


def remove(names: Iterable[str]) -> None:
    """Remove namespaces; those that are not there are none to worry about. Raises KernelError."""
    there = [name for name in names if netns.path(name).exists()]
    if there:
        _batch(["ip"], [f"netns delete {name}" for name in there])


def _furnish(space: Space) -> None:
    with netns.entered(space.name):
        for name, value in space.sysctls:
            path = Path("/proc/sys/net", name.replace(".", "/"))
            # Bridges' sysctls are there only if the kernel can filter on bridges at all.
            if path.exists() or not name.startswith("bridge."):
                path.write_text(value)
        _batch(["ip"], space.script)
        if space.rules:
            process.run(["nft", "-f", "-"], stdin=space.rules)


def _batch(command: list[str], lines: Iterable[str]) -> None:
    process.run([*command, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))
