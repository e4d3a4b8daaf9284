"""Runs the command line in this process, on a store of the test's own."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest

from tortie.agent.server import Routes
from tortie.agent.settings import Settings
from tortie.cli.main import run
from tortie.cli.wiring import Wiring
from tortie.kernel.fitness import Finding
from tortie.lab.launch import Launch
from tortie.store import open_store
from tortie.store.base import Store


@dataclass(frozen=True, slots=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The words of each line of standard output."""
        return [line.split() for line in self.out.splitlines()]


@dataclass
class Shell:
    """Runs commands; `started` are the agents that `node run` would have been."""

    directory: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    findings: list[Finding] = field(default_factory=list)
    started: list[Settings] = field(default_factory=list)

    def __call__(self, *arguments: object, stdin: str = "") -> Said:
        self.capture.readouterr()
        words = SimpleNamespace(buffer=io.BytesIO(stdin.encode()))
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", words)
            code = run([str(each) for each in arguments], self.wiring)
        out, err = self.capture.readouterr()
        return Said(code, out, err)

    @property
    def wiring(self) -> Wiring:
        def run_agent(settings: Settings) -> int:
            self.started.append(settings)
            return 0

        def run_lab_agent(launch: Launch) -> int:
            raise AssertionError("no lab is built here")

        return Wiring(run_agent, run_lab_agent, lambda: None, lambda: self.findings)

    @property
    def url(self) -> str:
        return f"sqlite://{self.directory}/store.db"

    def store(self) -> Store:
        return open_store(self.url)

    def file(self, text: str, name: str = "file.yaml") -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


class Serve(Protocol):
    """Answers on this host's socket, or on another below the test's directory, as an agent."""

    def __call__(self, routes: Routes, name: str = ...) -> None: ...
