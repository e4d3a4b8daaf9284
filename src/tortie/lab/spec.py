"""Lab files: one `kind: Lab` document, and any resources beside it.

Everything that later goes into a namespace's name, an `ip` batch or a router's configuration is
checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from tortie.errors import InvalidInput, Problem
from tortie.lab import faults
from tortie.lab.document import Lab, LabMetadata
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.decode import decode
from tortie.model.manifest import Document, Loaded, documents, load_documents

EXAMPLE = (
    "put one into it: {apiVersion: tortie.dev/v1, kind: Lab, metadata: {name: mine},"
    " spec: {racks: [{name: rack-a, hosts: [a1, a2]}]}}"
)


@dataclass(frozen=True, slots=True)
class LabFile:
    """A lab file, valid: the lab, and the resources beside it."""

    lab: Lab
    loaded: tuple[Loaded, ...] = ()

    @property
    def resources(self) -> tuple[r.Resource, ...]:
        return tuple(one.resource for one in self.loaded)

    def locate(self, resource: r.Resource, problem: Problem) -> Problem:
        """The problem of a resource with file and line, if the file has that resource."""
        for one in self.loaded:
            if kinds.key(one.resource) == kinds.key(resource):
                return replace(problem, file=one.file, line=one.line)
        return problem


def load(text: str | bytes, file: str, name: str | None = None) -> LabFile:
    """The lab of a file, called `name` if one is given.

    Raises InvalidInput with every problem of the file.
    """
    return from_documents(documents(text, file), file, name)


def from_documents(found: Sequence[Document], file: str = "", name: str | None = None) -> LabFile:
    """As `load`, from documents; those of several files may be one lab file together."""
    ours = [each for each in found if is_lab(each)]
    problems = _count_problems(ours, file)
    loaded: list[Loaded] = []
    try:
        loaded = load_documents(each for each in found if not is_lab(each))
    except InvalidInput as error:
        problems.extend(error.problems)
    lab = None
    if ours:
        lab, wrong = _decode(ours[0], name)
        if lab is not None:
            wrong = faults.find(lab, [one.resource for one in loaded])
        problems.extend(ours[0].problem(problem) for problem in wrong)
    if problems or lab is None:
        raise InvalidInput(sorted(problems, key=lambda problem: problem.line))
    return LabFile(lab, tuple(loaded))


def is_lab(document: Document) -> bool:
    """Is this document a lab, and no resource?"""
    return isinstance(document.data, dict) and document.data.get("kind") == "Lab"


def _count_problems(ours: Sequence[Document], file: str) -> list[Problem]:
    if not ours:
        return [Problem("there is no Lab in this file", EXAMPLE, "", file)]
    second = Problem("a file has one Lab, and this is another", "put it into a file of its own")
    return [each.problem(second) for each in ours[1:]]


def _decode(document: Document, name: str | None) -> tuple[Lab | None, list[Problem]]:
    lab, problems = decode(document.data, Lab)
    if lab is not None and name is not None:
        lab = structs.replace(lab, metadata=LabMetadata(name=name))
    return lab, problems
