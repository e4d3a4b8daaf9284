"""What only etcd has: several members, TLS, users, restarts, and a wire format."""

from __future__ import annotations

import contextlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_tools import protoc
from store.etcd_server import EtcdServer, free_port

import tortie
from tortie.errors import Compacted, StoreError, StoreUnavailable
from tortie.store import etcd_cluster, etcd_pb2, etcd_watch, open_store
from tortie.store.base import Delete, Put
from tortie.store.etcd import EtcdStore
from tortie.store.etcd_cluster import CHANNEL_OPTIONS
from tortie.store.syncer import Batch, Lost, Syncer
from tortie.store.url import parse_etcd

P = "/tortie/v1/world/"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of this test's own, to be stopped and started."""
    server = EtcdServer(tmp_path / "etcd").start()
    yield server
    server.stop()


def opened(url: str) -> contextlib.closing[EtcdStore]:
    store = open_store(url)
    assert isinstance(store, EtcdStore)
    return contextlib.closing(store)


def test_the_generated_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    source = Path(tortie.__file__).parent.parent
    arguments = ["", f"-I{source}", f"--python_out={tmp_path}"]
    assert protoc.main([*arguments, f"{source}/tortie/store/etcd.proto"]) == 0

    def serialized(path: Path) -> str:
        found = re.search(r"AddSerializedFile\((.*)\)", path.read_text())
        assert found
        return found[1]

    made = serialized(tmp_path / "tortie/store/etcd_pb2.py")
    assert made == serialized(Path(etcd_pb2.__file__))


def test_identity_is_the_cluster_id(etcd: EtcdServer) -> None:
    with opened(etcd.url) as store:
        said = etcd.ctl("endpoint", "status", "-w", "json").stdout
        assert f'"cluster_id":{int(store.identity(), 16)},' in said


def test_a_listing_in_pages_is_one_moment(etcd: EtcdServer) -> None:
    """However many commits fall between its pages: every commit writes all keys the same."""
    store = EtcdStore(parse_etcd(etcd.url), page=7)
    keys = [f"/pages/{n:03}" for n in range(100)]
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with opened(etcd.url) as other:
                other.commit([Put(key, b"%d" % number) for key in keys])

    store.commit([Put(key, b"0") for key in keys])
    writer = threading.Thread(target=write)
    writer.start()
    listings = [store.list("/pages/") for _ in range(10)]
    done.set()
    writer.join()
    store.close()
    for listing in listings:
        assert [entry.key for entry in listing.entries] == keys
        assert len({entry.value for entry in listing.entries}) == 1
        assert {entry.revision for entry in listing.entries} == {listing.entries[0].revision}
    assert len({listing.revision for listing in listings}) > 1


def test_an_object_too_large_is_refused_with_a_cure(etcd: EtcdServer) -> None:
    with opened(etcd.url) as store:
        with pytest.raises(StoreError, match="too large; store smaller") as caught:
            store.commit([Put("/big", b"x" * 2_000_000)])
        assert not isinstance(caught.value, StoreUnavailable)


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "accepts but never answers"])
def test_a_dead_first_member_costs_little(etcd: EtcdServer, silent: bool) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        if silent:
            dead.listen()
        first = f"127.0.0.1:{dead.getsockname()[1]}"
        began = time.monotonic()
        with opened(f"etcd://{first},127.0.0.1:{free_port()},{etcd.endpoint}") as store:
            revision = store.commit([Put("/dead/a", b"")])
            with contextlib.closing(store.watch("/dead/", revision - 1)) as watch:
                assert watch.next(5)
        assert time.monotonic() - began < 1


