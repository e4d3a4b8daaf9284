"""From a change in the store to all hosts enforcing it: a real lab, the real command.

`tortie apply --wait` prints when the hosts had it in their kernels, from the moment that the store
had it, which is when `apply` without `--wait` returns. With four hosts its p99 is the last host.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from bench.stats import percentile
from bench.traffic import ROOT

STORES = ("sqlite", "etcd")
LAB = ROOT / "examples/two-tenants.yaml"
POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: database, namespace: shop}
spec:
  selector: role == 'database'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: role == 'ROLE'}, destination: {ports: [5432]}}
"""
_ENFORCED = re.compile(r"enforced on (\d+)/(\d+) hosts, p50 (\d+) ms, p99 (\d+) ms")


class Failed(Exception):
    """A command of the lab failed; says what it said."""


class Applied(Struct, frozen=True):
    """Milliseconds of each change, in order."""

    store: str
    hosts: int
    half: list[int]
    """until half of the hosts enforced it"""
    all: list[int]
    """until the last did"""
    command: list[float]
    """that the whole command took, its start included"""


def run(store: str, changes: int, tell: Callable[[str], None]) -> Applied:
    """Build the lab on a store, change a policy to and fro, and take the lab down.

    Raises Failed.
    """
    tell(f"building a lab on {store}")
    with _lab(store) as tortie, tempfile.TemporaryDirectory() as directory:
        files = [Path(directory, f"{role}.yaml") for role in ("api", "web")]
        for file in files:
            file.write_text(POLICY.replace("ROLE", file.stem))
        _change(tortie, files[1])  # the policy is there; only its rule changes from here on
        hosts, half, last, command = 0, [], [], []
        for number in range(changes):
            tell(f"change {number + 1} of {changes} on {store}")
            begin = time.monotonic()
            hosts, middle, slowest = _change(tortie, files[number % 2])
            command.append(round((time.monotonic() - begin) * 1000, 1))
            half.append(middle)
            last.append(slowest)
    return Applied(store, hosts, half, last, command)


def lines(found: Applied) -> list[str]:
    """A line for people on each of the three."""
    return [
        f"{found.store:8} {text:32} {percentile(values, 50):8.0f} {percentile(values, 99):8.0f}"
        f" {max(values):8.0f}"
        for text, values in (
            (f"half of {found.hosts} hosts", found.half),
            (f"all {found.hosts} hosts", found.all),
            ("the whole command", found.command),
        )
    ]


def _change(tortie: Callable[..., str], file: Path) -> tuple[int, int, int]:
    """Apply a file: hosts, and milliseconds until half of them and all of them enforced it."""
    said = tortie("apply", "-f", str(file), "--wait")
    found = _ENFORCED.search(said)
    if found is None or found[1] != found[2]:
        raise Failed(f"apply said: {said.strip()}")
    return int(found[2]), int(found[3]), int(found[4])


@contextlib.contextmanager
def _lab(store: str) -> Iterator[Callable[..., str]]:
    """A running lab; what runs `tortie` in it."""
    name = f"bench-{store}-{os.getpid()}"
    environment = {key: value for key, value in os.environ.items() if key != "TORTIE_STORE"}

    def tortie(*arguments: str, lab: str = name) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tortie", *arguments],
            env={**environment, "TORTIE_LAB": lab},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"tortie {' '.join(arguments)}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "lab.yaml")
        file.write_text(LAB.read_text().replace("store: sqlite", f"store: {store}"))
        try:
            tortie("lab", "up", str(file), "--name", name, lab="")
            yield tortie
        finally:
            tortie("lab", "down", name)
