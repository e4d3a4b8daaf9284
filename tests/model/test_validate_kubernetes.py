"""What Kubernetes' own policies must satisfy: a case a line, as its API server would say."""

import pytest
from validation import Data, expect, faults, make

from tortie.model import resources as r
from tortie.model.decode import decode
from tortie.model.manifest import plain
from tortie.model.validate import normalise

# --- label selectors ---------------------------------------------------------------------------


def needs(key: str, operator: str, *values: str) -> Data:
    """A selector of one expression."""
    expression: Data = {"key": key, "operator": operator}
    if values:
        expression["values"] = list(values)
    return {"matchExpressions": [expression]}


BAD_SELECTORS = [
    ({"matchLabels": {"role": "a b"}}, ".matchLabels.role", "no valid label value"),
    ({"matchLabels": {"role": "x" * 64}}, ".matchLabels.role", "no valid label value"),
    ({"matchLabels": {"role": "-x"}}, ".matchLabels.role", "no valid label value"),
    ({"matchLabels": {"role": '"; drop'}}, ".matchLabels.role", "no valid label value"),
    ({"matchLabels": {"a b": "x"}}, '.matchLabels["a b"]', "not valid"),
    ({"matchLabels": {"A/b": "x"}}, '.matchLabels["A/b"]', "DNS name"),
    ({"matchLabels": {"/b": "x"}}, '.matchLabels["/b"]', "DNS name"),
    ({"matchLabels": {"": "x"}}, '.matchLabels[""]', "not valid"),
    ({"matchLabels": {"b" * 64: "x"}}, ".matchLabels." + "b" * 64, "not valid"),
    (needs("role", "In"), ".matchExpressions[0].values", "In needs values"),
    (needs("role", "NotIn"), ".matchExpressions[0].values", "use Exists or DoesNotExist"),
    (needs("role", "Exists", "x"), ".matchExpressions[0].values", "Exists takes no values"),
    (needs("role", "DoesNotExist", "x"), ".matchExpressions[0].values", "takes no values"),
    (needs("role", "In", "x", "a b"), ".matchExpressions[0].values[1]", "no valid label value"),
    (needs("role", "NotIn", "x" * 64), ".matchExpressions[0].values[0]", "no valid label value"),
    (needs("a;b", "Exists"), ".matchExpressions[0].key", "not valid"),
    (needs("", "Exists"), ".matchExpressions[0].key", "not valid"),
]
GOOD_SELECTORS: list[Data] = [
    {},
    {"matchLabels": {}},
    {"matchLabels": {"role": ""}},
    {"matchLabels": {"app.kubernetes.io/name": "Web_1.0", "tier": "front-end"}},
    needs("role", "In", "web"),
    needs("role", "In", ""),
    needs("role", "NotIn", "web", "db"),
    needs("example.com/role", "Exists"),
    needs("role", "DoesNotExist"),
    {"matchLabels": {"role": "web"}, **needs("env", "NotIn", "dev")},
]
# Where a label selector stands: the spec around it, and the path to it.
PLACES = {
    "the pods of a policy": ("KubernetesNetworkPolicy", "spec.podSelector"),
    "pods that come in": ("KubernetesNetworkPolicy", "spec.ingress[0].from[0].podSelector"),
    "namespaces that come in": (
        "KubernetesNetworkPolicy",
        "spec.ingress[0].from[0].namespaceSelector",
    ),
    "pods gone out to": ("KubernetesNetworkPolicy", "spec.egress[0].to[0].podSelector"),
    "namespaces gone out to": ("KubernetesNetworkPolicy", "spec.egress[0].to[0].namespaceSelector"),
    "the pods of a staged policy": ("StagedKubernetesNetworkPolicy", "spec.podSelector"),
    "namespaces of the cluster": ("ClusterNetworkPolicy", "spec.subject.namespaces"),
    "pods of the cluster": ("ClusterNetworkPolicy", "spec.subject.pods.podSelector"),
    "their namespaces": ("ClusterNetworkPolicy", "spec.subject.pods.namespaceSelector"),
    "sources": ("ClusterNetworkPolicy", "spec.ingress[0].from[0].namespaces"),
    "pods as sources": ("ClusterNetworkPolicy", "spec.ingress[0].from[0].pods.podSelector"),
    "destinations": ("ClusterNetworkPolicy", "spec.egress[0].to[0].namespaces"),
    "pods as destinations": ("ClusterNetworkPolicy", "spec.egress[0].to[0].pods.podSelector"),
    "nodes": ("ClusterNetworkPolicy", "spec.egress[0].to[0].nodes"),
}
TIER: Data = {"tier": "Admin", "priority": 10}


