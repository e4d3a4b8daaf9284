"""ipam check, gc, release and show ADDRESS; and a pool that is in use."""

from __future__ import annotations

import json

import pytest
from cli_rig import Shell
from ipam_world import node, pool, put, reservation
from worlds import workload

from tortie.ipam.allocator import Allocator

NOTES = {"namespace": "shop", "workload": "web", "endpoint": "eth0", "orchestrator": "tortie"}
HANDLE = "tortie.a1.shop.web.eth0"


@pytest.fixture
def web(tortie: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of shop/web, which is attached to a1."""
    monkeypatch.setattr("tortie.ipam.check.MOMENT", 0.01)
    store = tortie.store()
    put(store, pool("main", "10.9.0.0/24"), node("a1"))
    (address,) = Allocator(store).assign("a1", HANDLE, attributes=NOTES)
    put(store, workload("shop/web", address, on="a1"))
    store.close()
    return address


@pytest.fixture
def ghost(tortie: Shell, web: str) -> str:
    """An address that nobody has."""
    store = tortie.store()
    (address,) = Allocator(store).assign("a1", "ghost", attributes={**NOTES, "workload": "ghost"})
    store.close()
    return address


def test_check_of_books_in_order_exits_0(tortie: Shell, web: str) -> None:
    said = tortie("ipam", "check")
    assert (said.code, said.out) == (0, "")
    assert "all addresses are in order" in said.err


def test_check_says_what_is_wrong_and_whose_and_exits_1(tortie: Shell, ghost: str) -> None:
    said = tortie("ipam", "check")
    assert said.code == 1
    assert said.lines[1][:4] == ["leaked", ghost, "a1", "shop/ghost"]
    (found,) = json.loads(tortie("ipam", "check", "-o", "json").out)
    assert (found["kind"], found["handle"]) == ("leaked", "ghost")


def test_a_note_is_not_wrong(tortie: Shell, web: str) -> None:
    store = tortie.store()
    put(store, reservation("kept", f"{web}/32"))
    store.close()
    said = tortie("ipam", "check")
    assert said.code == 0
    assert said.lines[1][:2] == ["reserved", "(note)"]


def test_gc_frees_what_leaks_and_nothing_else(tortie: Shell, web: str, ghost: str) -> None:
    assert tortie("ipam", "gc", "--dry-run").lines[1][0] == ghost
    assert tortie("ipam", "check").code == 1
    assert tortie("ipam", "gc", "--grace", "0").lines[1][0] == ghost
    assert tortie("ipam", "check").code == 0
    assert "nothing leaks" in tortie("ipam", "gc", "--grace", "0").err
    store = tortie.store()
    assert Allocator(store).held(HANDLE) == [web]
    store.close()


def test_release_refuses_what_is_in_use_unless_it_is_forced(tortie: Shell, web: str) -> None:
    for what in ((web,), ("--handle", HANDLE)):
        said = tortie("ipam", "release", *what)
        assert said.code == 1
        assert f"{web} is in use: shop/web on a1 has it" in said.err
    assert tortie("ipam", "release", web, "--force").out == f"released {web}\n"
    assert "nobody has" in tortie("ipam", "release", web, "--force").out


def test_release_takes_back_only_what_is_meant(tortie: Shell, ghost: str) -> None:
    for what in (("--handle", "other"), ("--handle", "ghost", "--sequence", "99999")):
        assert tortie("ipam", "release", ghost, *what).code == 1
    assert tortie("ipam", "release", "--handle", "ghost").out == f"released {ghost}\n"
    assert tortie("ipam", "release").code == 2
    assert tortie("ipam", "release", "--handle", "ghost", "--sequence", "1").code == 2


def test_the_story_of_an_address(tortie: Shell, web: str, ghost: str) -> None:
    story = json.loads(tortie("ipam", "show", web, "-o", "json").out)
    assert story["pool"] == "main (10.9.0.0/24)"
    assert (story["state"], story["handle"], story["node"]) == ("assigned", HANDLE, "a1")
    assert (story["used by"], story["borrowed"]) == ("shop/web on a1", False)
    tortie("ipam", "release", "--handle", "ghost")
    said = tortie("ipam", "show", ghost)
    assert "cooling:" in said.out and "last owner:  shop/ghost" in said.out
    assert "in no pool" in tortie("ipam", "show", "192.0.2.1").out
    assert tortie("ipam", "show", "nonsense").code in (1, 2)


def test_a_pool_in_use_is_not_deleted_nor_shrunk(tortie: Shell, web: str) -> None:
    said = tortie("delete", "ippool", "main")
    assert said.code != 0
    assert "IPPool main is in use by 1 addresses" in said.err
    assert f"{web}  shop/web on a1" in said.err
    smaller = tortie.file(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: main}\n"
        "spec: {cidr: 10.9.0.0/25}\n"
    )
    said = tortie("apply", "-f", smaller)
    assert said.code != 0
    assert "the cidr of a pool never changes" in said.err
    assert f"{web}  shop/web on a1" in said.err
