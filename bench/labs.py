"""Labs of a benchmark: built by the command that people type, from a file's text."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.apply import Failed
from tortie.lab import state
from tortie.lab.state import Lab

Tortie = Callable[..., str]


@contextlib.contextmanager
def running(name: str, text: str) -> Iterator[tuple[Lab, Tortie, float]]:
    """A lab; what runs `tortie` in it; and the seconds that it took to come up.

    Raises Failed.
    """
    name = f"bench-{name}-{os.getpid()}"
    environment = {key: value for key, value in os.environ.items() if key != "TORTIE_STORE"}

    def tortie(*arguments: str, lab: str = name) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tortie", *arguments],
            env={**environment, "TORTIE_LAB": lab},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"tortie {' '.join(arguments)}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "lab.yaml")
        file.write_text(text)
        try:
            began = time.monotonic()
            tortie("lab", "up", str(file), "--name", name, lab="")
            yield state.choose(name), tortie, time.monotonic() - began
        finally:
            tortie("lab", "down", name)
