"""Store URLs: what they mean, what is refused, and that no password shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tortie.errors import StoreError, UsageError
from tortie.store import endpoints, open_store, redact
from tortie.store.memory import MemoryStore
from tortie.store.url import parse_etcd


def test_memory() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)


def test_etcd_in_full() -> None:
    url = parse_etcd("etcd://me:p%40ss%2F@a:1,[fd00::1]:2,c/?ca=/ca&cert=/c%20t&key=/key")
    assert url.endpoints == (("a", 1), ("fd00::1", 2), ("c", 2379))
    assert (url.user, url.password) == ("me", "p@ss/")
    assert (url.ca, url.cert, url.key) == (Path("/ca"), Path("/c t"), Path("/key"))


def test_etcd_by_its_socket() -> None:
    url = parse_etcd("etcd+unix:///run/tortie/lab/x/etcd:2379")
    assert url.targets() == ["unix:/run/tortie/lab/x/etcd:2379"]
    assert url.endpoints == ()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no store URL"),
        ("/var/lib/store.db", "no store URL"),
        ("redis://host", "no store URL"),
        ("memory://x", "memory:"),
        ("sqlite:store.db", "sqlite:///"),
        ("sqlite://relative/path", "sqlite:///"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite:///a.db?mode=ro", "takes no options"),
        ("etcd:host", "no store URL"),
        ("etcd://", "not host:port"),
        ("etcd://a,", "not host:port"),
        ("etcd://a:0", "not host:port"),
        ("etcd://a:99999", "not host:port"),
        ("etcd://fd00::1", "brackets"),
        ("etcd://a?colour=/red", "no option 'colour'"),
        ("etcd://a?ca=relative", "ca=/path"),
        ("etcd://a?ca=/x&ca=/y", "twice"),
        ("etcd://a?cert=/x", "both cert"),
        ("etcd://:secret@a", "no user"),
        ("etcd://a?password_file=/x", "needs a user"),
        ("etcd://me:secret@a?password_file=/x", "needs a user"),
        ("etcd://me:secret@a:x", "not host:port"),
        ("etcd://me:secret", "not host:port"),
        ("etcd://me:sec?secret@a", "no option like that"),
        ("etcd+unix://relative", "names no socket"),
        ("etcd+unix:///a b", "names no socket"),
    ],
)
def test_a_bad_url_is_refused_with_a_cure_and_without_its_password(url: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert says in str(caught.value)
    assert caught.value.cure
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://me:secret@a:1,b:2?ca=/ca", "etcd://me:***@a:1,b:2?ca=/ca"),
        ("etcd://me:se@cr/et?secret@a", "etcd://me:***@a"),
        ("etcd://a:1,b:2?ca=/ca", "etcd://a:1,b:2?ca=/ca"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("etcd://a\n\x1b[31m", "etcd://a\\n\\x1b[31m"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_parsed_url_does_not_print_its_password() -> None:
    assert "secret" not in repr(parse_etcd("etcd://me:secret@a"))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("etcd://me:pw@etcd-1:1,10.0.0.2,[fd00::1]:2?ca=/ca", ["etcd-1", "10.0.0.2", "fd00::1"]),
        ("sqlite:///a.db", []),
        ("memory:", []),
    ],
)
def test_endpoints(url: str, hosts: list[str]) -> None:
    assert endpoints(url) == hosts


@pytest.mark.parametrize("name", ["ca", "password_file"])
def test_a_file_that_cannot_be_read_is_told_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path}/none cannot be read"):
        open_store(f"etcd://me@a?{name}={tmp_path}/none")


def test_a_sqlite_store_does_not_pay_for_grpc(tmp_path: Path) -> None:
    script = (
        "import sys; from tortie.store import open_store; open_store(sys.argv[1]).close();"
        "sys.exit('grpc' in sys.modules or 'google.protobuf' in sys.modules)"
    )
    command = [sys.executable, "-c", script, f"sqlite://{tmp_path}/store.db"]
    assert subprocess.run(command, check=False).returncode == 0
