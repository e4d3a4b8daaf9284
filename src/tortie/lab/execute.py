"""Running a command in a workload, on a host, in a router or on a machine outside."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tortie.kernel import netns
from tortie.lab.launch import AGENT_SOCKET
from tortie.lab.names import Target
from tortie.lab.state import VARIABLE, Lab, run_dir

NOT_FOUND, NOT_EXECUTABLE, BY_SIGNAL = 127, 126, 128
"""Exit codes as a shell has them."""


def run(lab: Lab, target: Target, command: Sequence[str]) -> int:
    """Run a command there to its end with our own standard streams; its exit code.

    127 if there is no such program, 126 if it cannot be run, 128 + N if signal N ended it.
    """
    environment = environment_of(lab, target)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os._exit(_become(target, command, environment))
    # The terminal's signals reach the command too: it decides what they mean.
    relayed = (signal.SIGTERM, signal.SIGHUP)
    before = {
        **{number: signal.signal(number, signal.SIG_IGN) for number in _TERMINAL},
        **{number: signal.signal(number, lambda got, _: os.kill(child, got)) for number in relayed},
    }
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else BY_SIGNAL - code


_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def environment_of(lab: Lab, target: Target) -> dict[str, str]:
    """The environment of a command: Tortie's own commands find what they need there."""
    found = {**os.environ, VARIABLE: lab.name}
    own = str(Path(sys.executable).parent)
    found["PATH"] = f"{own}:{found.get('PATH', os.defpath)}"
    if target.kind == "host":
        found["TORTIE_STORE"] = lab.record.store_url
        found["TORTIE_SOCKET"] = str(run_dir(lab.directory, target.name) / AGENT_SOCKET)
    return found


def _become(target: Target, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """In the child: turn into the command; only a failure to do so returns."""
    try:
        netns.enter(target.space)
        # Python ignores it; a program that writes into a closed pipe should end.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command[0], list(command), environment)
    except FileNotFoundError:
        code, why = NOT_FOUND, "there is no such program"
    except OSError as error:
        code, why = NOT_EXECUTABLE, error.strerror or str(error)
    except BaseException as error:
        code, why = NOT_EXECUTABLE, str(error)
    os.write(2, f"tortie lab exec: {ascii(command[0])[1:-1]}: {why}\n".encode())
    return code
