"""What metadata, rules, policies, tiers and profiles must satisfy."""

import pytest
from validation import Data, expect, faults, make, rule, workload

from tortie.model import resources as r
from tortie.model.manifest import plain
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
    ("Service", {"name": "a.b"}, "metadata.name", "no valid name"),
    ("ClusterNetworkPolicy", {"namespace": "shop"}, "metadata.namespace", "in no namespace"),
    ("KubernetesNetworkPolicy", {"name": "A"}, "metadata.name", "no valid name"),
    ("EndpointSlice", {"namespace": "a.b"}, "metadata.namespace", "no valid name"),
]

SPECS: dict[str, Data] = {
    "ClusterNetworkPolicy": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
    "Service": {"ports": [{"port": 80}]},
    "IPPool": {"cidr": "10.0.0.0/16"},
    "HostEndpoint": {"node": "a1", "interfaceName": "eth0"},
}


@pytest.mark.parametrize(("kind", "metadata", "path", "says"), METADATA)
def test_metadata_is_refused(kind: str, metadata: Data, path: str, says: str) -> None:
    expect(of_kind(kind, **metadata), path, says)


def of_kind(kind: str, **metadata: object) -> r.Resource:
    """A valid resource of a kind, but for what its metadata say."""
    about = {"name": "x", **metadata}
    if kind == "EndpointSlice":
        return make(kind, None, top={"addressType": "IPv4"}, **about)  # type: ignore[arg-type]
    return make(kind, SPECS.get(kind, {}), **about)  # type: ignore[arg-type]


REVOKED = [
    "NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy", "ClusterNetworkPolicy",
    "Profile", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
]  # fmt: skip


@pytest.mark.parametrize("kind", REVOKED)
def test_a_policy_may_ask_that_connections_be_cut(kind: str) -> None:
    for word in ("true", "false"):
        assert faults(of_kind(kind, annotations={"tortie.dev/revoke": word})) == []
    place = 'metadata.annotations["tortie.dev/revoke"]'
    for word in ("yes", "True", "", "1"):
        expect(of_kind(kind, annotations={"tortie.dev/revoke": word}), place, "none of true, false")
    expect(
        of_kind(kind, annotations={"tortie.dev/revoked": "true"}),
        'metadata.annotations["tortie.dev/revoked"]',
        "did you mean tortie.dev/revoke?",
    )


ELSEWHERE = [
    ("Tier", "tortie.dev/revoke", "it belongs to a NetworkPolicy"),
    ("HostEndpoint", "tortie.dev/revoke", "it belongs to a NetworkPolicy"),
    ("IPPool", "tortie.dev/upstream", "it belongs to a BGPPeer"),
    ("Service", "tortie.dev/default", "it belongs to a Namespace"),
    ("NetworkSet", "tortie.dev/colour", "leave it out"),
]


@pytest.mark.parametrize(("kind", "key", "says"), ELSEWHERE)
def test_an_annotation_of_ours_is_refused_where_it_means_nothing(
    kind: str, key: str, says: str
) -> None:
    found = of_kind(kind, annotations={key: "true", "example.com/note": "kept"})
    expect(found, f'metadata.annotations["{key}"]', says)


CALICOS = "projectcalico.org/"
GIVEN = [
    # kind, the label, what it says, whether that may stand there
    ("NetworkSet", "namespace", "shop", True),
    ("NetworkSet", "namespace", "bank", False),
    ("NetworkSet", "orchestrator", "k8s", False),
    ("NetworkSet", "serviceaccount", "root", False),
    ("GlobalNetworkSet", "namespace", "shop", False),
    ("GlobalNetworkSet", "namespace", "", False),
    ("GlobalNetworkSet", "orchestrator", "k8s", False),
    ("GlobalNetworkSet", "serviceaccount", "root", False),
    ("HostEndpoint", "namespace", "shop", False),
    ("HostEndpoint", "orchestrator", "lab", False),
    ("HostEndpoint", "serviceaccount", "root", False),
    ("WorkloadEndpoint", "namespace", "shop", True),
    ("WorkloadEndpoint", "namespace", "bank", False),
    ("WorkloadEndpoint", "orchestrator", "lab", True),
    ("WorkloadEndpoint", "orchestrator", "k8s", False),
    ("WorkloadEndpoint", "serviceaccount", "teller", True),
    ("WorkloadEndpoint", "serviceaccount", "root", False),
]


