"""What commands print: tables, JSON, YAML and names on standard output, the rest on standard error.

Nothing that came from outside reaches a terminal raw: whatever is not printable is escaped.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import click

from tortie.errors import InvalidInput, TortieError

T = TypeVar("T")
Form = Literal["table", "wide", "yaml", "json", "name"]
Data = Mapping[str, object] | Sequence[Mapping[str, object]]
FORMS = ("table", "wide", "yaml", "json", "name")

form_option = click.option(
    "-o", "--output", "form", type=click.Choice(FORMS), default="table", show_default=True,
    help="How to print it.",
)  # fmt: skip

SLOW = 1.0
"""Seconds after which a command says what it is waiting for."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table; a wide one is left out unless asked for."""

    head: str
    value: Callable[[T], object]
    wide: bool = False


def printable(text: str) -> str:
    """The text with escapes for whatever would steer a terminal or break a line."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


def complain(text: str) -> None:
    """Lines for standard error."""
    for line in text.split("\n"):
        click.echo(printable(line), err=True)


def say(text: str) -> None:
    """A line for standard output."""
    click.echo(printable(text))


def coloured() -> bool:
    """Is standard output for a person who wants colours? See https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def verdict(allowed: bool) -> str:
    """The word for a verdict, green or red where colours are wanted."""
    word = "ALLOWED" if allowed else "DENIED"
    return click.style(word, fg="green" if allowed else "red", bold=True) if coloured() else word


def tell(error: TortieError) -> None:
    """What is wrong, on standard error: each problem of files at its line."""
    if isinstance(error, InvalidInput):
        for problem in error.problems:
            complain(str(problem) if problem.file else f"error: {problem}")
    else:
        complain(f"error: {error}")


def text_of(value: object) -> str:
    """A value as it stands in a cell."""
    if value is None or value in ("", [], (), {}):
        return "-"
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ",".join(f"{key}={each}" for key, each in value.items())
        case list() | tuple():
            return ",".join(text_of(each) for each in value)
        case _:
            return str(value)


def show(
    form: Form,
    items: Sequence[T],
    columns: Sequence[Column[T]],
    *,
    name: Callable[[T], str],
    data: Callable[[], Data],
    none: str = "nothing found",
) -> None:
    """Print items as a table, or only their names, or `data` as JSON or YAML."""
    if form in ("json", "yaml"):
        show_data(form, data())
    elif not items:
        complain(none)
    elif form == "name":
        for item in items:
            say(name(item))
    else:
        # Imported late: it costs as much as reading a small store.
        from tabulate import tabulate

        shown = [column for column in columns if form == "wide" or not column.wide]
        rows = [[printable(text_of(column.value(item))) for column in shown] for item in items]
        heads = [column.head for column in shown]
        click.echo(tabulate(rows, heads, "plain", disable_numparse=True))


def show_data(form: Literal["json", "yaml"], data: Data) -> None:
    """Print plain data; a list in YAML is one document for each item."""
    if form == "json":
        import json

        click.echo(json.dumps(data, indent=2))
        return
    from tortie.model.reader import to_yaml

    documents = [data] if isinstance(data, Mapping) else data
    click.echo(to_yaml(dict(each) for each in documents), nl=False)


@contextmanager
def slow(doing: str) -> Iterator[None]:
    """Says on standard error what is being done, if the block takes longer than a second."""
    timer = threading.Timer(SLOW, lambda: complain(f"{doing} ..."))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
