"""Fabrics for tests of BGP, as an operator would write them: hosts, and resources on top.

Host `number` has 172.16.0.NUMBER/24 and fd00::NUMBER/64, and holds 10.65.NUMBER.0/26 and
fd65::NUMBER00/122. Everything goes through the door that `tortie apply` uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tortie.model import kinds, manifest
from tortie.model import resources as r

Data = dict[str, Any]

V4, V6, BOTH = (4,), (6,), (4, 6)
POOLS = {4: "10.65.0.0/16", 6: "fd65::/64"}


@dataclass(frozen=True)
class Topology:
    """Resources, on which hosts they are looked at, and the hosts' files of secrets."""

    resources: tuple[r.Resource, ...]
    hosts: tuple[str, ...] = ("n1",)
    secrets: Mapping[str, str] = field(default_factory=dict)


def topology(
    *given: Iterable[Data] | Data,
    on: tuple[str, ...] = ("n1",),
    secrets: Mapping[str, str] | None = None,
) -> Topology:
    """All the resources, valid and in their one spelling."""
    plain: list[Data] = []
    for each in given:
        plain += [each] if isinstance(each, dict) else each
    text = "\n---\n".join(json.dumps(each) for each in plain)
    loaded = manifest.load(text, "topology", extra=[each.name for each in kinds.KINDS])
    return Topology(tuple(each.resource for each in loaded), on, secrets or {})


# --- nouns ------------------------------------------------------------------------------------


def thing(kind: str, name: str, spec: Data, **metadata: Any) -> Data:
    """A resource of Calico's."""
    given = {"name": name, **metadata}
    return {"apiVersion": kinds.CALICO, "kind": kind, "metadata": given, "spec": spec}


def host(
    number: int,
    families: tuple[int, ...] = BOTH,
    labels: Mapping[str, str] | None = None,
    reflector: str = "",
    asn: int = 0,
    subnet: int = 0,
) -> list[Data]:
    """A node with its blocks, in a subnet of its own if that is said."""
    bgp: Data = {}
    if 4 in families:
        bgp["ipv4Address"] = f"172.16.{subnet}.{number}/24"
    if 6 in families:
        bgp["ipv6Address"] = f"fd00:0:0:{subnet:x}::{number:x}/64"
    if asn:
        bgp["asNumber"] = asn
    if reflector:
        bgp["routeReflectorClusterID"] = reflector
    node = thing("Node", f"n{number}", {"bgp": bgp}, labels=dict(labels or {}))
    return [node, *(block(number, each) for each in families)]


def hosts(*numbers: int, families: tuple[int, ...] = BOTH, **more: Any) -> list[Data]:
    """Hosts that are alike."""
    return [each for number in numbers for each in host(number, families, **more)]


def cidr(number: int, family: int = 4) -> str:
    """The block of a host."""
    return f"10.65.{number}.0/26" if family == 4 else f"fd65::{number:x}00/122"


def block(number: int, family: int = 4, text: str = "") -> Data:
    """A host's claim on a block."""
    held = text or cidr(number, family)
    name = f"n{number}-{held.replace('.', '-').replace('/', '-').replace(':', '-')}"
    return thing("BlockAffinity", name, {"cidr": held, "node": f"n{number}", "state": "confirmed"})


def pool(text: str = POOLS[4], name: str = "", **spec: Any) -> Data:
    name = name or "pool-" + text.replace(".", "-").replace("/", "-").replace(":", "-")
    return thing("IPPool", name, {"cidr": text, **spec})


def pools(**spec: Any) -> list[Data]:
    """One of each family."""
    return [pool(each, **spec) for each in POOLS.values()]


def config(name: str = "default", **spec: Any) -> Data:
    return thing("BGPConfiguration", name, spec)


NO_MESH = config(nodeToNodeMeshEnabled=False)


def peer(name: str, upstream: bool = False, **spec: Any) -> Data:
    """A BGPPeer."""
    notes = {"annotations": {"tortie.dev/upstream": "true"}} if upstream else {}
    return thing("BGPPeer", name, spec, **notes)


def bgp_filter(name: str, **spec: Any) -> Data:
    return thing("BGPFilter", name, spec)


def secret(name: str, namespace: str = "tortie-system", **values: str) -> Data:
    """A Secret, values as they are."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": values,
    }


def workload(number: int, name: str, *addresses: str) -> Data:
    """A workload on a host."""
    spec = {
        "node": f"n{number}",
        "orchestrator": "tortie",
        "workload": name,
        "endpoint": "eth0",
        "interfaceName": f"tor{name}",
        "ipNetworks": list(addresses),
    }
    return thing("WorkloadEndpoint", f"n{number}-tortie-{name}-eth0", spec, namespace="shop")


def service(name: str, **spec: Any) -> Data:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def behind(service_name: str, *numbers: int, ready: bool = True, family: int = 4) -> Data:
    """The EndpointSlice of a service with an endpoint on each of some hosts."""
    start = {4: "10.65.{}.9", 6: "fd65::{:x}09"}[family]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service_name}-{family}",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": f"IPv{family}",
        "endpoints": [
            {
                "addresses": [start.format(each)],
                "nodeName": f"n{each}",
                "conditions": {"ready": ready},
            }
            for each in numbers
        ],
        "ports": [{"port": 80}],
    }
