"""The addresses of a store's servers."""

from __future__ import annotations

import socket

import pytest

from tortie.store.addresses import server_addresses

NAMES = {"etcd-1": ["192.0.2.1", "2001:db8::1"], "etcd-2": ["192.0.2.2"], "here": ["127.0.0.1"]}


@pytest.mark.parametrize(
    ("url", "found", "lost"),
    [
        ("sqlite:///var/lib/tortie/store.db", (), ()),
        ("memory:", (), ()),
        ("etcd://192.0.2.9:2379,[2001:db8::9]:2379", ("192.0.2.9", "2001:db8::9"), ()),
        ("etcd://etcd-1,etcd-2", ("192.0.2.1", "192.0.2.2", "2001:db8::1"), ()),
        ("etcd://here:2379", (), ()),
        ("etcd://etcd-2,away", ("192.0.2.2",), ("away",)),
        ("etcd+unix:///run/etcd.sock", (), ()),
    ],
)
def test_servers_have_the_addresses_of_their_names(
    monkeypatch: pytest.MonkeyPatch, url: str, found: tuple[str, ...], lost: tuple[str, ...]
) -> None:
    def look_up(host: str, port: None) -> list[tuple[object, ...]]:
        if host == "away":
            raise socket.gaierror("no such name")
        return [(None, None, None, "", (one, 0)) for one in NAMES.get(host, [host])]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert server_addresses(url) == (found, lost)
