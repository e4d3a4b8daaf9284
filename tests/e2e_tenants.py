"""A small data centre of three tenants, on any dataplane, and changes of its resources in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from e2e_leak import Delta
from msgspec.structs import replace

from tortie.model import kinds
from tortie.model import resources as r

LAB = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: tenants}
spec:
  store: STORE
  racks: [{name: rack-a, hosts: [a1, a2]}, {name: rack-b, hosts: [b1, b2]}]
  outside: [{name: internet, serve: [tcp/443]}]
  workloads:
  - {name: s1, namespace: shop, host: a1, addresses: [10.65.10.1], labels: {role: web},
     serve: [tcp/80, udp/53]}
  - {name: s2, namespace: shop, host: a2, addresses: [10.65.10.2], labels: {role: api},
     serve: [tcp/80, tcp/81], ports: [{name: http, protocol: TCP, port: 81}]}
  - {name: s3, namespace: shop, host: b1, addresses: [10.65.10.3], labels: {role: db},
     serve: [tcp/80]}
  - {name: s4, namespace: shop, host: b2, addresses: [10.65.10.4], labels: {role: web},
     serve: [udp/53]}
  - {name: k1, namespace: bank, host: a1, addresses: [10.65.10.9], labels: {role: web, colour: red},
     serve: [tcp/80]}
  - {name: k2, namespace: bank, host: b1, addresses: [10.65.10.10], labels: {role: db},
     serve: [tcp/80, tcp/81]}
  - {name: k3, namespace: bank, host: b2, addresses: [10.65.10.11], labels: {colour: red},
     serve: [tcp/80]}
  - {name: p1, namespace: plaza, host: a1, addresses: [10.65.10.17], labels: {role: api},
     serve: [tcp/80], ports: [{name: http, protocol: TCP, port: 80}]}
  - {name: p2, namespace: plaza, host: a2, addresses: [10.65.10.18], labels: {colour: blue},
     serve: [tcp/80, udp/53]}
  - {name: p3, namespace: plaza, host: b2, addresses: [10.65.10.19], labels: {role: web},
     serve: [tcp/81]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {tortie.dev/default: open}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank, labels: {team: money}}
---
apiVersion: v1
kind: Namespace
metadata: {name: plaza, annotations: {tortie.dev/default: open}, labels: {team: fun}}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: alpha}
spec: {order: 100, defaultAction: Pass}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: beta}
spec: {order: 200}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: kiosk}
spec: {ingress: [{action: Allow}], egress: [{action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: DATAPLANE
"""
DATAPLANES = {
    "nft": {"nftablesMode": "Enabled"},
    "iptables-nft": {"nftablesMode": "Disabled", "iptablesBackend": "NFT"},
    "iptables-legacy": {"nftablesMode": "Disabled", "iptablesBackend": "Legacy"},
}
CALICO = "projectcalico.org/v3"

Document = dict[str, Any]


def lab(store: str, dataplane: str) -> str:
    """The lab's file."""
    chosen = json.dumps(DATAPLANES[dataplane])
    return LAB.replace("STORE", store).replace("DATAPLANE", chosen)


def resource(kind: str, name: str, spec: Document, **metadata: Any) -> r.Resource:
    """A resource as the store has it; its kind by the name that Tortie gives it."""
    versions = {
        "Namespace": "v1", "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2",
        "KubernetesNetworkPolicy": "networking.k8s.io/v1",
    }  # fmt: skip
    document = {
        "apiVersion": versions.get(kind, CALICO),
        "kind": kind,
        "metadata": {"name": name, **metadata},
    }
    if kind != "Namespace":
        document["spec"] = spec
    return kinds.decode(json.dumps(document).encode())


def put(*resources: r.Resource) -> Delta:
    """A change that writes these."""
    return {kinds.key(each): each for each in resources}


def remove(*resources: r.Resource) -> Delta:
    """A change that removes these."""
    return dict.fromkeys(kinds.key(each) for each in resources)


def policy(name: str, **spec: Any) -> Delta:
    """A Calico NetworkPolicy (NAMESPACE/NAME), or a global one (NAME)."""
    space, _, own = name.rpartition("/")
    if not space:
        return put(resource("GlobalNetworkPolicy", own, spec))
    return put(resource("NetworkPolicy", own, spec, namespace=space))


def gone(delta: Delta) -> Delta:
    """What removes all that a change writes."""
    return remove(*(each for each in delta.values() if each is not None))


def settings(world: Mapping[str, r.Resource], **fields: object) -> Delta:
    """A change of fields of the default FelixConfiguration."""
    key = f"{kinds.WORLD}felixconfigurations/default"
    old = world[key]
    assert isinstance(old, r.FelixConfiguration)
    return {key: replace(old, spec=replace(old.spec, **fields))}


def labels(world: Mapping[str, r.Resource], wanted: Mapping[str, dict[str, str]]) -> Delta:
    """A change of the labels of workloads (NAMESPACE/NAME)."""
    return {
        key: relabelled(each, **wanted[f"{each.metadata.namespace}/{each.spec.workload}"])
        for key, each in world.items()
        if isinstance(each, r.WorkloadEndpoint)
        and f"{each.metadata.namespace}/{each.spec.workload}" in wanted
    }


def relabelled(endpoint: r.WorkloadEndpoint, **labels: str) -> r.WorkloadEndpoint:
    return replace(endpoint, metadata=replace(endpoint.metadata, labels=labels))
