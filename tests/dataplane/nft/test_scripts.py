"""Rule sets into scripts: full replacement, and only what differs, in an order nft can follow."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from dataplane_nft import fresh_kernel
from filters import filters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tortie.dataplane.nft import (
    Chain,
    Names,
    Ruleset,
    SetSpec,
    Table,
    names_in,
    render,
    reshaped,
    script_diff,
    script_full,
    script_refill,
    script_sets,
)
from tortie.kernel.nft import Nft


def table(**parts) -> Ruleset:
    chains = {name: Chain(rules) for name, rules in parts.pop("chains", {}).items()}
    return Ruleset((Table("inet", chains, parts),))


A = SetSpec("ipv4_addr", frozenset({"10.0.0.1", "10.0.0.2"}))
NETS = SetSpec("ipv4_addr", frozenset({"10.0.0.0/24"}), interval=True)
MAP = SetSpec("ifname : verdict", frozenset({'"tor1" : goto x'}), "map")

DELTAS = {
    "nothing": (table(a=A), table(a=A), ""),
    "an element comes, one goes": (
        table(a=A),
        table(a=SetSpec("ipv4_addr", frozenset({"10.0.0.1", "10.0.0.3"}))),
        "delete element inet tortie a { 10.0.0.2 }\nadd element inet tortie a { 10.0.0.3 }\n",
    ),
    "a prefix goes: the interval set is filled anew": (
        table(n=NETS),
        table(n=SetSpec("ipv4_addr", frozenset({"10.1.0.0/24"}), interval=True)),
        "flush set inet tortie n\nadd element inet tortie n { 10.1.0.0/24 }\n",
    ),
    "only the changed chain is sent": (
        table(chains={"x": ("accept",), "y": ("drop",)}),
        table(chains={"x": ("accept",), "y": ("accept",)}),
        "flush chain inet tortie y\nadd rule inet tortie y accept\n",
    ),
    "an endpoint comes": (
        table(m=SetSpec("ifname : verdict", kind="map")),
        table(m=MAP, a=A, chains={"x": ("ip saddr @a drop",)}),
        "add chain inet tortie x\n"
        "add set inet tortie a { type ipv4_addr; }\n"
        "add element inet tortie a { 10.0.0.1, 10.0.0.2 }\n"
        'add element inet tortie m { "tor1" : goto x }\n'
        "add rule inet tortie x ip saddr @a drop\n",
    ),
    "an endpoint goes": (
        table(m=MAP, a=A, chains={"x": ("ip saddr @a jump y",), "y": ("accept",)}),
        table(m=SetSpec("ifname : verdict", kind="map")),
        'delete element inet tortie m { "tor1" : goto x }\n'
        "flush chain inet tortie x\nflush chain inet tortie y\n"
        "delete set inet tortie a\n"
        "delete chain inet tortie x\ndelete chain inet tortie y\n",
    ),
}


@pytest.mark.parametrize("name", DELTAS)
def test_only_what_differs_is_sent(name: str) -> None:
    old, new, script = DELTAS[name]
    assert script_diff(old, new) == script


def test_a_name_that_changes_its_sort_is_noticed() -> None:
    assert not reshaped(table(a=A), table(a=A, n=NETS))
    assert reshaped(table(a=A), table(a=SetSpec("ipv6_addr")))
    assert reshaped(Ruleset(), table(a=A))


def test_interval_sets_come_before_all_else() -> None:
    new = table(a=A, n=NETS, chains={"x": ("ip saddr @n drop",)})
    assert script_sets(new) == (
        "add set inet tortie n { type ipv4_addr; flags interval; }\n"
        "flush set inet tortie n\nadd element inet tortie n { 10.0.0.0/24 }\n"
    )
    assert script_sets(new, but=new) == ""
    assert script_diff(table(a=A), new) == (
        "add chain inet tortie x\nadd rule inet tortie x ip saddr @n drop\n"
    )


def test_a_table_is_refilled_and_what_is_left_over_goes() -> None:
    new = table(a=A, n=NETS, m=MAP, chains={"x": ("accept",)})
    there = names_in("table inet tortie {\n\tset s {\n\t}\n\tmap m {\n\t}\n\tchain y {\n\t}\n}")
    assert there == Names(frozenset({"y"}), frozenset({"s"}), frozenset({"m"}))
    assert script_refill(new, {"inet": there}) == (
        "add chain inet tortie x\nflush table inet tortie\n"
        "add set inet tortie a { type ipv4_addr; }\nflush set inet tortie a\n"
        "add element inet tortie a { 10.0.0.1, 10.0.0.2 }\n"
        "add map inet tortie m { type ifname : verdict; }\nflush map inet tortie m\n"
        'add element inet tortie m { "tor1" : goto x }\n'
        "add rule inet tortie x accept\n"
        "delete set inet tortie s\ndelete chain inet tortie y\n"
    )


def test_a_full_script_replaces_a_table_that_may_or_may_not_be_there() -> None:
    assert script_full(table(a=A)).startswith(
        "add table inet tortie\ndelete table inet tortie\ntable inet tortie {\n"
    )


def listed(nft: Nft) -> list[str]:
    """What is in our tables, sorted: a diff may create things in another order than a full load."""
    texts = [nft.list_table(family, "tortie") or "" for family in ("inet", "arp")]
    block = re.compile(r"^\t(?:set|map|chain) .*?^\t}$", re.MULTILINE | re.DOTALL)
    return sorted(block.findall("\n".join(texts)))


@pytest.mark.kernel
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.one_of(filters(), filters((1,)), filters(())), min_size=2, max_size=5))
def test_diffs_lead_where_a_full_load_leads(wanted) -> None:
    versions = [render(each) for each in wanted]
    with fresh_kernel() as nft:
        nft.run(script_full(versions[0]))
        for old, new in pairwise(versions):
            for script in (script_sets(new, but=old), script_diff(old, new)):
                if script:
                    nft.run(script)
        by_diffs = listed(nft)
        nft.run(script_full(versions[-1]))
        assert by_diffs
        assert by_diffs == listed(nft)
        nft.run(script_full(versions[0]))
        for script in (script_sets(versions[-1]), script_refill(versions[-1], there(nft))):
            if script:
                nft.run(script)
        assert by_diffs == listed(nft)


def there(nft: Nft) -> dict[str, Names]:
    return {family: names_in(nft.list_table(family, "tortie") or "") for family in ("inet", "arp")}