@pytest.mark.parametrize(("kind", "label", "says", "fine"), GIVEN)
def test_no_label_lies_about_where_a_thing_is(kind: str, label: str, says: str, fine: bool) -> None:
    metadata: Data = {"labels": {CALICOS + label: says, "role": "x"}}
    if kind in ("NetworkSet", "WorkloadEndpoint"):
        metadata["namespace"] = "shop"
    if kind == "WorkloadEndpoint":
        spec = plain(workload(serviceAccountName="teller"))["spec"]
        metadata["name"] = "a1-lab-web-eth0"
        found = make(kind, spec, **metadata)  # type: ignore[arg-type]
    else:
        found = of_kind(kind, **metadata)
    if fine:
        assert faults(found) == []
    else:
        expect(found, f'metadata.labels["{CALICOS}{label}"]', "given by Tortie")


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
    (rule(http={"methods": ["GET"]}), ".http", "not HTTP requests"),
    (rule(http={"paths": [{"prefix": "/admin"}]}), ".http", "leave http out and match ports"),
    (
        rule(source={"serviceAccounts": {"names": ["a"] * 257}}),
        ".source.serviceAccounts.names",
        "at most 256",
    ),
    (
        rule(source={"serviceAccounts": {"selector": f"a == '{'x' * 1024}'"}}),
        ".source.serviceAccounts.selector",
        "at most 1024",
    ),
    (
        rule(source={"namespaceSelector": f"a == '{'x' * 1024}'"}),
        ".source.namespaceSelector",
        "at most 1024",
    ),
    (rule(source={"notSelector": "global()"}), ".source.notSelector", "no meaning here"),
    (rule(**TCP, destination={"notPorts": [1] * 51}), ".destination.notPorts", "at most 50"),
    (rule(destination={"notNets": ["10.0.0.1"] * 257}), ".destination.notNets", "at most 256"),
    (rule(destination={"notNets": ["::/0"]}), ".destination.notNets[0]", "outside"),
    (rule(source={"notNets": ["10.0.0.0/33"]}), ".source.notNets[0]", "prefix length"),
    (rule(source={"nets": ["::ffff:10.0.0.1"]}), ".source.nets[0]", "write 10.0.0.1"),
    (rule(source={"nets": ["010.0.0.1"]}), ".source.nets[0]", "leading zeros"),
    (rule(protocol=58, ipVersion=4), ".protocol", "ipVersion: 6"),
    (rule(protocol="ICMPv6", icmp={"type": -1}), ".icmp.type", "0 to 254"),
    (rule(protocol=47, icmp={"type": 8}), ".icmp", "protocol: ICMP"),
    (rule(notProtocol="ICMP", notICMP={"type": 8}), ".notICMP", "protocol: ICMP"),
    (rule(protocol=47, destination={"ports": [80]}), ".destination.ports", "has no ports"),
    (rule(notProtocol="TCP", destination={"ports": [80]}), ".destination.ports", "write protocol"),
    (rule(**TCP, destination={"ports": [65536]}), ".destination.ports[0]", "1 to 65535"),
    (rule(**TCP, destination={"ports": ["0:80"]}), ".destination.ports[0]", "leading zeros"),
    (rule(**TCP, destination={"ports": ["80:"]}), ".destination.ports[0]", "no valid port name"),
    (rule(**TCP, destination={"ports": [""]}), ".destination.ports[0]", "no valid port name"),
    (
        rule(metadata={"annotations": {"a;b": "x"}}),
        '.metadata.annotations["a;b"]',
        "not valid",
    ),
]


