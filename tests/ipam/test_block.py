"""The block: a pure transition. Nobody shares an address, none is lost, reuse waits its turn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tortie.errors import IpamError
from tortie.ipam import block as blk
from tortie.ipam.block import Claimed

FAMILIES = [("10.0.0.0/26", "10.0.0.0", "10.0.0.63"), ("fd00::40/122", "fd00::40", "fd00::7f")]


@pytest.mark.parametrize(("cidr", "first", "last"), FAMILIES)
def test_a_new_block_gives_all_its_addresses_in_order(cidr: str, first: str, last: str) -> None:
    block, given_ = blk.assign(blk.new(cidr, "host:a1"), 64, "h", {}, 0)
    assert (given_[0], given_[-1], len(given_)) == (first, last, 64)
    assert blk.free(block, 0) == 0
    assert block.node == "a1"


def test_a_block_gives_what_it_has_when_asked_for_more() -> None:
    block, given_ = blk.assign(blk.new("10.0.0.0/30", None), 9, "h", {}, 0)
    assert given_ == ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert blk.assign(block, 1, "other", {}, 0) == (block, ())


def test_a_released_address_cools_down_then_the_first_released_is_the_first_reused() -> None:
    block, _ = blk.assign(blk.new("10.0.0.0/31", None), 1, "a", {}, 0)
    block, _ = blk.assign(block, 1, "b", {}, 0)
    block, done = blk.release_address(block, "10.0.0.1", 5)
    assert done
    block, released = blk.release_handle(block, "a", 6)
    assert released == ("10.0.0.0",)
    assert (blk.free(block, 64.9), blk.cooling(block, 64.9)) == (0, 2)
    assert blk.assign(block, 1, "c", {}, 64.9)[1] == ()
    assert blk.assign(block, 2, "c", {}, 99)[1] == ("10.0.0.1", "10.0.0.0")
    block, given_ = blk.assign(block, 1, "c", {}, 65)
    assert given_ == ("10.0.0.1",)
    assert blk.assign(block, 1, "d", {}, 66)[1] == ("10.0.0.0",)


def test_never_used_addresses_go_before_those_used_once() -> None:
    block, _ = blk.assign(blk.new("10.0.0.0/30", None), 1, "a", {}, 0)
    block, _ = blk.release_handle(block, "a", 0)
    assert blk.assign(block, 4, "b", {}, 1000)[1] == (
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.0",
    )


def test_releasing_twice_is_releasing_once() -> None:
    block, _ = blk.assign(blk.new("10.0.0.0/30", None), 2, "a", {}, 0)
    once, _ = blk.release_handle(block, "a", 1)
    assert blk.release_handle(once, "a", 9) == (once, ())
    assert blk.release_address(once, "10.0.0.0", 9) == (once, False)


def test_an_address_asked_for_by_name() -> None:
    block = blk.assign_address(blk.new("fd00::/122", None), "fd00::5", "a", {"k": "v"}, 0)
    assert blk.held_by(block, "a") == ("fd00::5",)
    assert blk.assign_address(block, "fd00::5", "a", {}, 9) is block
    assert "fd00::5" not in blk.assign(block, 64, "b", {}, 0)[1]
    refusals = [
        (block, "fd00::5", 0.0, "in use by a"),
        (blk.release_handle(block, "a", 10)[0], "fd00::5", 30.0, "wait 40 s"),
        (block, "fd00::ff", 0.0, "not in the block"),
    ]
    for state, address, now, said in refusals:
        with pytest.raises(IpamError, match=said):
            blk.assign_address(state, address, "b", {}, now)
    cooled = blk.assign_address(refusals[1][0], "fd00::5", "b", {}, 70)
    assert blk.held_by(cooled, "b") == ("fd00::5",)


def test_nobody_releases_what_another_holds() -> None:
    block, _ = blk.assign(blk.new("10.0.0.0/30", None), 1, "a", {}, 0)
    with pytest.raises(IpamError, match="held by a, not by b"):
        blk.release_address(block, "10.0.0.0", 1, "b")


@pytest.mark.parametrize(
    "stored",
    [
        b"nonsense",
        b'{"cidr":"10.0.0.0/31","affinity":null,"allocations":{},"unallocated":[0],"released":{}}',
        b'{"cidr":"10.0.0.0/31","affinity":null,"allocations":{"0":{"handle":"a"}},'
        b'"unallocated":[0,1],"released":{}}',
        b'{"cidr":"10.0.0.0/8","affinity":null,"allocations":{},"unallocated":[],"released":{}}',
        b'{"cidr":"x","affinity":null,"allocations":{},"unallocated":[],"released":{}}',
        b'{"cidr":"10.0.0.0/31","affinity":null,"allocations":{"0":{"handle":"a"}},'
        b'"unallocated":[1],"released":{},"owners":{"0":"shop/web"}}',
    ],
)
def test_a_stored_block_that_contradicts_itself_is_refused(stored: bytes) -> None:
    with pytest.raises(IpamError):
        blk.decode(stored)


OLD = (
    b'{"cidr":"10.0.0.0/30","affinity":"host:a1","allocations":{"2":{"handle":"a","attributes":'
    b'{"node":"a1"}}},"unallocated":[0,1],"released":{"3":7.5}}'
)


def test_a_block_stored_before_there_were_numbers_is_read_and_goes_on() -> None:
    old = blk.decode(OLD)
    assert (old.sequence, old.owners, blk.claimed(old, "a")) == (0, {}, (("10.0.0.2", "a", 0),))
    released, done = blk.release(old, [Claimed("10.0.0.2", "a", 0)], 100)
    assert done.released == ("10.0.0.2",)
    again = blk.assign_address(released, "10.0.0.2", "a", {}, 161)
    assert blk.claimed(again, "a") == (("10.0.0.2", "a", 2),)


WEB = {"namespace": "shop", "workload": "web"}


@pytest.mark.parametrize(
    ("last", "new", "at_once"),
    [
        (WEB, WEB, True),
        (WEB, WEB | {"node": "b1", "endpoint": "eth1"}, True),
        (WEB, WEB | {"namespace": "bank"}, False),
        (WEB, WEB | {"workload": "db"}, False),
        (WEB, {}, False),
        ({}, {}, False),
        ({"pod": "x"}, {"pod": "x", "namespace": "default"}, True),
        ({"type": "vxlanTunnelAddress", "node": "a1"},) * 2 + (True,),
        (
            {"type": "vxlanTunnelAddress", "node": "a1"},
            {"type": "vxlanTunnelAddress", "node": "b1"},
            False,
        ),
    ],
)
def test_only_its_last_owner_has_an_address_again_before_it_has_cooled_down(
    last: dict[str, str], new: dict[str, str], at_once: bool
) -> None:
    block = blk.assign_address(blk.new("10.0.0.0/30", None), "10.0.0.1", "one", last, 0)
    block, _ = blk.release_handle(block, "one", 10)
    assert "10.0.0.1" not in blk.assign(block, 4, "two", new, 11)[1]  # only if it is asked for
    if at_once:
        assert blk.held_by(blk.assign_address(block, "10.0.0.1", "two", new, 11), "two")
    else:
        with pytest.raises(IpamError, match="released a moment ago"):
            blk.assign_address(block, "10.0.0.1", "two", new, 11)
    assert blk.held_by(blk.assign_address(block, "10.0.0.1", "two", new, 70), "two")


def test_reserved_addresses_are_passed_over_and_keep_their_place() -> None:
    block = blk.new("10.0.0.0/30", None)
    block, given_ = blk.assign(block, 9, "a", {}, 0, reserved={0, 2})
    assert given_ == ("10.0.0.1", "10.0.0.3")
    assert (blk.free(block, 0), blk.free(block, 0, reserved={0, 2})) == (2, 0)
    assert blk.assign(block, 9, "b", {}, 0)[1] == ("10.0.0.0", "10.0.0.2")


HELD, _ = blk.assign(blk.new("10.0.0.0/30", None, 40), 2, "a", {}, 0)


@pytest.mark.parametrize(
    ("wanted", "released", "unassigned", "refused"),
    [
        ([("10.0.0.0", "a", 41)], ["10.0.0.0"], [], []),
        ([("10.0.0.0", None, None)] * 3, ["10.0.0.0"], [], []),
        ([("10.0.0.0", "a", None), ("10.0.0.3", None, 7)], ["10.0.0.0"], ["10.0.0.3"], []),
        ([("10.0.0.0", "a", 40)], [], [], ["10.0.0.0 was assigned anew to a"]),
        ([("10.0.0.0", "b", 41)], [], [], ["10.0.0.0 is held by a, not by b"]),
        (
            [("10.0.0.0", "a", 41), ("10.0.0.1", "b", None), ("10.0.0.2", None, None)],
            [],
            ["10.0.0.2"],
            ["10.0.0.1 is held by a"],
        ),
        ([], [], [], []),
    ],
)
def test_a_list_to_release_is_released_whole_or_not_at_all(
    wanted: list[tuple[str, str | None, int | None]],
    released: list[str],
    unassigned: list[str],
    refused: list[str],
) -> None:
    block, done = blk.release(HELD, [Claimed(*each) for each in wanted], 1)
    assert (list(done.released), list(done.unassigned)) == (released, unassigned)
    assert len(done.refused) == len(refused)
    assert all(said in found for said, found in zip(refused, done.refused, strict=True))
    if not released:
        assert block is HELD


def test_a_block_is_idle_when_nobody_has_an_address_and_none_must_wait() -> None:
    fresh = blk.new("10.0.0.0/31", "host:a1")
    assert (blk.empty_since(fresh), blk.idle(fresh, 0)) == (0, True)
    held, _ = blk.assign(fresh, 1, "a", {}, 0)
    assert (blk.empty_since(held), blk.idle(held, 999)) == (None, False)
    left, _ = blk.release_handle(held, "a", 5)
    assert (blk.empty_since(left), blk.idle(left, 64.9), blk.idle(left, 65)) == (5, False, True)
    assert blk.idle(left, 5, cool_down=0)


# --- whatever happens -------------------------------------------------------------------------

HANDLES = st.sampled_from(["h0", "h1", "h2"])
NUMBERS = st.integers(0, 3)


class AnyBlock(RuleBasedStateMachine):
    """A block against a plain book of who has what, who had it, until when, and the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cool_down = 60
        self.holders: dict[str, tuple[str, int]] = {}
        self.released: dict[str, tuple[float, str]] = {}
        self.past: list[Claimed] = []
        self.highest = 0

    @initialize(
        cidr=st.sampled_from(["10.0.0.0/30", "fd00::8/126"]),
        start=st.integers(0, 9),
        cool_down=st.sampled_from([0, 30, 60]),
    )
    def begin(self, cidr: str, start: int, cool_down: int) -> None:
        self.cool_down = cool_down
        self.block = blk.new(cidr, None, start)

    def address(self, number: int) -> str:
        return blk.address_of(self.block, number)

    def waits(self, address: str) -> bool:
        return address in self.released and self.now - self.released[address][0] < self.cool_down

    def took(self, address: str, handle: str) -> None:
        assert address not in self.holders
        self.released.pop(address, None)
        (number,) = [c.sequence for c in blk.claimed(self.block, handle) if c.address == address]
        assert number is not None and Claimed(address, handle, number) not in self.past
        assert number >= self.highest
        self.holders[address] = (handle, number)

    def gave(self, address: str) -> None:
        handle, number = self.holders.pop(address)
        self.past.append(Claimed(address, handle, number))
        self.released[address] = (self.now, handle)
        self.highest = number + 1

    @rule(seconds=st.sampled_from([1, 29, 31, 60, 90]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(handle=HANDLES, count=st.integers(0, 4), reserved=st.frozensets(NUMBERS, max_size=2))
    def assign(self, handle: str, count: int, reserved: frozenset[int]) -> None:
        kept = {self.address(number) for number in reserved}
        everything = {self.address(number) for number in range(4)}
        could = {a for a in everything - kept - self.holders.keys() if not self.waits(a)}
        before = self.block
        self.block, given_ = blk.assign(
            before, count, handle, {"workload": handle}, self.now,
            cool_down=self.cool_down, reserved=reserved,
        )  # fmt: skip
        assert set(given_) <= could and len(given_) == min(count, len(could)) == len(set(given_))
        assert given_ or self.block is before
        for each in given_:
            self.took(each, handle)

    @rule(handle=HANDLES, number=NUMBERS)
    def assign_address(self, handle: str, number: int) -> None:
        address = self.address(number)
        holder = self.holders.get(address, ("", 0))[0]
        waits = self.waits(address) and self.released[address][1] != handle
        try:
            self.block = blk.assign_address(
                self.block, address, handle, {"workload": handle}, self.now,
                cool_down=self.cool_down,
            )  # fmt: skip
        except IpamError:
            assert holder not in ("", handle) or waits
        else:
            assert holder in ("", handle) and not waits
            if not holder:
                self.took(address, handle)

    @rule(handle=HANDLES)
    def release_handle(self, handle: str) -> None:
        mine = {a for a, (holder, _) in self.holders.items() if holder == handle}
        self.block, released = blk.release_handle(self.block, handle, self.now)
        assert set(released) == mine
        for each in released:
            self.gave(each)

    @rule(
        wanted=st.lists(
            st.tuples(NUMBERS, HANDLES | st.none(), st.integers(0, 20) | st.none()), max_size=3
        )
    )
    def release(self, wanted: list[tuple[int, str | None, int | None]]) -> None:
        claims = [Claimed(self.address(number), *rest) for number, *rest in wanted]
        right = [self.right(claim) for claim in claims]
        before = self.block
        self.block, done = blk.release(before, claims, self.now)
        there = {each.address for each in claims if each.address in self.holders}
        assert set(done.unassigned) == {each.address for each in claims} - there
        assert bool(done.refused) == (not all(right))
        assert set(done.released) == (there if all(right) else set())
        assert done.released or self.block is before
        for each in done.released:
            self.gave(each)

    def right(self, claim: Claimed) -> bool:
        handle, number = self.holders.get(claim.address, (claim.handle, claim.sequence))
        return claim.handle in (None, handle) and claim.sequence in (None, number)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def release_late(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.past))
        before = self.block
        self.block, done = blk.release(before, [claim], self.now)
        assert self.block is before and not done.released

    @rule(node=st.sampled_from(["host:a1", "host:b1", None]))
    def change_hands(self, node: str | None) -> None:
        self.block = blk.with_affinity(self.block, node)

    @invariant()
    def all_is_told(self) -> None:
        if not hasattr(self, "block"):
            return
        assert blk.decode(blk.encode(self.block)) == self.block  # every ordinal is in one place
        told = {c.address: (h, c.sequence) for h in ["h0", "h1", "h2"]
                for c in blk.claimed(self.block, h)}  # fmt: skip
        assert told == self.holders
        waiting = sum(map(self.waits, self.released))
        assert blk.cooling(self.block, self.now, self.cool_down) == waiting
        assert (
            blk.free(self.block, self.now, self.cool_down)
            + blk.cooling(self.block, self.now, self.cool_down)
            + len(self.holders)
            == 4
        )
        assert blk.idle(self.block, self.now, self.cool_down) <= (not self.holders)


TestAnyBlock = AnyBlock.TestCase
TestAnyBlock.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4, unique=True))
def test_first_released_is_first_reused(order: list[int], never: list[int]) -> None:
    block, _ = blk.assign(blk.new("10.0.0.0/30", None), 4, "a", {}, 0)
    gone = [number for number in order if number not in never]
    for at, number in enumerate(gone):
        block, _ = blk.release_address(block, blk.address_of(block, number), at)
    _, given_ = blk.assign(block, 4, "b", {}, 1000)
    assert [blk.ordinal_of(block, each) for each in given_] == gone
