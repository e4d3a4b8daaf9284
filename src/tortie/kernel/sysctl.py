"""Settings of the network under /proc/sys/net, of the calling thread's network namespace.

Names are paths below /proc/sys, such as `net/ipv4/conf/tor1/rp_filter`: interface names may have
dots in them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tortie.errors import KernelError

_ROOT = "/proc/sys/"
_NAME = re.compile(r"net(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.:@+-]+)+", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9_.:-]+(?:[ \t][A-Za-z0-9_.:-]+)*", re.ASCII)


class SysctlPort(Protocol):
    """What drivers need of sysctls: `Sysctl` or `FakeSysctl`."""

    def read(self, name: str) -> str | None: ...
    def write(self, name: str, value: str) -> None: ...
    def ensure(self, wanted: Mapping[str, str]) -> list[str]: ...


class Sysctl:
    """The sysctls of the namespace that the calling thread is in at each call."""

    def read(self, name: str) -> str | None:
        """The value without the line's end, or None if there is no such setting.

        Raises KernelError.
        """
        try:
            # A third of what Path.read_text takes, and a pass reads a dozen for every link.
            handle = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(handle, 4096).decode().strip()
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise KernelError(f"cannot read sysctl {name}: {error.strerror}") from error

    def write(self, name: str, value: str) -> None:
        """Set one. Raises KernelError, also if there is no such setting."""
        path = _path(name)
        _check_value(name, value)
        try:
            # Not write_text: it would ask for the file to be made where there is none.
            with Path(path).open("r+") as file:
                file.write(value)
        except OSError as error:
            cure = "run as root" if error.errno in (errno.EPERM, errno.EACCES) else ""
            raise KernelError(
                f"cannot set sysctl {name} to {value}: {error.strerror}", cure
            ) from error

    def ensure(self, wanted: Mapping[str, str]) -> list[str]:
        """Set, in order, those that have another value; their names. Raises KernelError."""
        changed = []
        for name, value in wanted.items():
            if self.read(name) != value:
                self.write(name, value)
                changed.append(name)
        return changed


class FakeSysctl:
    """Settings in memory. `values` is all there is; `written` is what was set, in order."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})
        self.written: list[tuple[str, str]] = []

    def read(self, name: str) -> str | None:
        _path(name)
        return self.values.get(name)

    def write(self, name: str, value: str) -> None:
        _path(name)
        _check_value(name, value)
        if name not in self.values:
            raise KernelError(f"cannot set sysctl {name} to {value}: No such file or directory")
        self.values[name] = value
        self.written.append((name, value))

    def ensure(self, wanted: Mapping[str, str]) -> list[str]:
        changed = [name for name, value in wanted.items() if self.read(name) != value]
        for name in changed:
            self.write(name, wanted[name])
        return changed


@lru_cache(maxsize=1 << 14)
def _path(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise KernelError(f"{name!r} is no name of a network sysctl")
    return _ROOT + name


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise KernelError(f"{value!r} is no value for sysctl {name}")
