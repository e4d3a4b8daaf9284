"""Store URLs: `memory:`, `sqlite:///path`, `etcd://[user:password@]host:port,...?ca=&cert=&key=`.

Also `etcd+unix:///path,/path`, etcd by its members' Unix sockets: a lab's, with no address here.

What a URL says is decided here, without opening anything; no message repeats a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from tortie.errors import UsageError

ETCD_PORT = 2379
UNIX = "etcd+unix:"
ETCD_OPTIONS = ("ca", "cert", "key", "password_file")
EXAMPLES = (
    "give sqlite:///var/lib/tortie/store.db for one machine, "
    "or etcd://host1:2379,host2:2379?ca=FILE&cert=FILE&key=FILE"
)


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """An etcd URL, read. `endpoints` are (host, port); an IPv6 address has no brackets."""

    endpoints: tuple[tuple[str, int], ...]
    """none if `sockets` are given"""
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    password_file: Path | None = None
    sockets: tuple[Path, ...] = ()
    """Unix sockets, instead of endpoints"""

    def targets(self) -> list[str]:
        """Where to connect to, as gRPC names it."""
        if self.sockets:
            return [f"unix:{each}" for each in self.sockets]
        return [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.endpoints
        ]


def scheme(url: str) -> str:
    """`memory`, `sqlite` or `etcd`. Raises UsageError for anything else."""
    if url.startswith(UNIX):
        return "etcd"
    name, colon, rest = url.partition(":")
    if not colon or name not in ("memory", "sqlite", "etcd"):
        raise UsageError(f"'{redact(url)}' is no store URL", EXAMPLES)
    if name == "memory" and rest:
        raise UsageError(f"'{redact(url)}' is no store URL", "a store in memory is just 'memory:'")
    return name


def sqlite_path(url: str) -> Path:
    """The file of a sqlite URL. Raises UsageError."""
    rest = url.removeprefix("sqlite:")
    path = unquote(rest.removeprefix("//"))
    if not rest.startswith("///") or rest.startswith("////") or "\0" in path or path == "/":
        raise UsageError(
            f"'{redact(url)}' names no file",
            "a sqlite store is an absolute path after two slashes: sqlite:///var/lib/tortie/store.db",
        )
    if "?" in rest:
        raise UsageError("a sqlite URL takes no options", "remove the '?' and what follows it")
    return Path(path)


def parse_etcd(url: str) -> EtcdUrl:
    """Read an etcd URL. Raises UsageError."""
    if url.startswith(UNIX):
        paths = url.removeprefix(UNIX + "//").split(",")
        if not all(re.fullmatch(r"(/[A-Za-z0-9._:-]+)+", path) for path in paths):
            raise UsageError(f"'{redact(url)}' names no socket", f"write {UNIX}///path/to/socket")
        return EtcdUrl((), sockets=tuple(Path(path) for path in paths))
    rest, _, query = url.removeprefix("etcd:").partition("?")
    if not rest.startswith("//"):
        raise UsageError(f"'{redact(url)}' is no store URL", EXAMPLES)
    login, at, hosts = rest[2:].rstrip("/").rpartition("@")
    user, _, password = login.partition(":")
    options = _options(query)
    if at and not user:
        raise UsageError(
            "the etcd URL has a password but no user", "write etcd://user:password@..."
        )
    if "password_file" in options and (password or not user):
        raise UsageError(
            "password_file needs a user, and no password, in the etcd URL",
            "write etcd://user@host:2379?password_file=FILE",
        )
    if ("cert" in options) != ("key" in options):
        raise UsageError(
            "a client certificate needs its key, and a key its certificate",
            "give both cert=FILE and key=FILE",
        )
    endpoints = tuple(_endpoint(text) for text in hosts.split(","))
    return EtcdUrl(
        endpoints,
        unquote(user),
        unquote(password),
        ca=options.get("ca"),
        cert=options.get("cert"),
        key=options.get("key"),
        password_file=options.get("password_file"),
    )


def endpoints(url: str) -> list[str]:
    """The hosts (names or addresses) that an etcd URL names; none for other stores.

    Raises UsageError.
    """
    return [host for host, _ in parse_etcd(url).endpoints] if scheme(url) == "etcd" else []


def redact(url: str) -> str:
    """The URL for people and logs: a password in it becomes `***`, control characters escapes.

    Passwords that should have been percent-encoded are hidden as well, so it may hide too much.
    """
    safe = re.sub(r"//([^:@?/]*):.*@", r"//\1:***@", url, flags=re.DOTALL)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in safe)


def _options(query: str) -> dict[str, Path]:
    options: dict[str, Path] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ETCD_OPTIONS:
            # A password with a bare ? in it ends up here; then the name is not repeated.
            shown = "like that" if "@" in query else ascii(name)
            raise UsageError(
                f"an etcd URL has no option {shown}", f"the options are {', '.join(ETCD_OPTIONS)}"
            )
        if not value.startswith("/") or "\0" in value:
            raise UsageError(f"{name} is no absolute path", f"write {name}=/path/to/file")
        if name in options:
            raise UsageError(f"{name} is given twice", "give it once")
        options[name] = Path(value)
    return options


def _endpoint(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", text)
    port = int(match[2] or ETCD_PORT) if match else 0
    if not match or not 0 < port < 65536:
        # The text is not repeated: without its host, a password would stand where the port does.
        raise UsageError(
            "the etcd URL has an endpoint that is not host:port",
            "write etcd://host1:2379,host2:2379, IPv6 addresses in brackets; "
            "percent-encode @ : / ? , in a password",
        )
    return match[1].strip("[]"), port
