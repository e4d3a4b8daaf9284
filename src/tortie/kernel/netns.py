"""Network namespaces: make, remove, enter.

Named as `ip netns` names it (a file in /run/netns), or by a path such as /proc/PID/ns/net.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tortie.errors import KernelError
from tortie.kernel import process

RUN = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def path(name: str) -> Path:
    """The file of a namespace given by name or by path."""
    return Path(name) if name.startswith("/") else RUN / name


def add(name: str) -> None:
    """Make a named namespace with its loopback up. Raises KernelError."""
    process.run(["ip", "netns", "add", name])
    process.run(["ip", "-n", name, "link", "set", "lo", "up"])


def delete(name: str) -> None:
    """Remove a named namespace if it is there. Raises KernelError."""
    if path(name).exists():
        process.run(["ip", "netns", "delete", name])


def names() -> list[str]:
    """The names of all named namespaces."""
    return sorted(entry.name for entry in RUN.iterdir()) if RUN.is_dir() else []


def pids(name: str) -> list[int]:
    """The processes whose main thread is in a namespace."""
    want = path(name).stat()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            have = (entry / "ns/net").stat()
            if (have.st_ino, have.st_dev) == (want.st_ino, want.st_dev):
                found.append(int(entry.name))
    return sorted(found)


def enter(name: str) -> None:
    """Move the calling thread into a namespace, for good. Raises KernelError."""
    try:
        handle = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"there is no network namespace {name}: {error.strerror}") from error
    try:
        if _libc.setns(handle, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise KernelError(f"cannot enter network namespace {name}: {reason}")
    finally:
        os.close(handle)


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Within the block the calling thread is in a namespace; afterwards it is back.

    Sockets and children made inside stay there. Raises KernelError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(name)
        yield
    finally:
        if _libc.setns(home, _CLONE_NEWNET) != 0:
            os.abort()  # carrying on in the wrong namespace would touch somebody else's network
        os.close(home)


def call(name: str, function: Callable[[], T]) -> T:
    """The result of a function run in a thread of its own inside a namespace."""

    def inside() -> T:
        enter(name)
        return function()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(inside).result()
