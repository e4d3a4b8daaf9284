"""A lab drawn on paper: what it would have, without building it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.errors import LabError
from tortie.lab import paper, spec
from tortie.model import resources as r
from tortie.model.validate import validate

EXAMPLE = Path(__file__).parents[2] / "examples/two-tenants.yaml"
HEAD = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: mine}
spec:
  racks: [{name: rack-a, hosts: [a1]}]
"""


def draw(text: str) -> list[r.Resource]:
    return paper.draw(spec.load(text, "lab.yaml"))[1]


def endpoints(resources: list[r.Resource]) -> dict[str, r.WorkloadEndpoint]:
    found = [each for each in resources if isinstance(each, r.WorkloadEndpoint)]
    return {f"{each.metadata.namespace}/{each.spec.workload}": each for each in found}


def test_every_resource_of_a_lab_is_there_and_valid() -> None:
    drawn = draw(EXAMPLE.read_text())
    assert {type(each).__name__ for each in drawn} == {
        "BGPConfiguration", "BGPPeer", "IPPool", "Namespace", "NetworkPolicy", "Node",
        "WorkloadEndpoint",
    }  # fmt: skip
    assert [fault for each in drawn for fault in validate(each)] == []


def test_workloads_have_addresses_of_their_own_from_the_pool() -> None:
    found = endpoints(draw(EXAMPLE.read_text()))
    addresses = [net for each in found.values() for net in each.spec.ip_networks]
    assert len(set(addresses)) == len(found) == 7
    assert all(net.startswith("10.65.") and net.endswith("/32") for net in addresses)
    assert found["shop/web-1"].metadata.labels == {"role": "web"}
    assert found["shop/web-1"].spec.node == "a1"


def test_addresses_that_the_file_gives_are_kept_and_given_to_nobody_else() -> None:
    workloads = """\
  workloads:
  - {name: one, host: a1}
  - {name: two, host: a1, addresses: [10.9.0.0, 'fd09::2']}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: small}
spec: {cidr: 10.9.0.0/26}
"""
    found = endpoints(draw(HEAD + workloads))
    assert found["default/one"].spec.ip_networks == ["10.9.0.1/32"]
    assert found["default/two"].spec.ip_networks == ["10.9.0.0/32", "fd09::2/128"]


def test_a_pool_that_is_full_is_an_error() -> None:
    many = "".join(f"  - {{name: w{number}, host: a1}}\n" for number in range(65))
    with pytest.raises(LabError, match="the pools have no address for default/w64"):
        draw(f"{HEAD}  pools: [10.9.0.0/26]\n  workloads:\n{many}")
