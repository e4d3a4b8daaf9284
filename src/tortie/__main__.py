"""The composition root: the real parts are put together here and in `node`, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tortie.agent.settings import Settings
    from tortie.kernel.fitness import Finding
    from tortie.lab.launch import Launch


def main() -> None:
    """The `tortie` command."""
    from tortie.cli.main import run
    from tortie.cli.wiring import Wiring

    wiring = Wiring(
        run_agent=run_agent,
        run_lab_agent=run_lab_agent,
        load_agent=load_agent,
        check_machine=check_machine,
    )
    sys.exit(run(sys.argv[1:], wiring))


def load_agent() -> None:
    """Import what an agent needs; not every command should wait for it."""
    import tortie.node  # noqa: F401


def run_agent(settings: Settings) -> int:
    """Be the agent of this host until SIGTERM or SIGINT; the exit code."""
    from tortie.node import run

    return run(settings)


def run_lab_agent(launch: Launch) -> int:
    """Be the agent of a lab's host; its directories are its own, its namespace is entered."""
    from tortie.agent.settings import Settings

    return run_agent(
        Settings(
            node=launch.node,
            store=launch.store_url,
            run_dir=launch.run_dir,
            state_dir=launch.state_dir,
            dataplane=launch.dataplane,
        )
    )


def check_machine() -> Sequence[Finding]:
    """Whether this machine is fit for an agent."""
    from tortie.kernel.fitness import look

    return look()


if __name__ == "__main__":
    main()
