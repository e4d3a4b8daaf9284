"""Every error that Tortie raises on purpose.

    TortieError                 what went wrong, and `cure`: what to do about it
    |-- InvalidInput            a file or object was refused; carries every Problem found
    |-- UsageError              the command was used wrongly (exit code 2)
    |-- StoreError
    |   |-- StoreUnavailable    the store cannot be reached; try again
    |   |-- Conflict            compare-and-swap failed; read again and retry
    |   `-- Compacted           the wanted revision is gone; list again
    |-- IpamError               no address could be given or taken back
    |-- KernelError             the kernel, or a program that programs it, said no
    |-- Missing                 a program, a right or a kernel feature is not there
    |-- BgpError                BIRD refused a configuration or does not answer
    |-- LabError                a lab could not be built or used
    `-- AgentError              the local agent cannot be reached, or refused

Foreign errors are translated at the door (store, kernel, bgp); nothing above sees a foreign type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class TortieError(Exception):
    """`message` says what is wrong, `cure` what to do; both are plain text for an operator."""

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}; {self.cure}" if self.cure else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one place of the input.

    `line` counts from 1 (0: unknown); `path` is a field path such as `spec.ingress[0].protocol`.
    """

    message: str
    cure: str = ""
    path: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line) if part)
        head = ": ".join(part for part in (where, self.path) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text}; {self.cure}" if self.cure else text


class InvalidInput(TortieError):
    """Input was refused as a whole; `problems` holds every fault found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(TortieError):
    """The command line was used wrongly."""


class StoreError(TortieError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or did not answer in time; trying again may help."""


class Conflict(StoreError):
    """An expected revision did not hold; nothing of the commit was done."""


class Compacted(StoreError):
    """The revision to watch from is no longer kept; list again."""


class IpamError(TortieError):
    """No address could be assigned or released."""


class KernelError(TortieError):
    """The kernel refused, or a program that programs it failed."""


class Missing(TortieError):
    """A program, a privilege or a kernel feature is missing on this machine."""


class BgpError(TortieError):
    """BIRD refused its configuration, or does not run or answer."""


class LabError(TortieError):
    """A lab could not be built, found or used."""


class AgentError(TortieError):
    """The agent on this host cannot be reached, or refused the request."""
