"""A real etcd on loopback, with its data in a directory of the test's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class EtcdServer:
    directory: Path
    options: tuple[str, ...] = ()
    ctl_options: tuple[str, ...] = ()
    scheme: str = "http"
    name: str = "one"
    port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"etcd://{self.endpoint}"

    @property
    def peer(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    def start(self) -> EtcdServer:
        self.launch()
        return self.wait()

    def launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        client = f"{self.scheme}://{self.endpoint}"
        command = ["etcd", f"--name={self.name}", f"--data-dir={self.directory}/data"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={self.peer}", "--unsafe-no-fsync"]
        command += [f"--initial-advertise-peer-urls={self.peer}", "--heartbeat-interval=20"]
        command += [f"--initial-cluster={self.name}={self.peer}", "--election-timeout=200"]
        command += self.options
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self) -> EtcdServer:
        assert self.process
        # Ready when it answers at all: with authentication on, it answers "user name is empty".
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            said = self.ctl("get", "/", check=False)
            if said.returncode == 0 or "user name is empty" in said.stderr:
                return self
        self.stop()
        raise AssertionError((self.directory / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["etcdctl", f"--endpoints={self.scheme}://{self.endpoint}", "--command-timeout=2s"]
            + ["--dial-timeout=1s", *self.ctl_options, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=20,
        )
