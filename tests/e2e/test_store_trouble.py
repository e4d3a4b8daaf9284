"""The store goes away, is emptied, is restored: the hosts go on under the policy they know."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from e2e_rig import HOSTS, PROMPT, Site, manifest
from e2e_storm import Storm, storm
from e2e_trouble import copied, emptied, gone, kind
from lab_rig import until

from tortie.lab import control
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Put

pytestmark = pytest.mark.lab

SHUT = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ledger-shut, namespace: bank}
spec: {types: [Ingress]}
"""
QUESTION = "bank/teller-2 bank/ledger tcp/5432"
LASTING = [QUESTION, "shop/api-1 shop/database tcp/5432", "bank/ledger partner tcp/443"]
FRESH = ["shop/web-2 shop/web-1 tcp/81", "internet shop/web-1 tcp/80"]
FORBIDDEN = [
    "bank/teller-1 shop/web-1 tcp/80", "shop/api-2 bank/ledger tcp/5432",
    "internet bank/ledger udp/53", "shut/nobody partner tcp/443", "shop/web-2 shut/none udp/22",
]  # fmt: skip
FLOODS = [("bank/teller-1", "shop/web-1"), ("internet", "bank/ledger")]


def going_on(site: Site) -> AbstractContextManager[Storm]:
    return storm(site, LASTING, FRESH, FORBIDDEN, FLOODS)


def grows(seen: Storm) -> None:
    seen.goes_on(exchanges=100, made=20, attempts=20)


def assert_clean(seen: Storm) -> None:
    seen.assert_clean(exchanges=200, made=40, attempts=40)


def lost(site: Site) -> bool:
    return all(site.agent(host).get("storeLost") for host in HOSTS)


def assert_follows(site: Site) -> None:
    """A change that is written now is enforced."""
    shut = manifest(SHUT)
    site.apply(*shut)
    assert site.refuses(QUESTION)
    site.remove(*shut)
    assert site.connects(QUESTION)


WAYS = {"sqlite": ("unreadable",), "etcd": ("stopped", "killed", "silent")}
NOTICED = ("unreadable", "stopped")
"""What the agents say of soon; a store that is back within seconds need not be told lost."""


def test_with_the_store_gone_everything_goes_on_and_catches_up(tenancy: Site) -> None:
    with going_on(tenancy) as seen:
        for how in WAYS[kind(tenancy)]:
            with gone(tenancy, how):
                assert how not in NOTICED or until(lambda: lost(tenancy), PROMPT)
                grows(seen)
            tenancy.barrier()
            assert not any(tenancy.agent(host)["storeLost"] for host in HOSTS)
            grows(seen)
    assert_clean(seen)
    assert_follows(tenancy)


def test_agents_that_start_without_a_store_keep_what_is_in_force(tenancy: Site) -> None:
    how = WAYS[kind(tenancy)][0]
    with going_on(tenancy) as seen:
        with gone(tenancy, how):
            before = {host: tenancy.restarts(f"agent/{host}") for host in HOSTS}
            control.kill(tenancy.running.lab, *(f"agent/{host}" for host in HOSTS))
            assert until(
                lambda: all(tenancy.restarts(f"agent/{h}") > before[h] for h in HOSTS), PROMPT
            )
            grows(seen)
        tenancy.ready()
        grows(seen)
    assert_clean(seen)
    assert_follows(tenancy)


def test_an_empty_store_wipes_nothing(tenancy: Site) -> None:
    with going_on(tenancy) as seen:
        with emptied(tenancy):
            assert until(lambda: tenancy.all_are("holding"), PROMPT)
            assert "empty" in str(tenancy.agent("a1")["reason"])
            grows(seen)
            tenancy.kill_agents(HOSTS, then="holding")
            grows(seen)
        tenancy.ready()
        tenancy.barrier()
        grows(seen)
    assert_clean(seen)
    assert_follows(tenancy)


def test_a_restored_store_wipes_nothing_until_the_operator_believes_it(tenancy: Site) -> None:
    shut = manifest(SHUT)
    with going_on(tenancy) as seen, copied(tenancy) as restore:
        tenancy.apply(*shut)
        assert tenancy.refuses(QUESTION)
        restore()
        assert until(lambda: tenancy.all_are("holding"), PROMPT)
        assert tenancy.refuses(QUESTION)
        # However far it goes on from there.
        with tenancy.running.store() as store:
            for number in range(300):
                store.commit([Put(f"{kinds.STATUS}test/{number}", b"{}")])
            touch(tenancy)
        tenancy.kill_agents(HOSTS, then="holding")
        assert tenancy.refuses(QUESTION)
        grows(seen)
        for host in HOSTS:
            tenancy.running.exec(host, "tortie", "node", "believe-store")
        tenancy.ready()
        tenancy.barrier()
        assert tenancy.connects(QUESTION)
        grows(seen)
    assert_clean(seen)
    assert_follows(tenancy)


def touch(site: Site) -> None:
    """Write something that every agent reads."""
    with site.running.store() as store:
        namespace = r.Namespace(api_version="v1", metadata=r.Metadata(name="touched"))
        store.commit([Put(kinds.key(namespace), kinds.encode(namespace))])


def test_a_host_that_holds_still_repairs_what_is_removed_by_hand(tenancy: Site) -> None:
    host, forbidden = "b2", "shop/api-2 bank/ledger tcp/5432"
    with emptied(tenancy):
        assert until(lambda: tenancy.all_are("holding"), PROMPT)
        before = tenancy.says(host, "ip", "route")
        tenancy.run(host, "nft", "delete table inet tortie")
        tenancy.run(host, "ip", "route", "flush", "proto", "84")
        assert until(lambda: tenancy.says(host, "ip", "route") == before, 10.0)
        assert until(lambda: tenancy.unlike({QUESTION: True, forbidden: False}) == [], 10.0)
        assert tenancy.all_are("holding")
    tenancy.ready()
    assert_follows(tenancy)
