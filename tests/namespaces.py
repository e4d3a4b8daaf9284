"""Network namespaces for tests: made with unique names, removed whatever happens."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from itertools import count

from tortie.kernel import netns, process

_number = count()


@contextlib.contextmanager
def namespaces(amount: int = 1) -> Iterator[list[str]]:
    """Fresh namespaces with their loopback up; the calling thread stays where it is."""
    names = [f"tnl{os.getpid()}n{next(_number)}" for _ in range(amount)]
    try:
        for name in names:
            netns.add(name)
        yield names
    finally:
        for name in names:
            netns.delete(name)


@contextlib.contextmanager
def inside_fresh() -> Iterator[str]:
    """The calling thread is in a fresh namespace meanwhile."""
    with namespaces() as (name,), netns.entered(name):
        yield name


def ip(*lines: str) -> None:
    """Lines for `ip`, run in the calling thread's namespace."""
    process.run(["ip", "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))


def eventually(holds: Callable[[], bool], what: str, timeout: float = 5.0) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)
