"""Kubernetes' own policies: what each field comes to."""

from __future__ import annotations

import pytest
from calc.calcrig import found, on_alpha, order, ports, who
from validation import make
from worlds import host, namespace, netset, node, policy, rule, workload

from tortie import desired as d
from tortie.calc.kubernetes import selector_text
from tortie.model import resources as r

WEB, DB, TILL, BANK = "10.65.0.1", "10.65.0.2", "10.65.0.3", "10.65.0.4"
NAMED = (("http", "TCP", 80), ("http", "UDP", 8080), ("dns", "UDP", 53))
# Everything carries the same labels where it could be confused with a workload.
WORLD = (
    namespace("shop", tenant="a"),
    namespace("bank", tenant="b"),
    workload("shop/web", WEB, interface="tor1", labels={"role": "web"}, ports=NAMED),
    workload("shop/db", DB, interface="tor2", labels={"role": "db"}, ports=NAMED[:1]),
    workload("shop/till", TILL, interface="tor3"),
    workload("bank/web", BANK, on="beta", interface="tor1", labels={"role": "web"}, ports=NAMED),
    host("edge", "172.18.0.1", labels={"role": "web"}, ports=NAMED),
    netset("shop/set", "172.18.1.0/24", labels={"role": "web"}),
    netset("everywhere", "172.18.2.0/24", labels={"role": "web"}),
    node("alpha", "172.16.0.1/24", "fd16::1/64"),
    r.Node(
        api_version="projectcalico.org/v3",
        metadata=r.Metadata(name="beta", labels={"rack": "7"}),
        spec=r.NodeSpec(
            bgp=r.NodeBgp(ipv4_address="172.16.0.2/24"),
            addresses=[r.NodeAddress(address="fd16::2")],
        ),
    ),
)
ID = "KubernetesNetworkPolicy/shop/p"
CLUSTER_ID = "ClusterNetworkPolicy/p"


def knp(**spec: object) -> r.Resource:
    return make("KubernetesNetworkPolicy", spec, name="p", namespace="shop")


def cnp(tier: str = "Admin", **spec: object) -> r.Resource:
    given = {"subject": {"namespaces": {}}, "priority": 10, "tier": tier, **spec}
    return make("ClusterNetworkPolicy", given, name="p")


def selected(given: r.Resource, direction: str = "ingress") -> set[str]:
    """The workloads on this host that it judges, by name."""
    return {
        each.id.split("-")[2]
        for each in on_alpha(*WORLD, given).endpoints
        for step in getattr(each, direction)
        if ID in step.policies or CLUSTER_ID in step.policies
    }


# --- selectors ------------------------------------------------------------------------------------

SELECTORS = {
    "empty: all": ({}, "all()"),
    "a label": ({"matchLabels": {"role": "web"}}, 'role == "web"'),
    "labels: every one": ({"matchLabels": {"b": "2", "a": "1"}}, '(a == "1" && b == "2")'),
    "an empty value": ({"matchLabels": {"a": ""}}, 'a == ""'),
    "In": ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["2", "1"]}]},
           'a in {"1", "2"}'),
    "NotIn": ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]},
              'a not in {"1"}'),
    "Exists": ({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "Exists"}]},
               "has(app.kubernetes.io/name)"),
    "DoesNotExist": ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!has(a)"),
    "both parts": (
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]},
        '(a == "1" && has(b))'),
    "a label called as an operator": ({"matchLabels": {"in": "has"}}, 'in == "has"'),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), SELECTORS.values(), ids=SELECTORS)
def test_label_selectors_in_our_words(given, expected: str) -> None:
    (spec,) = [knp(podSelector=given).spec]
    assert selector_text(spec.pod_selector) == expected


SUBJECTS = {
    "missing: all of its namespace": ({}, {"web", "db", "till"}),
    "empty: all of its namespace": ({"podSelector": {}}, {"web", "db", "till"}),
    "a label": ({"podSelector": {"matchLabels": {"role": "web"}}}, {"web"}),
    "NotIn holds without the label": (
        {"podSelector": {"matchExpressions": [
            {"key": "role", "operator": "NotIn", "values": ["web"]}]}},
        {"db", "till"}),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), SUBJECTS.values(), ids=SUBJECTS)
def test_whom_it_isolates(spec, expected) -> None:
    assert selected(knp(**spec)) == expected


def test_it_is_in_tier_default_at_1000_whoever_runs_the_workload() -> None:
    around = [policy("a", order=1000.5), policy("z", order=999.5)]
    for endpoint in on_alpha(*WORLD, *around, knp()).endpoints:
        assert order(endpoint.ingress) == ["default: z shop/p a > deny"]


