"""The text of a selector as a tree: words, then grammar (see `selector`)."""

from __future__ import annotations

import re
from typing import get_args

from tortie.errors import TortieError
from tortie.model.selector_tree import (
    All,
    And,
    Compare,
    CompareOperator,
    Expression,
    Global,
    Has,
    Member,
    MemberOperator,
    Not,
    Or,
)
from tortie.model.words import nearest, quote

MAX_LABEL = 512
MAX_DEPTH = 64
"""Brackets inside brackets; a longer nest is refused, as it would exhaust the stack."""


class SelectorError(TortieError):
    """The text is no selector. `position` counts characters from 0."""

    def __init__(self, message: str, position: int, cure: str = "") -> None:
        super().__init__(f"{message} (character {position + 1})", cure)
        self.position = position


def parse_tree(text: str) -> Expression:
    """The tree that the text says. Raises SelectorError."""
    tokens = _Tokens(text)
    if tokens.kind == "end":
        return All()
    root = _or(tokens, 0)
    if tokens.kind != "end":
        raise _unexpected(tokens, 'expected "&&", "||" or the end')
    return root


# --- words ------------------------------------------------------------------------------------

_SYMBOLS = ("&&", "||", "(", ")", "{", "}", ",")
_OPERATORS = (*get_args(CompareOperator), *get_args(MemberOperator))
_OPERATOR = re.compile(r"==|!=|(?:contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in)\b")
_SPELLED = {word.replace(" ", ""): word for word in _OPERATORS}
_LABEL = re.compile(r"[a-zA-Z0-9_./-]+")
_FUNCTION = re.compile(r"(has|all|global)\([ \t]*")
_CLOSE = re.compile(r"[ \t]*\)")
_BLANK = re.compile(r"[ \t]*")
# No label value can hold these, and they would break a line of a log.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Tokens:
    """The text as words, one ahead: `kind`, `value` and `start` are those of the next word.

    Kinds: end, string, label, operator, has, all, global, "!", and the symbols themselves.
    """

    __slots__ = ("_end", "kind", "start", "text", "value")

    def __init__(self, text: str) -> None:
        self.text = text
        self.kind = "end"
        self.value = ""
        self._end = 0
        self.start = 0
        self.next()

    def next(self) -> None:
        """Go on by one word."""
        before = self.kind
        self.start = _skip(_BLANK, self.text, self._end)
        self.kind, self.value, self._end = _word(self.text, self.start, before)


