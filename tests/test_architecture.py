"""The rooms of docs/design.md: who may import whom, who may touch what, how long things may be."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

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
    "kernel": (set(), "the only door makes no decisions"),
    "dataplane": ({"desired", "kernel"}, "drivers know no resource, label or selector"),
    "bgp": ({"desired", "kernel"}, "drivers know no resource, label or selector"),
    "explain": ({"model"}, "the oracle exists to disagree with calc"),
    "agent": ({"model", "desired", "store", "calc"}, "drivers are handed to the agent"),
    "plugins": (
        {"model", "desired", "store", "ipam", "kernel"},
        "edges write to the store, and never to calc or drivers",
    ),
    "lab": ({"model", "store", "kernel", "client"}, "a lab runs agents by what it is handed"),
    "cli": (
        {"model", "store", "ipam", "explain", "lab", "client", "agent"},
        "the face reaches kernel and BIRD through the agent's socket only",
    ),
}
# Within a room that may import another, only these modules of the other.
ONLY = {
    ("cli", "agent"): {"tortie.agent.settings"},
    ("explain", "model"): {
        "tortie.model.resources",
        "tortie.model.selector",
        "tortie.model.words",
    },
    ("agent", "store"): {"tortie.store.base", "tortie.store.syncer"},
    ("ipam", "store"): {"tortie.store.base"},
}
ROOT = {"__main__", "node"}
"""The composition root imports everything, and nobody imports it (but __main__ imports node)."""

# Module that does something to the world: who may import it, and why nobody else.
EFFECTS: dict[str, tuple[set[str], str]] = {
    "subprocess": ({"kernel/process.py"}, "it starts programs without a shell, within a time"),
    "ctypes": ({"kernel"}, "system calls are the kernel room's"),
    "socket": (
        # BIRD's control socket; the agent's two doors, and the clients of one of them; the names
        # of etcd's servers.
        {"kernel", "bgp/control.py", "bgp/fake.py", "agent/server.py", "client.py", "lab",
         "store/addresses.py"},
        "netlink is the kernel room's, and a store is reached through the store",
    ),
    "http": ({"agent/server.py", "client.py"}, "one server, one client"),
    "socketserver": ({"agent/server.py"}, "one server"),
    "select": ({"kernel"}, "one colour: the loop waits on its queue"),
    "selectors": ({"lab"}, "one colour: the loop waits on its queue"),
    "sqlite3": ({"store/sqlite.py", "store/sqlite_file.py"}, "one store speaks SQL"),
    "fcntl": ({"store/sqlite_file.py"}, "files are locked by the store that needs it"),
    "grpc": ({"store/etcd_cluster.py", "store/etcd_watch.py"}, "one store speaks to etcd"),
    "google": ({"store/etcd_cluster.py"}, "one store speaks to etcd"),
    "yaml": ({"model/reader.py"}, "one reader keeps YAML's surprises out"),
    "click": ({"cli"}, "only the face reads a command line"),
    "tabulate": ({"cli", "lab/matrix.py"}, "only faces draw tables"),
    "prometheus_client": ({"agent/metrics.py"}, "the agent counts, others return"),
    "logging": ({"agent", "bgp/bird.py", "node.py"}, "others raise or return; the agent tells"),
    "os": (
        {"kernel", "lab", "cli", "client.py", "agent/belief.py", "store/etcd_cluster.py",
         "store/sqlite_file.py"},
        "the system is the kernel room's, files and environment the edges'",
    ),
    "sys": ({"__main__.py", "cli", "lab"}, "arguments, streams and exits are the edges'"),
    "signal": ({"node.py", "kernel/process.py", "lab"}, "the process belongs to its root"),
    "shutil": ({"kernel/process.py", "lab/build.py"}, "nobody else removes trees"),
    "time": (
        {"agent/loop.py", "agent/report.py", "bgp/bird.py", "bgp/control.py", "cli",
         "ipam/allocator.py", "ipam/collector.py",
         "ipam/guard.py", "kernel/conntrack.py", "kernel/process.py", "lab", "node.py", "plugins",
         "store"},
        "the core is a function of the state, not of the hour",
    ),
    "random": ({"ipam/allocator.py", "store/syncer.py"}, "only those who step aside for others"),
    "threading": (
        {"agent/periodic.py", "agent/report.py", "agent/server.py", "kernel/monitor.py",
         "kernel/nflog.py", "store",
         "plugins/workload.py", "bgp/fake.py", "cli/output.py", "lab"},
        "one colour: threads at the edges only, no locks in the core",
    ),
    "queue": ({"agent", "store"}, "one queue in the middle"),
    "concurrent": ({"cli/node.py", "kernel/netns.py", "lab"}, "one colour"),
    "importlib": ({"cli/main.py"}, "what is imported is said in an import"),
    "asyncio": (set(), "one colour: a synchronous core"),
    "multiprocessing": (set(), "processes are started by kernel.process or the lab"),
    "pickle": (set(), "what is read back is decoded into types"),
}  # fmt: skip
THIRD_PARTY = {"msgspec", "yaml", "grpc", "google", "click", "tabulate", "prometheus_client"}

PURE = (
    "model", "desired", "calc", "explain", "ipam/affinity.py", "ipam/block.py", "ipam/pools.py",
    "ipam/reservations.py", "ipam/settings.py",
    "bgp/answers.py", "bgp/judge.py", "bgp/reasons.py", "bgp/render.py", "bgp/rules.py",
    "bgp/sessions.py", "bgp/words.py",
    "dataplane/alike.py", "dataplane/interpreter.py", "dataplane/matching.py",
    "dataplane/nft/hosts.py", "dataplane/nft/nat.py", "dataplane/nft/render.py",
    "dataplane/nft/rules.py",
    "dataplane/nft/policies.py", "dataplane/nft/ruleset.py", "dataplane/nft/words.py",
    "dataplane/safe.py",
    "dataplane/iptables/render.py", "dataplane/iptables/hosts.py", "dataplane/iptables/dispatch.py",
    "dataplane/iptables/building.py", "dataplane/iptables/lookups.py",
    "dataplane/iptables/nat.py", "dataplane/iptables/workloads.py",
    "dataplane/iptables/rules.py", "dataplane/iptables/policies.py",
    "dataplane/iptables/ruleset.py", "dataplane/iptables/tables.py", "dataplane/iptables/words.py",
)  # fmt: skip
"""No clock, no disk, no network, and of ours only what is pure too."""
HARMLESS = {
    "__future__", "base64", "bisect", "collections", "dataclasses", "difflib", "enum", "functools",
    "hashlib", "ipaddress", "itertools", "json", "math", "re", "types", "typing", "msgspec",
}  # fmt: skip
BESIDES = {("model/reader.py", "yaml"), ("bgp/render.py", "pathlib")}
"""PyYAML gets text and gives nodes; a path is only a name in a configuration."""

# Who may be a base, and why.
BASES = {
    "Exception": "the one tree, in errors.py, with leaves elsewhere",
    "Protocol": "what others promise",
    "Generic": "a parameter of a type",
    "Struct": "plain data", "Plain": "plain data that refuses unknown fields",
    "NamedTuple": "plain data", "Enum": "plain data",
    "BaseHTTPRequestHandler": "the standard library's way to serve HTTP",
    "ThreadingMixIn": "the standard library's way to serve HTTP",
    "UnixStreamServer": "the standard library's way to serve HTTP",
    "HTTPConnection": "the standard library's way to speak HTTP over another socket",
    "Group": "click's way to import a command only when it is called",
    "CSafeDumper": "PyYAML's way to say how a value is written",
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


@cache
def imports(file: str) -> list[tuple[str, int]]:
    """(module, or name in a module of ours; line) of every import, also those inside functions."""
    found = []
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            ours = module.split(".")[0] == "tortie"
            found += [(name, node.lineno) for name in (names if ours else [module])]
    return found


def every_import() -> Iterator[tuple[str, str, str]]:
    """(file, module, place) of all imports."""
    for file in FILES:
        for module, line in imports(file):
            yield file, module, f"{file}:{line}"


def within(file: str, places: Collection[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") for place in places)


def part_of(module: str, others: Collection[str]) -> bool:
    return any(module == other or module.startswith(f"{other}.") for other in others)


def nothing(refused: Iterable[str]) -> None:
    """Every refusal is one line with the place and the reason."""
    assert not (lines := list(refused)), "\n" + "\n".join(lines)


def refused_rooms() -> Iterator[str]:
    for file, module, place in every_import():
        here, there = room(file), module.split(".")[1] if module.startswith("tortie.") else ""
        if not there or here in ROOT or there in (here, *LEAVES, "__version__"):
            continue
        allowed, reason = ROOMS.get(here, (set(), "leaves import nothing of ours"))
        if there not in allowed:
            yield f"{place}: {here} must not import {there}: {reason}"
        elif not part_of(module, ONLY.get((here, there), {module})):
            yield f"{place}: of {there}, {here} may import only {ONLY[here, there]}"


def test_rooms_import_only_what_they_may() -> None:
    nothing(refused_rooms())


def test_every_room_is_in_the_table() -> None:
    assert {room(file) for file in FILES} - LEAVES - ROOT == set(ROOMS)


def test_nobody_imports_the_composition_root() -> None:
    nothing(
        f"{place}: parts are handed down, never fetched from the root"
        for file, module, place in every_import()
        if part_of(module, {"tortie.node", "tortie.__main__"})
        and (file, module.split(".")[1]) != ("__main__.py", "node")
    )


def test_imports_are_absolute() -> None:
    nothing(
        f"{file}:{node.lineno}: say from tortie... in full"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.level
    )


def refused_effects() -> Iterator[str]:
    for file, module, place in every_import():
        top = module.split(".")[0]
        places, reason = EFFECTS.get(top, ({file}, ""))
        if not within(file, places):
            yield f"{place}: {top} is not for here: {reason}"
        if top not in sys.stdlib_module_names and top not in THIRD_PARTY and top != "tortie":
            yield f"{place}: {top} is no dependency of ours"


def test_only_some_touch_the_world() -> None:
    nothing(refused_effects())


def refused_in_pure() -> Iterator[str]:
    ours = {f"tortie.{place.removesuffix('.py').replace('/', '.')}" for place in PURE}
    ours |= {"tortie.errors"}
    for file, module, place in every_import():
        top = module.split(".")[0]
        fine = part_of(module, ours) or top in HARMLESS or (file, top) in BESIDES
        if within(file, PURE) and not fine:
            yield f"{place}: this file is pure, {module} is not"


def test_what_is_pure_imports_only_what_is_pure() -> None:
    nothing(refused_in_pure())


def test_no_permission_outlives_its_use() -> None:
    used = {(module.split(".")[0], file) for file, module, _ in every_import()}
    nothing(
        f"{place} does not import {module} any more"
        for module, (places, _) in EFFECTS.items()
        for place in places
        if not any(name == module and within(file, {place}) for name, file in used)
    )


def test_files_are_short() -> None:
    nothing(
        f"{file}: has {length} lines; something wants out"
        for file in FILES
        if (length := (SOURCE / file).read_text().count("\n")) > 400
    )


def test_functions_are_short() -> None:
    nothing(
        f"{file}:{node.lineno}: {node.name} has {length} lines"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    )


def test_modules_say_what_they_are() -> None:
    nothing(
        f"{file}: has no docstring"
        for file in FILES
        if parsed(file).body and not ast.get_docstring(parsed(file))
    )


def test_nothing_inherits_but_for_a_reason() -> None:
    nothing(
        f"{file}:{node.lineno}: {node.name} inherits from {name}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
        for name in (ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases)
        if name not in BASES and name not in exceptions()
    )
