"""What the examples of policies expect: lines `# tortie can SRC DST PROTO/PORT   # ALLOWED`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples/policies"
LAB = FOLDER / "lab.yaml"
FILES = sorted(each for each in FOLDER.glob("*.yaml") if each != LAB)

_LINE = re.compile(r"# tortie can (\S+) (\S+) (\S+) +# (ALLOWED|DENIED)")


@dataclass(frozen=True, slots=True)
class Expected:
    """One line of an example: with it applied to the lab, this is the verdict."""

    source: str
    destination: str
    what: str
    verdict: str


def expected(file: Path) -> list[Expected]:
    """The lines of an example. A line that is meant to be one and is not raises ValueError."""
    lines = [line for line in file.read_text().splitlines() if "# tortie can" in line]
    found = [_LINE.fullmatch(line) for line in lines]
    wrong = [line for line, match in zip(lines, found, strict=True) if match is None]
    if wrong:
        raise ValueError(f"{file}: {wrong[0]}")
    return [Expected(*match.groups()) for match in found if match is not None]
