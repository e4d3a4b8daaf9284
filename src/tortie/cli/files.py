"""Resources from the files that `-f` names, all read and checked before anything is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tortie.errors import InvalidInput, Problem, TortieError, UsageError
from tortie.model import kinds
from tortie.model import resources as r

if TYPE_CHECKING:
    from tortie.lab.spec import LabFile
    from tortie.model.manifest import Document, Loaded

# The reader of manifests is imported where files are read: `tortie get` needs none of it.

SUFFIXES = (".yaml", ".yml", ".json")

files_option = click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE|DIR|-",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="A file, - for standard input, or a directory with all its .yaml, .yml and .json files."
    " May be given several times.",
)  # fmt: skip


def load_all(files: Sequence[Path]) -> list[Loaded]:
    """Every resource of the files. Raises InvalidInput with all problems of all files.

    Raises UsageError if no file is named, TortieError if there is nothing in them.
    """
    from tortie.model.manifest import load_documents

    found, problems = _documents(files)
    try:
        loaded = load_documents(found)
    except InvalidInput as error:
        problems += error.problems
    if problems:
        raise _in_order(problems)
    if not loaded:
        raise TortieError(f"there are no resources in {', '.join(str(path) for path in files)}")
    return loaded


def load_lab(files: Sequence[Path]) -> LabFile | None:
    """The lab of the files, with all resources beside it; None if there is no lab in them.

    Raises InvalidInput with all problems of all files, UsageError if no file is named.
    """
    from tortie.lab import spec

    found, problems = _documents(files)
    if not any(spec.is_lab(each) for each in found):
        return None
    try:
        read = spec.from_documents(found)
    except InvalidInput as error:
        problems += error.problems
    if problems:
        raise _in_order(problems)
    return read


def _documents(files: Sequence[Path]) -> tuple[list[Document], list[Problem]]:
    """The documents of the files, and what is wrong with those that cannot be read to their end."""
    from tortie.model.manifest import documents

    if not files:
        raise UsageError("no file is named", "give -f FILE, -f DIR or -f -")
    if files.count(Path("-")) > 1:
        raise UsageError("standard input is named twice", "give -f - once")
    found: list[Document] = []
    problems: list[Problem] = []
    for path in _expanded(files):
        text, name = _read(path), "stdin" if path == Path("-") else str(path)
        try:
            found += documents(text, name)
        except InvalidInput as error:
            problems += _whole(text, name) or error.problems
    return found, problems


def _in_order(problems: Iterable[Problem]) -> InvalidInput:
    return InvalidInput(sorted(problems, key=lambda problem: (problem.file, problem.line)))


def place(loaded: Iterable[Loaded]) -> Callable[[r.Resource, Problem], Problem]:
    """Adds file and line to a problem that is found in a resource later on."""
    by_key = {kinds.key(each.resource): each.document for each in loaded}

    def placed(resource: r.Resource, problem: Problem) -> Problem:
        document = by_key.get(kinds.key(resource))
        return document.problem(problem) if document else replace(problem, file="")

    return placed


def _whole(text: bytes, name: str) -> Sequence[Problem]:
    """The problems of a file that cannot be read to its end, with those of what can be read."""
    from tortie.model.manifest import load

    try:
        load(text, name)
    except InvalidInput as error:
        return error.problems
    return ()


def _expanded(paths: Iterable[Path]) -> Iterable[Path]:
    seen: set[Path] = set()
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES)
        for each in inside:
            if each not in seen and not each.is_dir():
                seen.add(each)
                yield each


def _read(path: Path) -> bytes:
    if path == Path("-"):
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise TortieError(f"{path} cannot be read: {error.strerror}") from error