def around(kind: str, path: str, selector: Data) -> Data:
    """The least valid spec with this selector at this path."""
    value: object = selector
    for step in reversed(path.split(".")[1:]):
        name, listed, _ = step.partition("[0]")
        value = {name: [value] if listed else value}
    assert isinstance(value, dict)
    if kind == "ClusterNetworkPolicy":
        value = {**TIER, "subject": {"namespaces": {}}, **value}
        for direction in ("ingress", "egress"):
            for rule in value.get(direction, []):
                rule["action"] = "Deny"
    return value


@pytest.mark.parametrize(("kind", "place"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(("selector", "path", "says"), BAD_SELECTORS)
def test_a_label_selector_is_refused(
    kind: str, place: str, selector: Data, path: str, says: str
) -> None:
    expect(make(kind, around(kind, place, selector)), place + path, says)


@pytest.mark.parametrize(("kind", "place"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("selector", GOOD_SELECTORS)
def test_a_label_selector_is_accepted(kind: str, place: str, selector: Data) -> None:
    assert faults(make(kind, around(kind, place, selector))) == []


# --- networking.k8s.io/v1 NetworkPolicy --------------------------------------------------------

KINDS = ("KubernetesNetworkPolicy", "StagedKubernetesNetworkPolicy")
PODS: Data = {"podSelector": {"matchLabels": {"role": "web"}}}


def from_(*peers: Data) -> Data:
    return {"podSelector": {}, "ingress": [{"from": list(peers)}]}


def block(cidr: str, *excepted: str) -> Data:
    return {"ipBlock": {"cidr": cidr, "except": list(excepted)}}


def ports(*given: Data) -> Data:
    return {"podSelector": {}, "egress": [{"ports": list(given)}]}


SPECS = [
    # peers
    (from_({}), "spec.ingress[0].from[0]", "an empty selector means all"),
    (from_(PODS, {}), "spec.ingress[0].from[1]", "who is meant is not said"),
    (from_({**PODS, **block("10.0.0.0/8")}), "spec.ingress[0].from[0].ipBlock", "excludes"),
    (
        from_({"namespaceSelector": {}, **block("10.0.0.0/8")}),
        "spec.ingress[0].from[0].ipBlock",
        "make two peers of it",
    ),
    (from_(block("10.0.0.1")), "spec.ingress[0].from[0].ipBlock.cidr", "write 10.0.0.1/32"),
    (from_(block("fd00::1")), "spec.ingress[0].from[0].ipBlock.cidr", "write fd00::1/128"),
    (from_(block("10.0.0.0/33")), "spec.ingress[0].from[0].ipBlock.cidr", "prefix length"),
    (from_(block("10.0.0/8")), "spec.ingress[0].from[0].ipBlock.cidr", "no IP address"),
    (from_(block("010.0.0.0/8")), "spec.ingress[0].from[0].ipBlock.cidr", "leading zeros"),
    (from_(block("")), "spec.ingress[0].from[0].ipBlock.cidr", "no IP address"),
    (from_(block("example.com")), "spec.ingress[0].from[0].ipBlock.cidr", "no IP address"),
    (
        from_(block("10.0.0.0/8", "11.0.0.0/16")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "no part of 10.0.0.0/8",
    ),
    (
        from_(block("10.0.0.0/8", "10.0.0.0/8")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "no part of",
    ),
    (
        from_(block("10.1.0.0/16", "10.1.1.0/24", "10.0.0.0/8")),
        "spec.ingress[0].from[0].ipBlock.except[1]",
        "no part of",
    ),
    (
        from_(block("10.0.0.0/8", "fd00::/64")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "no part of",
    ),
    (
        from_(block("::/0", "10.0.0.0/8")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "no part of ::/0",
    ),
    (
        from_(block("10.0.0.0/8", "10.0.0.1")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "write 10.0.0.1/32",
    ),
    (
        from_(block("10.0.0.0/8", "nowhere")),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "no IP address",
    ),
    ({"egress": [{"to": [{}]}]}, "spec.egress[0].to[0]", "who is meant"),
    ({"egress": [{"to": [block("x")]}]}, "spec.egress[0].to[0].ipBlock.cidr", "no IP address"),
    # ports
    (ports({"port": 0}), "spec.egress[0].ports[0].port", "1 to 65535"),
    (ports({"port": 65536}), "spec.egress[0].ports[0].port", "1 to 65535"),
    (ports({"port": -1}), "spec.egress[0].ports[0].port", "1 to 65535"),
    (ports({"port": "80"}), "spec.egress[0].ports[0].port", "leave the quotes out"),
    (ports({"port": "80:90"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": ""}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": "HTTP"}), "spec.egress[0].ports[0].port", "small letters"),
    (ports({"port": "a" * 16}), "spec.egress[0].ports[0].port", "1 to 15"),
    (ports({"port": "a--b"}), "spec.egress[0].ports[0].port", "single -"),
    (ports({"port": "-a"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": "a-"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": "1-2"}), "spec.egress[0].ports[0].port", "a letter among them"),
    (ports({"port": "a_b"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": "a.b"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"port": "x;y"}), "spec.egress[0].ports[0].port", "no valid port name"),
    (ports({"endPort": 80}), "spec.egress[0].ports[0].endPort", "give port as a number"),
    (ports({"port": "http", "endPort": 80}), "spec.egress[0].ports[0].endPort", "is a number"),
    (ports({"port": 80, "endPort": 79}), "spec.egress[0].ports[0].endPort", "below port 80"),
    (ports({"port": 80, "endPort": 65536}), "spec.egress[0].ports[0].endPort", "1 to 65535"),
    (
        {"ingress": [{}, {"ports": [{"port": 1}, {"port": 0}]}]},
        "spec.ingress[1].ports[1].port",
        "1 to 65535",
    ),
    # the whole
    ({"policyTypes": ["Egress", "Egress"]}, "spec.policyTypes[1]", "twice"),
    ({"ingress": [{}] * 1025}, "spec.ingress", "at most 1024"),
    ({"egress": [{}] * 1025}, "spec.egress", "at most 1024"),
]


@pytest.mark.parametrize(("spec", "path", "says"), SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_policy_of_kubernetes_is_refused(
    kind: str, spec: Data, path: str, says: str
) -> None:
    expect(make(kind, spec), path, says)


GOOD_SPECS: list[Data] = [
    {},
    {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    {"podSelector": {}, "ingress": [{}]},
    {"podSelector": {}, "ingress": [], "egress": []},
    {"podSelector": {}, "ingress": [{}] * 1024},
    {"policyTypes": ["Ingress"], "egress": [{}]},
    from_(PODS),
    from_({"podSelector": {}}),
    from_({"namespaceSelector": {}}),
    from_({**PODS, "namespaceSelector": {"matchLabels": {"team": "x"}}}, block("10.0.0.0/8")),
    from_(block("0.0.0.0/0", "10.0.0.0/8", "192.168.0.0/16")),
    from_(block("10.0.0.9/8", "10.1.2.3/16")),
    from_(block("2001:DB8::/64", "2001:db8::/96")),
    from_(block("192.0.2.1/32")),
    ports({"port": 53, "protocol": "UDP"}, {"port": 53}),
    ports({"port": "dns-tcp"}, {"protocol": "SCTP"}, {}),
    ports({"port": "http2"}, {"port": "9-a"}),
    ports({"port": 32000, "endPort": 32768}, {"port": 7, "endPort": 7}),
    ports(*[{"port": port} for port in range(1, 200)]),
]


@pytest.mark.parametrize("spec", GOOD_SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_policy_of_kubernetes_is_accepted(kind: str, spec: Data) -> None:
    assert faults(make(kind, spec)) == []


def said_of(kind: type, data: Data) -> list[str]:
    """What decoding says: path and message."""
    return [str(problem) for problem in decode(data, kind)[1]]


MISTYPED = [
    ({"policyTypes": ["ingress"]}, "spec.policyTypes[0]", "did you mean Ingress?"),
    ({"podSelector": None}, "spec.podSelector", "leave the field out"),
    ({"podSelector": {"matchLabels": ["a"]}}, "spec.podSelector.matchLabels", "not a mapping"),
    ({"podSelector": {"role": "x"}}, "spec.podSelector.role", "no field"),
    ({"podselector": {}}, "spec.podselector", "did you mean podSelector?"),
    (needs("a", "In", "b"), "spec.matchExpressions", "no field"),
    ({"podSelector": needs("a", "in", "b")}, "spec.podSelector.matchExpressions[0].operator", "In"),
    ({"podSelector": {"matchLabels": {"a": 1}}}, "spec.podSelector.matchLabels.a", "in quotes"),
    ({"ingress": [{"from": PODS}]}, "spec.ingress[0].from", "write a list"),
    ({"ingress": [{"to": [PODS]}]}, "spec.ingress[0].to", "no field"),
    ({"egress": [{"from": [PODS]}]}, "spec.egress[0].from", "no field"),
    (
        {"ingress": [{"ports": [{"protocol": "ICMP"}]}]},
        "spec.ingress[0].ports[0].protocol",
        "none of SCTP, TCP, UDP",
    ),
    ({"ingress": [{"ports": [{"protocol": "tcp"}]}]}, "spec.ingress[0].ports[0].protocol", "TCP?"),
    ({"ingress": [{"ports": [80]}]}, "spec.ingress[0].ports[0]", "not a mapping"),
    ({"ingress": [{"ports": [{"port": 8.5}]}]}, "spec.ingress[0].ports[0].port", "8.5 is not"),
    ({"selector": "all()"}, "spec.selector", "did you mean podSelector?"),
]


@pytest.mark.parametrize(("spec", "path", "says"), MISTYPED)
def test_what_is_of_another_type_is_told_by_its_place(spec: Data, path: str, says: str) -> None:
    data = {
        "kind": "KubernetesNetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    (said,) = said_of(r.KubernetesNetworkPolicy, data)
    assert said.startswith(f"{path}: ")
    assert says in said


TYPES = [
    ({}, ["Ingress"]),
    ({"ingress": [{}]}, ["Ingress"]),
    ({"egress": [{}]}, ["Ingress", "Egress"]),
    ({"ingress": [{}], "egress": [{}]}, ["Ingress", "Egress"]),
    ({"egress": []}, ["Ingress"]),
    ({"policyTypes": ["Egress"]}, ["Egress"]),
    ({"policyTypes": ["Egress", "Ingress"]}, ["Ingress", "Egress"]),
    ({"policyTypes": ["Ingress"], "egress": [{}]}, ["Ingress"]),
]


@pytest.mark.parametrize(("spec", "types"), TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_infers_types_in_its_own_way(kind: str, spec: Data, types: list[str]) -> None:
    kept = normalise(make(kind, spec))
    assert isinstance(kept, r.KubernetesNetworkPolicy | r.StagedKubernetesNetworkPolicy)
    assert kept.spec.policy_types == types
    assert normalise(kept) == kept


# --- policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy ------------------------------------

ALL: Data = {"namespaces": {}}


def cluster(**fields: object) -> Data:
    return {**TIER, "subject": ALL, **fields}


def inward(**fields: object) -> Data:
    return cluster(ingress=[{"action": "Deny", "from": [ALL], **fields}])


def outward(*to: Data, **fields: object) -> Data:
    return cluster(egress=[{"action": "Accept", "to": list(to) or [ALL], **fields}])


def tcp(**port: object) -> list[Data]:
    return [{"tcp": {"destinationPort": port}}]


PORT_PATH = "spec.ingress[0].protocols[0].tcp.destinationPort"
NAMED: list[Data] = [{"destinationNamedPort": "http"}]
CLUSTER = [
    (cluster(subject={}), "spec.subject", "give one of namespaces, pods"),
    (cluster(subject={**ALL, "pods": {}}), "spec.subject", "exclude each other"),
    (cluster(ingress=[{"action": "Deny", "from": [ALL]}] * 26), "spec.ingress", "at most 25"),
    (cluster(egress=[{"action": "Deny", "to": [ALL]}] * 26), "spec.egress", "at most 25"),
    (inward(**{"from": []}), "spec.ingress[0].from", "give one item at least"),
    (inward(**{"from": [ALL] * 26}), "spec.ingress[0].from", "at most 25"),
    (inward(**{"from": [ALL, {}]}), "spec.ingress[0].from[1]", "what is meant is not said"),
    (inward(**{"from": [{**ALL, "pods": {}}]}), "spec.ingress[0].from[0]", "exclude each other"),
    (inward(name="x" * 101), "spec.ingress[0].name", "at most 100"),
    (inward(name="a\nb"), "spec.ingress[0].name", "control characters"),
    (inward(name="\x1b[2J"), "spec.ingress[0].name", "control characters"),
    (inward(protocols=[{}]), "spec.ingress[0].protocols[0]", "tcp, udp, sctp, destinationNamed"),
    (
        inward(protocols=[{"tcp": {}, "udp": {}}]),
        "spec.ingress[0].protocols[0]",
        "tcp and udp excl",
    ),
    (inward(protocols=tcp(number=80) * 26), "spec.ingress[0].protocols", "at most 25"),
    (inward(protocols=tcp()), PORT_PATH, "give one of number, range"),
    (inward(protocols=tcp(number=1, range={"start": 1, "end": 2})), PORT_PATH, "exclude"),
    (inward(protocols=tcp(number=0)), f"{PORT_PATH}.number", "1 to 65535"),
    (inward(protocols=tcp(number=65536)), f"{PORT_PATH}.number", "1 to 65535"),
    (inward(protocols=tcp(range={"start": 9, "end": 8})), f"{PORT_PATH}.range.start", "exchange"),
    (inward(protocols=tcp(range={"start": 9, "end": 9})), f"{PORT_PATH}.range.start", "a number"),
    (inward(protocols=tcp(range={"start": 0, "end": 9})), f"{PORT_PATH}.range.start", "1 to 65535"),
    (
        inward(protocols=tcp(range={"start": 1, "end": 65536})),
        f"{PORT_PATH}.range.end",
        "1 to 65535",
    ),
    (
        inward(protocols=[{"destinationNamedPort": "a b"}]),
        "spec.ingress[0].protocols[0].destinationNamedPort",
        "no valid port name",
    ),
    (
        inward(protocols=[{"destinationNamedPort": "80"}]),
        "spec.ingress[0].protocols[0].destinationNamedPort",
        "leave the quotes out",
    ),
    (
        inward(protocols=[{"destinationNamedPort": "x" * 16}]),
        "spec.ingress[0].protocols[0].destinationNamedPort",
        "1 to 15",
    ),
    (outward({}), "spec.egress[0].to[0]", "pods, nodes, networks, domainNames"),
    (outward({"nodes": {}, **ALL}), "spec.egress[0].to[0]", "namespaces and nodes exclude"),
    (outward({"nodes": {}, "networks": ["10.0.0.0/8"]}), "spec.egress[0].to[0]", "exclude"),
    (outward({"networks": []}), "spec.egress[0].to[0].networks", "give one item at least"),
    (outward({"networks": ["10.0.0.1"]}), "spec.egress[0].to[0].networks[0]", "10.0.0.1/32"),
    (outward({"networks": ["x"]}), "spec.egress[0].to[0].networks[0]", "no IP address"),
    (
        outward({"networks": ["10.0.0.0/8", "10.0.0.0/8"]}),
        "spec.egress[0].to[0].networks[1]",
        "twice",
    ),
    (
        outward({"networks": [f"10.{number}.0.0/16" for number in range(26)]}),
        "spec.egress[0].to[0].networks",
        "at most 25",
    ),
    (
        outward({"domainNames": ["example.com"]}),
        "spec.egress[0].to[0].domainNames",
        "domain names is not available yet",
    ),
    (outward(*[ALL] * 26), "spec.egress[0].to", "at most 25"),
    (outward({"nodes": {}}, protocols=NAMED), "spec.egress[0].to[0].nodes", "no named ports"),
    (
        outward(ALL, {"networks": ["10.0.0.0/8"]}, protocols=NAMED),
        "spec.egress[0].to[1].networks",
        "no named ports",
    ),
    (outward(name="x" * 101), "spec.egress[0].name", "at most 100"),
]


@pytest.mark.parametrize(("spec", "path", "says"), CLUSTER)
def test_a_cluster_network_policy_is_refused(spec: Data, path: str, says: str) -> None:
    expect(make("ClusterNetworkPolicy", spec), path, says)


GOOD_CLUSTER = [
    cluster(),
    cluster(tier="Baseline", priority=0),
    cluster(priority=1000, subject={"pods": {}}),
    cluster(subject={"pods": {"namespaceSelector": {}, "podSelector": {}}}),
    cluster(ingress=[{"action": "Pass", "from": [ALL] * 25}] * 25),
    inward(name="x" * 100),
    inward(name="let é in; $(reboot)"),  # for people only; calc reduces it to safe characters
    inward(protocols=[]),
    inward(protocols=[*tcp(number=80), {"udp": {}}, {"sctp": {}}, *NAMED]),
    inward(protocols=tcp(range={"start": 1, "end": 65535})),
    outward({"nodes": {}}, {"networks": ["10.0.0.9/8", "fd00::/8"]}, {"pods": {}}),
    outward(ALL, protocols=NAMED),
    outward({"nodes": {"matchLabels": {"rack": "a"}}}, protocols=tcp(number=6443)),
]


@pytest.mark.parametrize("spec", GOOD_CLUSTER)
def test_a_cluster_network_policy_is_accepted(spec: Data) -> None:
    assert faults(make("ClusterNetworkPolicy", spec)) == []


CLUSTER_MISTYPED = [
    (cluster(priority=1001), "spec.priority", "from 0 to 1000"),
    (cluster(priority=-1), "spec.priority", "from 0 to 1000"),
    (cluster(priority="1"), "spec.priority", "without quotes"),
    (cluster(tier="admin"), "spec.tier", "did you mean Admin?"),
    (cluster(tier="Default"), "spec.tier", "Admin, Baseline"),
    (inward(action="Allow"), "spec.ingress[0].action", "none of Accept, Deny, Pass"),
    (inward(action="Log"), "spec.ingress[0].action", "none of Accept, Deny, Pass"),
    (inward(ports=[]), "spec.ingress[0].ports", "no field"),
    (inward(**{"from": [{"nodes": {}}]}), "spec.ingress[0].from[0].nodes", "no field"),
    (cluster(ingress=[{"action": "Deny"}]), "spec.ingress[0].from", "missing"),
    (cluster(egress=[{"to": [ALL]}]), "spec.egress[0].action", "missing"),
    ({"tier": "Admin", "priority": 1}, "spec.subject", "missing"),
    (inward(protocols=[{"icmp": {}}]), "spec.ingress[0].protocols[0].icmp", "no field"),
]


@pytest.mark.parametrize(("spec", "path", "says"), CLUSTER_MISTYPED)
def test_a_cluster_network_policy_of_other_types(spec: Data, path: str, says: str) -> None:
    data = {
        "kind": "ClusterNetworkPolicy",
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    (said,) = said_of(r.ClusterNetworkPolicy, data)
    assert said.startswith(f"{path}: ")
    assert says in said


# --- staged ------------------------------------------------------------------------------------

STAGED = ("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy")
DELETED = [
    # kind, what is said besides, where it is refused
    ("StagedNetworkPolicy", {"selector": "all()"}, "spec.selector"),
    ("StagedNetworkPolicy", {"order": 0}, "spec.order"),
    ("StagedNetworkPolicy", {"types": ["Ingress"]}, "spec.types"),
    ("StagedNetworkPolicy", {"ingress": [{"action": "Allow"}]}, "spec.ingress"),
    ("StagedNetworkPolicy", {"egress": [{"action": "Allow"}]}, "spec.egress"),
    ("StagedNetworkPolicy", {"serviceAccountSelector": "has(a)"}, "spec.serviceAccountSelector"),
    (
        "StagedNetworkPolicy",
        {"performanceHints": ["AssumeNeededOnEveryNode"]},
        "spec.performanceHints",
    ),
    ("StagedGlobalNetworkPolicy", {"namespaceSelector": "has(a)"}, "spec.namespaceSelector"),
    ("StagedGlobalNetworkPolicy", {"applyOnForward": True}, "spec.applyOnForward"),
    ("StagedKubernetesNetworkPolicy", {"podSelector": PODS["podSelector"]}, "spec.podSelector"),
    ("StagedKubernetesNetworkPolicy", {"ingress": [{}]}, "spec.ingress"),
    ("StagedKubernetesNetworkPolicy", {"egress": [{}]}, "spec.egress"),
    ("StagedKubernetesNetworkPolicy", {"policyTypes": ["Egress"]}, "spec.policyTypes"),
]


@pytest.mark.parametrize(("kind", "spec", "path"), DELETED)
def test_a_staged_deletion_says_nothing_but_its_tier(kind: str, spec: Data, path: str) -> None:
    expect(make(kind, {"stagedAction": "Delete", **spec}), path, "nothing but the tier")
    for action in ("Set", "Learn", "Ignore"):
        assert faults(make(kind, {"stagedAction": action, **spec})) == []


@pytest.mark.parametrize("kind", STAGED)
def test_a_staged_deletion_is_kept_as_it_is(kind: str) -> None:
    tier = {} if kind == "StagedKubernetesNetworkPolicy" else {"tier": "security"}
    resource = make(kind, {"stagedAction": "Delete", **tier})
    assert faults(resource) == []
    assert normalise(resource).spec == resource.spec  # type: ignore[union-attr]
    assert faults(normalise(resource)) == []


@pytest.mark.parametrize("kind", STAGED)
def test_a_staged_policy_is_otherwise_kept_as_what_it_would_be(kind: str) -> None:
    spec: Data = {"egress": [{"action": "Deny", "destination": {"nets": ["10.0.0.9/8"]}}]}
    if kind == "StagedKubernetesNetworkPolicy":
        spec = {"podSelector": PODS["podSelector"], "egress": [{"to": [block("10.0.0.9/8")]}]}
    one, other = (normalise(make(name, spec)) for name in (kind, kind.removeprefix("Staged")))
    assert plain(one)["spec"] == plain(other)["spec"]
    assert "10.0.0.0/8" in str(plain(one))


@pytest.mark.parametrize("kind", STAGED)
def test_a_staged_action_is_one_of_four(kind: str) -> None:
    data = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": "x"},
            "spec": {"stagedAction": "set"}}  # fmt: skip
    (said,) = said_of(getattr(r, kind), data)
    assert "spec.stagedAction" in said
    assert "did you mean Set?" in said
