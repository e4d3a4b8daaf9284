"""What a probe found, as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tortie.lab.probe import Result

YES, NO, ITSELF, OPENED, CLOSED, WRONG = "yes", "no", ".", "OPENED", "CLOSED", "WRONG"
_COLOURS = {YES: 32, NO: 2, ITSELF: 2, OPENED: 33, CLOSED: 33, WRONG: 31}


def render(
    results: Sequence[Result], before: Sequence[Result] | None = None, colour: bool = False
) -> str:
    """The matrix, a row for each source and a column for each served port, and a line of counts.

    Of two families one verdict is shown, or both where they differ. Against an earlier probe, pairs
    that differ say OPENED or CLOSED. WRONG: connected, but somebody
    else answered, or nobody.
    """
    # Imported late: only a table for people needs it.
    from tabulate import tabulate

    if not results:
        return "nothing is served, so nothing was tried"
    sources = list(dict.fromkeys(each.source for each in results))
    columns = sorted({_column(each) for each in results})
    then = {_try(each): each.connected for each in before or ()}
    cells: dict[tuple[str, str, str, int], str] = {}
    for each in results:
        verdict = _verdict(each, then.get(_try(each)))
        there = cells.setdefault(_pair(each), verdict)
        if there != verdict:
            # The other family's verdict is another one: both are told.
            cells[_pair(each)] = f"v4 {there}\nv6 {verdict}"
    rows = [
        [source, *(_paint(cells.get((source, *column), ITSELF), colour) for column in columns)]
        for source in sources
    ]
    heads = ["from \\ to", *(_head(*column) for column in columns)]
    table = tabulate(rows, heads, "simple", colalign=("left", *("center",) * len(columns)))
    return f"{table}\n\n{summary(results, before)}"


def summary(results: Sequence[Result], before: Sequence[Result] | None = None) -> str:
    """One line: how many pairs are connected, and what changed since an earlier probe."""
    connected = sum(each.connected for each in results)
    wrong = sum(_is_wrong(each) for each in results)
    parts = [f"{connected} of {len(results)} pairs connected"]
    if wrong:
        parts.append(f"{wrong} answered by the wrong server or by none")
    if before is not None:
        then = {_try(each): each.connected for each in before}
        changed = [
            each for each in results if then.get(_try(each), each.connected) != each.connected
        ]
        opened = sum(each.connected for each in changed)
        parts.append(f"{opened} opened and {len(changed) - opened} closed since the last probe")
    return ", ".join(parts)


def _column(result: Result) -> tuple[str, str, int]:
    return result.destination, result.protocol, result.port


def _pair(result: Result) -> tuple[str, str, str, int]:
    return result.source, *_column(result)


def _try(result: Result) -> tuple[str, str, str, int, int]:
    return *_pair(result), result.family


def _is_wrong(result: Result) -> bool:
    return result.connected and result.answered_by != result.destination


def _verdict(result: Result, before: bool | None) -> str:
    if _is_wrong(result):
        return WRONG
    if before is not None and before != result.connected:
        return OPENED if result.connected else CLOSED
    return YES if result.connected else NO


def _head(destination: str, protocol: str, port: int) -> str:
    """Namespace, name and port below each other, so that columns stay narrow."""
    namespace, slash, name = destination.rpartition("/")
    return "\n".join([f"{namespace}{slash}", name, f"{protocol}/{port}"])


def _paint(word: str, colour: bool) -> str:
    if word not in _COLOURS:
        return f"\x1b[31m{word}\x1b[0m" if colour else word
    return f"\x1b[{_COLOURS[word]}m{word}\x1b[0m" if colour else word
