"""The `tortie` command: its groups, found when asked for, and what errors look like."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import click

from tortie import __version__
from tortie.cli.output import complain, tell
from tortie.cli.wiring import Wiring
from tortie.errors import TortieError, UsageError

FAILED, USED_WRONGLY, INTERRUPTED = 1, 2, 130
"""Exit codes besides 0."""

# Where each command lives; its module is imported when it is used, as imports cost more than most
# commands do.
COMMANDS = {
    "apply": ("apply", "Write resources from files into the store."),
    "get": ("objects", "Show resources."),
    "delete": ("objects", "Remove resources."),
    "validate": ("apply", "Check files of resources, without a store."),
    "can": ("ask", "May A talk to B? ALLOWED (exit 0) or DENIED (exit 1), and by which rule."),
    "why": ("ask", "May A talk to B, step by step on both ends, and the nearest miss."),
    "node": ("node", "The agent of this host: run it, see how it is."),
    "workload": ("workload", "Attach workloads to this host, by hand."),
    "ipam": ("ipam", "Who has which address."),
    "bgp": ("bgp", "BGP sessions."),
    "lab": ("lab", "A data centre on one machine."),
}


class _Commands(click.Group):
    """A group whose commands are imported when they are used (click's way to do this)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"tortie.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--store", metavar="URL", envvar="TORTIE_STORE",
    help="sqlite:///PATH or etcd://HOST:2379,...?ca=FILE&cert=FILE&key=FILE (or TORTIE_STORE)."
    " By default that of a running lab, else sqlite:///var/lib/tortie/store.db.",
)  # fmt: skip
@click.option(
    "--lab", metavar="NAME", envvar="TORTIE_LAB",
    help="Work on this running lab (or TORTIE_LAB).",
)  # fmt: skip
@click.version_option(__version__, message="tortie %(version)s")
@click.pass_context
def cli(ctx: click.Context, store: str | None, lab: str | None) -> None:
    """Layer-3 networking and a distributed firewall for workloads of every kind.

    \b
    tortie apply -f policies/ --wait
    tortie get workloadendpoints -n shop
    tortie node status
    """
    if lab is not None:
        ctx.with_resource(_environment("TORTIE_LAB", lab))


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable as long as the command runs, for it and for the programs that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def run(argv: Sequence[str], wiring: Wiring) -> int:
    """Run one command line; the exit code: 0 done, 1 it failed or the answer is no, 2 used wrongly.

    What was wrong is told on standard error.
    """
    try:
        code = cli.main(list(argv), prog_name="tortie", standalone_mode=False, obj=wiring)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USED_WRONGLY
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "tortie"
        complain(f"error: {error.format_message()}\nsee: {path} --help")
        return USED_WRONGLY
    except UsageError as error:
        tell(error)
        return USED_WRONGLY
    except click.ClickException as error:
        complain(f"error: {error.format_message()}")
        return FAILED
    except TortieError as error:
        tell(error)
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _let_go()
        return FAILED
    except SystemExit as error:
        # click ends the process itself when a pipe is closed on it.
        _let_go()
        return error.code if isinstance(error.code, int) else FAILED


def _let_go() -> None:
    """Nobody reads standard output any more; the interpreter must not find that out at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
