"""The driver: nothing for nothing, little for little, everything after doubt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from dataplane_nft import fresh_kernel

from tortie.dataplane.nft import Chain, NftDriver, Ruleset, Table, render, script_full
from tortie.desired import Desired, Endpoint, Filter, Policy, Report, Rule
from tortie.errors import KernelError
from tortie.kernel.nft import FakeNft, Nft, NftPort

OPEN = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
ONE = Endpoint("shop/one", "tor1", ("10.65.0.1", "fd65::1"), profiles=("Profile/open",))
TWO = Endpoint("shop/two", "tor2", ("10.65.0.2", "fd65::2"), profiles=("Profile/open",))


def desired(*endpoints: Endpoint) -> Desired:
    return Desired("node", 1, Filter(endpoints, (OPEN,)))


def running(*endpoints: Endpoint) -> tuple[FakeNft, NftDriver]:
    """A driver that has applied these endpoints, and forgotten scripts."""
    nft = FakeNft()
    driver = NftDriver(nft)
    driver.prepare()
    driver.apply(desired(*endpoints))
    nft.scripts.clear()
    return nft, driver


def is_refill(script: str) -> bool:
    """Everything is written anew, and no table is deleted."""
    return "\nflush table inet tortie\n" in script and "delete table" not in script


def test_before_the_store_is_read_all_of_ours_is_dropped() -> None:
    nft = FakeNft()
    NftDriver(nft).prepare()
    assert nft.scripts == [script_full(render(Filter()))]


def test_rules_of_an_earlier_run_are_left_until_the_first_apply() -> None:
    nft, _ = running(ONE)
    again = NftDriver(nft)
    again.prepare()
    assert nft.scripts == []
    again.apply(desired(ONE))
    assert [is_refill(script) for script in nft.scripts] == [True]


def test_nothing_to_do_sends_nothing_and_lists_once() -> None:
    nft, driver = running(ONE)
    listings = nft.listings
    assert [driver.apply(desired(ONE)) for _ in range(3)] == [Report()] * 3
    assert nft.scripts == [] and nft.listings == listings + 2  # one for each table


def test_a_change_sends_only_what_changed() -> None:
    nft, driver = running(ONE)
    report = driver.apply(desired(ONE, TWO))
    assert report.changed == 7  # two chains, two maps, live4 and live6, ARP's live4
    (script,) = nft.scripts
    assert "delete table" not in script and "tor1" not in script


def test_a_foreign_commit_elsewhere_changes_nothing() -> None:
    nft, driver = running(ONE)
    driver.apply(desired(ONE))
    nft.disturb()
    driver.apply(desired(ONE))
    assert nft.scripts == []
    driver.apply(desired(ONE, TWO))
    assert "delete table" not in nft.scripts[0]


@pytest.mark.parametrize("idle", [True, False], ids=["after a listing", "before any listing"])
def test_a_foreign_commit_to_our_table_brings_full_replacement(idle: bool) -> None:
    nft, driver = running(ONE)
    if idle:
        driver.apply(desired(ONE))
    nft.disturb("inet", "tortie")
    driver.apply(desired(ONE))
    assert [is_refill(script) for script in nft.scripts] == [True]


def test_after_a_refused_change_all_is_dropped_and_made_anew() -> None:
    nft, driver = running(ONE)
    nft.refuse = 1
    driver.apply(desired(ONE, TWO))
    assert nft.scripts[0] == script_full(render(Filter()))
    assert [is_refill(script) for script in nft.scripts[1:]] == [True]


def test_taking_over_from_another_dataplane_drops_nothing_meanwhile() -> None:
    nft = FakeNft()
    NftDriver(nft).apply(desired(ONE))
    *before, rules = nft.scripts
    assert is_refill(rules)
    assert [script for script in before if "chain" in script] == []


@pytest.mark.kernel
def test_what_the_kernel_does_not_take_leaves_the_last_one_in_force() -> None:
    with fresh_kernel() as nft:
        driver = NftDriver(nft)
        driver.prepare()
        driver.apply(desired(ONE))
        before = nft.list_table("inet", "tortie")
        impossible = Ruleset((Table("inet", {"x": Chain(("jump nowhere",))}),))
        with pytest.raises(KernelError):
            driver._install(Filter(), impossible)
        assert nft.list_table("inet", "tortie") == before


def test_what_is_refused_twice_is_an_error_and_healed_by_the_next_apply() -> None:
    nft, driver = running(ONE)
    nft.refuse = 2
    with pytest.raises(KernelError):
        driver.apply(desired(TWO))
    assert nft.scripts == []
    driver.apply(desired(TWO))
    assert [is_refill(script) for script in nft.scripts] == [True]


def test_an_unsafe_filter_leaves_the_last_one_in_force() -> None:
    nft, driver = running(ONE)
    with pytest.raises(KernelError, match="cannot be written down"):
        driver.apply(desired(msgspec.structs.replace(ONE, interface='tor"')))
    assert nft.scripts == []


@contextlib.contextmanager
def fake_kernel() -> Iterator[FakeNft]:
    yield FakeNft()


KERNELS = [
    pytest.param(fake_kernel, id="fake"),
    pytest.param(fresh_kernel, id="real", marks=pytest.mark.kernel),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_transaction_raises_the_generation_by_one(
    kernel: Callable[[], contextlib.AbstractContextManager[NftPort]],
) -> None:
    with kernel() as nft:
        before = nft.generation()
        nft.run(script_full(render(Filter())))
        nft.check("delete table inet tortie\n")
        assert nft.generation() == before + 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_table_is_listed_alike_until_it_changes(
    kernel: Callable[[], contextlib.AbstractContextManager[NftPort]],
) -> None:
    with kernel() as nft:
        assert nft.list_table("inet", "tortie") is None
        nft.run(script_full(render(Filter((ONE,), (OPEN,)))))
        first = nft.list_table("inet", "tortie")
        assert first is not None and nft.list_table("inet", "tortie") == first
        nft.run('delete element inet tortie live4 { "tor1" . 10.65.0.1 }\n')
        assert nft.list_table("inet", "tortie") != first
        assert nft.list_table("inet", "other") is None


@pytest.mark.kernel
def test_a_transaction_that_fails_leaves_nothing_and_says_why() -> None:
    with fresh_kernel() as nft:
        before = nft.generation()
        with pytest.raises(KernelError, match="No such file or directory"):
            nft.run("add table inet tortie\nadd rule inet tortie nowhere accept\n")
        assert nft.list_table("inet", "tortie") is None and nft.generation() == before


DAMAGES = {
    "an element": 'delete element inet tortie live4 { "tor1" . 10.65.0.1 }',
    "a rule": "flush chain inet tortie host-input",
    "a verdict": 'delete element inet tortie to_workload { "tor1" }',
    "a table": "delete table inet tortie",
    "the other table": "delete table arp tortie",
    "everything": "flush ruleset",
}


@pytest.mark.kernel
@pytest.mark.parametrize("idle", [True, False], ids=["after a listing", "before any listing"])
@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_removed_by_hand_is_put_back(what: str, idle: bool) -> None:
    with fresh_kernel() as nft:
        driver = NftDriver(nft)
        driver.prepare()
        driver.apply(desired(ONE))
        good = nft.list_table("inet", "tortie"), nft.list_table("arp", "tortie")
        if idle:
            driver.apply(desired(ONE))
        other = Nft()
        other.run(DAMAGES[what])
        other.close()
        driver.apply(desired(ONE))
        assert (nft.list_table("inet", "tortie"), nft.list_table("arp", "tortie")) == good
        assert driver.apply(desired(ONE)) == Report()


def test_a_sweep_removes_our_tables_once() -> None:
    nft, driver = running(ONE)
    assert driver.present() and driver.sweep()
    assert nft.scripts == ["delete table inet tortie\ndelete table arp tortie\n"]
    assert not driver.present() and not driver.sweep()
    driver.apply(desired(ONE))
    assert driver.present()
