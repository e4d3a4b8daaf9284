"""The block: a pure transition. Nobody shares an address, none is lost, reuse waits its turn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.errors import IpamError
from tortie.ipam import block as blk

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
    ],
)
def test_a_stored_block_that_contradicts_itself_is_refused(stored: bytes) -> None:
    with pytest.raises(IpamError):
        blk.decode(stored)


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["assign", "address", "release", "release address"]),
        st.integers(0, 4),
        st.sampled_from([0, 1, 29, 31, 60, 90]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["10.0.0.0/30", "fd00::8/126"]), STEPS)
def test_whatever_happens_an_address_has_one_holder_and_waits_before_reuse(
    cidr: str, steps: list[Step]
) -> None:
    """Against a plain book: address -> holder, address -> when it was released."""
    block, now = blk.new(cidr, None), 0.0
    holders: dict[str, str] = {}
    released: dict[str, float] = {}

    def took(address: str, handle: str) -> None:
        assert address not in holders
        at = released.pop(address, None)
        assert at is None or now - at >= blk.COOL_DOWN
        holders[address] = handle

    for verb, number, wait in steps:
        now += wait
        handle, address = f"h{number % 3}", blk.address_of(block, number % 4)
        match verb:
            case "assign":
                oldest = sorted(released.values())
                block, addresses = blk.assign(block, number, handle, {}, now)
                reused = [released[each] for each in addresses if each in released]
                assert reused == oldest[: len(reused)]
                for each in addresses:
                    took(each, handle)
            case "address":
                had = holders.get(address) == handle
                try:
                    block = blk.assign_address(block, address, handle, {}, now)
                except IpamError:
                    assert not had
                    assert address in holders or now - released[address] < blk.COOL_DOWN
                else:
                    if not had:
                        took(address, handle)
            case "release":
                block, addresses = blk.release_handle(block, handle, now)
                assert set(addresses) == {a for a, h in holders.items() if h == handle}
                for each in addresses:
                    del holders[each]
                    released[each] = now
            case _:
                block, done = blk.release_address(block, address, now)
                assert done == (holders.pop(address, None) is not None)
                if done:
                    released[address] = now
        assert blk.decode(blk.encode(block)) == block  # and so: every ordinal is in one place
        for each in ("h0", "h1", "h2"):
            assert set(blk.held_by(block, each)) == {a for a, h in holders.items() if h == each}
        assert blk.free(block, now) + blk.cooling(block, now) + len(holders) == 4