RULED = [
    "NetworkPolicy", "GlobalNetworkPolicy", "Profile",
    "StagedNetworkPolicy", "StagedGlobalNetworkPolicy",
]  # fmt: skip


@pytest.mark.parametrize(("spec", "path", "says"), RULES)
@pytest.mark.parametrize("kind", RULED)
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
@pytest.mark.parametrize("kind", RULED)
def test_a_rule_is_accepted(kind: str, spec: Data) -> None:
    assert faults(make(kind, spec)) == []


# --- services in rules -------------------------------------------------------------------------

LEDGER: Data = {"name": "ledger", "namespace": "bank"}
OWN: Data = {"name": "ledger"}


def to(**end: object) -> Data:
    return {"egress": [{"action": "Allow", "destination": end}]}


def since(**end: object) -> Data:
    return rule(source=end)


SERVICES = [
    # spec, path below the rule, what is said
    (rule(destination={"services": LEDGER}), "ingress", ".destination.services", "source of ingr"),
    (
        {"egress": [{"action": "Allow", "source": {"services": LEDGER}}]},
        "egress",
        ".source.services",
        "destination of egress",
    ),
    (to(services={**LEDGER, "name": "A b"}), "egress", ".destination.services.name", "no valid"),
    (
        to(services={**LEDGER, "namespace": "a.b"}),
        "egress",
        ".destination.services.namespace",
        "no valid",
    ),
    (to(services=LEDGER, selector="all()"), "egress", ".destination.selector", "exclude selector"),
    (to(services=LEDGER, notSelector="has(a)"), "egress", ".destination.notSelector", "exclude"),
    (
        to(services=LEDGER, namespaceSelector="all()"),
        "egress",
        ".destination.namespaceSelector",
        "exclude",
    ),
    (to(services=LEDGER, nets=["10.0.0.0/8"]), "egress", ".destination.nets", "exclude nets"),
    (to(services=LEDGER, notNets=["10.0.0.0/8"]), "egress", ".destination.notNets", "exclude"),
    (
        to(services=LEDGER, serviceAccounts={"names": ["a"]}),
        "egress",
        ".destination.serviceAccounts",
        "exclude",
    ),
    (to(services=LEDGER, ports=["http"]), "egress", ".destination.ports", "exclude ports"),
    (to(services=LEDGER, notPorts=["http"]), "egress", ".destination.notPorts", "exclude notPorts"),
    (since(services=LEDGER, selector="all()"), "ingress", ".source.selector", "exclude"),
    (since(services=LEDGER, nets=["10.0.0.0/8"]), "ingress", ".source.nets", "exclude"),
    (since(services=LEDGER, notNets=["10.0.0.0/8"]), "ingress", ".source.notNets", "exclude"),
    (since(services=LEDGER, serviceAccounts={}), "ingress", ".source.serviceAccounts", "exclude"),
]


@pytest.mark.parametrize(("spec", "direction", "path", "says"), SERVICES)
@pytest.mark.parametrize("kind", RULED)
def test_a_service_stands_alone_and_where_it_means_something(
    kind: str, spec: Data, direction: str, path: str, says: str
) -> None:
    expect(make(kind, spec), f"spec.{direction}[0]{path}", says)


@pytest.mark.parametrize(
    "spec",
    [
        to(services=LEDGER),
        since(services=LEDGER),
        rule(protocol="TCP", source={"services": LEDGER, "ports": [80]}),
        rule(protocol="TCP", source={"services": LEDGER}, destination={"ports": [80]}),
    ],
)
@pytest.mark.parametrize("kind", RULED)
def test_a_service_is_accepted(kind: str, spec: Data) -> None:
    assert faults(make(kind, spec)) == []


