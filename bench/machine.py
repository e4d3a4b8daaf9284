"""What it was measured on: what matters to the figures, and no names."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from msgspec import Struct

from tortie.kernel import process


class Machine(Struct, frozen=True):
    """`load` is the mean of one minute before the run: what else was going on."""

    cores: int
    processor: str
    kernel: str
    python: str
    nftables: str
    iptables: str
    load: float


def machine() -> Machine:
    """This one, now. Raises Missing."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=model[1] if model else platform.machine(),
        kernel=".".join(re.findall(r"\d+", platform.release())[:3]),
        python=platform.python_version(),
        nftables=_version("nft"),
        iptables=_version("iptables-legacy"),
        load=round(os.getloadavg()[0], 2),
    )


def _version(program: str) -> str:
    return process.run([program, "--version"]).stdout.split()[1]
