"""What the composition root hands to the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from tortie.agent.settings import Settings
    from tortie.lab.launch import Launch


class Finding(Protocol):
    """One thing about this machine that an agent needs or that gets in its way."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> Literal["ok", "warning", "missing"]: ...
    @property
    def said(self) -> str: ...
    @property
    def cure(self) -> str: ...


@dataclass(frozen=True)
class Wiring:
    """The agent, as `node run` and as the hosts of a lab run it; and a look at this machine."""

    run_agent: Callable[[Settings], int]
    run_lab_agent: Callable[[Launch], int]
    load_agent: Callable[[], None]
    """imports what an agent needs, so that forked agents share it"""
    check_machine: Callable[[], Sequence[Finding]]
    """whether this machine is fit for an agent; changes nothing"""
