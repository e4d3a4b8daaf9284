"""What every implementation asks of keys and operations before it touches any data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tortie.errors import Compacted, Conflict
from tortie.store.base import MAX_OPS, Op


def check_key(key: str) -> None:
    """Raises ValueError if `key` is no key or prefix: text with a UTF-8 form that starts with /."""
    if not key.startswith("/"):
        raise ValueError(f"a key must start with '/': {key!a}")
    key.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def check_ops(ops: Sequence[Op]) -> None:
    """Raises ValueError if `ops` are too many, name a key twice, or name what is no key."""
    if len(ops) > MAX_OPS:
        raise ValueError(f"{len(ops)} operations in one commit; at most {MAX_OPS} are possible")
    seen: set[str] = set()
    for op in ops:
        check_key(op.key)
        if op.key in seen:
            raise ValueError(f"one commit names the key {op.key!a} twice")
        seen.add(op.key)


def require(ops: Sequence[Op], revision_of: Callable[[str], int]) -> None:
    """Raises Conflict for the first `expect` that does not hold.

    `revision_of` gives the revision of a key as it is stored now, 0 if it is absent.
    """
    for op in ops:
        if op.expect is not None and (found := revision_of(op.key)) != op.expect:
            raise conflict(op.key, op.expect, found)


def conflict(key: str, expect: int, found: int) -> Conflict:
    """The error for a key that is not as it was expected."""
    wanted = f"at revision {expect}" if expect else "absent"
    actual = f"at revision {found}" if found else "absent"
    return Conflict(f"{key!a} was expected {wanted} but is {actual}", "read it again and retry")


def compacted(after: int) -> Compacted:
    """The error for a watch whose next change is no longer kept, or is of another history."""
    return Compacted(f"changes after revision {after} are not available any more", "list again")
