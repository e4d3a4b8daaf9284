"""Which store a host believes, and that no other one changes anything on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from agent.rig import BASE, Host, barrier, batch, cluster, status_key, web
from worlds import node

from tortie.agent.belief import FORGOTTEN, Kept, Memory, doubt
from tortie.agent.events import BelieveStore, KernelChanged
from tortie.model import kinds
from tortie.store.syncer import Batch, Lost

KEPT = Kept("g1", "s1", 100)


@pytest.mark.parametrize(
    ("kept", "guid", "identity", "revision", "says"),
    [
        (None, "g1", "s1", 7, ""),
        (None, None, "s1", 7, "empty"),
        (KEPT, "g1", "s1", 100, ""),
        (KEPT, "g1", "s1", 101, ""),
        (KEPT, None, "s1", 101, "empty"),
        (KEPT, "g2", "s1", 101, "another cluster's: GUID g2, this host enforces g1"),
        (KEPT, "g1", "s2", 101, "made anew"),
        (KEPT, "g1", "s1", 99, "back in time: revision 99, this host has seen 100"),
        (FORGOTTEN, "g1", "s1", 7, "cannot be read"),
    ],
)
def test_doubt(kept, guid, identity, revision, says) -> None:
    said = doubt(kept, guid, identity, revision)
    assert says in said and bool(said) == bool(says)


# --- a host that meets such a store ---------------------------------------------------------------

ALL_GONE = batch(101, gone=BASE)
Stores = list[tuple[str, Batch, str]]
OTHERS: Stores = [
    ("empty", ALL_GONE, "the store is empty"),
    ("empty, and young", batch(1, gone=BASE, identity="store-2"), "the store is empty"),
    ("emptied, its identity kept", batch(1, gone=BASE), "the store is empty"),
    ("another cluster's", batch(101, cluster("g2"), gone=[web()]), "another cluster's: GUID g2"),
    ("made anew", batch(101, gone=[web()], identity="store-2"), "made anew"),
    ("restored", batch(99, gone=[web()]), "back in time: revision 99, this host has seen 100"),
]
each_other = pytest.mark.parametrize(
    ("other", "says"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS]
)


def unmoved(host: Host) -> bool:
    """Every driver was told of revision 100 and of nothing else since."""
    return all(one.revisions == [100] for one in (host.filter, host.links, host.routes, host.bird))


@each_other
def test_another_store_changes_nothing(host: Host, other: Batch, says: str) -> None:
    host.at(0, batch(100, *BASE))
    host.at(1, other)
    host.at(2, KernelChanged())
    host.run(40)
    assert unmoved(host)
    state, reason = host.state
    assert state == "holding"
    assert says in reason
    assert "tortie node believe-store" in reason or "empty" in reason
    assert (host.own[-1]["state"], host.own[-1]["revision"]) == ("holding", 100)
    assert [each["state"] for each in host.said(status_key())] == ["up"]


@each_other
def test_another_store_is_not_believed_after_a_restart(tmp_path, other, says) -> None:
    before = Host(tmp_path)
    before.at(0, batch(100, *BASE))
    before.run(1)
    host = Host(tmp_path)
    host.at(0, batch(other.revision, *BASE[:2], identity=other.identity), other)
    host.run(1)
    assert host.journal == []
    assert host.state[0] == "holding"
    assert says in host.state[1]


@each_other
def test_losing_the_other_store_ends_no_doubt(host: Host, other: Batch, says: str) -> None:
    host.at(0, batch(100, *BASE))
    host.at(1, other)
    host.at(2, Lost("no answer"), KernelChanged())
    host.run(4)
    assert unmoved(host)
    assert host.state[0] == "holding"


@each_other
def test_the_operators_word_ends_the_doubt(host: Host, other: Batch, says: str) -> None:
    host.at(0, batch(100, *BASE))
    host.at(1, other)
    host.at(2, BelieveStore())
    if "empty" in says:
        # There is nothing to believe in before somebody has written to it.
        host.at(3, batch(200, cluster("g3"), BASE[1], identity="store-3"))
        host.at(4, lambda: seen.append(host.state[0]), BelieveStore())
    seen: list[str] = []
    host.run(5)
    assert seen == (["holding"] if "empty" in says else [])
    assert host.state == ("ready", "")
    assert len(host.filter.revisions) == 2
    assert host.filter.last.filter.endpoints == ()


def test_what_the_operator_believes_is_believed_after_a_restart(tmp_path: Path) -> None:
    before = Host(tmp_path)
    before.at(0, batch(100, *BASE))
    before.at(1, batch(5, cluster("g2"), identity="store-2"), BelieveStore())
    before.run(2)
    after = Host(tmp_path)
    after.at(0, batch(5, cluster("g2"), *BASE[1:], identity="store-2"))
    after.run(1)
    assert after.state == ("ready", "")
    old = Host(tmp_path)
    old.at(0, batch(101, *BASE))
    old.run(1)
    assert "another cluster's" in old.state[1]


@pytest.mark.parametrize("other", [row[1] for row in OTHERS[:5]], ids=[r[0] for r in OTHERS[:5]])
def test_the_right_store_is_believed_again_when_it_is_back(host: Host, other: Batch) -> None:
    host.at(0, batch(100, *BASE))
    host.at(1, other)
    host.at(2, batch(103, *BASE[:2], web("10.65.0.2")))
    host.run(3)
    assert host.state == ("ready", "")
    assert host.filter.revisions == [100, 103]
    assert host.filter.last.filter.endpoints[0].addresses == ("10.65.0.2",)


@pytest.mark.parametrize("restarted", [False, True], ids=["", "after a restart"])
@pytest.mark.parametrize("at_once", [False, True], ids=["", "at once"])
def test_a_restored_store_is_not_believed_for_being_written_to(tmp_path, restarted, at_once):
    host = Host(tmp_path)
    host.at(0, batch(100, *BASE))
    host.at(1, batch(90, gone=[web()]))
    host.at(1 if at_once else 2, batch(150, web("10.65.0.9")))
    host.run(3)
    assert unmoved(host)
    if restarted:
        host = Host(tmp_path)
        host.at(0, batch(151, *BASE))
        host.at(1, lambda: stopped.append(list(host.journal)))
        stopped: list[list[str]] = []
        host.run(2)
        assert stopped == [[]]
    assert "back in time: revision 90, this host has seen 100" in host.state[1]
    host = Host(tmp_path)
    host.at(0, batch(152, *BASE))
    host.at(1, BelieveStore())
    host.run(2)
    assert host.state == ("ready", "")


def test_a_new_host_believes_the_first_store_that_is_not_empty(host: Host) -> None:
    seen: list[tuple[str, str]] = []
    host.at(0, batch(1))
    host.at(1, host.look(seen, lambda: host.state))
    host.at(2, batch(2, *BASE))
    host.run(3)
    assert seen[0][0] == "holding" and "empty" in seen[0][1]
    assert host.state == ("ready", "")


def test_a_host_whose_drivers_fail_still_knows_which_store_it_follows(host: Host) -> None:
    host.at(0, host.bird.fails("never"), batch(100, *BASE))
    host.at(1, batch(101, cluster("g2")))
    host.run(20)
    assert "another cluster's" in host.state[1]
    assert unmoved(host)


def test_after_the_operators_word_everything_is_told_to_the_new_store(host: Host) -> None:
    other = web("10.65.0.9", "other", "tor9")
    host.at(0, batch(100, *BASE, other, barrier("b")))
    host.at(1, batch(5, cluster("g2"), gone=[other], identity="store-2"))
    host.at(2, BelieveStore())
    host.run(3)
    assert [each["state"] for each in host.said(status_key("web"))] == ["up", "up"]
    assert host.said(status_key("other"))[1:] == [None]
    assert len(host.said(kinds.receipt_key("b", "alpha"))) == 2
    assert host.own[-1]["state"] == "ready"


# --- what a host keeps ----------------------------------------------------------------------------


def nothing(path: Path) -> object:
    return path.write_bytes(b"")


def half(path: Path) -> object:
    return path.write_bytes(path.read_bytes()[:20])


def wrong(path: Path) -> object:
    return path.write_bytes(b'{"guid": 7}')


def no_file(path: Path) -> object:
    path.unlink()
    return path.mkdir()


@pytest.mark.parametrize("spoil", [nothing, half, wrong, no_file])
def test_a_memory_that_cannot_be_read_is_no_belief(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    before = Host(tmp_path)
    before.at(0, batch(100, *BASE))
    before.run(1)
    spoil(tmp_path / "store.json")
    host = Host(tmp_path)
    host.at(0, batch(101, *BASE))
    host.at(1, KernelChanged())
    host.run(2)
    assert host.journal == []
    assert host.filter.prepared
    assert "what this host has kept of its store cannot be read" in host.state[1]
    host = Host(tmp_path)
    host.at(0, batch(101, *BASE))
    host.at(1, BelieveStore())
    host.run(2)
    assert host.state == ("ready", "")
    if spoil is not no_file:
        assert Memory(tmp_path).load() == Kept("g1", "store-1", 101)


def test_a_host_that_can_keep_nothing_goes_on(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    host = Host(tmp_path / "file" / "state")
    host.agent._kept = None  # an unreadable place is doubted at the start, see above
    host.at(0, batch(100, *BASE))
    host.at(1, batch(101, cluster("g2")))
    host.run(2)
    assert host.filter.revisions == [100]
    assert "lost at a restart" in caplog.text
    assert "another cluster's" in host.state[1]


def test_what_is_kept_is_the_owners_and_follows_the_store(tmp_path: Path) -> None:
    host = Host(tmp_path / "state")
    host.at(0, batch(100, *BASE))
    host.at(1, batch(101, node("beta", "172.16.0.2/24")))
    host.run(2)
    assert Memory(tmp_path / "state").load() == Kept("g1", "store-1", 101)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["store.json"]
