"""The selector language: which labels are meant (Calico v3's grammar and meaning).

    selector  := (nothing: all()) | or
    or        := and { "||" and }
    and       := not { "&&" not }
    not       := { "!" } primary
    primary   := has(LABEL) | all() | global() | "(" or ")"
               | LABEL ("==" | "!=" | contains | starts with | ends with) STRING
               | LABEL (in | not in) "{" [STRING {"," STRING} [","]] "}"
    LABEL     := [a-zA-Z0-9_./-]{1,512}      STRING := "..." | '...' without escapes

Blanks and tabs may stand between words; a line break is an error. Words are operators only right
after a label, so a label may be called `in` or `has`. Where a label is missing, `!=` and `not in`
hold and everything else does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from tortie.model.selector_parser import MAX_DEPTH, MAX_LABEL, SelectorError, parse_tree
from tortie.model.selector_tree import (
    All,
    And,
    Compare,
    Expression,
    Global,
    Has,
    Labels,
    Member,
    Not,
    Or,
    Term,
    canonical,
    compile_tree,
    prefixed,
    required,
    walk,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_LABEL",
    "All",
    "And",
    "Compare",
    "Expression",
    "Global",
    "Has",
    "Labels",
    "Member",
    "Not",
    "Or",
    "Selector",
    "SelectorError",
    "Term",
    "build",
    "conjunction",
    "parse",
    "with_prefix",
]


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Two are equal if their canonical texts are."""

    canonical: str
    root: Expression = field(compare=False)
    has_global: bool = field(compare=False)
    """global() occurs in it"""
    required: Term | None = field(compare=False)
    """a term without which nothing matches, the most telling one found; None: there is none"""
    matches: Callable[[Labels], bool] = field(compare=False, repr=False)
    """whether the labels satisfy it"""

    @property
    def uid(self) -> str:
        """The short name of this selector: the same for all spellings of it (Calico's rule)."""
        return _uid(self.canonical)

    def __str__(self) -> str:
        return self.canonical


@lru_cache(maxsize=65536)
def parse(text: str) -> Selector:
    """The selector that the text says. Raises SelectorError."""
    return build(parse_tree(text))


def build(root: Expression) -> Selector:
    """The selector of a tree."""
    return Selector(
        canonical=canonical(root),
        root=root,
        has_global=any(isinstance(node, Global) for node in walk(root)),
        required=required(root),
        matches=compile_tree(root),
    )


def conjunction(*selectors: Selector) -> Selector:
    """What all of them select; all() if there are none. An operand that is all() is left out."""
    roots = tuple(selector.root for selector in selectors if selector.root != All())
    if not roots:
        return build(All())
    return build(roots[0] if len(roots) == 1 else And(roots))


def with_prefix(selector: Selector, prefix: str) -> Selector:
    """The same selector over labels whose names begin with the prefix (such as "pcns.")."""
    return build(prefixed(selector.root, prefix))


@lru_cache(maxsize=65536)
def _uid(canonical: str) -> str:
    # Imported late: hashing is not needed by commands that only check or print resources.
    import base64
    import hashlib

    digest = hashlib.sha224(f"s:{canonical}".encode()).digest()
    return "s:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
