"""`tortie can` and `tortie why`: may A talk to B, and which rule says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import click

from tortie.cli.files import files_option
from tortie.cli.output import say, show_data, tell, verdict
from tortie.errors import TortieError

if TYPE_CHECKING:
    from tortie.cli.world import World
    from tortie.explain.answer import Answer, End, Judged, Step
    from tortie.explain.question import What

# The oracle, the store and the reader of files are imported where they are used.

F = TypeVar("F", bound=Callable[..., object])
Form = Literal["table", "wide", "yaml", "json"]
DENIED, FAILED = 1, 2
"""Exit codes besides 0, which is ALLOWED."""


def _question(command: F) -> F:
    """The arguments and options that both commands have."""
    for add in (
        click.option(
            "-o", "--output", "form", type=click.Choice(["table", "wide", "yaml", "json"]),
            default="table", show_default=True, help="How to print it.",
        ),
        click.option(
            "--source-port", type=click.IntRange(1, 65535), metavar="PORT",
            help="The port that it comes from; 40000 if not given.",
        ),
        files_option,
        click.argument("what", metavar="PROTO/PORT"),
        click.argument("destination", metavar="DST"),
        click.argument("source", metavar="SRC"),
    ):  # fmt: skip
        command = add(command)
    return command


@click.command()
@_question
@click.pass_context
def can(
    ctx: click.Context,
    source: str,
    destination: str,
    what: str,
    files: Sequence[Path],
    source_port: int | None,
    form: Form,
) -> None:
    """May SRC open a connection to DST? Prints ALLOWED (exit 0) or DENIED (exit 1); errors exit 2.

    SRC and DST are a workload (NAMESPACE/NAME, or NAME if only one is called so), a host, a host
    endpoint, an address, or `outside`. PROTO/PORT is such as tcp/80, tcp/http, icmp, icmp/8 or 47.
    The resources judge, not the kernel; with -f those of files, without a store.

    \b
    tortie can shop/web-1 shop/database tcp/5432
    tortie can outside web-1 tcp/http -f lab.yaml -f policies/
    """
    with _errors(ctx):
        answer = _ask(source, destination, what, files, source_port)
        if form in ("json", "yaml"):
            _show_data(form, answer)
        else:
            _headline(answer, form == "wide")
    _leave(ctx, answer)


@click.command()
@_question
@click.pass_context
def why(
    ctx: click.Context,
    source: str,
    destination: str,
    what: str,
    files: Sequence[Path],
    source_port: int | None,
    form: Form,
) -> None:
    """As `tortie can`, with each step on both ends, and what the nearest rule did not match.

    \b
    tortie why shop/web-1 shop/database tcp/5432
    """
    with _errors(ctx):
        answer = _ask(source, destination, what, files, source_port)
        if form in ("json", "yaml"):
            _show_data(form, answer)
        else:
            _headline(answer, form == "wide")
            _steps(answer, form == "wide")
    _leave(ctx, answer)


@contextmanager
def _errors(ctx: click.Context) -> Iterator[None]:
    """Exit 2 for whatever keeps the question from being answered: 1 means DENIED here."""
    try:
        yield
    except TortieError as error:
        tell(error)
        ctx.exit(FAILED)


def _leave(ctx: click.Context, answer: Answer) -> None:
    ctx.exit(0 if answer.verdict == "ALLOWED" else DENIED)


# --- the answer -----------------------------------------------------------------------------------


def _ask(
    source: str, destination: str, what: str, files: Sequence[Path], source_port: int | None
) -> Answer:
    from tortie.cli import world
    from tortie.explain import question

    asked = question.parse(what)
    there = world.of_files(files) if files else world.of_store()
    return answer(there, source, destination, asked, source_port)


def answer(
    world: World, source: str, destination: str, what: What, source_port: int | None = None
) -> Answer:
    """What the oracle says of a question. Raises UsageError (names), NotJudged."""
    from tortie.explain import answer as answers
    from tortie.explain import places, question
    from tortie.explain.reading import Reading

    sender = places.speaking(places.resolve(source, world.resources, world.machines))
    receiver = places.resolve(destination, world.resources, world.machines)
    flows = question.flows(what, sender, receiver, source_port)
    resources = tuple(places.concerning(world.resources, (sender, receiver)))
    reading = Reading(resources, protected=world.protected, interfaces=world.interfaces)
    return answers.make(what.text, sender, receiver, answers.judge(reading, flows))


# --- what is shown --------------------------------------------------------------------------------


def _show_data(form: Literal["json", "yaml"], answer: Answer) -> None:
    import msgspec

    show_data(form, msgspec.to_builtins(answer))


def _headline(answer: Answer, wide: bool) -> None:
    """The verdict word, who to whom, and why: of each packet, if they differ."""
    click.echo(verdict(answer.verdict == "ALLOWED"))
    ends = " to ".join(_called(end, wide) for end in (answer.source, answer.destination))
    if len({each.verdict for each in answer.judged}) == 1:
        say(f"{ends}, {answer.what}: {_reason(answer.judged[0])}")
        return
    say(f"{ends}, {answer.what}: not all packets alike")
    for each in answer.judged:
        say(f"{each.verdict:<7} {_packet(each)}: {_reason(each)}")


def _called(end: End, wide: bool) -> str:
    """Its name, and its addresses where the name does not tell them and somebody may ask."""
    addresses = [each for each in end.addresses if each != end.name]
    shown = addresses and (wide or end.kind in ("outside", "floating address"))
    return f"{end.name} ({', '.join(addresses)})" if shown else end.name


def _packet(judged: Judged) -> str:
    port = f" port {judged.port}" if judged.port else ""
    reply = ", the reply" if judged.reply else ""
    return f"{judged.source} to {judged.destination}{port}{reply}"


def _reason(judged: Judged) -> str:
    """What decided: the rule if it is one, else the step's own words."""
    step = judged.steps[judged.decisive]
    if step.rule is None:
        return f"{step.says} ({step.evaluation})"
    tier = f", tier {step.tier}" if step.tier else ""
    return f"{step.policy} rule {_rule(step)}{tier} ({step.evaluation})"


def _rule(step: Step) -> str:
    if step.rule is None:
        return ""
    return f"{step.rule} {step.rule_name}" if step.rule_name else str(step.rule)


def _steps(answer: Answer, wide: bool) -> None:
    """The steps as a table; one for each packet if they are not the same."""
    first = answer.judged[0]
    alike = all(each.steps == first.steps for each in answer.judged)
    for each in [first] if alike else answer.judged:
        click.echo()
        if not alike:
            say(f"{_packet(each)}: {each.verdict}")
        _table(each.steps, wide)


def _table(steps: Sequence[Step], wide: bool) -> None:
    from tabulate import tabulate

    from tortie.cli.output import printable, text_of

    rows = []
    before = ""
    for step in steps:
        where = "" if step.evaluation == before else step.evaluation
        before = step.evaluation
        cells = (step.tier, step.policy, _rule(step), step.action)
        rows.append([printable(each) for each in (where, *map(text_of, cells), _note(step, wide))])
    heads = ["EVALUATION", "TIER", "POLICY", "RULE", "ACTION", "WHY"]
    for line in tabulate(rows, heads, "plain", disable_numparse=True).split("\n"):
        click.echo(line.rstrip())


def _note(step: Step, wide: bool) -> str:
    """What the other cells do not say."""
    if step.misses:
        return f"nearest miss ({step.would}): {'; '.join(step.misses)}"
    obvious = step.rule is not None
    return step.says if wide or not obvious else ""