def test_host_endpoints_are_not_judged() -> None:
    edge = make("HostEndpoint", {"node": "alpha", "interfaceName": "*"}, labels={"role": "web"})
    given = [knp(), cnp(ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}])]
    assert on_alpha(edge, *given).hosts[0].ingress == ()


TYPES = {
    "nothing": ({}, True, False),
    "ingress rules": ({"ingress": [{}]}, True, False),
    "egress rules": ({"egress": [{}]}, True, True),
    "said: ingress": ({"policyTypes": ["Ingress"], "egress": [{}]}, True, False),
    "said: egress": ({"policyTypes": ["Egress"], "ingress": [{}]}, False, True),
    "said: egress, no rules": ({"policyTypes": ["Egress"]}, False, True),
    "said: both": ({"policyTypes": ["Ingress", "Egress"]}, True, True),
}


@pytest.mark.parametrize(("spec", "inward", "outward"), TYPES.values(), ids=TYPES)
def test_policy_types(spec, inward: bool, outward: bool) -> None:
    assert bool(selected(knp(**spec), "ingress")) is inward
    assert bool(selected(knp(**spec), "egress")) is outward
    made = found(on_alpha(*WORLD, knp(**spec)), ID)
    assert bool(made.ingress) == (inward and "ingress" in spec)
    assert bool(made.egress) == (outward and "egress" in spec)


# --- peers ----------------------------------------------------------------------------------------

ROLE_WEB = {"matchLabels": {"role": "web"}}
TENANT_B = {"matchLabels": {"tenant": "b"}}
PEERS = {
    "missing: anybody": (None, [{"*"}]),
    "none: anybody": ([], [{"*"}]),
    "pods of its namespace": ([{"podSelector": ROLE_WEB}], [{WEB}]),
    "all pods of its namespace": ([{"podSelector": {}}], [{WEB, DB, TILL}]),
    "namespaces": ([{"namespaceSelector": TENANT_B}], [{BANK}]),
    "all namespaces": ([{"namespaceSelector": {}}], [{WEB, DB, TILL, BANK}]),
    "a namespace by name": (
        [{"namespaceSelector": {"matchLabels": {"projectcalico.org/name": "bank"}}}], [{BANK}]),
    "pods of namespaces": (
        [{"podSelector": ROLE_WEB, "namespaceSelector": {}}], [{WEB, BANK}]),
    "pods that nobody is": ([{"podSelector": {"matchLabels": {"role": "x"}}}], [set()]),
    "one or another": ([{"podSelector": ROLE_WEB}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
                       [{WEB}, {"10.0.0.0/8"}]),
    "a block": ([{"ipBlock": {"cidr": "192.0.2.0/24"}}], [{"192.0.2.0/24"}]),
    "an IPv6 block": ([{"ipBlock": {"cidr": "2001:db8::/32"}}], [{"2001:db8::/32"}]),
}  # fmt: skip


@pytest.mark.parametrize(("peers", "expected"), PEERS.values(), ids=PEERS)
def test_peers(peers, expected) -> None:
    inward = {} if peers is None else {"from": peers}
    outward = {} if peers is None else {"to": peers}
    firewall = on_alpha(*WORLD, knp(ingress=[inward], egress=[outward]))
    made = found(firewall, ID)
    assert [who(firewall, each.source) for each in made.ingress] == expected
    assert [who(firewall, each.destination) for each in made.egress] == expected
    for each in made.ingress:
        assert (each.action, each.protocol, each.destination) == ("allow", None, d.Side())
    assert all(each.source == d.Side() for each in made.egress)


def test_a_block_with_exceptions() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.0.2.0/24"]}
    made = found(on_alpha(*WORLD, knp(egress=[{"to": [{"ipBlock": block}]}])), ID)
    side = d.Side(nets=("0.0.0.0/0",), not_nets=("10.0.0.0/8", "192.0.2.0/24"))
    assert made.egress == (d.Rule("allow", destination=side),)


def test_a_peer_that_says_nothing_is_nobody() -> None:
    assert found(on_alpha(*WORLD, knp(ingress=[{"from": [{}]}])), ID).ingress == ()


# --- ports ----------------------------------------------------------------------------------------

MINE = {(WEB, 6, 80), (DB, 6, 80)}
PORTS = {
    "missing: all": ([], [(None, set())]),
    "a number": ([{"port": 80}], [(6, {"80"})]),
    "a number of UDP": ([{"protocol": "UDP", "port": 53}], [(17, {"53"})]),
    "all of a protocol": ([{"protocol": "SCTP"}], [(132, set())]),
    "all of TCP": ([{}], [(6, set())]),
    "all of it, whatever else is said": ([{"port": 80}, {}], [(6, set())]),
    "a range": ([{"port": 80, "endPort": 90}], [(6, {"80-90"})]),
    "several": ([{"port": 80}, {"port": 443}, {"protocol": "UDP", "port": 53}],
                [(6, {"80", "443"}), (17, {"53"})]),
    "a name": ([{"port": "http"}], [(6, MINE)]),
    "a name of another protocol": ([{"protocol": "UDP", "port": "dns"}], [(17, {(WEB, 17, 53)})]),
    "a name that this protocol lacks": ([{"port": "dns"}], [(6, set())]),
    "a name and a number": ([{"port": "http"}, {"port": 443}], [(6, {*MINE, "443"})]),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), PORTS.values(), ids=PORTS)