def test_a_server_that_falls_silent_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the times of the real thing divided: about nine seconds there."""
    quick = [(name, ms // 10 if "_ms" in name else ms) for name, ms in CHANNEL_OPTIONS]
    monkeypatch.setattr(etcd_cluster, "CHANNEL_OPTIONS", quick)
    monkeypatch.setattr(etcd_watch, "PATIENCE_SECONDS", 0.1)
    server = EtcdServer(tmp_path, options=("--grpc-keepalive-min-time=100ms",)).start()
    try:
        with opened(server.url) as store:
            watch = store.watch("/", store.commit([Put("/a", b"")]))
            assert watch.next(0.1) is None
            assert server.process
            server.process.send_signal(signal.SIGSTOP)
            with pytest.raises(StoreUnavailable):
                watch.next(4)
    finally:
        server.stop()


def test_the_member_in_use_may_die(tmp_path: Path) -> None:
    servers = {name: EtcdServer(tmp_path / name, name=name) for name in ("a", "b", "c")}
    members = ",".join(f"{name}={server.peer}" for name, server in servers.items())
    try:
        for server in servers.values():
            server.options = (f"--initial-cluster={members}",)
            server.launch()
        for server in servers.values():
            server.wait()
        endpoints = ",".join(server.endpoint for server in servers.values())
        with opened(f"etcd://{endpoints}") as store:
            first = store.commit([Put(P + "a", b"1")])
            watch = store.watch(P, first - 1)
            assert watch.next(5)
            used = store._cluster.member()
            dead = next(server for server in servers.values() if server.endpoint == used)
            alive = next(server for server in servers.values() if server.endpoint != used)
            dead.stop()
            deadline = time.monotonic() + 10
            while alive.ctl("put", "/elected", "", check=False).returncode:
                assert time.monotonic() < deadline
            with contextlib.suppress(StoreUnavailable):  # its answer may have been lost
                store.commit([Put(P + "a", b"2")])
            last = store.commit([Put(P + "a", b"3")])
            seen = [watch.next(5)]
            while seen[-1] and seen[-1].revision < last:
                seen.append(watch.next(5))
            assert seen[-1]
            assert store._cluster.member() != used
    finally:
        for server in servers.values():
            server.stop()


def test_no_member_at_all_is_unavailable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_watch, "PATIENCE_SECONDS", 0.3)
    with opened(f"etcd://127.0.0.1:{free_port()}") as store:
        began = time.monotonic()
        for use in (store.identity, lambda: store.list("/"), lambda: store.commit([])):
            with pytest.raises(StoreUnavailable, match="no etcd member answers"):
                use()
        assert time.monotonic() - began < 1
        watch = store.watch("/", 1)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="no etcd member answers"):
                watch.next(5)


def test_a_watch_survives_a_restart(own: EtcdServer) -> None:
    with opened(own.url) as store:
        watch = store.watch(P, store.commit([Put(P + "a", b"1")]))
        store.commit([Put(P + "a", b"2")])
        assert watch.next(5)
        own.stop()
        with pytest.raises(StoreUnavailable):
            store.commit([Put(P + "lost", b"")])
        own.start()
        with opened(own.url) as other:  # writes before the watch is back, or at the same time
            other.commit([Put(P + "b", b"1"), Put(P + "c", b"1")])
            last = other.commit([Delete(P + "a")])
        seen = []
        while not seen or seen[-1].revision < last:
            changes = watch.next(5)
            assert changes
            seen.append(changes)
        names = [event.key.removeprefix(P) for changes in seen for event in changes.events]
        assert names == ["b", "c", "a"]
        assert store.commit([Put(P + "d", b"")]) == last + 1


def test_what_was_compacted_while_disconnected_is_relisted(own: EtcdServer) -> None:
    """The server comes back on another port first, where the syncer does not see it."""
    news: queue.SimpleQueue[Batch | Lost] = queue.SimpleQueue()
    with opened(own.url) as store:
        store.commit([Put(P + "kept", b"1"), Put(P + "gone", b"1"), Put(P + "new", b"1")])
        syncer = Syncer(store, P, news.put)
        syncer.start()
        first = news.get(timeout=5)
        assert isinstance(first, Batch) and len(first.changes) == 3
        own.stop()
        port, own.port = own.port, free_port()
        own.start()
        with opened(own.url) as other:
            other.commit([Delete(P + "gone"), Put(P + "new", b"2")])
            own.ctl("compact", str(other.commit([Put("/elsewhere", b"")])))
        own.stop()
        own.port = port
        own.start()
        lost, batch = news.get(timeout=10), news.get(timeout=10)
        syncer.stop()
    assert isinstance(lost, Lost)
    assert isinstance(batch, Batch) and batch.relisted
    found = sorted((event.key.removeprefix(P), bool(event.entry)) for event in batch.changes)
    assert found == [("gone", False), ("new", True)]
    assert batch.identity == first.identity


def test_an_emptied_cluster_is_another_history(own: EtcdServer) -> None:
    with opened(own.url) as store:
        for n in range(5):
            last = store.commit([Put(P + "a", b"%d" % n)])
        watch = store.watch(P, last)
        assert watch.next(0.1) is None
        own.stop()
        shutil.rmtree(own.directory / "data")
        own.start()
        with pytest.raises(Compacted):
            watch.next(10)
        assert store.list(P).entries == ()
        assert store.list(P).revision < last


@pytest.mark.parametrize("where", [P, "/elsewhere/"])
def test_a_cluster_replaced_by_one_that_is_ahead_is_another_history(
    own: EtcdServer, where: str
) -> None:
    """It keeps its id, as one that is restored from a copy of its data does."""
    data, aside = own.directory / "data", own.directory / "aside"
    with opened(own.url) as store:
        store.commit([Put(P + "first", b"")])
        for n in range(9):
            last = store.commit([Put(P + "a", b"%d" % n)])
        own.stop()
        data.rename(aside)
        own.start()
        for n in range(3):
            store.commit([Put(where + "other", b"%d" % n)])
        listing = store.list(P)
        assert listing.revision < last
        watch = store.watch(P, listing.revision)
        assert watch.next(0.1) is None
        own.stop()
        shutil.rmtree(data)
        aside.rename(data)
        own.start()
        with pytest.raises(Compacted):
            watch.next(10)
        assert {entry.key for entry in store.list(P).entries} == {P + "first", P + "a"}


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def certify(directory: Path, name: str, ca: str) -> None:
    """A key and a certificate for 127.0.0.1 by an authority, which is made if need be."""
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    if not (directory / f"{ca}.crt").exists():
        made = ("-x509", "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.crt")
        openssl(directory, *new, *made)
    made = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(directory, *new, *made)
    (directory / "san").write_text("subjectAltName=IP:127.0.0.1")
    signed = ("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key")
    more = ("-CAcreateserial", "-days", "2", "-extfile", "san", "-out", f"{name}.crt")
    openssl(directory, *signed, *more)


def test_tls_with_client_certificates(tmp_path: Path) -> None:
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "strangers")):
        certify(tmp_path, name, ca)
    server = EtcdServer(
        tmp_path / "etcd",
        options=(
            f"--cert-file={tmp_path}/server.crt",
            f"--key-file={tmp_path}/server.key",
            f"--trusted-ca-file={tmp_path}/ca.crt",
            "--client-cert-auth",
        ),
        ctl_options=(
            f"--cacert={tmp_path}/ca.crt",
            f"--cert={tmp_path}/client.crt",
            f"--key={tmp_path}/client.key",
        ),
        scheme="https",
    ).start()

    def url(ca: str, name: str = "") -> str:
        login = f"&cert={tmp_path}/{name}.crt&key={tmp_path}/{name}.key" if name else ""
        return f"{server.url}?ca={tmp_path}/{ca}.crt{login}"

    try:
        with opened(url("ca", "client")) as store:
            watch = store.watch(P, 1)
            store.commit([Put(P + "a", b"")])
            assert watch.next(5)
        for bad in (server.url, url("ca"), url("ca", "stranger"), url("strangers", "client")):
            with opened(bad) as store:
                with pytest.raises(StoreUnavailable, match="certificates"):
                    store.get(P)
    finally:
        server.stop()


@pytest.fixture
def guarded(own: EtcdServer) -> EtcdServer:
    """An etcd with authentication, where `host` may use the keys under P and no others."""
    for command in (
        ["user", "add", "root:rootpw"],
        ["user", "grant-role", "root", "root"],
        ["role", "add", "host"],
        ["role", "grant-permission", "host", "readwrite", "--prefix=true", P],
        ["user", "add", "host:se:cr@t"],
        ["user", "grant-role", "host", "host"],
        ["auth", "enable"],
    ):
        own.ctl(*command)
    return own


def test_a_user_may_do_what_its_role_may(guarded: EtcdServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("se:cr@t\n")
    in_file = f"etcd://host@{guarded.endpoint}?password_file={tmp_path}/password"
    for url in (f"etcd://host:se%3Acr%40t@{guarded.endpoint}", in_file):
        with opened(url) as store:
            assert len(store.identity()) == 16
            revision = store.commit([Put(P + "a", b"")])
            assert store.watch(P, revision - 1).next(5)
            refused = (
                lambda: store.get("/other"),
                lambda: store.list("/"),
                lambda: store.commit([Put("/other", b"")]),
                lambda: store.watch("/other", 1).next(5),
            )
            for use in refused:
                with pytest.raises(StoreError, match="permission denied; grant") as caught:
                    use()
                assert not isinstance(caught.value, StoreUnavailable)


def test_a_wrong_login_is_refused_with_a_cure(guarded: EtcdServer) -> None:
    wrong, missing = "wrong user or password", "a user is required"
    for login, of_a_call, of_a_watch in (
        ("host:secret@", wrong, wrong),
        ("", missing, f"permission denied|{missing}"),  # etcd 3.4 says the former
    ):
        with opened(f"etcd://{login}{guarded.endpoint}") as store:
            with pytest.raises(StoreError, match=of_a_call) as caught:
                store.list(P)
            with pytest.raises(StoreError, match=of_a_watch) as of_watch:
                store.watch(P, 1).next(5)
            for error in (caught.value, of_watch.value):
                assert error.cure and not isinstance(error, StoreUnavailable)
                said = f"{error!r} {error.__cause__!r} {error.__context__!r} {store!r}"
                assert "secret" not in said


def test_a_login_that_etcd_forgot_is_renewed(guarded: EtcdServer) -> None:
    """etcd keeps its tokens in memory, and changes to users make all of them stale."""
    with opened(f"etcd://host:se%3Acr%40t@{guarded.endpoint}") as store:
        revision = store.commit([Put(P + "a", b"")])
        watch = store.watch(P, revision)
        assert watch.next(0.1) is None
        guarded.ctl("--user=root:rootpw", "role", "add", "another")
        revision = store.commit([Put(P + "a", b"2")])
        guarded.stop()
        guarded.start()
        assert [entry.key for entry in store.list(P).entries] == [P + "a"]
        last = store.commit([Put(P + "b", b"")])
        seen: list[int] = []
        while last not in seen:
            changes = watch.next(8)
            assert changes
            seen += [event.entry.revision for event in changes.events if event.entry]
        assert seen == [revision, last]


def test_a_user_given_to_a_cluster_without_authentication_does_no_harm(etcd: EtcdServer) -> None:
    with opened(f"etcd://me:secret@{etcd.endpoint}") as store:
        revision = store.commit([Put("/open", b"")])
        assert store.watch("/open", revision - 1).next(5)
