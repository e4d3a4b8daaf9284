"""Several things that went wrong in one pass, as one error."""

from __future__ import annotations

from collections.abc import Sequence

from tortie.errors import KernelError

_SHOWN = 5


def as_error(what: str, problems: Sequence[str], cure: str = "") -> KernelError:
    """An error that names the first few problems and says how many more there are."""
    shown = "; ".join(problems[:_SHOWN])
    more = len(problems) - _SHOWN
    return KernelError(f"{what}: {shown}" + (f"; and {more} more" if more > 0 else ""), cure)