def _skip(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _word(text: str, start: int, before: str) -> tuple[str, str, int]:
    """Kind, value and end of the word at `start`."""
    if start == len(text):
        return "end", "", start
    operator = _OPERATOR.match(text, start)
    if operator and (before == "label" or operator.group() in ("==", "!=")):
        return "operator", _SPELLED[re.sub("[ \t]", "", operator.group())], operator.end()
    if text[start] == "!":
        return "!", "!", start + 1
    for symbol in _SYMBOLS:
        if text.startswith(symbol, start):
            return symbol, symbol, start + len(symbol)
    if text[start] in "\"'":
        return _string(text, start)
    function = _FUNCTION.match(text, start) if before != "label" else None
    if function:
        return _function(text, function)
    label = _LABEL.match(text, start)
    if label:
        return _label(label)
    raise _stray(text, start)


def _string(text: str, start: int) -> tuple[str, str, int]:
    end = text.find(text[start], start + 1)
    if end < 0:
        raise SelectorError("this string has no end", start, f"close it with {text[start]}")
    value = text[start + 1 : end]
    if bad := _UNPRINTABLE.search(value):
        raise SelectorError(
            "a control character in a string", start + 1 + bad.start(), "no label can hold it"
        )
    return "string", value, end + 1


def _label(found: re.Match[str]) -> tuple[str, str, int]:
    if len(found.group()) > MAX_LABEL:
        raise SelectorError(
            f"a label name of {len(found.group())} characters",
            found.start(),
            f"at most {MAX_LABEL} are allowed",
        )
    return "label", found.group(), found.end()


def _function(text: str, found: re.Match[str]) -> tuple[str, str, int]:
    """has(LABEL), all() or global()."""
    name, end, value = found.group(1), found.end(), ""
    if name == "has":
        label = _LABEL.match(text, end)
        if not label:
            raise SelectorError("has() needs a label name", end, "write has(role), no quotes")
        _, value, end = _label(label)
    close = _CLOSE.match(text, end)
    if not close:
        raise SelectorError(f'expected ")" after {name}({value}', end)
    return name, value, close.end()


def _stray(text: str, start: int) -> SelectorError:
    cures = {"=": 'write "=="', "&": 'write "&&"', "|": 'write "||"', "\n": "write it on one line"}
    cure = cures.get(text[start], "label names are made of letters, digits and _ . / -")
    return SelectorError(f"unexpected {quote(text[start])}", start, cure)


# --- grammar ----------------------------------------------------------------------------------


def _unexpected(tokens: _Tokens, wanted: str) -> SelectorError:
    if tokens.kind == "end":
        return SelectorError("the selector ends too early", tokens.start, wanted)
    word = tokens.text[tokens.start :].split(maxsplit=1)[0]
    return SelectorError(f"unexpected {quote(word)}", tokens.start, wanted)


def _or(tokens: _Tokens, depth: int) -> Expression:
    operands = [_and(tokens, depth)]
    while tokens.kind == "||":
        tokens.next()
        operands.append(_and(tokens, depth))
    return operands[0] if len(operands) == 1 else Or(tuple(operands))


def _and(tokens: _Tokens, depth: int) -> Expression:
    operands = [_not(tokens, depth)]
    while tokens.kind == "&&":
        tokens.next()
        operands.append(_not(tokens, depth))
    return operands[0] if len(operands) == 1 else And(tuple(operands))


def _not(tokens: _Tokens, depth: int) -> Expression:
    negated = False
    while tokens.kind == "!":
        negated = not negated
        tokens.next()
    operand = _primary(tokens, depth)
    return Not(operand) if negated else operand


def _primary(tokens: _Tokens, depth: int) -> Expression:
    kind, value, start = tokens.kind, tokens.value, tokens.start
    if kind not in ("has", "all", "global", "label", "("):
        raise _unexpected(tokens, 'expected a comparison, has(...), all() or "("')
    tokens.next()
    if kind == "has":
        return Has(value)
    if kind == "all":
        return All()
    if kind == "global":
        return Global()
    if kind == "label":
        return _comparison(tokens, value)
    if depth == MAX_DEPTH:
        raise SelectorError(
            f"more than {MAX_DEPTH} brackets inside each other", start, "write it flatter"
        )
    inner = _or(tokens, depth + 1)
    if tokens.kind != ")":
        raise _unexpected(tokens, 'expected "&&", "||" or ")"')
    tokens.next()
    return inner


def _comparison(tokens: _Tokens, label: str) -> Expression:
    """What follows a label."""
    if tokens.kind != "operator":
        raise _no_operator(tokens, label)
    word = tokens.value
    tokens.next()
    for membership in get_args(MemberOperator):
        if membership == word:
            return Member(label, membership, _set(tokens))
    if tokens.kind != "string":
        raise _unexpected(tokens, f"expected a string in quotes after {word}")
    value = tokens.value
    tokens.next()
    operator: CompareOperator = next(name for name in get_args(CompareOperator) if name == word)
    return Compare(label, operator, value)


def _no_operator(tokens: _Tokens, label: str) -> SelectorError:
    if tokens.kind == "label":
        close = nearest(tokens.value, _OPERATORS)
        if close:
            return _unexpected(tokens, f"did you mean {quote(close)}?")
    if tokens.kind == "(" and label in ("has", "all", "global"):
        return _unexpected(tokens, f"write {label}( without a blank between")
    return _unexpected(tokens, f"expected ==, != or in after {label}; or write has({label})")


def _set(tokens: _Tokens) -> tuple[str, ...]:
    if tokens.kind != "{":
        raise _unexpected(tokens, 'expected a set such as {"a", "b"}')
    tokens.next()
    values: set[str] = set()
    while tokens.kind == "string":
        values.add(tokens.value)
        tokens.next()
        if tokens.kind != ",":
            break
        tokens.next()
    if tokens.kind != "}":
        raise _unexpected(tokens, 'expected a string in quotes, "," or "}"')
    tokens.next()
    return tuple(sorted(values))
