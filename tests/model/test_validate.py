"""What metadata, rules, policies, tiers and profiles must satisfy."""

import pytest
from validation import Data, expect, faults, make, rule

from tortie.model.validate import normalise

# --- metadata ----------------------------------------------------------------------------------

NASTY = ['a"b', "a'b", "a\nb", "a;b", "$(reboot)", "a b", "a{b}", "a#b", "../b", "", "é", "A", "-a"]


@pytest.mark.parametrize("kind", ["Tier", "Profile", "NetworkPolicy", "NetworkSet", "Namespace"])
@pytest.mark.parametrize("name", NASTY)
def test_a_hostile_name_is_refused(kind: str, name: str) -> None:
    assert "metadata.name" in [path for path, _ in faults(make(kind, {}, name=name))]


METADATA = [
    ("Tier", {"name": "a.b"}, "metadata.name", "no valid name"),
    ("Tier", {"name": "a" * 64}, "metadata.name", "at most 63"),
    ("Profile", {"name": "a" * 254}, "metadata.name", "at most 253"),
    ("Tier", {"namespace": "shop"}, "metadata.namespace", "in no namespace"),
    ("NetworkSet", {"namespace": "a.b"}, "metadata.namespace", "no valid name"),
    ("Tier", {"labels": {"a b": "x"}}, 'metadata.labels["a b"]', "not valid"),
    ("Tier", {"labels": {"A_B/c": "x"}}, 'metadata.labels["A_B/c"]', "DNS name"),
    ("Tier", {"labels": {"a/": "x"}}, 'metadata.labels["a/"]', "not valid"),
    ("Tier", {"labels": {"a" * 64: "x"}}, "metadata.labels." + "a" * 64, "not valid"),
    ("Tier", {"labels": {"a": "x" * 64}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": "x; flush ruleset"}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": '"; drop'}}, "metadata.labels.a", "label value"),
    ("Tier", {"labels": {"a": "x\ny"}}, "metadata.labels.a", "label value"),
    ("Tier", {"finalizers": ["a;b"]}, "metadata.finalizers[0]", "not valid"),
    ("Tier", {"annotations": {"a;b": ""}}, 'metadata.annotations["a;b"]', "not valid"),
    ("Tier", {"annotations": {"a": "x" * 300_000}}, "metadata.annotations", "262144 fit"),
    (
        "Namespace",
        {"annotations": {"tortie.dev/default": "isolate"}},
        'metadata.annotations["tortie.dev/default"]',
        "did you mean isolated?",
    ),
    (
        "Namespace",
        {"annotations": {"tortie.dev/defalt": "open"}},
        'metadata.annotations["tortie.dev/defalt"]',
        "did you mean tortie.dev/default?",
    ),
    (
        "NetworkSet",
        {"labels": {"projectcalico.org/namespace": "bank"}},
        'metadata.labels["projectcalico.org/namespace"]',
        "given by Tortie",
    ),
]


@pytest.mark.parametrize(("kind", "metadata", "path", "says"), METADATA)
def test_metadata_is_refused(kind: str, metadata: Data, path: str, says: str) -> None:
    expect(make(kind, {}, **{"name": "x", **metadata}), path, says)  # type: ignore[arg-type]


def test_annotations_are_kept_as_data_whatever_they_say() -> None:
    text = 'say "x"; $(reboot)\n# é { } `'
    resource = make("Tier", {}, annotations={"note": text})
    assert faults(resource) == []
    assert normalise(resource).metadata.annotations == {"note": text}


# --- rules and policies ------------------------------------------------------------------------


