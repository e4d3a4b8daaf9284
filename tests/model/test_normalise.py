"""The one form in which valid resources are kept."""

import pytest
from validation import PEER, PORT, Data, faults, make, rule, workload

from tortie.model import resources as r
from tortie.model.manifest import plain
from tortie.model.validate import normalise

ALLOW: list[Data] = [{"action": "Allow"}]
TYPES = [
    ({}, ["Ingress"]),
    ({"ingress": ALLOW}, ["Ingress"]),
    ({"egress": ALLOW}, ["Egress"]),
    ({"ingress": ALLOW, "egress": ALLOW}, ["Ingress", "Egress"]),
    ({"ingress": ALLOW, "types": ["Egress"]}, ["Egress"]),
    ({"types": ["Egress", "Ingress"]}, ["Ingress", "Egress"]),
]


@pytest.mark.parametrize(("spec", "types"), TYPES)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy"])
def test_the_types_of_a_policy_are_written_out(kind: str, spec: Data, types: list[str]) -> None:
    policy = normalise(make(kind, spec))
    assert isinstance(policy, r.NetworkPolicy | r.GlobalNetworkPolicy)
    assert policy.spec.types == types


def test_what_a_server_wrote_is_dropped_and_the_namespace_given() -> None:
    written = normalise(
        make("NetworkSet", {}, uid="1-2", resourceVersion="7", generation=1, managedFields=[{}],
             creationTimestamp="2024-01-01T00:00:00Z", selfLink="/x", ownerReferences=[{}],
             labels={"a": "b"})
    )  # fmt: skip
    assert written.metadata == r.Metadata(name="x", namespace="default", labels={"a": "b"})


SPELLINGS = [
    (
        "NetworkPolicy",
        rule(protocol=6, source={"nets": ["10.0.0.9/8"], "ports": ["80", "7:7", "1:2", "web"]}),
        rule(protocol="TCP", source={"nets": ["10.0.0.0/8"], "ports": [80, 7, "1:2", "web"]}),
    ),
    ("Profile", rule(notProtocol="icmpv6"), rule(notProtocol="ICMPv6")),
    ("NetworkSet", {"nets": ["FD00::1"]}, {"nets": ["fd00::1/128"]}),
    ("IPPool", {"cidr": "FD00::/48"}, {"cidr": "fd00::/48"}),
    ("BGPPeer", {**PEER, "peerIP": "[FD00::1]:180"}, {**PEER, "peerIP": "[fd00::1]:180"}),
    (
        "Node",
        {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "FD00::7"}},
        {"bgp": {"ipv4Address": "10.0.0.7/24", "ipv6Address": "fd00::7"}},
    ),
    (
        "HostEndpoint",
        {"node": "a", "expectedIPs": ["FD00::7"], "ports": [{**PORT, "protocol": "tcp"}]},
        {"node": "a", "expectedIPs": ["fd00::7"], "ports": [PORT]},
    ),
]


@pytest.mark.parametrize(("kind", "given", "kept"), SPELLINGS)
def test_equal_meaning_is_equal_data(kind: str, given: Data, kept: Data) -> None:
    resource = make(kind, given)
    assert faults(resource) == []
    assert normalise(resource) == normalise(make(kind, kept))
    spec = plain(normalise(resource))["spec"]
    assert isinstance(spec, dict)
    assert {key: spec[key] for key in kept} == kept
    assert normalise(normalise(resource)) == normalise(resource)


def test_an_endpoint_is_kept_canonical() -> None:
    given = workload(ipNetworks=["10.0.0.1", "FD00::1"], mac="EE:EE:00:00:00:01")
    assert (
        normalise(given).spec
        == workload(  # type: ignore[union-attr]
            ipNetworks=["10.0.0.1/32", "fd00::1/128"], mac="ee:ee:00:00:00:01"
        ).spec
    )


def test_the_default_tier_knows_its_order() -> None:
    tier = normalise(make("Tier", {}, name="default"))
    assert isinstance(tier, r.Tier)
    assert tier.spec.order == 1_000_000
