"""Floating addresses in a lab: applied as people do, told by BGP, moved, and claimed once only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_rig import RunningLab, running, unique, until

pytestmark = pytest.mark.lab

LAB = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: edges}
spec:
  racks:
  - {name: rack-a, hosts: [a1]}
  - {name: rack-b, hosts: [b1]}
  outside: [internet]
  workloads:
  - {name: web, namespace: shop, host: a1, serve: [tcp/80]}
  - {name: api, namespace: shop, host: b1, serve: [tcp/80]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {tortie.dev/default: open}}
"""
EXTERNAL = "198.18.7.5"
POOLS = """\
{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: lab},
 spec: {cidr: 10.65.0.0/16, natOutgoing: true}}
---
{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: external},
 spec: {cidr: 198.18.7.0/24, disabled: true}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[RunningLab]:
    directory: Path = tmp_path_factory.mktemp("edges")
    with running(LAB, unique("edges"), directory) as made:
        made.tortie("apply", "-f", "-", "--wait", stdin=POOLS)
        yield made


def endpoints(lab: RunningLab) -> dict[str, dict]:
    """Of the shop, by workload."""
    said = json.loads(lab.tortie("get", "wep", "-n", "shop", "-o", "json").stdout)
    items = said["items"] if isinstance(said, dict) else said
    return {each["spec"]["workload"]: each for each in items}


def with_external(endpoint: dict) -> dict:
    internal = endpoint["spec"]["ipNetworks"][0].partition("/")[0]
    nats = [{"internalIP": internal, "externalIP": EXTERNAL}]
    return {**endpoint, "spec": {**endpoint["spec"], "ipNATs": nats}}


def float_to(lab: RunningLab, chosen: str) -> None:
    """Give the external address to a workload of the shop, and take it from the other."""
    there = endpoints(lab)
    taken = {**there["web" if chosen == "api" else "api"]}
    taken["spec"] = {key: each for key, each in taken["spec"].items() if key != "ipNATs"}
    # Who is to lose it comes first: no two may have it at any moment.
    for each in (taken, with_external(there[chosen])):
        lab.tortie("apply", "-f", "-", "--wait", stdin=json.dumps(each))


def answers(lab: RunningLab, place: str) -> bool:
    return lab.tortie(
        "lab", "exec", place, "--", "ping", "-c1", "-W1", EXTERNAL, check=False
    ).returncode == 0  # fmt: skip


def leads_to(lab: RunningLab) -> str:
    """The host where the router of the first rack sends what is for the external address."""
    return lab.exec("tor-rack-a", "ip", "route", "get", EXTERNAL)


def test_a_floating_address_is_told_answers_and_moves(lab: RunningLab) -> None:
    ways = []
    for chosen in ("web", "api"):
        float_to(lab, chosen)
        for place in ("internet", "a1", "b1", "shop/web", "shop/api"):
            assert until(lambda place=place: answers(lab, place)), (chosen, place)
        ways.append(leads_to(lab))
        said = json.loads(
            lab.tortie("can", "internet", EXTERNAL, "tcp/80", "-o", "json").stdout
        )["destination"]  # fmt: skip
        assert (said["kind"], said["name"]) == ("floating address", f"shop/{chosen}")
    assert ways[0] != ways[1], "it lives on another host now"


def test_a_second_claim_is_refused_by_name(lab: RunningLab) -> None:
    float_to(lab, "web")
    api = with_external(endpoints(lab)["api"])
    done = lab.tortie("apply", "-f", "-", stdin=json.dumps(api), check=False)
    assert done.returncode != 0
    assert "is the floating address of shop/a1-tortie-web-eth0" in done.stderr
