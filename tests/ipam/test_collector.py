"""The collector: what leaks is freed after the grace, once, and what is anybody's never."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from ipam_world import Clock, node, pool, settings, world
from worlds import workload

from tortie.errors import StoreUnavailable
from tortie.ipam import books as bk
from tortie.ipam.allocator import Allocator
from tortie.ipam.collector import Collector, leaking
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Delete, Op, Put, Store

GRACE = 900.0


def notes(name: str) -> dict[str, str]:
    return {"namespace": "shop", "workload": name, "endpoint": "eth0", "orchestrator": "tortie"}


class Scene:
    """A store with nodes a1 and a2, an allocator and a collector on clocks of our own."""

    def __init__(self, *more: r.Resource) -> None:
        self.store: Store = world(pool("main", "10.9.0.0/24"), node("a1"), node("a2"), *more)
        self.clock = Clock()
        self.allocator = Allocator(self.store, clock=self.clock)
        self.freed: list[str] = []
        self.collector = self.another()

    def another(self) -> Collector:
        def tell(leak) -> None:
            self.freed.extend(leak.addresses)

        return Collector(self.store, self.allocator, tell, clock=self.clock)

    def assigned(self, name: str, on: str = "a1", count: int = 1) -> list[str]:
        return self.allocator.assign(
            on, f"tortie.{on}.shop.{name}.eth0", count, attributes=notes(name)
        )

    def attached(self, name: str, address: str, on: str = "a1") -> None:
        self.put(workload(f"shop/{name}", address, on=on))

    def put(self, resource: r.Resource) -> None:
        self.store.commit([Put(kinds.key(resource), kinds.encode(resource))])

    def gone(self, resource: r.Resource) -> None:
        self.store.commit([Delete(kinds.key(resource))])

    def wait(self, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            self.clock.now += seconds / times
            self.collector.collect()


def test_a_leak_is_freed_after_the_grace_and_once() -> None:
    scene = Scene()
    (kept,), (leaked,) = scene.assigned("web"), scene.assigned("ghost")
    scene.attached("web", kept)
    scene.collector.collect()
    scene.wait(GRACE - 1, times=9)
    assert scene.freed == []
    scene.wait(1)
    assert scene.freed == [leaked]
    scene.wait(2 * GRACE, times=4)
    assert scene.freed == [leaked]
    assert scene.allocator.held("tortie.a1.shop.web.eth0") == [kept]


def test_an_attachment_that_is_finished_in_time_is_never_collected() -> None:
    scene = Scene()
    (address,) = scene.assigned("slow")
    scene.wait(GRACE - 1, times=3)
    scene.attached("slow", address)
    scene.wait(10 * GRACE, times=20)
    assert scene.freed == []


def test_the_grace_begins_anew_with_a_new_assignment_of_the_same_handle() -> None:
    scene = Scene()
    scene.assigned("ghost")
    scene.collector.collect()
    scene.wait(GRACE - 1)
    scene.allocator.release("tortie.a1.shop.ghost.eth0")
    scene.assigned("ghost")
    scene.wait(2)
    assert scene.freed == []


def test_of_a_handle_all_or_none() -> None:
    scene = Scene()
    first, second = scene.assigned("pair", count=2)
    scene.attached("pair", first)
    scene.wait(3 * GRACE, times=6)
    assert scene.freed == []
    scene.gone(workload("shop/pair", first, on="a1"))
    scene.wait(2 * GRACE, times=4)
    assert sorted(scene.freed) == sorted([first, second])


def test_what_is_for_a_node_that_is_gone_needs_no_grace_but_endpoints_keep_it() -> None:
    scene = Scene()
    (gone,), (kept,) = scene.assigned("ghost", on="a2"), scene.assigned("web", on="a2")
    scene.attached("web", kept, on="a2")
    scene.gone(node("a2"))
    scene.collector.collect()
    assert scene.freed == [], "something of that node is still there"
    scene.gone(workload("shop/web", kept, on="a2"))
    scene.collector.collect()
    assert sorted(scene.freed) == sorted([gone, kept])
    scene.wait(2 * GRACE, times=4)
    assert [block for block in scene.allocator.blocks() if block.node == "a2"] == []


def test_a_tunnels_address_is_judged_by_its_node() -> None:
    scene = Scene()
    kind = {"type": "vxlanTunnelAddress"}
    (mine,) = scene.allocator.assign("a1", "vxlan-tunnel-addr-a1", attributes=kind)
    (old,) = scene.allocator.assign("a2", "vxlan-tunnel-addr-a2", attributes=kind)
    there = node("a1")
    scene.put(r.Node(there.api_version, there.metadata, r.NodeSpec(ipv4_vxlan_tunnel_addr=mine)))
    scene.wait(2 * GRACE, times=4)
    assert scene.freed == [old]


def test_nothing_is_freed_by_a_grace_of_zero_or_while_somebody_cannot_be_read() -> None:
    never = Scene(settings(leak_grace_period="0s"))
    never.assigned("ghost")
    never.wait(10 * GRACE, times=10)
    assert never.freed == []
    blind = Scene()
    blind.assigned("ghost")
    key = "/tortie/v1/world/workloadendpoints/a1/shop/x"
    blind.store.commit([Put(key, b"{}")])
    blind.wait(3 * GRACE, times=6)
    assert (blind.freed, leaking(bk.read(blind.store))) == ([], [])
    blind.store.commit([Delete(key)])
    blind.wait(2 * GRACE, times=4)
    assert len(blind.freed) == 1


def test_an_endpoint_that_comes_in_the_last_moment_keeps_its_address(monkeypatch) -> None:
    """Between the last look and the release: the release itself requires that nobody has come."""
    scene = Scene()
    (address,) = scene.assigned("late")
    scene.collector.collect()
    scene.clock.now += GRACE
    release = scene.allocator.release_all

    def late(wanted, checks=()):
        scene.attached("late", address)
        return release(wanted, checks)

    monkeypatch.setattr(scene.allocator, "release_all", late)
    scene.collector.collect()
    assert scene.freed == []
    assert scene.allocator.held("tortie.a1.shop.late.eth0") == [address]


def test_two_collectors_at_once_free_each_leak_once() -> None:
    scene = Scene()
    other = scene.another()
    leaked = [scene.assigned(f"ghost{number}")[0] for number in range(9)]
    for _ in range(4):
        scene.clock.now += GRACE / 2
        scene.collector.collect()
        other.collect()
    assert sorted(scene.freed) == sorted(leaked)


class Flaky:
    """A store that now and then fails before or after it has done what it was told."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def commit(self, ops: Sequence[Op]) -> int:
        if self._chance.random() < 0.2:
            raise StoreUnavailable("not reached")
        revision = self._store.commit(ops)
        if self._chance.random() < 0.2:
            raise StoreUnavailable("done, but nobody was told")
        return revision


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_fails_loses_nothing_and_frees_nobodys_address(seed: int) -> None:
    scene = Scene()
    used = {f"web{number}": scene.assigned(f"web{number}")[0] for number in range(5)}
    for name, address in used.items():
        scene.attached(name, address)
    leaked = [scene.assigned(f"ghost{number}")[0] for number in range(5)]
    flaky: Store = Flaky(scene.store, random.Random(seed))  # type: ignore[assignment]
    allocator = Allocator(flaky, clock=scene.clock, pause=lambda _: None)
    collector = Collector(flaky, allocator, clock=scene.clock)
    for _ in range(40):
        scene.clock.now += GRACE / 3
        try:
            collector.collect()
        except StoreUnavailable:
            continue
    held = bk.read(scene.store).held
    assert set(held) == set(used.values())
    assert not set(leaked) & set(held)
