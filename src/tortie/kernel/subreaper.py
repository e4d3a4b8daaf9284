"""Orphans of a process's descendants become its children, instead of process 1's (prctl(2))."""

from __future__ import annotations

import ctypes
import os

from tortie.errors import KernelError

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Take in the orphans of this process's descendants. Raises KernelError."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelError(f"this process cannot take in orphans: {reason}")
