"""One contract for iptables, of both variants, and its fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from namespaces import inside_fresh

from tortie.errors import KernelError
from tortie.kernel import process
from tortie.kernel.iptables import Family, Iptables, IptablesPort, Variant
from tortie.kernel.iptables_fake import FakeIptables

FIRST = "*filter\n:tor-a - [0:0]\n-A tor-a -i tor+ -j DROP\n-I FORWARD -j tor-a\nCOMMIT\n"
FAMILIES: list[Family] = [4, 6]


@pytest.fixture(params=["nft", "legacy"])
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def iptables(request: pytest.FixtureRequest, variant: Variant) -> Iterator[IptablesPort]:
    if request.param == "fake":
        yield FakeIptables(variant)
        return
    with inside_fresh():
        door = Iptables(variant)
        yield door
        door.close()


def saved(iptables: IptablesPort, family: Family) -> list[str]:
    """The lines but for comments and counters."""
    lines = iptables.save(family).splitlines()
    return [line.partition(" [")[0] for line in lines if not line.startswith("#")]


def test_nothing_is_there_at_first_and_looking_makes_nothing(iptables: IptablesPort) -> None:
    before = iptables.stamp()
    assert [saved(iptables, family) for family in FAMILIES] == [[], []]
    assert iptables.stamp() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_chains_and_rules_are_kept_in_their_order(iptables: IptablesPort, family: Family) -> None:
    iptables.restore(family, FIRST)
    iptables.restore(family, "*filter\n-A FORWARD -j ACCEPT\n-I FORWARD -j DROP\nCOMMIT\n")
    assert saved(iptables, family) == [
        "*filter", ":INPUT ACCEPT", ":FORWARD ACCEPT", ":OUTPUT ACCEPT", ":tor-a -",
        "-A FORWARD -j DROP", "-A FORWARD -j tor-a", "-A FORWARD -j ACCEPT",
        "-A tor-a -i tor+ -j DROP", "COMMIT",
    ]  # fmt: skip
    assert saved(iptables, 10 - family) == []  # type: ignore[arg-type]


def test_a_protocol_is_named(iptables: IptablesPort) -> None:
    iptables.restore(4, "*filter\n-A FORWARD -p 47 -j DROP\nCOMMIT\n")
    assert "-A FORWARD -p gre -j DROP" in saved(iptables, 4)


def test_a_chain_that_is_named_is_emptied_first(iptables: IptablesPort) -> None:
    iptables.restore(4, FIRST)
    iptables.restore(4, "*filter\n:tor-a - [0:0]\n-A tor-a -o tor+ -j DROP\nCOMMIT\n")
    assert [line for line in saved(iptables, 4) if " tor-a" in line] == [
        "-A FORWARD -j tor-a",
        "-A tor-a -o tor+ -j DROP",
    ]


def test_a_chain_goes_with_the_rules_that_lead_to_it(iptables: IptablesPort) -> None:
    iptables.restore(4, FIRST)
    iptables.restore(4, "*filter\n:tor-a - [0:0]\n-D FORWARD -j tor-a\n-X tor-a\nCOMMIT\n")
    assert "tor-a" not in iptables.save(4)


@pytest.mark.parametrize(
    "lines",
    [
        "-D FORWARD -j ACCEPT\n",
        "-A FORWARD -j tor-nowhere\n",
        "-A tor-nowhere -j ACCEPT\n",
        ":tor-a - [0:0]\n-X tor-a\n",
    ],
    ids=["no such rule", "no such target", "no such chain", "chain in use"],
)
def test_a_table_is_changed_as_a_whole_or_not_at_all(iptables: IptablesPort, lines: str) -> None:
    iptables.restore(4, FIRST)
    before = saved(iptables, 4)
    with pytest.raises(KernelError, match="restore"):
        iptables.restore(4, f"*filter\n:tor-b - [0:0]\n{lines}COMMIT\n")
    assert saved(iptables, 4) == before


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        "*filter\n:other - [0:0]\nCOMMIT\n",
        "*filter\n-I FORWARD -j ACCEPT\nCOMMIT\n",
        "*filter\n:tor-a - [0:0]\nCOMMIT\n",
        "*raw\n-A PREROUTING -j ACCEPT\nCOMMIT\n",
    ],
    ids=["a chain", "a rule in front", "a chain emptied", "another table"],
)
def test_a_change_is_noticed(iptables: IptablesPort, change: str, family: Family) -> None:
    iptables.restore(family, FIRST)
    before = iptables.stamp()
    assert iptables.stamp() == before
    iptables.restore(family, change)
    assert iptables.stamp() != before


@pytest.mark.kernel
def test_both_variants_are_beside_each_other() -> None:
    with inside_fresh():
        nft, legacy = Iptables("nft"), Iptables("legacy")
        nft.restore(4, FIRST)
        assert legacy.save(4) == ""
        legacy.restore(4, FIRST)
        assert saved(legacy, 4) == saved(nft, 4)
        nft.close()


@pytest.mark.kernel
def test_a_namespace_has_its_own() -> None:
    with inside_fresh():
        Iptables("legacy").restore(4, FIRST)
        with inside_fresh():
            assert Iptables("legacy").save(4) == ""
            assert Iptables("legacy").stamp() == ()


@pytest.mark.kernel
def test_a_table_that_cannot_be_read_does_not_look_empty() -> None:
    with inside_fresh():
        door = Iptables("nft")
        door.restore(4, FIRST)
        native = "add chain ip {0} c; add rule ip {0} c ct state established accept"
        process.run(["nft", f"add table ip nat; {native.format('nat')}"])
        assert "tor-a" in door.save(4), "a table that is none of ours"
        process.run(["nft", native.format("filter")])
        with pytest.raises(KernelError, match="cannot read into its table filter"):
            door.save(4)
        door.close()


@pytest.mark.kernel
def test_nor_does_that_of_translation_if_any_of_it_is_ours() -> None:
    with inside_fresh():
        door = Iptables("nft")
        door.restore(4, "*nat\n:tor-nat-to - [0:0]\nCOMMIT\n")
        process.run(["nft", "add chain ip nat c; add rule ip nat c ct state established accept"])
        with pytest.raises(KernelError, match="cannot read into its table nat"):
            door.save(4)
        door.close()
