"""The command as a whole: exit codes, what errors look like, what a start costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from cli_rig import Shell

from tortie.cli import main, output
from tortie.cli.main import COMMANDS, cli

TORTIE = [sys.executable, "-m", "tortie"]

WRONG = [
    ([], "Usage: tortie"),
    (["aply"], "Did you mean 'apply'"),
    (["get"], "Missing argument 'KIND'"),
    (["get", "nodes", "--selectr", "x"], "Did you mean '--selector'"),
    (["get", "networkpolicys"], "did you mean networkpolicy?"),
    (["get", "nodes", "-o", "xml"], "'xml' is not one of"),
    (["get", "nodes", "-n", "shop"], "nodes are in no namespace; leave -n out"),
    (["get", "wep", "-n", "a", "-A"], "contradict each other"),
    (["get", "wep", "-l", "role = 'web'"], "the selector is not valid"),
    (["delete"], "give KIND and NAMES, or -f FILE"),
    (["delete", "node"], "say which nodes"),
    (["apply"], "give -f FILE"),
    (["apply", "-f", "-", "-f", "-"], "standard input is named twice"),
    (["apply", "-f", "no-such-file.yaml"], "does not exist"),
    (["--store", "mysql://x", "get", "nodes"], "is no store URL"),
    (["--store", "memory:", "--lab", "x", "get", "nodes"], "both name a store"),
    (["node", "statsu"], "Did you mean 'status'"),
    (["node", "run", "--name", "a1;reboot"], "no node can have this name"),
    (["ipam", "show", "--blocks", "--addresses"], "two tables"),
    (["workload", "add", "web"], "give one of --netns and --interface"),
    (["workload", "add", "web", "--netns", "x", "--port", "80"], "--port http:tcp:80"),
    (["workload", "add", "web", "--netns", "x", "--port", "a:tpc:80"], "did you mean TCP?"),
    (["workload", "add", "web", "--netns", "x", "--label", "web"], "--label role=web"),
    (["workload", "add", "shop/web", "-n", "bank", "--netns", "x"], "different namespaces"),
    (["workload", "delete", "web\r\nX: y"], "is no valid name"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_used_wrongly_is_two_with_the_nearest_that_is_right(
    tortie: Shell, arguments: list[str], says: str
) -> None:
    said = tortie(*arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


FAILED = [
    (["get", "nodes"], "there is no store"),
    (["ipam", "show"], "there is no store"),
    (["node", "status"], "no agent answers"),
    (["node", "believe-store"], "no agent answers"),
    (["bgp", "status"], "no agent answers"),
    (["workload", "add", "web", "--netns", "x"], "no agent answers"),
    (["workload", "delete", "web"], "no agent answers"),
    (["--lab", "nowhere", "get", "nodes"], 'there is no lab "nowhere"'),
]


@pytest.mark.parametrize(("arguments", "says"), FAILED, ids=lambda value: str(value)[:40])
def test_failed_is_one_with_what_to_do(tortie: Shell, arguments: list[str], says: str) -> None:
    said = tortie(*arguments)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: ")
    assert says in said.err
    assert "; " in said.err  # the cure
    assert not list(tortie.directory.glob("*.db"))


def test_help_of_every_command_is_short_and_has_an_example(tortie: Shell) -> None:
    for name in COMMANDS:
        found = cli.get_command(click.Context(cli), name)
        assert found is not None
        for words, command in _leaves([name], found):
            said = tortie(*words, "--help")
            assert said.code == 0
            if name != "lab":
                assert f"tortie {words[0]}" in (command.help or "") or "tortie --store" in said.out
                assert len(said.out.splitlines()) < 50


def _leaves(words: list[str], command: click.Command) -> list[tuple[list[str], click.Command]]:
    found = [(words, command)]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            found += _leaves([*words, name], inner)
    return found


def test_what_a_user_typed_cannot_steer_the_terminal(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"))
    for arguments in (["get", "\x1b[2J"], ["get", "ns", "\x1b]0;a\x07"], ["\x1b[2J"]):
        said = tortie(*arguments)
        assert said.code in (1, 2)
        assert "\x1b" not in said.err + said.out


def test_interrupted(tortie: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "import_module", interrupt)
    assert tortie("get", "nodes").code == 130


def test_what_takes_longer_is_said_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "SLOW", 0.01)
    told, until = "", time.monotonic() + 5
    with output.slow("reading the store"):
        while not told and time.monotonic() < until:
            told = capsys.readouterr().err
    assert told == "reading the store ...\n"
    monkeypatch.setattr(output, "SLOW", 60)
    with output.slow("reading the store"):
        pass
    assert capsys.readouterr() == ("", "")


# --- as a process -------------------------------------------------------------------------------

LATE = ("grpc", "google.protobuf", "prometheus_client", "tabulate", "yaml", "tortie.lab")


def modules_of(arguments: list[str], directory: Path) -> set[str]:
    """The modules that a command has imported at its end."""
    script = (
        "import sys, tortie.__main__ as m\n"
        "try: m.main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "TORTIE_STORE": f"sqlite://{directory}/store.db"},
    )  # fmt: skip
    return set(done.stderr.split())


def test_a_command_imports_no_more_than_it_needs(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"))
    found = modules_of(["--help"], tortie.directory)
    assert "click" in found
    assert found.isdisjoint({*LATE, "msgspec", "sqlite3", "tortie.model.kinds"})
    found = modules_of(["get", "namespaces", "-o", "name"], tortie.directory)
    assert "sqlite3" in found
    assert found.isdisjoint(LATE)


def test_nobody_reading_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*TORTIE, "--help"], stdout=writer, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
