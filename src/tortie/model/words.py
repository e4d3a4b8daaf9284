"""How messages speak of user text: quoted, short, on one line, and with the nearest known word."""

from __future__ import annotations

import json
from collections.abc import Iterable

LONGEST = 60
"""Characters of user text that a message repeats."""


def quote(text: str) -> str:
    """The text in quotes, cut to a readable length, control characters escaped."""
    if len(text) > LONGEST:
        text = text[: LONGEST - 3] + "..."
    return json.dumps(text, ensure_ascii=not text.isprintable())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, upper and lower case aside; None: none is."""
    # Imported late: only needed where something is wrong already.
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A cure that names the nearest known word, or all of them if none is near."""
    names = list(known)
    found = nearest(word, names)
    return f"did you mean {found}?" if found else f"known: {', '.join(names)}"
