"""The tree of a selector, and what it means: its canonical text, whether labels satisfy it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

CompareOperator = Literal["==", "!=", "contains", "starts with", "ends with"]
MemberOperator = Literal["in", "not in"]
Labels = Mapping[str, str]


class All(Struct, frozen=True):
    """Holds always."""


class Global(Struct, frozen=True):
    """What has no namespace. Holds always here; who reads a namespaceSelector rewrites it."""


class Has(Struct, frozen=True):
    label: str


class Compare(Struct, frozen=True):
    label: str
    operator: CompareOperator
    value: str


class Member(Struct, frozen=True):
    """`values` are sorted and without doubles."""

    label: str
    operator: MemberOperator
    values: tuple[str, ...]


class Not(Struct, frozen=True):
    operand: Expression


class And(Struct, frozen=True):
    """Two operands or more."""

    operands: tuple[Expression, ...]


class Or(Struct, frozen=True):
    """Two operands or more."""

    operands: tuple[Expression, ...]


Expression = All | Global | Has | Compare | Member | Not | And | Or


class Term(NamedTuple):
    """The label must be there, with one of the values (None: with any)."""

    label: str
    values: tuple[str, ...] | None


# --- what a tree means ------------------------------------------------------------------------


def walk(node: Expression) -> Iterator[Expression]:
    """Every node of the tree."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Not):
            todo.append(node.operand)
        elif isinstance(node, And | Or):
            todo.extend(node.operands)


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


def canonical(node: Expression) -> str:
    """One text for all spellings: double quotes, sorted sets, single spaces, all brackets."""
    match node:
        case Has(label):
            return f"has({label})"
        case Compare(label, operator, value):
            return f"{label} {operator} {_quoted(value)}"
        case Member(label, operator, values):
            return f"{label} {operator} {{{', '.join(map(_quoted, values))}}}"
        case Not(operand):
            return f"!{canonical(operand)}"
        case And(operands):
            return f"({' && '.join(map(canonical, operands))})"
        case Or(operands):
            return f"({' || '.join(map(canonical, operands))})"
        case Global():
            return "global()"
        case All():
            return "all()"


def compile_tree(node: Expression) -> Callable[[Labels], bool]:
    """The tree as a function of labels."""
    match node:
        case All() | Global():
            return lambda labels: True
        case Has(label):
            return lambda labels: label in labels
        case Compare(label, operator, value):
            return _compile_compare(label, operator, value)
        case Member(label, operator, values):
            members = frozenset(values)
            if operator == "in":
                return lambda labels: labels.get(label) in members
            return lambda labels: labels.get(label) not in members
        case Not(operand):
            inner = compile_tree(operand)
            return lambda labels: not inner(labels)
        case And(operands):
            return _compile_many(tuple(map(compile_tree, operands)), until=False)
        case Or(operands):
            return _compile_many(tuple(map(compile_tree, operands)), until=True)


def _compile_compare(label: str, operator: CompareOperator, value: str) -> Callable[[Labels], bool]:
    if operator == "==":
        return lambda labels: labels.get(label) == value
    if operator == "!=":
        return lambda labels: labels.get(label) != value
    if operator == "contains":
        return lambda labels: (got := labels.get(label)) is not None and value in got
    if operator == "starts with":
        return lambda labels: (got := labels.get(label)) is not None and got.startswith(value)
    return lambda labels: (got := labels.get(label)) is not None and got.endswith(value)


def _compile_many(
    operands: tuple[Callable[[Labels], bool], ...], *, until: bool
) -> Callable[[Labels], bool]:
    """Ask one after the other until one says `until`; the last word is the opposite."""
    if len(operands) == 2:
        first, second = operands
        if until:
            return lambda labels: first(labels) or second(labels)
        return lambda labels: first(labels) and second(labels)

    def ask(labels: Labels) -> bool:
        for operand in operands:
            if operand(labels) is until:
                return until
        return not until

    return ask


def required(node: Expression) -> Term | None:
    """The most telling term without which nothing matches; None: none was found."""
    match node:
        case Has(label):
            return Term(label, None)
        case Compare(label, "==", value) | Not(Compare(label, "!=", value)):
            return Term(label, (value,))
        case Compare(label, operator, _) if operator != "!=":
            return Term(label, None)
        case Member(label, "in", values) | Not(Member(label, "not in", values)):
            return Term(label, values)
        case And(operands):
            terms = [term for operand in operands if (term := required(operand))]
            return min(terms, key=_breadth, default=None)
        case Or(operands):
            return _union([required(operand) for operand in operands])
        case _:
            return None


def _breadth(term: Term) -> float:
    return float("inf") if term.values is None else len(term.values)


def _union(terms: list[Term | None]) -> Term | None:
    """What is required if any one of these is."""
    known = [term for term in terms if term]
    if len(known) < len(terms) or len({term.label for term in known}) > 1:
        return None
    values: set[str] = set()
    for term in known:
        if term.values is None:
            return Term(term.label, None)
        values.update(term.values)
    return Term(known[0].label, tuple(sorted(values)))


def prefixed(node: Expression, prefix: str) -> Expression:
    """The tree with the prefix before every label name."""
    match node:
        case Has(label):
            return Has(prefix + label)
        case Compare(label, operator, value):
            return Compare(prefix + label, operator, value)
        case Member(label, operator, values):
            return Member(prefix + label, operator, values)
        case Not(operand):
            return Not(prefixed(operand, prefix))
        case And(operands):
            return And(tuple(prefixed(operand, prefix) for operand in operands))
        case Or(operands):
            return Or(tuple(prefixed(operand, prefix) for operand in operands))
        case _:
            return node
