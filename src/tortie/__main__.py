"""The composition root: the real parts are put together here and nowhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tortie.agent.settings import Settings


def main() -> None:
    """The `tortie` command."""
    from tortie.cli.main import run
    from tortie.cli.wiring import Wiring

    sys.exit(run(sys.argv[1:], Wiring(run_agent=run_agent)))


def run_agent(settings: Settings) -> int:
    """Be the agent of this host until SIGTERM or SIGINT; the exit code."""
    from tortie.node import run  # the agent's imports are not for every command

    return run(settings)


if __name__ == "__main__":
    main()
