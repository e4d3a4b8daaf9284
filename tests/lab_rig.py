"""Whole labs for tests: built by the command that people type, and taken down whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tortie.kernel import netns
from tortie.lab import state
from tortie.lab.probe import Pair, Result, endpoint_addresses, pairs
from tortie.store import open_store
from tortie.store.base import Store

TORTIE = [sys.executable, "-m", "tortie"]

TENANTS = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: tenants}
spec:
  store: STORE
  racks:
  - {name: rack-a, hosts: [a1, a2]}
  - {name: rack-b, hosts: [b1, b2]}
  outside: [internet, {name: partner, serve: [tcp/443]}]
  workloads:
  - {name: web-1, namespace: shop, host: a1, labels: {role: web}, serve: [tcp/80, tcp/81, udp/53],
     ports: [{name: http, protocol: TCP, port: 80}]}
  - {name: web-2, namespace: shop, host: b1, labels: {role: web}, serve: [tcp/80]}
  - {name: api-1, namespace: shop, host: a1, labels: {role: api}, serve: [tcp/8080]}
  - {name: api-2, namespace: shop, host: b2, labels: {role: api}}
  - {name: database, namespace: shop, host: b1, labels: {role: database}, serve: [tcp/5432]}
  - {name: teller-1, namespace: bank, host: a1, serve: [tcp/443]}
  - {name: teller-2, namespace: bank, host: a2}
  - {name: teller-3, namespace: bank, host: b1}
  - {name: ledger, namespace: bank, host: b2, serve: [tcp/5432, udp/53]}
  - {name: alone, namespace: open, host: a2, serve: [tcp/22]}
  - {name: nobody, namespace: shut, host: b2, serve: [tcp/22]}
  - {name: none, namespace: shut, host: a2, serve: [udp/22]}
---
apiVersion: v1
kind: Namespace
metadata: {name: open, annotations: {tortie.dev/default: open}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shut, annotations: {tortie.dev/default: isolated}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web-is-public, namespace: shop}
spec:
  selector: role == 'web'
  types: [Ingress]
  ingress:
  - {action: Allow, source: {selector: all()}}
  - {action: Allow, protocol: TCP, source: {notNets: [10.65.0.0/16]}, destination: {ports: [http]}}
"""


def tenants(store: str) -> str:
    """Twelve workloads of five kinds of tenants in two racks, and two machines outside."""
    return TENANTS.replace("STORE", store)


def tenants_verdict(source: str, destination: str, protocol: str, port: int) -> bool:
    """What a person reading the file of `tenants` expects of a pair."""
    here, there = source.rpartition("/")[0], destination.rpartition("/")[0]
    if here == "shut":
        return there == "shut"
    if here == there != "":
        return True
    if there in ("", "open"):
        return True
    # From outside only: the port that the web servers call http, which is web-1's alone.
    return here == "" and (destination, protocol, port) == ("shop/web-1", "tcp", 80)


class RunningLab:
    """A lab of a test."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def lab(self) -> state.Lab:
        return state.choose(self.name)

    def tortie(
        self, *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A command of Tortie's with this lab as the one that is meant."""
        return tortie(*arguments, lab=self.name, stdin=stdin, check=check)

    def exec(self, where: str, *command: str, check: bool = True) -> str:
        """The output of a command run somewhere in the lab."""
        return self.tortie("lab", "exec", where, "--", *command, check=check).stdout

    def probe(self, *options: str) -> list[Result]:
        done = self.tortie("lab", "probe", "-o", "json", *options)
        return msgspec.convert(json.loads(done.stdout), list[Result])

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(self.lab.record.outer_store_url)
        try:
            yield store
        finally:
            store.close()

    def pairs(self) -> list[Pair]:
        """All pairs that a probe would try now, in every family of the lab."""
        plan = self.lab.plan
        with self.store() as store:
            return [
                pair
                for family in plan.families
                for pair in pairs(plan, endpoint_addresses(store, family), family)
            ]


def tortie(
    *arguments: str, lab: str = "", stdin: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `tortie`; with `check`, its failure is the test's."""
    environment = {**os.environ, "TORTIE_LAB": lab}
    environment.pop("TORTIE_STORE", None)
    done = subprocess.run(
        [*TORTIE, *arguments], input=stdin, capture_output=True, text=True, timeout=120,
        env=environment,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"tortie {arguments}: {done.returncode}\n{done.stderr}"
    return done


def unique(name: str) -> str:
    """A lab's name that no other run of the tests uses."""
    return f"{name}-{os.getpid()}"


@contextlib.contextmanager
def running(text: str, name: str, directory: Path) -> Iterator[RunningLab]:
    """The lab of a file's text, built, and removed after the block."""
    file = directory / f"{name}.yaml"
    file.write_text(text)
    try:
        tortie("lab", "up", str(file), "--name", name)
        yield RunningLab(name)
    finally:
        tortie("lab", "down", name)


def remains(name: str) -> list[str]:
    """Everything that is left of a lab: namespaces, files, processes."""
    found = [space for space in netns.names() if space.startswith(f"tortie-{name}-")]
    found += [str(path) for path in [state.directory(name)] if path.exists()]
    # Not part of another lab's name.
    named = re.compile(rb"(?<![\w-])" + re.escape(name.encode()) + rb"(?![\w-])")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if named.search(words):
                    found.append(words.replace(b"\0", b" ").decode())
    return found


def until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something came to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