TCP: Data = {"protocol": "TCP"}
RULES = [
    (rule(protocol="tpc"), ".protocol", "did you mean TCP?"),
    (rule(protocol="6"), ".protocol", "without quotes"),
    (rule(protocol=0), ".protocol", "1 to 255"),
    (rule(notProtocol=256), ".notProtocol", "1 to 255"),
    (rule(icmp={"type": 8}), ".icmp", "protocol: ICMP"),
    (rule(protocol="TCP", notICMP={"type": 8}), ".notICMP", "protocol: ICMP"),
    (rule(protocol="ICMP", icmp={"code": 0}), ".icmp.code", "give the type"),
    (rule(protocol="ICMP", icmp={"type": 255}), ".icmp.type", "0 to 254"),
    (rule(protocol=1, icmp={"type": 3, "code": 256}), ".icmp.code", "0 to 255"),
    (rule(protocol="ICMP", ipVersion=6), ".protocol", "ipVersion: 4"),
    (rule(notProtocol="ICMPv6", ipVersion=4), ".notProtocol", "ipVersion: 6"),
    (rule(source={"nets": ["10.0.0.300"]}), ".source.nets[0]", "no IP address"),
    (rule(source={"nets": ["10.0.0.1"] * 257}), ".source.nets", "at most 256"),
    (rule(source={"notNets": ["0.0.0.0/0"]}), ".source.notNets[0]", "outside"),
    (rule(source={"nets": ["fd00::1", "10.0.0.1"]}), ".source.nets[1]", "is IPv4 but"),
    (
        rule(source={"nets": ["fd00::1"]}, destination={"notNets": ["10.0.0.1"]}),
        ".destination.notNets[0]",
        "source.nets[0] is IPv6",
    ),
    (rule(ipVersion=4, source={"nets": ["fd00::1"]}), ".source.nets[0]", "ipVersion is 4"),
    (rule(source={"selector": "a = 'b'"}), ".source.selector", 'write "=="'),
    (rule(source={"selector": "global()"}), ".source.selector", "no meaning here"),
    (rule(source={"notSelector": "has("}), ".source.notSelector", "needs a label"),
    (rule(source={"selector": f"a == '{'x' * 1024}'"}), ".source.selector", "at most 1024"),
    (
        rule(source={"namespaceSelector": "global() || all()"}),
        ".source.namespaceSelector",
        "alone",
    ),
    (rule(destination={"ports": [80]}), ".destination.ports", "write protocol: TCP"),
    (rule(destination={"ports": ["80:90"]}), ".destination.ports", "write protocol: TCP"),
    (rule(protocol="UDPLite", source={"ports": ["http"]}), ".source.ports", "has no ports"),
    (rule(**TCP, source={"ports": [0]}), ".source.ports[0]", "1 to 65535"),
    (rule(**TCP, source={"ports": ["010"]}), ".source.ports[0]", "leading zeros"),
    (rule(**TCP, source={"ports": [80, "70000:70001"]}), ".source.ports[1]", "out of range"),
    (rule(**TCP, source={"notPorts": ["90:80"]}), ".source.notPorts[0]", '"80:90"'),
    (rule(**TCP, source={"ports": ["80-90"]}), ".source.ports[0]", '"80:90"'),
    (rule(**TCP, source={"ports": ["a b"]}), ".source.ports[0]", "port name"),
    (rule(**TCP, source={"ports": [1] * 51}), ".source.ports", "at most 50"),
    (
        rule(source={"serviceAccounts": {"names": ["A b"]}}),
        ".source.serviceAccounts.names[0]",
        "no valid name",
    ),
    (rule(destination={"services": {"name": "x"}}), ".destination.services", "not available yet"),
    (rule(http={"methods": ["GET"]}), ".http", "not available yet"),
    (
        rule(metadata={"annotations": {"a;b": "x"}}),
        '.metadata.annotations["a;b"]',
        "not valid",
    ),
]


@pytest.mark.parametrize(("spec", "path", "says"), RULES)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy", "Profile"])
def test_a_rule_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), "spec.ingress[0]" + path, says)


GOOD_RULES = [
    rule(protocol="tcp", source={"ports": [1, 65535, "80:90", "http", "8080-tcp"]}),
    rule(protocol=132, source={"notPorts": [80]}),
    rule(destination={"ports": ["http"]}),
    rule(protocol="ICMP", ipVersion=4, icmp={"type": 8, "code": 0}, notICMP={"type": 3}),
    rule(protocol=58, icmp={}),
    rule(source={"nets": ["10.0.0.1", "0.0.0.0/0"]}, destination={"notNets": ["10.0.0.0/8"]}),
    rule(source={"namespaceSelector": "global()", "notSelector": "has(a)"}),
    rule(source={"serviceAccounts": {"names": ["api"], "selector": "has(x)"}}),
]


@pytest.mark.parametrize("spec", GOOD_RULES)
def test_a_rule_is_accepted(spec: Data) -> None:
    assert faults(make("NetworkPolicy", spec)) == []


POLICIES = [
    ("NetworkPolicy", {"tier": "a.b"}, "spec.tier", "no valid name"),
    ("NetworkPolicy", {"order": float("nan")}, "spec.order", "no order"),
    ("NetworkPolicy", {"selector": "role"}, "spec.selector", "has(role)"),
    ("NetworkPolicy", {"serviceAccountSelector": "!"}, "spec.serviceAccountSelector", "early"),
    ("NetworkPolicy", {"types": ["Ingress", "Ingress"]}, "spec.types[1]", "twice"),
    ("NetworkPolicy", {"egress": [{"action": "Deny"}] * 1025}, "spec.egress", "at most 1024"),
    ("GlobalNetworkPolicy", {"selector": "global()"}, "spec.selector", "no meaning"),
    ("GlobalNetworkPolicy", {"namespaceSelector": "global()"}, "spec.namespaceSelector", "no mea"),
    ("GlobalNetworkPolicy", {"doNotTrack": True}, "spec.doNotTrack", "applyOnForward: true"),
    (
        "GlobalNetworkPolicy",
        {"doNotTrack": True, "preDNAT": True, "applyOnForward": True},
        "spec.preDNAT",
        "exclude",
    ),
    (
        "GlobalNetworkPolicy",
        {"preDNAT": True, "applyOnForward": True, "types": ["Egress"]},
        "spec.types",
        "ingress only",
    ),
    ("Profile", {"labelsToApply": {"a": "x y"}}, "spec.labelsToApply.a", "label value"),
]


@pytest.mark.parametrize(("kind", "spec", "path", "says"), POLICIES)
def test_a_policy_is_refused(kind: str, spec: Data, path: str, says: str) -> None:
    expect(make(kind, spec), path, says)


TIERS = [
    ("default", {"defaultAction": "Pass"}, "spec.defaultAction"),
    ("default", {"order": 1}, "spec.order"),
    ("kube-admin", {}, "spec.defaultAction"),
    ("security", {"order": float("inf")}, "spec.order"),
]


@pytest.mark.parametrize(("name", "spec", "path"), TIERS)
def test_a_tier_is_refused(name: str, spec: Data, path: str) -> None:
    assert [place for place, _ in faults(make("Tier", spec, name=name))] == [path]


def test_the_built_in_profile_cannot_be_written() -> None:
    expect(make("Profile", {}, name="projectcalico-default-allow"), "metadata.name", "built in")
