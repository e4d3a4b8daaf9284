"""The town that the oracle's tests judge in, and short words for what is there.

Resources and rules are written as users write them, in YAML on one line.
"""

from __future__ import annotations

from functools import cache

import msgspec
import yaml
from msgspec.structs import replace
from worlds import CALICO, meta, namespace, node, workload

from tortie.explain.oracle import Flow, Judgement, judge
from tortie.model import resources as r

WHO = {
    "web": "10.0.0.1",
    "web6": "fd00::1",
    "db": "10.0.0.2",
    "db6": "fd00::2",
    "teller": "10.0.1.1",
    "stall": "10.0.2.1",
    "safe": "10.0.3.1",
    "box": "10.0.3.2",
    "cat": "10.0.4.1",
    "kiosk": "10.0.5.1",
    "alpha": "192.168.50.1",
    "alpha6": "fd50::1",
    "beta": "192.168.50.2",
    "beta6": "fd50::2",
    "beta-bis": "203.0.113.2",
    "store": "192.168.60.9",
    "internet": "198.51.100.7",
    "internet6": "2001:db8::7",
    "gateway": "169.254.1.1",
    "gateway6": "fe80::1",
}
NAMES = {address: name for name, address in WHO.items()}
SQL = (("sql", "TCP", 5432), ("sql", "UDP", 99))
TOWN = (
    node("alpha", "192.168.50.1/24", "fd50::1/64"),
    node("beta", "192.168.50.2/24", "fd50::2/64", more=("203.0.113.2",)),
    namespace("shop", tenant="goods"),
    namespace("bank", tenant="money"),
    namespace("plaza", "open"),
    namespace("vault", "isolated"),
    workload("shop/web", WHO["web"], WHO["web6"], labels={"role": "web", "env": "prod"}),
    workload("shop/db", WHO["db"], WHO["db6"], on="beta", labels={"role": "db"}, ports=SQL),
    workload("bank/teller", WHO["teller"], on="beta", labels={"role": "web"}, account="clerk"),
    workload("plaza/stall", WHO["stall"]),
    workload("vault/safe", WHO["safe"]),
    workload("vault/box", WHO["box"], on="beta"),
    workload("wild/cat", WHO["cat"], on="beta"),
)
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
YES, NO = "ALLOWED", "DENIED"


def with_floating(endpoint: r.WorkloadEndpoint, *external: str) -> r.WorkloadEndpoint:
    """With floating addresses, each of the first of its own that is of the same family."""
    own = [each.partition("/")[0] for each in endpoint.spec.ip_networks]
    nats = [
        r.IpNat(next(one for one in own if (":" in one) == (":" in each)), each)
        for each in external
    ]
    return replace(endpoint, spec=replace(endpoint.spec, ip_nats=nats))


def flow(text: str) -> Flow:
    """The flow of "web > db tcp/5432", "... tcp/80 from 53" or "... icmp/8/0"."""
    source, _, destination, what, *rest = text.split()
    name, *numbers = what.split("/")
    protocol = PROTOCOLS.get(name) or int(name)
    ends = WHO.get(source, source), WHO.get(destination, destination)
    if protocol in (1, 58):
        kind, code = (int(one) for one in numbers)
        return Flow(*ends, protocol, icmp=(kind, code))
    port = int(numbers[0]) if numbers else None
    return Flow(*ends, protocol, port, int(rest[1]) if rest else (port and 40000))


def judged(text: str, *more: r.Resource, without: str = "", **kwargs) -> Judgement:
    """The judgement in the town, with more resources; those of the same name are replaced."""
    names = {identity(one) for one in more}
    town = [one for one in TOWN if identity(one) not in names and one.metadata.name != without]
    return judge([*town, *more], flow(text), **kwargs)


def identity(one: r.Resource) -> tuple[type, str | None, str]:
    return type(one), one.metadata.namespace, one.metadata.name


def said(text: str, *more: r.Resource, **kwargs) -> str:
    """VERDICT and reason."""
    found = judged(text, *more, **kwargs)
    assert found.steps
    return f"{found.verdict} {found.reason}"


# --- YAML -------------------------------------------------------------------------------------


@cache
def written(text: str, kind: type):
    """A value of a type of the model, as written."""
    return msgspec.convert(yaml.safe_load(text), kind)


def a_rule(text: str) -> r.Rule:
    """A rule of Calico's; Allow if it does not say."""
    data = yaml.safe_load(text)
    return msgspec.convert({"action": "Allow", **data}, r.Rule)


def global_policy(name: str, text: str) -> r.GlobalNetworkPolicy:
    return r.GlobalNetworkPolicy(
        api_version=CALICO, metadata=meta(name), spec=written(text, r.GlobalNetworkPolicySpec)
    )


def network_policy(name: str, text: str) -> r.NetworkPolicy:
    """A NetworkPolicy of Calico's."""
    return r.NetworkPolicy(
        api_version=CALICO, metadata=meta(name), spec=written(text, r.NetworkPolicySpec)
    )


def kubernetes_policy(name: str, text: str) -> r.KubernetesNetworkPolicy:
    return r.KubernetesNetworkPolicy(
        api_version="networking.k8s.io/v1",
        metadata=meta(name),
        spec=written(text, r.KubernetesNetworkPolicySpec),
    )


def cluster_policy(name: str, text: str) -> r.ClusterNetworkPolicy:
    return r.ClusterNetworkPolicy(
        api_version="policy.networking.k8s.io/v1alpha2",
        metadata=meta(name),
        spec=written(text, r.ClusterNetworkPolicySpec),
    )


def host_endpoint(name: str, text: str, **labels: str) -> r.HostEndpoint:
    return r.HostEndpoint(
        api_version=CALICO, metadata=meta(name, labels), spec=written(text, r.HostEndpointSpec)
    )


def felix(text: str, name: str = "default") -> r.FelixConfiguration:
    return r.FelixConfiguration(
        api_version=CALICO, metadata=meta(name), spec=written(text, r.FelixConfigurationSpec)
    )


def slice_of(service: str, text: str, name: str = "s", **labels: str) -> r.EndpointSlice:
    """An EndpointSlice of "namespace/service"; the text has addressType, endpoints, ports."""
    space, _, short = service.partition("/")
    data = yaml.safe_load(text)
    return msgspec.convert(
        {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": name,
                "namespace": space,
                "labels": {"kubernetes.io/service-name": short, **labels},
            },
            "addressType": "IPv4",
            **data,
        },
        r.EndpointSlice,
    )
