"""What Services and EndpointSlices must satisfy: a case a line."""

import pytest
from validation import Data, expect, faults, make

from tortie.model import resources as r
from tortie.model.manifest import plain
from tortie.model.validate import normalise

HTTP: Data = {"name": "http", "port": 80}


def service(**spec: object) -> r.Resource:
    return make("Service", {"ports": [HTTP], **spec})


SERVICES = [
    ({"ports": []}, "spec.ports", "give one at least"),
    ({"ports": [{"port": 0}]}, "spec.ports[0].port", "1 to 65535"),
    ({"ports": [{"port": 65536}]}, "spec.ports[0].port", "1 to 65535"),
    ({"ports": [{**HTTP, "name": "a b"}]}, "spec.ports[0].name", "no valid name"),
    ({"ports": [{**HTTP, "name": "HTTP"}]}, "spec.ports[0].name", "no valid name"),
    ({"ports": [HTTP, {"port": 443}]}, "spec.ports[1].name", "give it one"),
    ({"ports": [HTTP, {**HTTP, "port": 81}]}, "spec.ports[1].name", "twice"),
    ({"ports": [{**HTTP, "targetPort": 0}]}, "spec.ports[0].targetPort", "1 to 65535"),
    ({"ports": [{**HTTP, "targetPort": "80"}]}, "spec.ports[0].targetPort", "quotes"),
    ({"ports": [{**HTTP, "targetPort": "x y"}]}, "spec.ports[0].targetPort", "port name"),
    ({"ports": [{**HTTP, "nodePort": 65536}]}, "spec.ports[0].nodePort", "0 to 65535"),
    ({"ports": [{**HTTP, "appProtocol": "a;b"}]}, "spec.ports[0].appProtocol", "not valid"),
    ({"selector": {"a": "x y"}}, "spec.selector.a", "label value"),
    ({"selector": {"a;b": "x"}}, 'spec.selector["a;b"]', "not valid"),
    ({"clusterIP": "x"}, "spec.clusterIP", "no IP address"),
    ({"clusterIP": "10.0.0.0/8"}, "spec.clusterIP", "mask"),
    ({"clusterIP": "none"}, "spec.clusterIP", "no IP address"),
    ({"clusterIPs": ["10.0.0.1", "x"]}, "spec.clusterIPs[1]", "no IP address"),
    ({"externalIPs": ["10.0.0.1/32"]}, "spec.externalIPs[0]", "mask"),
    ({"loadBalancerIP": "lb"}, "spec.loadBalancerIP", "no IP address"),
    ({"loadBalancerSourceRanges": ["10.0.0.1"]}, "spec.loadBalancerSourceRanges[0]", "no mask"),
    ({"loadBalancerClass": "a b"}, "spec.loadBalancerClass", "not valid"),
    ({"type": "ExternalName"}, "spec.externalName", "no valid name"),
    ({"type": "ExternalName", "externalName": "a b"}, "spec.externalName", "no valid name"),
    ({"externalName": "example.com"}, "spec.externalName", "write type: ExternalName"),
    ({"trafficDistribution": "; x"}, "spec.trafficDistribution", "no valid name"),
    ({"healthCheckNodePort": -1}, "spec.healthCheckNodePort", "0 to 65535"),
    ({"ipFamilies": ["IPv4", "IPv4"]}, "spec.ipFamilies[1]", "twice"),
    (
        {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "1 to 86400",
    ),
]


@pytest.mark.parametrize(("spec", "path", "says"), SERVICES)
def test_a_service_is_refused(spec: Data, path: str, says: str) -> None:
    expect(service(**spec), path, says)


GOOD_SERVICES: list[Data] = [
    {},
    {"ports": [{"port": 80}]},
    {"ports": [HTTP, {"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"}]},
    {"clusterIP": "None", "ports": []},
    {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "FD00::10"]},
    {"clusterIP": "", "selector": {"app.kubernetes.io/name": "web"}},
    {"type": "ExternalName", "ports": [], "externalName": "db.example.com."},
    {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
    {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30000,
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "loadBalancerClass": "example.com/internal",
        "allocateLoadBalancerNodePorts": False,
    },
    {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "internalTrafficPolicy": "Cluster",
        "publishNotReadyAddresses": True,
        "trafficDistribution": "PreferClose",
    },
]


@pytest.mark.parametrize("spec", GOOD_SERVICES)
def test_a_service_is_accepted(spec: Data) -> None:
    assert faults(service(**spec)) == []
    assert normalise(normalise(service(**spec))) == normalise(service(**spec))


def slice_(kind: str = "IPv4", labels: Data | None = None, **top: object) -> r.Resource:
    return make("EndpointSlice", None, top={"addressType": kind, **top}, labels=labels or {})


def at(*addresses: str, **fields: object) -> list[Data]:
    return [{"addresses": list(addresses), **fields}]


FIRST = "endpoints[0].addresses[0]"
SLICES = [
    (slice_(endpoints=at("fd00::1")), FIRST, "not IPv4"),
    (slice_("IPv6", endpoints=at("10.0.0.1")), FIRST, "not IPv6"),
    (slice_(endpoints=at("10.0.0.1/32")), FIRST, "mask"),
    (slice_(endpoints=at("web-1")), FIRST, "no IP address"),
    (slice_("IPv6", endpoints=at("::ffff:10.0.0.1")), FIRST, "write 10.0.0.1"),
    (slice_("FQDN", endpoints=at("A b")), FIRST, "no valid name"),
    (slice_(endpoints=at("10.0.0.1", "x")), "endpoints[0].addresses[1]", "no IP address"),
    (slice_(endpoints=at()), "endpoints[0].addresses", "give one at least"),
    (slice_(endpoints=at(*["10.0.0.1"] * 101)), "endpoints[0].addresses", "at most 100"),
    (slice_(endpoints=at("10.0.0.1") * 1001), "endpoints", "at most 1000"),
    (slice_(endpoints=at("10.0.0.1", nodeName="A")), "endpoints[0].nodeName", "no valid name"),
    (slice_(endpoints=at("10.0.0.1", hostname="a.b")), "endpoints[0].hostname", "no valid name"),
    (slice_(endpoints=at("10.0.0.1", zone="a;b")), "endpoints[0].zone", "label value"),
    (slice_(ports=[{"port": 0}]), "ports[0].port", "1 to 65535"),
    (slice_(ports=[{"port": 80}, {"port": 65536}]), "ports[1].port", "1 to 65535"),
    (slice_(ports=[{"name": "A"}]), "ports[0].name", "no valid name"),
    (slice_(ports=[{"appProtocol": "a b"}]), "ports[0].appProtocol", "not valid"),
    (slice_(ports=[{"port": 1}] * 101), "ports", "at most 100"),
    (
        slice_(labels={"kubernetes.io/service-name": "a.b"}),
        'metadata.labels["kubernetes.io/service-name"]',
        "no valid name",
    ),
]


@pytest.mark.parametrize(("given", "path", "says"), SLICES)
def test_a_slice_is_refused(given: r.Resource, path: str, says: str) -> None:
    expect(given, path, says)


GOOD_SLICES = [
    slice_(),
    slice_(endpoints=at("10.0.0.1", "10.0.0.2"), ports=[{"port": 80}]),
    slice_("IPv6", endpoints=at("FD00::1")),
    slice_("FQDN", endpoints=at("db.example.com")),
    slice_(ports=[{"name": "", "protocol": "UDP"}, {"name": "sctp", "protocol": "SCTP"}]),
    slice_(
        labels={"kubernetes.io/service-name": "web"},
        endpoints=at(
            "10.0.0.1",
            conditions={"ready": True, "serving": True, "terminating": False},
            hostname="web-1",
            nodeName="a1",
            zone="eu-1",
        ),
    ),
]


@pytest.mark.parametrize("given", GOOD_SLICES)
def test_a_slice_is_accepted(given: r.Resource) -> None:
    assert faults(given) == []
    assert normalise(normalise(given)) == normalise(given)


def test_addresses_have_one_spelling_and_what_is_kubernetes_own_is_dropped() -> None:
    given = slice_(
        "IPv6",
        endpoints=at("FD00:0::1", targetRef={"kind": "Pod; reboot"}, hints={"forZones": []},
                     deprecatedTopology={"a": "b"}),
    )  # fmt: skip
    assert faults(given) == []
    assert plain(normalise(given))["endpoints"] == [{"addresses": ["fd00::1"]}]
    kept = normalise(service(externalIPs=["FD00:0::1"], loadBalancerSourceRanges=["10.0.0.9/8"]))
    assert isinstance(kept, r.Service)
    assert kept.spec.external_ips == ["fd00::1"]
    assert kept.spec.load_balancer_source_ranges == ["10.0.0.0/8"]
