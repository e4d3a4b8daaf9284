"""YAML (or JSON) text as plain data that knows its lines; and plain data as YAML text.

It is read as YAML 1.2, not 1.1: only true and false are booleans, integers are decimal without
leading zeros, dates are text. So `010`, `yes`, `1:20` and `2024-01-01` stay strings, and are
refused where something else is wanted. Keys given twice are refused, as are aliases that grow
without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from tortie.errors import Problem
from tortie.model.decode import child
from tortie.model.words import quote

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 64
"""Mappings and lists inside each other."""
MAX_ALIASED = 100_000
"""Nodes of one document that stand there only through aliases."""

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|-?\.[0-9]+")
_STEP = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]')
_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = ("str", "int", "float", "bool", "null")


class Lines(NamedTuple):
    """The line (from 1) of a value, and where it has parts, theirs by key or index."""

    line: int
    parts: dict[str | int, Lines]
    nodes: int = 1
    """how many values it is made of, aliases followed"""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. `path` leads to it where it is an item of a `kind: List`."""

    data: object = field(repr=False)
    """it may hold secrets"""
    file: str
    line: int
    lines: Lines = field(repr=False)
    path: str = ""

    def line_of(self, path: str) -> int:
        """The line of a field, or of the nearest that is there above it. `path` is as in Problem,
        from the top of `data`."""
        here = self.lines
        for name, index, quoted in _STEP.findall(path):
            found = here.parts.get(int(index) if index else name or _unquote(quoted, here))
            if found is None:
                break
            here = found
        return here.line

    def problem(self, found: Problem) -> Problem:
        """A Problem of `data`, with file and line, and the path from the top of the document."""
        path = found.path
        if self.path:
            path = f"{self.path}.{path}" if path and not path.startswith("[") else self.path + path
        return replace(found, path=path, file=self.file, line=self.line_of(found.path))


