"""The matrix of a probe, as people read it."""

from __future__ import annotations

from tortie.lab.matrix import render, summary
from tortie.lab.probe import Result


def one(source: str, destination: str, connected: bool, by: str | None = "") -> Result:
    answered = destination if by == "" and connected else by or None
    return Result(source, destination, "tcp", 80, connected, answered)


BEFORE = [
    one("shop/web", "shop/db", True),
    one("shop/db", "shop/web", True),
    one("internet", "shop/web", False),
    one("internet", "shop/db", False),
]


def cells(text: str, source: str) -> list[str]:
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(source))


def test_a_row_for_each_source_and_a_column_for_each_port() -> None:
    text = render(BEFORE)
    assert cells(text, "shop/web") == ["yes", "."]
    assert cells(text, "shop/db") == [".", "yes"]
    assert cells(text, "internet") == ["no", "no"]
    assert text.endswith("2 of 4 pairs connected")
    assert "\x1b" not in text
    assert "\x1b[" in render(BEFORE, colour=True)


def test_differences_are_marked() -> None:
    after = [one("shop/web", "shop/db", False), BEFORE[1], one("internet", "shop/web", True)]
    text = render(after, BEFORE)
    assert cells(text, "shop/web") == ["CLOSED", "."]
    assert cells(text, "internet") == [".", "OPENED"]
    assert text.endswith("1 opened and 1 closed since the last probe")


def test_an_answer_from_somebody_else_is_wrong() -> None:
    wrong = [one("a/a", "a/b", True, "a/c"), one("a/a", "a/d", True, None)]
    assert cells(render(wrong), "a/a") == ["WRONG", "WRONG"]
    assert "2 answered by the wrong server or by none" in summary(wrong)


def test_nothing_to_probe() -> None:
    assert render([]) == "nothing is served, so nothing was tried"
