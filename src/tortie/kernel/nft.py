"""nftables through libnftables, in process: scripts in, listings out.

One long-lived context, opened on first use in the caller's network namespace and used from one
thread. A script is one transaction: all of it holds afterwards, or nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
from functools import cache
from typing import Protocol

from tortie.errors import KernelError, Missing

# libnftables.h: NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_{PROTO,PRIO,SYMBOL,TIME}
_OUTPUT_FLAGS = 1 << 2 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10

# linux/netfilter/nfnetlink.h and nf_tables.h
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_NFT_MSG_GETGEN = 16
_NFTA_GEN_ID = 1
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port

_LONGEST_REASON = 2000  # characters of nft's message that an error keeps


class NftPort(Protocol):
    """What the nftables driver needs of the kernel; `Nft` and `FakeNft` have it."""

    def run(self, script: str) -> None: ...
    def check(self, script: str) -> None: ...
    def list_table(self, family: str, name: str) -> str | None: ...
    def generation(self) -> int: ...
    def close(self) -> None: ...


class Nft:
    """The nftables of the namespace in which the first call is made. Not for several threads."""

    def __init__(self) -> None:
        self._context: int | None = None
        self._socket: socket.socket | None = None

    def run(self, script: str) -> None:
        """Run a script as one transaction. Raises KernelError, Missing; then nothing was done."""
        self._command(script)

    def check(self, script: str) -> None:
        """See whether the kernel would take a script; change nothing. Raises KernelError."""
        library, context = _library(), self._open()
        library.nft_ctx_set_dry_run(context, True)
        try:
            self._command(script)
        finally:
            library.nft_ctx_set_dry_run(context, False)

    def list_table(self, family: str, name: str) -> str | None:
        """A table as text without counter values, or None if there is none. Raises KernelError."""
        tables = self._command("list tables")
        if f"table {family} {name}" not in tables.splitlines():
            return None
        return self._command(f"list table {family} {name}")

    def generation(self) -> int:
        """The number of the rule set in this namespace; every commit by anybody raises it by one.

        Raises KernelError.
        """
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
                )
                self._socket.settimeout(5.0)
            body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
            kind = _NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETGEN
            head = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST, 1, 0)
            self._socket.send(head + body)
            return _generation_of(self._socket.recv(8192))
        except OSError as error:
            raise KernelError(f"cannot ask for the nftables generation: {error}") from error

    def close(self) -> None:
        """Give the context and the socket back; a later call opens them again."""
        if self._context is not None:
            _library().nft_ctx_free(self._context)
            self._context = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> int:
        if self._context is None:
            library = _library()
            context = library.nft_ctx_new(0)
            if not context:
                raise KernelError("libnftables gave no context")
            library.nft_ctx_buffer_output(context)
            library.nft_ctx_buffer_error(context)
            library.nft_ctx_output_set_flags(context, _OUTPUT_FLAGS)
            self._context = context
        return self._context

    def _command(self, script: str) -> str:
        library, context = _library(), self._open()
        status = library.nft_run_cmd_from_buffer(context, script.encode())
        output: bytes = library.nft_ctx_get_output_buffer(context) or b""
        reason: bytes = library.nft_ctx_get_error_buffer(context) or b""
        if status != 0:
            said = reason.decode(errors="replace").strip()[:_LONGEST_REASON]
            cure = "run as root" if os.geteuid() != 0 else ""
            raise KernelError(f"nftables refused: {said or 'no reason given'}", cure)
        return output.decode(errors="replace")


def _generation_of(message: bytes) -> int:
    _, kind, _, _, _ = _HEADER.unpack_from(message)
    if kind == _NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", message, _HEADER.size)
        raise OSError(-number, os.strerror(-number))
    if kind != _NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_NEWGEN:
        raise KernelError(f"nfnetlink answered with message type {kind:#x}")
    at = _HEADER.size + 4
    while at + 4 <= len(message):
        length, attribute = struct.unpack_from("=HH", message, at)
        if attribute & 0x3FFF == _NFTA_GEN_ID:
            (found,) = struct.unpack_from(">I", message, at + 4)
            return int(found)
        at += max(4, length + 3 & ~3)
    raise KernelError("nfnetlink gave no generation")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise Missing(
            "libnftables.so.1 is not on this machine", "install it: apt-get install libnftables1"
        ) from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_new.restype = pointer
    library.nft_ctx_free.argtypes = [pointer]
    library.nft_ctx_free.restype = None
    library.nft_ctx_buffer_output.argtypes = [pointer]
    library.nft_ctx_buffer_error.argtypes = [pointer]
    library.nft_ctx_set_dry_run.argtypes = [pointer, ctypes.c_bool]
    library.nft_ctx_set_dry_run.restype = None
    library.nft_ctx_output_set_flags.argtypes = [pointer, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_run_cmd_from_buffer.argtypes = [pointer, text]
    library.nft_run_cmd_from_buffer.restype = number
    library.nft_ctx_get_output_buffer.argtypes = [pointer]
    library.nft_ctx_get_output_buffer.restype = text
    library.nft_ctx_get_error_buffer.argtypes = [pointer]
    library.nft_ctx_get_error_buffer.restype = text
    return library


class FakeNft:
    """Keeps scripts instead of running them; knows which tables are there and what they were last
    made of, so that a foreign change (`disturb`) and a refusal (`refuse`) can be played."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.checked: list[str] = []
        self.tables: dict[tuple[str, str], str] = {}
        self.listings = 0
        """how often a table was listed"""
        self.refuse = 0
        """so many of the next scripts are refused"""
        self._generation = 1

    def run(self, script: str) -> None:
        """Record a script, or raise KernelError if it is to be refused."""
        if self.refuse > 0:
            self.refuse -= 1
            raise KernelError("nftables refused: as told")
        self.scripts.append(script)
        self._generation += 1
        named = re.findall(r"^(add |delete )?table (\w+) (\w+)", script, re.MULTILINE)
        gone = {(family, name) for verb, family, name in named if verb == "delete "}
        for verb, family, name in named:
            key = (family, name)
            if verb == "delete ":
                self.tables.pop(key, None)
            else:
                self.tables[key] = script if key in gone else self.tables.get(key, "") + script
        for key in self.tables.keys() - gone:
            if re.search(rf"^(add|delete|flush) \w+ {key[0]} {key[1]} ", script, re.MULTILINE):
                self.tables[key] += script

    def check(self, script: str) -> None:
        """Record a script that is only looked at."""
        self.checked.append(script)

    def list_table(self, family: str, name: str) -> str | None:
        """What a table was made of."""
        self.listings += 1
        return self.tables.get((family, name))

    def generation(self) -> int:
        """One more for each script and each foreign change."""
        return self._generation

    def close(self) -> None:
        """Nothing to let go of."""

    def disturb(self, family: str = "", name: str = "") -> None:
        """Somebody else commits; with a table named, to that one."""
        self._generation += 1
        if family:
            self.tables[(family, name)] += "# somebody else was here\n"
