"""The allocator against a plain book of addresses, whatever is done with it and in what order."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ipam_world import Clock, claims, node, pool, put, reservation, settings, world

from tortie.errors import IpamError
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import Claimed
from tortie.ipam.draft import HANDLES
from tortie.store.memory import MemoryStore

POOLS = {"all": "10.1.0.0/29", "rack": "10.2.0.0/30"}
RESERVED = "10.1.0.6"
EVERY = [str(a) for cidr in POOLS.values() for a in ipaddress.ip_network(cidr)]
COOL_DOWN = 60

NODES = st.sampled_from(["a", "b", "c"])
HANDLE = st.sampled_from(["h0", "h1", "h2", "h3"])


class AnyAddresses(RuleBasedStateMachine):
    """Three nodes, two pools of small blocks. The book: who has what, since when nobody has it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store: MemoryStore = world(
            pool("all", POOLS["all"], block_size=31),
            pool("rack", POOLS["rack"], block_size=31, node_selector="has(rack)"),
            reservation("kept", f"{RESERVED}/32"),
            *(node(name) for name in "abc"),
        )
        self.allocator = Allocator(self.store, clock=self.clock, pause=lambda _: None)
        self.holders: dict[str, str] = {}
        self.released: dict[str, float] = {}
        self.racked: set[str] = set()
        self.strict = False
        self.disabled = False

    def hot(self, address: str) -> bool:
        return self.clock.now - self.released.get(address, -1e9) < COOL_DOWN

    def could(self, host: str) -> set[str]:
        """What a node might be given by itself, wherever it is."""
        usable = [] if self.disabled else [POOLS["all"]]
        usable += [POOLS["rack"]] if host in self.racked else []
        everywhere = {str(a) for cidr in usable for a in ipaddress.ip_network(cidr)}
        return {a for a in everywhere - self.holders.keys() - {RESERVED} if not self.hot(a)}

    def took(self, addresses: list[str], handle: str) -> None:
        for each in addresses:
            assert each not in self.holders
            self.holders[each] = handle
            self.released.pop(each, None)

    def gave(self, addresses: Any) -> None:
        for each in addresses:
            del self.holders[each]
            self.released[each] = self.clock.now

    @rule(seconds=st.sampled_from([10, 50, 60, 100]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(host=NODES, handle=HANDLE, count=st.integers(1, 4))
    def assign(self, host: str, handle: str, count: int) -> None:
        could = self.could(host)
        try:
            given = self.allocator.assign(host, handle, count)
        except IpamError:
            # Under strict affinity what is free may be others'.
            assert self.strict or len(could) < count
            return
        assert len(set(given)) == count and set(given) <= could
        self.took(given, handle)

    @rule(host=NODES, handle=HANDLE, address=st.sampled_from(EVERY))
    def assign_address(self, host: str, handle: str, address: str) -> None:
        holder = self.holders.get(address)
        off = self.disabled and not address.startswith("10.2.")
        refused = address == RESERVED or self.hot(address) or holder is not None or off
        try:
            self.allocator.assign_address(address, host, handle)
        except IpamError as error:
            assert (refused and holder != handle) or "strict affinity" in error.message
        else:
            assert holder == handle or not refused
            if holder is None:
                self.took([address], handle)

    @rule(handle=HANDLE)
    def release(self, handle: str) -> None:
        mine = {a for a, holder in self.holders.items() if holder == handle}
        assert set(self.allocator.release(handle)) == mine
        self.gave(mine)

    @rule(
        wanted=st.lists(
            st.tuples(st.sampled_from(EVERY), HANDLE | st.none(), st.booleans()), max_size=4
        )
    )
    def release_all(self, wanted: list[tuple[str, str | None, bool]]) -> None:
        claims = []
        for address, handle, right in wanted:
            known = {c.address: c.sequence for h in self.handles() for c in self.of(h)}
            claims.append(Claimed(address, handle, known.get(address) if right else 1))
        spoilt = {
            self.holders[c.address]
            for c, (_, _, right) in zip(claims, wanted, strict=True)
            if c.address in self.holders
            and (c.handle not in (None, self.holders[c.address]) or not right)
        }
        done = self.allocator.release_all(claims)
        there = {c.address for c in claims} & self.holders.keys()
        assert set(done.unassigned) == {c.address for c in claims} - there
        assert set(done.released) == {a for a in there if self.holders[a] not in spoilt}
        assert bool(done.refused) == bool(spoilt)
        self.gave(done.released)

    @rule(host=NODES | st.none())
    def keep_house(self, host: str | None) -> None:
        self.allocator.give_back_empty(host)
        self.allocator.repair(host)

    @rule(host=NODES)
    def lose(self, host: str) -> None:
        self.allocator.release_node(host)

    @rule(host=NODES)
    def relabel(self, host: str) -> None:
        self.racked ^= {host}
        put(self.store, node(host, rack="x") if host in self.racked else node(host))

    @rule()
    def disable(self) -> None:
        self.disabled = not self.disabled
        put(self.store, pool("all", POOLS["all"], block_size=31, disabled=self.disabled))

    @rule()
    def configure(self) -> None:
        self.strict = not self.strict
        put(self.store, settings(strict_affinity=self.strict))

    def handles(self) -> set[str]:
        return set(self.holders.values())

    def of(self, handle: str) -> list[Claimed]:
        return self.allocator.claimed(handle)

    @invariant()
    def the_books_agree(self) -> None:
        told = {a: h for h in ("h0", "h1", "h2", "h3") for a in self.allocator.held(h)}
        assert told == self.holders
        assert len(self.store.list(HANDLES).entries) == len(self.handles())
        blocks = self.allocator.blocks()
        assert sum(len(block.allocations) for block in blocks) == len(told)
        owned = {(block.node, block.cidr, "confirmed") for block in blocks if block.node}
        assert claims(self.store) == owned


TestAnyAddresses = AnyAddresses.TestCase
TestAnyAddresses.settings = hypothesis_settings(
    max_examples=80, stateful_step_count=30, deadline=None
)
