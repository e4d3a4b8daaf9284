"""Running programs: the one door to child processes.

Arguments are always a list, never a shell line. Output is text; a failure carries what the program
said on standard error.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tortie.errors import KernelError, Missing

# Debian keeps network programs in sbin, which a plain user's PATH may lack.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PACKAGES = {
    "bird": "bird2",
    "birdc": "bird2",
    "nft": "nftables",
    "ip": "iproute2",
    "etcd": "etcd-server",
    "conntrack": "conntrack",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "openssl": "openssl",
}


def find(program: str) -> str:
    """The path of a program. Raises Missing, naming the Debian package where known."""
    path = shutil.which(program) or shutil.which(program, path=_PATH)
    if path is None:
        package = PACKAGES.get(program)
        cure = f"install it: apt-get install {package}" if package else "install it"
        raise Missing(f"the program {program!r} is not on this machine", cure)
    return path


def run(
    arguments: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 30.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises KernelError (failed or timed out), Missing."""
    command = [find(arguments[0]), *arguments[1:]]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, env=env
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"{arguments[0]} did not end within {timeout:g} s") from error
    if check and done.returncode != 0:
        raise KernelError(
            f"{' '.join(arguments[:4])} failed ({done.returncode}): {done.stderr.strip()[:2000]}"
        )
    return done


def spawn(
    arguments: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a daemon in a session of its own; its output is appended to `log`. Raises Missing."""
    command = [find(arguments[0]), *arguments[1:]]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=env,
        )
