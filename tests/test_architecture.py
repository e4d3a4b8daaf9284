"""The rooms of docs/design.md: who may import whom, who may touch what, how long things may be."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tortie"
GENERATED = {"store/etcd_pb2.py"}
FILES = sorted(
    path.relative_to(SOURCE).as_posix()
    for path in SOURCE.rglob("*.py")
    if path.relative_to(SOURCE).as_posix() not in GENERATED
)

LEAVES = {"errors", "__init__"}
"""Anybody may import these."""

# Room: what it may import of ours, and why not more.
ROOMS: dict[str, tuple[set[str], str]] = {
    "model": (set(), "what exists does not depend on what is done with it"),
    "desired": ({"model"}, "the waist knows neither calc nor drivers"),
    "client": (set(), "a socket and JSON"),
    "store": ({"model"}, "where it is kept, not what it means"),
    "ipam": ({"model", "store"}, "addresses are kept in the store and nowhere else"),
    "calc": ({"model", "desired"}, "pure: no store, no kernel, no driver"),
    "kernel": ({"desired"}, "the only door makes no decisions; it shares constants"),
    "dataplane": ({"desired", "kernel"}, "drivers know no resource, label or selector"),
    "bgp": ({"desired", "kernel"}, "drivers know no resource, label or selector"),
    "explain": ({"model"}, "the oracle exists to disagree with calc"),
    "agent": ({"model", "desired", "store", "calc"}, "drivers are handed to the agent"),
    "plugins": (
        {"model", "desired", "store", "ipam", "kernel"},
        "edges write to the store, and never to calc or drivers",
    ),
    "lab": (
        {"model", "store", "kernel", "client", "bgp", "desired"},
        "a lab runs agents by what it is handed",
    ),
    "cli": (
        {"model", "store", "ipam", "explain", "lab", "client", "agent"},
        "the face reaches kernel and BIRD through the agent's socket only",
    ),
}
# Within a room that may import another, only these files of the other.
ONLY = {
    ("lab", "bgp"): {"tortie.bgp.control"},
    ("cli", "agent"): {"tortie.agent.settings"},
}
ROOT = {"__main__", "node"}
"""The composition root imports everything, and nobody imports it (but __main__ imports node)."""

# Module of others: the rooms that may import it.
DOORS: dict[str, set[str]] = {
    "subprocess": {"kernel", "lab"},
    "ctypes": {"kernel"},
    "socket": {"kernel", "bgp", "agent", "client", "lab", "node"},
    "http": {"agent", "client"},
    "sqlite3": {"store"},
    "grpc": {"store"},
    "google": {"store"},
    "yaml": {"model"},
    "click": {"cli"},
    "tabulate": {"cli", "lab"},
    "prometheus_client": {"agent"},
    "os": {"agent", "kernel", "store", "lab", "cli", "client", "bgp", "plugins"},
    "time": {"agent", "store", "bgp", "ipam", "plugins", "lab", "cli", "kernel"},
    "threading": {"agent", "store", "kernel", "plugins", "lab", "bgp", "cli"},
    "random": {"store", "ipam"},
    "signal": {"node", "lab", "kernel", "cli"},
    "asyncio": set(),
    "pickle": set(),
}
PURE = {"model", "calc", "desired", "explain"}
"""No clock, no disk, no network."""
IMPURE = {"subprocess", "ctypes", "socket", "http", "os", "time", "threading", "random", "signal"}
THIRD_PARTY = {"msgspec", "yaml", "grpc", "google", "click", "tabulate", "prometheus_client"}

MAY_INHERIT = {
    "Exception", "Protocol", "Struct", "NamedTuple", "Enum", "Plain", "TortieError",
    "Generic",
    # Python's HTTP server, click and PyYAML are made to be extended by inheritance.
    "CSafeDumper",
    "BaseHTTPRequestHandler", "ThreadingMixIn", "UnixStreamServer", "HTTPConnection", "Group",
}  # fmt: skip


@cache
def parsed(file: str) -> ast.Module:
    return ast.parse((SOURCE / file).read_text())


@cache
def exceptions() -> frozenset[str]:
    """The names of our exceptions: the one tree that is made by inheritance."""
    return frozenset(
        node.name
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    )


def room(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imports(file: str) -> list[tuple[str, int]]:
    """(module, line) of every import, also those inside functions."""
    found = []
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            module = node.module or ""
            if module == "tortie" or module.count(".") == 1:
                found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
            else:
                found.append((module, node.lineno))
    return found


@pytest.mark.parametrize("file", FILES)
def test_rooms_import_only_what_they_may(file):
    here = room(file)
    if here in ROOT or here in LEAVES:
        return
    allowed, reason = ROOMS[here]
    for module, line in imports(file):
        top, _, rest = module.partition(".")
        there = rest.split(".")[0]
        if top != "tortie" or there == here or there in LEAVES or there.startswith("__"):
            continue
        assert there in allowed, f"{file}:{line}: {here} must not import {there}: {reason}"
        only = ONLY.get((here, there))
        assert only is None or any(module.startswith(each) for each in only), (
            f"{file}:{line}: {here} may import only {only} of {there}"
        )


@pytest.mark.parametrize("file", FILES)
def test_nobody_imports_the_composition_root(file):
    if room(file) in ROOT:
        return
    for module, line in imports(file):
        assert module.split(".")[:2] not in (["tortie", "node"], ["tortie", "__main__"]), (
            f"{file}:{line}: parts are handed down, never fetched from the root"
        )


@pytest.mark.parametrize("file", FILES)
def test_only_some_rooms_have_a_door_to_the_world(file):
    here = room(file)
    for module, line in imports(file):
        top = module.split(".")[0]
        if top in DOORS and here not in ROOT:
            assert here in DOORS[top], f"{file}:{line}: {here} must not import {top}"
        if here in PURE:
            assert top not in IMPURE, f"{file}:{line}: {here} is pure, {top} is not"
        known = top in sys.stdlib_module_names or top in THIRD_PARTY or top == "tortie"
        assert known, f"{file}:{line}: {top} is no dependency of ours"


@pytest.mark.parametrize("file", FILES)
def test_files_and_functions_are_short(file):
    text = (SOURCE / file).read_text()
    assert text.count("\n") <= 400, f"{file}: something wants out"
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{file}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("file", FILES)
def test_modules_say_what_they_are(file):
    text = (SOURCE / file).read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)) or file == "__init__.py"


@pytest.mark.parametrize("file", FILES)
def test_nothing_inherits(file):
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = ast.unparse(base).split("[")[0].split(".")[-1]
                assert name in MAY_INHERIT or name in exceptions(), (
                    f"{file}:{node.lineno}: {node.name} inherits from {name}"
                )


def test_every_room_is_in_the_table():
    assert {room(file) for file in FILES} - LEAVES - ROOT == set(ROOMS)