def read(text: str | bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents, and what is wrong with the text as YAML. Empty documents are left out.

    What comes before a syntax error is still returned.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        text.encode()
    except UnicodeError as error:
        line = _line_of_fault(error)
        return [], [Problem("this is not UTF-8 text", "save it as UTF-8", "", file, line)]
    if text.lstrip()[:1] in ("{", "["):
        text = _PAIR.sub(_join, text)
    reader = _Reader(file)
    reader.read(text.removeprefix("\ufeff"))
    return reader.documents, reader.problems


def _line_of_fault(error: UnicodeError) -> int:
    if isinstance(error, UnicodeDecodeError):
        return error.object[: error.start].count(b"\n") + 1
    if isinstance(error, UnicodeEncodeError):
        return error.object[: error.start].count("\n") + 1
    return 0


def _join(found: re.Match[str]) -> str:
    """JSON writes characters beyond U+FFFF as two escapes, which YAML does not know."""
    high, low = int(found[2], 16), int(found[3], 16)
    return found[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _unquote(quoted: str, here: Lines) -> str:
    """The key that a path means by this quoted one, which may be cut short."""
    return next((key for key in here.parts if isinstance(key, str) and quote(key) == quoted), "")


# --- events to data ---------------------------------------------------------------------------


class _Fatal(Exception):
    """The rest of the text cannot be read."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read."""

    path: str
    line: int
    value: dict[str, object] | list[object]
    anchor: str | None
    parts: dict[str | int, Lines] = field(default_factory=dict)
    nodes: int = 1
    key: str | None = None
    key_line: int = 0
    merges: list[tuple[object, Lines]] = field(default_factory=list)
    explicit: dict[tuple[str, bool], int] = field(default_factory=dict)
    """the line of each key that is written here, merge keys apart"""
    merging: bool = False
    """the next value belongs to a merge key"""
    skip: bool = False
    """the next value belongs to a key that was refused"""


class _Reader:
    """Turns the parser's events into data; collects problems and goes on where that is possible."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[object, Lines] | None] = {}
        self._aliased = 0

    def read(self, text: str) -> None:
        # Imported late: commands that read no file need not wait for it.
        import yaml

        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                self._take(event)
        except _Fatal:
            pass
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            line = mark.line + 1 if mark is not None else 0
            self._say(f"this is not YAML: {what}", _yaml_cure(what), line)
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0)
            line = text.encode()[:position].count(b"\n") + 1
            reason = getattr(error, "reason", "it cannot be read")
            self._say(f"this is not YAML: {reason}", "remove that character", line)

    def _say(self, message: str, cure: str, line: int, path: str = "") -> None:
        self.problems.append(Problem(message, cure, path, self.file, line))

    def _take(self, event: yaml.Event) -> None:
        import yaml

        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            self._aliased = 0

    def _path(self) -> str:
        """Where the next value goes."""
        if not self._stack:
            return ""
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            return child(frame.path, len(frame.value))
        return frame.path if frame.key is None else child(frame.path, frame.key)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        import yaml

        path = self._path()
        mapping = isinstance(event, yaml.MappingStartEvent)
        if self._wants_key():
            self._say("a key must be a plain word", "put it in quotes", line, path)
            raise _Fatal
        if event.tag and event.tag not in ("!", _TAG + ("map" if mapping else "seq")):
            self._say(f"the tag {quote(event.tag)} is not allowed", "leave it out", line, path)
        if len(self._stack) >= MAX_DEPTH:
            self._say(f"more than {MAX_DEPTH} levels inside each other", "write it flatter", line)
            raise _Fatal
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(path, line, {} if mapping else [], event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.merges and isinstance(frame.value, dict):
            self._merge(frame, frame.value)
        lines = Lines(frame.line, frame.parts, frame.nodes)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.value, lines)
        self._put(frame.value, lines)

    def _alias(self, anchor: str, line: int) -> None:
        path = self._path()
        found = self._anchors.get(anchor)
        if found is None:
            inside = anchor in self._anchors
            what = "contains itself" if inside else "is not defined before it is used"
            self._say(f"the alias {quote(anchor)} {what}", "write the value out", line, path)
            raise _Fatal
        value, lines = found
        self._aliased += lines.nodes
        if self._aliased > MAX_ALIASED:
            self._say("the aliases stand for too much", "write the values out", line, path)
            raise _Fatal
        if self._wants_key():
            self._key(value, line, plain=False)
        else:
            self._put(value, Lines(line, lines.parts, lines.nodes))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        plain = event.implicit[0] and event.tag is None
        value: object = _resolve(event.value) if plain else event.value
        if event.tag and event.tag != "!":
            value = self._tagged(event.tag, event.value, line)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self._say("this number is too large", "use at most 18 digits", line, self._path())
            value = 0
        if event.anchor:
            self._anchors[event.anchor] = (value, Lines(line, {}))
        if self._wants_key():
            self._key(value, line, plain=plain)
        else:
            self._put(value, Lines(line, {}))

    def _tagged(self, tag: str, text: str, line: int) -> object:
        """A scalar with a tag such as !!str."""
        short = tag.removeprefix(_TAG)
        if tag == short or short not in _SCALAR_TAGS:
            self._say(f"the tag {quote(tag)} is not allowed", "leave it out", line, self._path())
        if short == "str":
            return text
        value = _resolve(text)
        if short == "float" and isinstance(value, int) and not isinstance(value, bool):
            return float(value) if abs(value) < 2**63 else value
        return value

    def _wants_key(self) -> bool:
        return bool(self._stack) and (
            isinstance(self._stack[-1].value, dict)
            and self._stack[-1].key is None
            and not self._stack[-1].skip
        )

    def _key(self, key: object, line: int, *, plain: bool) -> None:
        frame = self._stack[-1]
        frame.key_line = line
        merging = plain and key == "<<"
        if not isinstance(key, str):
            self._say("a key must be a string", "put it in quotes", line, frame.path)
            frame.skip = True
        elif (key, merging) in frame.explicit:
            before = frame.explicit[key, merging]
            self._say(
                f"the key {quote(key)} is there twice, first in line {before}",
                "keep one of them",
                line,
                child(frame.path, key),
            )
            frame.skip = True
        else:
            frame.explicit[key, merging] = line
            frame.key = key
            frame.merging = merging

    def _put(self, value: object, lines: Lines) -> None:
        """Give a finished value to what it belongs to."""
        if not self._stack:
            if value is not None:
                self.documents.append(Document(value, self.file, lines.line, lines))
            return
        frame = self._stack[-1]
        frame.nodes += lines.nodes
        if isinstance(frame.value, list):
            frame.parts[len(frame.value)] = lines
            frame.value.append(value)
        elif frame.skip:
            frame.skip = False
        elif frame.merging:
            frame.merges.append((value, lines))
            frame.key, frame.merging = None, False
        elif frame.key is not None:
            # The line of a field is that of its key.
            frame.parts[frame.key] = lines._replace(line=frame.key_line)
            frame.value[frame.key] = value
            frame.key = None

    def _merge(self, frame: _Frame, into: dict[str, object]) -> None:
        """YAML 1.1 merge keys: what is written out wins, then what comes first."""
        for value, lines in frame.merges:
            sources = [(value, lines)]
            if isinstance(value, list):
                sources = [(item, lines.parts[index]) for index, item in enumerate(value)]
            for source, places in sources:
                if not isinstance(source, dict):
                    self._say("<< merges mappings only", "give a mapping", places.line, frame.path)
                    continue
                for key, item in source.items():
                    if key not in into:
                        into[key] = item
                        frame.parts[key] = places.parts[key]


def _resolve(text: str) -> object:
    """What a plain word means."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "-.0123456789":
        return text
    if _INT.fullmatch(text):
        # Longer ones are refused anyway, and slow to read.
        return int(text[:30])
    if _FLOAT.fullmatch(text) and len(text) < 100:
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number
    return text


def _yaml_cure(what: str) -> str:
    if "cannot start any token" in what:
        return "indent with blanks, not tabs; put values that begin with @, ` or % in quotes"
    if "simple key" in what or "mapping values" in what:
        return 'check the indentation and that a blank follows each ":"'
    return "check indentation, quotes and brackets near this line"


# --- data to text -----------------------------------------------------------------------------


def to_yaml(documents: Iterable[dict[str, object]]) -> str:
    """YAML that this module and any YAML 1.1 or 1.2 reader read back as the same data.

    Keys keep their order; several documents are divided by `---`.
    """
    import yaml

    class Dumper(yaml.CSafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    # What only this module reads as a number must be quoted where it is text.
    number = re.compile(f"^(?:{_FLOAT.pattern})$")
    Dumper.add_implicit_resolver(_TAG + "float", number, list("-.0123456789"))
    return yaml.dump_all(
        documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
