"""When routes came and went in network namespaces: the kernel's own events, with its time."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

_LINE = re.compile(r"\[(\S+)\] (Deleted )?(?:(?:blackhole|unreachable) )?(\S+) ")


class Event(Struct, frozen=True):
    """A route of a namespace came (or was changed), or went, at a Unix time."""

    space: str
    prefix: str
    gone: bool
    time: float


class Watch:
    """What happened to routes so far."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def events(self, since: float) -> list[Event]:
        """All after a Unix time, in order."""
        found = []
        for space, file in self._files.items():
            for line in file.read_text(errors="replace").splitlines():
                match = _LINE.match(line)
                if match:
                    when = datetime.fromisoformat(match[1]).timestamp()
                    found.append(Event(space, match[3], match[2] is not None, when))
        return sorted((each for each in found if each.time >= since), key=lambda each: each.time)

    def last(
        self, prefixes: Sequence[str], since: float, seconds: float, *, gone: bool
    ) -> dict[str, float]:
        """By namespace: seconds from `since` until the last of these prefixes came or went there.

        Waits until each namespace has seen all of them. Raises TimeoutError that says what it has
        not seen.
        """
        deadline = time.time() + seconds
        while True:
            seen: dict[str, dict[str, float]] = {space: {} for space in self._files}
            for each in self.events(since):
                if each.gone == gone and each.prefix in prefixes:
                    seen[each.space][each.prefix] = each.time
            if all(len(found) == len(set(prefixes)) for found in seen.values()):
                return {space: max(found.values()) - since for space, found in seen.items()}
            if time.time() > deadline:
                lacking = {s: set(prefixes) - set(f) for s, f in seen.items()}
                raise TimeoutError(f"not seen in {seconds:.0f} s: {lacking}")
            time.sleep(0.02)


@contextlib.contextmanager
def watching(spaces: Sequence[str], family: int = 4) -> Iterator[Watch]:
    """Watches routes of these namespaces within the block."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        files, programs = {}, []
        for space in spaces:
            files[space] = Path(directory, space)
            output = stack.enter_context(files[space].open("wb"))
            command = ["ip", "-n", space, f"-{family}", "-ts", "-o", "monitor", "route"]
            programs.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "TZ": "UTC"},
                )
            )
        time.sleep(0.2)  # until all of them listen
        try:
            yield Watch(files)
        finally:
            for program in programs:
                program.terminate()
            for program in programs:
                program.wait()