def test_ports_of_ingress_are_those_of_the_policys_own_pods(given, expected) -> None:
    firewall = on_alpha(*WORLD, knp(ingress=[{"ports": given}]))
    made = found(firewall, ID).ingress
    assert [(each.protocol, ports(firewall, each.destination)) for each in made] == expected
    named = any("port" in each and isinstance(each["port"], str) for each in given)
    assert all(bool(each.destination.port_sets) is named for each in made)


def test_named_ports_of_egress_are_those_of_the_peers() -> None:
    peers = [{"namespaceSelector": TENANT_B}, {"podSelector": {"matchLabels": {"role": "db"}}}]
    firewall = on_alpha(*WORLD, knp(egress=[{"to": peers, "ports": [{"port": "http"}]}]))
    made = found(firewall, ID).egress
    assert [(who(firewall, e.destination), ports(firewall, e.destination)) for e in made] == [
        ({BANK}, {(BANK, 6, 80)}),
        ({DB}, {(DB, 6, 80)}),
    ]


@pytest.mark.parametrize("to", [{}, {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])
def test_named_ports_of_anybody_are_those_of_workloads(to) -> None:
    firewall = on_alpha(*WORLD, knp(egress=[{**to, "ports": [{"port": "http"}]}]))
    (made,) = found(firewall, ID).egress
    assert ports(firewall, made.destination) == {(each, 6, 80) for each in (WEB, DB, BANK)}


def test_peers_times_ports() -> None:
    peers = [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    given = [{"port": 80}, {"protocol": "UDP", "port": 53}]
    made = found(on_alpha(*WORLD, knp(ingress=[{"from": peers, "ports": given}])), ID)
    assert [(bool(each.source.sets), each.protocol) for each in made.ingress] == [
        (True, 6), (True, 17), (False, 6), (False, 17)
    ]  # fmt: skip


# --- ClusterNetworkPolicy -------------------------------------------------------------------------

FROM_ALL = [{"namespaces": {}}]


@pytest.mark.parametrize(("tier", "name"), [("Admin", "kube-admin"), ("Baseline", "kube-baseline")])
def test_admin_and_baseline_stand_around_all_other_tiers_and_pass(tier: str, name: str) -> None:
    given = cnp(tier, ingress=[{"action": "Accept", "from": FROM_ALL}])
    for endpoint in on_alpha(*WORLD, given, policy("z", ingress=[rule("Pass")])).endpoints:
        steps = [f"{name}: p > pass", "default: z > deny"]
        assert order(endpoint.ingress) == (steps if tier == "Admin" else steps[::-1])
        assert endpoint.egress == ()


def test_priority_is_order_and_names_break_ties() -> None:
    rules = [{"action": "Deny", "from": FROM_ALL}]
    given = [
        make("ClusterNetworkPolicy", {"tier": "Admin", "priority": priority, "ingress": rules,
                                      "subject": {"namespaces": {}}}, name=name)
        for name, priority in (("d", 0), ("b", 1000), ("c", 5), ("a", 5))
    ]  # fmt: skip
    for endpoint in on_alpha(*WORLD, *given, policy("kube-admin.n", tier="kube-admin")).endpoints:
        assert order(endpoint.ingress) == ["kube-admin: d a c b kube-admin.n > pass"]


CLUSTER_SUBJECTS = {
    "all namespaces": ({"namespaces": {}}, {"web", "db", "till"}),
    "namespaces": ({"namespaces": {"matchLabels": {"tenant": "a"}}}, {"web", "db", "till"}),
    "others' namespaces": ({"namespaces": TENANT_B}, set()),
    "pods": ({"pods": {"namespaceSelector": {}, "podSelector": ROLE_WEB}}, {"web"}),
    "pods of others' namespaces": (
        {"pods": {"namespaceSelector": TENANT_B, "podSelector": ROLE_WEB}}, set()),
}  # fmt: skip


@pytest.mark.parametrize(("subject", "expected"), CLUSTER_SUBJECTS.values(), ids=CLUSTER_SUBJECTS)
def test_subjects_and_directions(subject, expected) -> None:
    rules = {"ingress": [{"action": "Deny", "from": FROM_ALL}]}
    assert selected(cnp(subject=subject, **rules)) == expected
    assert selected(cnp(subject=subject, **rules), "egress") == set()
    assert selected(cnp(subject=subject)) == set()


def test_actions_and_names() -> None:
    rules = [
        {"action": "Accept", "from": FROM_ALL, "name": "let in"},
        {"action": "Deny", "from": FROM_ALL, "name": 'not "these"'},
        {"action": "Pass", "from": FROM_ALL},
    ]
    made = found(on_alpha(*WORLD, cnp(ingress=rules)), CLUSTER_ID)
    assert [(each.action, each.name) for each in made.ingress] == [
        ("allow", "let in"), ("deny", "not these"), ("pass", "")
    ]  # fmt: skip


CLUSTER_PEERS = {
    "namespaces": ({"namespaces": TENANT_B}, [{BANK}]),
    "all namespaces": ({"namespaces": {}}, [{WEB, DB, TILL, BANK}]),
    "pods": ({"pods": {"podSelector": ROLE_WEB, "namespaceSelector": {}}}, [{WEB, BANK}]),
    "pods of all": ({"pods": {"podSelector": {}, "namespaceSelector": TENANT_B}}, [{BANK}]),
}
EGRESS_PEERS = {
    "all nodes": ({"nodes": {}}, [{"172.16.0.1", "fd16::1", "172.16.0.2", "fd16::2"}]),
    "nodes": ({"nodes": {"matchLabels": {"rack": "7"}}}, [{"172.16.0.2", "fd16::2"}]),
    "nodes that nobody is": ({"nodes": {"matchLabels": {"role": "web"}}}, [set()]),
    "networks": ({"networks": ["10.0.0.0/8", "192.0.2.0/24"]}, [{"10.0.0.0/8", "192.0.2.0/24"}]),
    "networks of both families": ({"networks": ["::/0", "0.0.0.0/0"]}, [{"0.0.0.0/0"}, {"::/0"}]),
}


@pytest.mark.parametrize(("peer", "expected"), CLUSTER_PEERS.values(), ids=CLUSTER_PEERS)
def test_peers_of_ingress(peer, expected) -> None:
    firewall = on_alpha(*WORLD, cnp(ingress=[{"action": "Deny", "from": [peer]}]))
    made = found(firewall, CLUSTER_ID)
    assert [who(firewall, each.source) for each in made.ingress] == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [*CLUSTER_PEERS.values(), *EGRESS_PEERS.values()],
    ids=[*CLUSTER_PEERS, *EGRESS_PEERS],
)
def test_peers_of_egress(peer, expected) -> None:
    firewall = on_alpha(*WORLD, cnp(egress=[{"action": "Deny", "to": [peer]}]))
    made = found(firewall, CLUSTER_ID)
    assert [who(firewall, each.destination) for each in made.egress] == expected


ALL_HTTP = {(each, 6, 80) for each in (WEB, DB, BANK)} | {(WEB, 17, 8080), (BANK, 17, 8080)}
PROTOCOLS = {
    "missing: all": ([], [(None, set())]),
    "a protocol": ([{"sctp": {}}], [(132, set())]),
    "a port": ([{"tcp": {"destinationPort": {"number": 80}}}], [(6, {"80"})]),
    "a range": ([{"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}],
                [(17, {"1-9"})]),
    "several": ([{"tcp": {}}, {"udp": {"destinationPort": {"number": 53}}}],
                [(6, set()), (17, {"53"})]),
    "a name, of every protocol": ([{"destinationNamedPort": "http"}], [(None, ALL_HTTP)]),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), PROTOCOLS.values(), ids=PROTOCOLS)
def test_protocols(given, expected) -> None:
    rules = {
        "ingress": [{"action": "Accept", "from": FROM_ALL, "protocols": given}],
        "egress": [{"action": "Accept", "to": FROM_ALL, "protocols": given}],
    }
    firewall = on_alpha(*WORLD, cnp(**rules))
    made = found(firewall, CLUSTER_ID)
    for each in (made.ingress, made.egress):
        assert [(e.protocol, ports(firewall, e.destination)) for e in each] == expected
