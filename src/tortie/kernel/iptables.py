"""iptables through its own programs: `iptables-VARIANT-restore` and `-save`, of both families.

One table between `*TABLE` and `COMMIT` is one transaction: all of it holds afterwards, or nothing
of it. All calls are made in the caller's network namespace.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
from pathlib import Path
from typing import Literal, Protocol

from tortie.errors import KernelError
from tortie.kernel import process
from tortie.kernel.nft import Nft

Variant = Literal["nft", "legacy"]
Family = Literal[4, 6]
Stamp = tuple[int, ...]

LOCK_SECONDS = 10
"""How long legacy waits for others who hold its lock, which is one for all namespaces."""

# What `save` says of a table with rules that only nft can read, and then nothing else of it.
_UNREADABLE = re.compile(r"^# Table `(raw|mangle|nat|filter)' is incompatible", re.MULTILINE)
_OURS = re.compile(r"^\s+chain tor-", re.MULTILINE)
_PROGRAM = {4: "iptables", 6: "ip6tables"}
_NFT_FAMILY = {4: "ip", 6: "ip6"}
# A name of /proc/self would be that of the main thread, which may be in another namespace.
_TABLES = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}
# linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h: IPT_SO_GET_INFO, IP6T_SO_GET_INFO
_GET_INFO = 64
_SOCKET = {4: (socket.AF_INET, socket.SOL_IP), 6: (socket.AF_INET6, socket.IPPROTO_IPV6)}
_INFO = struct.Struct("=32s13I")  # name, hooks, entries and underflows of five, number, size


class IptablesPort(Protocol):
    """What the iptables driver needs of the kernel; `Iptables` and `FakeIptables` have it."""

    variant: Variant

    def restore(self, family: Family, script: str) -> None: ...
    def save(self, family: Family) -> str: ...
    def stamp(self) -> Stamp: ...
    def close(self) -> None: ...


class Iptables:
    """One variant of iptables. Not for several threads."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self._nft = Nft()
        self._libc = ctypes.CDLL(None, use_errno=True)

    def restore(self, family: Family, script: str) -> None:
        """Run a script; chains that it does not name are left as they are.

        Raises KernelError, Missing; then of the table that it failed in, nothing was done.
        """
        program = f"{_PROGRAM[family]}-{self.variant}-restore"
        process.run([program, "--wait", str(LOCK_SECONDS), "--noflush"], stdin=script)

    def save(self, family: Family) -> str:
        """All tables that are there, as `restore` takes them. Makes none.

        Raises KernelError, Missing: also if one cannot be read, which must not look empty.
        """
        saved = process.run([f"{_PROGRAM[family]}-{self.variant}-save"]).stdout
        for table in _UNREADABLE.findall(saved):
            where = f"{_NFT_FAMILY[family]} {table}"
            # Of translation there may be nothing of ours, and much that nft put there.
            if table != "nat" or _OURS.search(self._nft.list_table(*where.split()) or ""):
                raise KernelError(
                    f"somebody put rules that iptables cannot read into its table {table}",
                    f"see `nft list table {where}`, put them elsewhere",
                )
        return saved

    def stamp(self) -> Stamp:
        """Something cheap that is another after anybody changed anything.

        nft: the kernel's generation, which each commit raises by one. legacy: how many rules each
        table has, where its hooks begin and what size it has, so a rule that takes another's place
        may go unnoticed.
        Raises KernelError.
        """
        if self.variant == "nft":
            return (self._nft.generation(),)
        found: list[int] = []
        for family in _TABLES:
            tables = _lines(_TABLES[family])
            if tables:
                with _raw_socket(family) as channel:
                    for table in tables:
                        found += self._info(channel, family, table)
        return tuple(found)

    def close(self) -> None:
        """Let go of sockets; a later call opens them again."""
        self._nft.close()

    def _info(self, channel: socket.socket, family: int, table: str) -> tuple[int, ...]:
        answer = ctypes.create_string_buffer(table.encode(), _INFO.size)
        size = ctypes.c_uint32(_INFO.size)
        level = _SOCKET[family][1]
        if self._libc.getsockopt(channel.fileno(), level, _GET_INFO, answer, ctypes.byref(size)):
            reason = os.strerror(ctypes.get_errno())
            raise KernelError(f"cannot ask for the size of table {table}: {reason}")
        return _INFO.unpack(answer.raw)[1:]


def _raw_socket(family: int) -> socket.socket:
    try:
        return socket.socket(_SOCKET[family][0], socket.SOCK_RAW, socket.IPPROTO_RAW)
    except OSError as error:
        cure = "run as root" if os.geteuid() != 0 else ""
        raise KernelError(f"cannot ask for the size of tables: {error.strerror}", cure) from error


def _lines(path: str) -> list[str]:
    """The lines of a file in order of name; none if the kernel does not have it."""
    try:
        return sorted(Path(path).read_text().split())
    except OSError:
        return []
