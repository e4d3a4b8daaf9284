"""The allocator against a plain book of addresses, whatever is done with it and in what order."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ipam_world import Clock, claims, node, pool, put, reservation, settings, world

from tortie.errors import IpamError
from tortie.ipam.allocator import Allocator
from tortie.ipam.block import Claimed
from tortie.ipam.draft import HANDLES
from tortie.model import net
from tortie.store.memory import MemoryStore

POOLS: dict[net.Family, tuple[str, str, int]] = {
    4: ("10.1.0.0/29", "10.2.0.0/30", 31),
    6: ("fd00:1::/125", "fd00:2::/126", 127),
}
"""By family: the pool for all, that for some nodes, and how long the prefixes of blocks are."""
RESERVED = 6
COOL_DOWN = 60

NODES = st.sampled_from(["a", "b", "c"])
HANDLE = st.sampled_from(["h0", "h1", "h2", "h3"])
NUMBER = st.integers(0, 11)
"""Of an address: eight in the first pool, four in the second."""


class AnyAddresses(RuleBasedStateMachine):
    """Three nodes, two pools of small blocks. The book: who has what, since when nobody has it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store: MemoryStore = world(*(node(name) for name in "abc"))
        self.allocator = Allocator(self.store, clock=self.clock, pause=lambda _: None)
        self.holders: dict[str, str] = {}
        self.released: dict[str, float] = {}
        self.racked: set[str] = set()
        self.strict = False
        self.disabled = False
        self.start(4)

    @initialize(family=st.sampled_from([4, 6]))
    def start(self, family: net.Family) -> None:
        self.family = family
        self.wide, self.rack, self.size = POOLS[family]
        self.all = [str(a) for a in ipaddress.ip_network(self.wide)]
        self.every = [*self.all, *(str(a) for a in ipaddress.ip_network(self.rack))]
        put(
            self.store,
            pool("all", self.wide, block_size=self.size),
            pool("rack", self.rack, block_size=self.size, node_selector="has(rack)"),
            reservation("kept", self.every[RESERVED]),
        )

    def hot(self, address: str) -> bool:
        return self.clock.now - self.released.get(address, -1e9) < COOL_DOWN

    def could(self, host: str) -> set[str]:
        """What a node might be given by itself, wherever it is."""
        usable = set() if self.disabled else set(self.all)
        usable |= set(self.every) - set(self.all) if host in self.racked else set()
        kept = {self.every[RESERVED]}
        return {a for a in usable - self.holders.keys() - kept if not self.hot(a)}

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
            given = self.allocator.assign(host, handle, count, self.family)
        except IpamError:
            # Under strict affinity what is free may be others'.
            assert self.strict or len(could) < count
            return
        assert len(set(given)) == count and set(given) <= could
        self.took(given, handle)

    @rule(host=NODES, handle=HANDLE, number=NUMBER)
    def assign_address(self, host: str, handle: str, number: int) -> None:
        address = self.every[number]
        holder = self.holders.get(address)
        off = self.disabled and address in self.all
        refused = number == RESERVED or self.hot(address) or holder is not None or off
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

    @rule(wanted=st.lists(st.tuples(NUMBER, HANDLE | st.none(), st.booleans()), max_size=4))
    def release_all(self, wanted: list[tuple[int, str | None, bool]]) -> None:
        claims = []
        for number, handle, right in wanted:
            address = self.every[number]
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
        put(self.store, pool("all", self.wide, block_size=self.size, disabled=self.disabled))

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
