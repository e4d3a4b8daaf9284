"""Addresses in a whole lab: claimed twice, unassigned, taken along to another host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from e2e_rig import PROMPT, Site
from lab_rig import until
from msgspec.structs import replace

from tortie import client
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.validate import endpoint_name
from tortie.store.base import Delete, Put

pytestmark = pytest.mark.lab

ASKED = "bank/teller-3 bank/ledger tcp/5432"


@contextlib.contextmanager
def claimed_too(site: Site, victim: r.WorkloadEndpoint, host: str) -> Iterator[r.WorkloadEndpoint]:
    """Within the block somebody on `host` claims the address of an endpoint as well, written past
    every check, as two hosts could at the same moment."""
    spec = replace(victim.spec, node=host, workload="thief", interface_name="torthief")
    metadata = r.Metadata(name=endpoint_name(spec), namespace="shop", labels={"who": "ledger"})
    thief = replace(victim, metadata=metadata, spec=spec)
    with site.running.store() as store:
        store.commit([Put(kinds.key(thief), kinds.encode(thief))])
        try:
            site.barrier()
            yield thief
        finally:
            store.commit([Delete(kinds.key(thief))])
            site.barrier()


def refusal(site: Site, host: str, workload: str) -> str:
    """Why a host does not serve a workload; empty if it does or has none of that name."""
    endpoints = site.agent(host).get("endpoints")
    assert isinstance(endpoints, list)
    found = [each for each in endpoints if f"-{workload}-" in each["id"]]
    return "; ".join(each["reason"] for each in found)


def test_the_first_claim_of_an_address_wins_everywhere_and_the_other_is_told(tenancy: Site) -> None:
    victim = tenancy.endpoint("bank/ledger")
    other = next(host for host in ("a1", "a2") if host != victim.spec.node)
    address = victim.spec.ip_networks[0]
    with claimed_too(tenancy, victim, other):
        said = refusal(tenancy, other, "thief")
        name = f"{victim.metadata.namespace}/{victim.metadata.name}"
        assert f"{address} belongs to {name} on host {victim.spec.node}" in said
        assert refusal(tenancy, victim.spec.node, "ledger") == ""
        shown = tenancy.running.tortie("get", "wep", "-n", "shop", "-o", "wide").stdout
        assert any("thief" in line and "belongs to" in line for line in shown.splitlines())
        assert tenancy.running.tortie("ipam", "check", check=False).returncode == 1
        assert tenancy.connects(ASKED)
        own = [str(each["dst"]) for each in tenancy.routes(other)]
        assert address.partition("/")[0] not in own, "no second way to it"
    assert tenancy.connects(ASKED)
    assert refusal(tenancy, other, "thief") == ""


def test_what_is_sent_to_an_unassigned_address_of_a_block_dies_on_its_host(tenancy: Site) -> None:
    victim = tenancy.endpoint("bank/ledger")
    host = victim.spec.node
    (block, *_) = [each for each in tenancy.routes(host) if each.get("type") == "blackhole"]
    cidr = str(block["dst"])
    start, _, last = cidr.partition("/")[0].rpartition(".")
    free = f"{start}.{int(last) + 62}"
    hops = tenancy.run(
        "partner", "ping", "-c", "3", "-W", "0.3", "-n", "-t", "64", free, check=False
    )
    assert hops.returncode != 0
    assert "Time to live exceeded" not in hops.stdout, "nothing circles"
    found = tenancy.run(host, "ip", "route", "get", free, check=False)
    assert found.returncode != 0, found.stdout


def test_a_workload_takes_its_address_along_to_another_host(tenancy: Site) -> None:
    """Its owner gets it again at once; everybody else would have to wait until it has cooled."""
    victim = tenancy.endpoint("bank/ledger")
    address = victim.spec.ip_networks[0].partition("/")[0]
    space = tenancy.space("bank/ledger")
    old = victim.spec.node
    new = next(host for host in ("a1", "a2") if host != old)

    def attach(host: str) -> None:
        request = {
            "name": "ledger", "namespace": "bank", "netns": space, "addresses": [address],
            "labels": victim.metadata.labels, "waitSeconds": PROMPT,
        }  # fmt: skip
        at = tenancy.running.lab.agent_socket(host)
        client.call("POST", "/workloads", request, at=at, timeout=2 * PROMPT)

    def detach(host: str) -> None:
        at = tenancy.running.lab.agent_socket(host)
        client.call("DELETE", "/workloads/bank/ledger", at=at, timeout=PROMPT)

    detach(old)
    try:
        attach(new)
        assert until(lambda: tenancy.connects(ASKED), PROMPT)
        assert tenancy.refuses("shop/web-1 bank/ledger tcp/5432")
        assert tenancy.running.tortie("ipam", "check", check=False).returncode == 0
        said = tenancy.running.tortie("bgp", "why", f"{address}/32", "--node", old).stdout
        assert said.startswith("IN THE KERNEL")
    finally:
        detach(new)
        attach(old)
    assert until(lambda: tenancy.connects(ASKED), PROMPT)
