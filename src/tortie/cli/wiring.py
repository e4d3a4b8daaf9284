"""What the composition root hands to the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tortie.agent.settings import Settings
    from tortie.lab.launch import Launch


@dataclass(frozen=True)
class Wiring:
    """The agent, as `node run` and as the hosts of a lab run it."""

    run_agent: Callable[[Settings], int]
    run_lab_agent: Callable[[Launch], int]
    load_agent: Callable[[], None]
    """imports what an agent needs, so that forked agents share it"""