@pytest.mark.parametrize("kind", RULED)
@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (to(services=OWN), "spec.egress[0].destination.services.namespace"),
        (since(services=OWN), "spec.ingress[0].source.services.namespace"),
    ],
)
def test_what_is_in_no_namespace_says_that_of_a_service(kind: str, spec: Data, path: str) -> None:
    if kind in ("NetworkPolicy", "StagedNetworkPolicy"):
        assert faults(make(kind, spec)) == []
    else:
        expect(make(kind, spec), path, "give the service's namespace")


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
    ("GlobalNetworkPolicy", {"preDNAT": True}, "spec.preDNAT", "applyOnForward: true"),
    (
        "GlobalNetworkPolicy",
        {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Deny"}]},
        "spec.egress",
        "ingress only",
    ),
    (
        "GlobalNetworkPolicy",
        {"serviceAccountSelector": "global()"},
        "spec.serviceAccountSelector",
        "no meaning",
    ),
    ("GlobalNetworkPolicy", {"ingress": [{"action": "Deny"}] * 1025}, "spec.ingress", "most 1024"),
    (
        "GlobalNetworkPolicy",
        {"namespaceSelector": f"a == '{'x' * 1024}'"},
        "spec.namespaceSelector",
        "at most 1024",
    ),
    ("NetworkPolicy", {"selector": f"a == '{'x' * 1024}'"}, "spec.selector", "at most 1024"),
    (
        "NetworkPolicy",
        {"serviceAccountSelector": f"a == '{'x' * 1024}'"},
        "spec.serviceAccountSelector",
        "at most 1024",
    ),
    ("NetworkPolicy", {"tier": ""}, "spec.tier", "no valid name"),
    ("NetworkPolicy", {"order": float("-inf")}, "spec.order", "no order"),
    ("Profile", {"egress": [{"action": "Deny"}] * 1025}, "spec.egress", "at most 1024"),
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
    if kind != "Profile":
        expect(make(f"Staged{kind}", spec), path, says)


GOOD_POLICIES = [
    ("NetworkPolicy", {}),
    ("NetworkPolicy", {"tier": "security", "order": -1.5, "types": ["Egress"]}),
    ("NetworkPolicy", {"ingress": [{"action": "Log"}] * 1024}),
    ("NetworkPolicy", {"performanceHints": ["AssumeNeededOnEveryNode"]}),
    ("NetworkPolicy", {"serviceAccountSelector": "role == 'x'", "selector": f"a == '{'x' * 999}'"}),
    ("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True}),
    ("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True, "types": ["Ingress"]}),
    ("GlobalNetworkPolicy", {"applyOnForward": True, "egress": [{"action": "Pass"}]}),
    ("GlobalNetworkPolicy", {"namespaceSelector": "has(team)", "order": 1e300}),
]


@pytest.mark.parametrize(("kind", "spec"), GOOD_POLICIES)
def test_a_policy_is_accepted(kind: str, spec: Data) -> None:
    assert faults(make(kind, spec)) == []
    assert faults(make(f"Staged{kind}", spec)) == []


TIERS = [
    ("default", {"defaultAction": "Pass"}, "spec.defaultAction"),
    ("default", {"order": 1}, "spec.order"),
    ("kube-admin", {"defaultAction": "Pass", "order": 1}, "spec.order"),
    ("kube-admin", {"defaultAction": "Deny"}, "spec.defaultAction"),
    ("kube-baseline", {"defaultAction": "Deny"}, "spec.defaultAction"),
    ("security", {"order": float("nan")}, "spec.order"),
    ("kube-admin", {}, "spec.defaultAction"),
    ("security", {"order": float("inf")}, "spec.order"),
]


@pytest.mark.parametrize(("name", "spec", "path"), TIERS)
def test_a_tier_is_refused(name: str, spec: Data, path: str) -> None:
    assert [place for place, _ in faults(make("Tier", spec, name=name))] == [path]


def test_the_built_in_profile_cannot_be_written() -> None:
    expect(make("Profile", {}, name="projectcalico-default-allow"), "metadata.name", "built in")
