"""Running programs: the one door to child processes.

Arguments are always a list, never a shell line. Output is text; a failure carries what the program
said on standard error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
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
    "ipset": "ipset",
    **{
        f"{family}tables-{variant}-{verb}": "iptables"
        for family in ("ip", "ip6")
        for variant in ("nft", "legacy")
        for verb in ("restore", "save")
    },
}


def find(program: str) -> str:
    """The path of a program. Raises Missing, naming the Debian package where known."""
    path = shutil.which(program) or shutil.which(program, path=_PATH)
    if path is None:
        package = PACKAGES.get(program)
        cure = f"install it: apt-get install {package}" if package else "install it"
        raise Missing(f"the program {program!r} is not on this machine", cure)
    return path


def call_me(name: str) -> None:
    """The name of this process in ps and top: 15 characters at most."""
    Path("/proc/self/comm").write_text(name[:15])


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


def is_running(pid: int, argument: str) -> bool:
    """Whether a process lives and was started with exactly this argument.

    A pid alone proves nothing: the number may be somebody else's by now.
    """
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return argument.encode() in arguments


def kill(pid: int, argument: str, timeout: float = 5.0) -> None:
    """End a process at once if it was started with this argument. Raises KernelError."""
    deadline = time.monotonic() + timeout
    while is_running(pid, argument):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError as error:
            raise KernelError(f"process {pid} cannot be ended: {error.strerror}") from error
        if time.monotonic() > deadline:
            raise KernelError(f"process {pid} does not end")
        time.sleep(0.01)
