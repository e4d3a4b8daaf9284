"""Kubernetes' NetworkPolicy and ClusterNetworkPolicy, semantic by semantic."""

from __future__ import annotations

import pytest
from explain.town import (
    WHO,
    cluster_policy,
    felix,
    global_policy,
    host_endpoint,
    judged,
    kubernetes_policy,
    network_policy,
    said,
)
from msgspec.structs import replace
from worlds import CALICO, meta, namespace, netset, node, profile, tier, workload

from tortie.model import resources as r

ALLOWED, DENIED = "ALLOWED policy", "DENIED tier-default"
BY_DEFAULT = "ALLOWED namespace-default"
OPEN = (namespace("shop", "open", tenant="goods"), namespace("bank", "open", tenant="money"))
CART = workload("shop/cart", WHO["kiosk"], labels={"role": "cart", "env": "dev"},
                ports=(("http", "TCP", 80), ("http", "UDP", 81), ("rtp", "SCTP", 9)))  # fmt: skip
ALSO = (
    *OPEN,
    CART,
    netset("corp", "198.51.100.0/24", labels={"role": "web"}),
    netset("shop/corp", "203.0.113.9/32", labels={"role": "web"}),
)

# the spec of a policy of namespace shop, flow, what is said
POLICIES = [
    # -- whom it selects: pods of its own namespace
    ("{podSelector: {}}", "internet > web tcp/1", DENIED),
    ("{podSelector: {}}", "internet > db tcp/1", DENIED),
    ("{podSelector: {}}", "internet > teller tcp/1", BY_DEFAULT),
    ("{}", "internet > web tcp/1", DENIED),
    ("{podSelector: {matchLabels: {role: db}}}", "internet > web tcp/1", BY_DEFAULT),
    ("{podSelector: {matchLabels: {role: db}}}", "internet > db tcp/1", DENIED),
    ("{podSelector: {matchLabels: {role: web, env: dev}}}", "internet > web tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: role, operator: In, values: [web, x]}]}}",
     "internet > web tcp/1", DENIED),
    ("{podSelector: {matchExpressions: [{key: role, operator: In, values: [x]}]}}",
     "internet > web tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: env, operator: In, values: [x]}]}}",
     "internet > db tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [web]}]}}",
     "internet > web tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [web]}]}}",
     "internet > db tcp/1", DENIED),
    ("{podSelector: {matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}}",
     "internet > db tcp/1", DENIED),
    ("{podSelector: {matchExpressions: [{key: env, operator: Exists}]}}",
     "internet > web tcp/1", DENIED),
    ("{podSelector: {matchExpressions: [{key: env, operator: Exists}]}}",
     "internet > db tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: env, operator: DoesNotExist}]}}",
     "internet > web tcp/1", BY_DEFAULT),
    ("{podSelector: {matchExpressions: [{key: env, operator: DoesNotExist}]}}",
     "internet > db tcp/1", DENIED),
    ("{podSelector: {matchLabels: {role: web}, matchExpressions: [{key: env, operator: Exists}]}}",
     "internet > web tcp/1", DENIED),
    ("{podSelector: {matchLabels: {role: web}, matchExpressions: "
     "[{key: env, operator: DoesNotExist}]}}", "internet > web tcp/1", BY_DEFAULT),
    # -- policyTypes
    ("{}", "web > internet tcp/1", BY_DEFAULT),
    ("{policyTypes: [Ingress]}", "web > internet tcp/1", BY_DEFAULT),
    ("{policyTypes: [Egress]}", "web > internet tcp/1", DENIED),
    ("{policyTypes: [Egress]}", "internet > web tcp/1", BY_DEFAULT),
    ("{policyTypes: [Ingress, Egress]}", "internet > web tcp/1", DENIED),
    ("{policyTypes: [Ingress, Egress]}", "web > internet tcp/1", DENIED),
    ("{egress: [{}]}", "web > internet tcp/1", ALLOWED),
    ("{egress: [{}]}", "internet > web tcp/1", DENIED),
    ("{egress: [{to: [{ipBlock: {cidr: 9.9.9.9/32}}]}]}", "web > internet tcp/1", DENIED),
    ("{policyTypes: [Ingress], egress: [{to: []}]}", "web > internet tcp/1", BY_DEFAULT),
    # -- everything, nothing
    ("{ingress: []}", "internet > web tcp/1", DENIED),
    ("{ingress: [{}]}", "internet > web tcp/1", ALLOWED),
    ("{ingress: [{}]}", "internet6 > web6 icmpv6/128/0", ALLOWED),
    ("{ingress: [{}]}", "internet > web 47", ALLOWED),
    ("{ingress: [{from: []}]}", "internet > web tcp/1", ALLOWED),
    ("{policyTypes: [Egress], egress: [{to: []}]}", "web > internet tcp/1", ALLOWED),
    ("{policyTypes: [Egress], egress: [{}]}", "web > beta tcp/22", ALLOWED),
    # -- peers: pods
    ("{ingress: [{from: [{podSelector: {}}]}]}", "web > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{podSelector: {}}]}]}", "web6 > db6 tcp/1", ALLOWED),
    ("{ingress: [{from: [{podSelector: {}}]}]}", "teller > db tcp/1", DENIED),
    ("{ingress: [{from: [{podSelector: {}}]}]}", "internet > db tcp/1", DENIED),
    ("{ingress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]}", "web > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]}", "kiosk > db tcp/1",
     DENIED),
    ("{ingress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]}", "teller > db tcp/1",
     DENIED),
    ("{ingress: [{from: [{podSelector: {matchLabels: {role: x}}}, "
     "{podSelector: {matchLabels: {role: web}}}]}]}", "web > db tcp/1", ALLOWED),
    # -- peers: namespaces
    ("{ingress: [{from: [{namespaceSelector: {}}]}]}", "teller > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {}}]}]}", "cat > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {}}]}]}", "web > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {}}]}]}", "internet > db tcp/1", DENIED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}}]}]}",
     "teller > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}}]}]}",
     "web > db tcp/1", DENIED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: "
     "{kubernetes.io/metadata.name: wild}}}]}]}", "cat > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {matchExpressions: "
     "[{key: tenant, operator: DoesNotExist}]}}]}]}", "stall > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}, "
     "podSelector: {matchLabels: {role: web}}}]}]}", "teller > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}, "
     "podSelector: {matchLabels: {role: x}}}]}]}", "teller > db tcp/1", DENIED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}, "
     "podSelector: {matchLabels: {role: web}}}]}]}", "web > db tcp/1", DENIED),
    ("{ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: money}}}, "
     "{podSelector: {matchLabels: {role: web}}}]}]}", "web > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{namespaceSelector: {}, podSelector: {}}]}]}", "cat > db tcp/1", ALLOWED),
    # -- peers by selectors are never sets
    ("{ingress: [{from: [{podSelector: {matchLabels: {role: web}}}]}]}", "internet > db tcp/1",
     DENIED),
    ("{ingress: [{from: [{podSelector: {}}]}]}", "203.0.113.9 > db tcp/1", DENIED),
    # -- ipBlock
    ("{ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}", "internet > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", "internet > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", "web > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", "internet6 > db6 tcp/1", DENIED),
    ("{ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}", "internet6 > db6 tcp/1", ALLOWED),
    ("{ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.4/30]}}]}]}",
     "internet > db tcp/1", DENIED),
    ("{ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.4/30]}}]}]}",
     "198.51.100.3 > db tcp/1", ALLOWED),
    ("{ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.4/30]}}, "
     "{ipBlock: {cidr: 198.51.100.7/32}}]}]}", "internet > db tcp/1", ALLOWED),
    ("{egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}", "web > internet tcp/1", ALLOWED),
    ("{egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}", "web > teller tcp/1", DENIED),
    # -- ports
    ("{ingress: [{ports: [{port: 80}]}]}", "internet > web tcp/80", ALLOWED),
    ("{ingress: [{ports: [{port: 80}]}]}", "internet > web tcp/81", DENIED),
    ("{ingress: [{ports: [{port: 80}]}]}", "internet > web udp/80", DENIED),
    ("{ingress: [{ports: [{port: 80, protocol: UDP}]}]}", "internet > web udp/80", ALLOWED),
    ("{ingress: [{ports: [{port: 9, protocol: SCTP}]}]}", "internet > web sctp/9", ALLOWED),
    ("{ingress: [{ports: [{protocol: UDP}]}]}", "internet > web udp/65535", ALLOWED),
    ("{ingress: [{ports: [{protocol: UDP}]}]}", "internet > web tcp/1", DENIED),
    ("{ingress: [{ports: [{}]}]}", "internet > web tcp/1", ALLOWED),
    ("{ingress: [{ports: [{}]}]}", "internet > web icmp/8/0", DENIED),
    ("{ingress: [{ports: [{port: 80, endPort: 90}]}]}", "internet > web tcp/80", ALLOWED),
    ("{ingress: [{ports: [{port: 80, endPort: 90}]}]}", "internet > web tcp/90", ALLOWED),
    ("{ingress: [{ports: [{port: 80, endPort: 90}]}]}", "internet > web tcp/91", DENIED),
    ("{ingress: [{ports: [{port: 80, endPort: 90}]}]}", "internet > web tcp/79", DENIED),
    ("{ingress: [{ports: [{port: 80}, {port: 53, protocol: UDP}]}]}", "internet > web udp/53",
     ALLOWED),
    ("{ingress: [{ports: [{port: http}]}]}", "internet > kiosk tcp/80", ALLOWED),
    ("{ingress: [{ports: [{port: http}]}]}", "internet > kiosk tcp/81", DENIED),
    ("{ingress: [{ports: [{port: http}]}]}", "internet > kiosk udp/81", DENIED),
    ("{ingress: [{ports: [{port: http, protocol: UDP}]}]}", "internet > kiosk udp/81", ALLOWED),
    ("{ingress: [{ports: [{port: rtp, protocol: SCTP}]}]}", "internet > kiosk sctp/9", ALLOWED),
    ("{ingress: [{ports: [{port: http}]}]}", "internet > web tcp/80", DENIED),
    ("{podSelector: {matchLabels: {role: web}}, egress: [{ports: [{port: sql}]}]}",
     "web > db tcp/5432", BY_DEFAULT),
    ("{podSelector: {matchLabels: {role: web}}, egress: [{ports: [{port: sql}]}]}",
     "web > db tcp/5433", DENIED),
    ("{podSelector: {matchLabels: {role: web}}, egress: [{ports: [{port: sql}]}]}",
     "web > internet tcp/5432", DENIED),
    ("{podSelector: {matchLabels: {role: web}}, egress: [{to: [{podSelector: {}}], "
     "ports: [{port: sql}]}]}", "web > db tcp/5432", BY_DEFAULT),
    ("{podSelector: {matchLabels: {role: web}}, egress: [{to: [{podSelector: "
     "{matchLabels: {role: x}}}], ports: [{port: sql}]}]}", "web > db tcp/5432", DENIED),
    # -- peers and ports of one rule both; rules add up
    ("{ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}", "web > db tcp/80", ALLOWED),
    ("{ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}", "web > db tcp/81", DENIED),
    ("{ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}", "teller > db tcp/80", DENIED),
    ("{ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}", "teller > db tcp/80",
     ALLOWED),
    ("{ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}", "web > db tcp/81", ALLOWED),
    ("{ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}", "teller > db tcp/81",
     DENIED),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "probe", "says"), POLICIES)
def test_a_network_policy(spec: str, probe: str, says: str) -> None:
    assert said(probe, *ALSO, kubernetes_policy("shop/p", spec)) == says


def test_network_policies_add_up() -> None:
    two = [
        kubernetes_policy("shop/a", "{ingress: [{ports: [{port: 80}]}]}"),
        kubernetes_policy("shop/b", "{ingress: [{ports: [{port: 81}]}]}"),
        kubernetes_policy("shop/c", "{}"),
    ]
    for port, says in ((80, ALLOWED), (81, ALLOWED), (82, DENIED)):
        assert said(f"internet > web tcp/{port}", *OPEN, *two) == says


ALLOWS, DENIES = "{ingress: [{action: Allow}]}", "{ingress: [{action: Deny}]}"
NOBODY = kubernetes_policy("shop/p", "{}")
ANYBODY = kubernetes_policy("shop/p", "{ingress: [{}]}")
# what is there besides, what is said of internet > web tcp/1
AMONG_OTHERS = [
    ((NOBODY, network_policy("shop/x", ALLOWS)), ALLOWED),
    ((ANYBODY, network_policy("shop/x", DENIES)), ALLOWED),
    ((ANYBODY, network_policy("shop/x", "{order: 999, ingress: [{action: Deny}]}")),
     "DENIED policy"),
    ((ANYBODY, network_policy("shop/x", "{order: 1001, ingress: [{action: Deny}]}")), ALLOWED),
    # ties of order 1000 go by name/namespace/kind
    ((ANYBODY, network_policy("shop/o", "{order: 1000, ingress: [{action: Deny}]}")),
     "DENIED policy"),
    ((ANYBODY, network_policy("shop/q", "{order: 1000, ingress: [{action: Deny}]}")), ALLOWED),
    # p//GlobalNetworkPolicy < p/shop/KubernetesNetworkPolicy < p/shop/NetworkPolicy
    ((ANYBODY, network_policy("shop/p", "{order: 1000, ingress: [{action: Deny}]}")), ALLOWED),
    ((ANYBODY, global_policy("p", "{order: 1000, ingress: [{action: Deny}]}")), "DENIED policy"),
    ((ANYBODY, tier("early", 5), network_policy("shop/x", "{tier: early}")), DENIED),
    ((ANYBODY, tier("early", 5), network_policy("shop/x", "{tier: early, ingress: "
                                                "[{action: Pass}]}")), ALLOWED),
    ((ANYBODY, tier("late", 2e6), network_policy("shop/x", "{tier: late}")), ALLOWED),
    # listed profiles are only asked if no policy selects the pod
    ((NOBODY, workload("shop/web", WHO["web"], profiles=["p"], labels={"role": "web"}),
      profile("p", [r.Rule(action="Allow")])), DENIED),
]  # fmt: skip


@pytest.mark.parametrize(("there", "says"), AMONG_OTHERS)
def test_a_network_policy_among_others(there: tuple[r.Resource, ...], says: str) -> None:
    assert said("internet > web tcp/1", *OPEN, *there) == says


def test_a_network_policy_never_selects_a_host_endpoint() -> None:
    host = host_endpoint("h", "{node: alpha, interfaceName: '*', profiles: [p]}", role="web")
    deny = kubernetes_policy("default/p", "{policyTypes: [Ingress, Egress]}")
    here = (host, deny, profile("p", [r.Rule(action="Allow")], [r.Rule(action="Allow")]))
    assert said("internet > alpha tcp/1", *here) == "ALLOWED profile"


def test_pods_of_the_hosts_own_are_always_reached_by_it() -> None:
    assert said("alpha > web tcp/1", NOBODY) == "ALLOWED from-own-host"
    assert said("beta > web tcp/1", NOBODY) == DENIED


def test_staged_policies_say_nothing() -> None:
    staged = [
        r.StagedKubernetesNetworkPolicy(api_version=CALICO, metadata=meta("shop/p")),
        r.StagedNetworkPolicy(
            api_version=CALICO,
            metadata=meta("shop/s"),
            spec=r.StagedNetworkPolicySpec(ingress=[r.Rule(action="Deny")]),
        ),
        r.StagedGlobalNetworkPolicy(
            api_version=CALICO,
            metadata=meta("g"),
            spec=r.StagedGlobalNetworkPolicySpec(ingress=[r.Rule(action="Deny")]),
        ),
    ]
    assert said("internet > web tcp/1", *OPEN, *staged) == BY_DEFAULT


# --- ClusterNetworkPolicy ---------------------------------------------------------------------

ALL = "namespaces: {}"
CLUSTER = (
    *ALSO,
    replace(
        node("beta", "192.168.50.2/24", "fd50::2/64", more=("203.0.113.2",)),
        metadata=meta("beta", {"rack": "north"}),
    ),
)
REFUSED = "DENIED policy"
# subject, the rest of an Admin policy's spec, flow, what is said
RULES = [
    # -- subject
    ("namespaces: {}", "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1",
     REFUSED),
    ("namespaces: {matchLabels: {tenant: goods}}",
     "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", REFUSED),
    ("namespaces: {matchLabels: {tenant: money}}",
     "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", BY_DEFAULT),
    ("pods: {podSelector: {matchLabels: {role: db}}}",
     "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", REFUSED),
    ("pods: {podSelector: {matchLabels: {role: web}}}",
     "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", BY_DEFAULT),
    ("pods: {namespaceSelector: {matchLabels: {tenant: money}}, podSelector: {}}",
     "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", BY_DEFAULT),
    # -- it speaks only for directions that it has rules for
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "web > internet tcp/1",
     BY_DEFAULT),
    (ALL, "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]", "internet > web tcp/1",
     BY_DEFAULT),
    (ALL, "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]", "web > internet tcp/1",
     REFUSED),
    (ALL, "", "web > db tcp/1", BY_DEFAULT),
    # -- actions: the first that matches, and the tier passes at its end
    (ALL, "ingress: [{action: Accept, from: [{namespaces: {}}]}]", "web > db tcp/1", ALLOWED),
    (ALL, "ingress: [{action: Pass, from: [{namespaces: {}}]}, "
     "{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", BY_DEFAULT),
    (ALL, "ingress: [{action: Accept, from: [{namespaces: {}}]}, "
     "{action: Deny, from: [{namespaces: {}}]}]", "web > db tcp/1", ALLOWED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {tenant: x}}}]}]",
     "web > db tcp/1", BY_DEFAULT),
    # -- peers
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "internet > db tcp/1",
     BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "beta > web tcp/1", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {tenant: money}}}]}]",
     "teller > db tcp/1", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {role: web}}}}]}]",
     "teller > db tcp/1", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {role: web}}, "
     "namespaceSelector: {matchLabels: {tenant: goods}}}}]}]", "teller > db tcp/1", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {tenant: x}}}, "
     "{pods: {podSelector: {matchLabels: {role: web}}}}]}]", "web > db tcp/1", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {role: web}}}}]}]",
     "internet > db tcp/1", BY_DEFAULT),
    (ALL, "egress: [{action: Accept, to: [{nodes: {}}]}]", "web > beta tcp/1", ALLOWED),
    (ALL, "egress: [{action: Accept, to: [{nodes: {matchLabels: {rack: north}}}]}]",
     "web > beta tcp/1", ALLOWED),
    (ALL, "egress: [{action: Accept, to: [{nodes: {matchLabels: {rack: north}}}]}]",
     "web > beta-bis tcp/1", ALLOWED),
    (ALL, "egress: [{action: Accept, to: [{nodes: {matchLabels: {rack: north}}}]}]",
     "web6 > beta6 tcp/1", ALLOWED),
    (ALL, "egress: [{action: Accept, to: [{nodes: {matchLabels: {rack: north}}}]}]",
     "teller > alpha tcp/1", "DENIED node-address"),
    (ALL, "egress: [{action: Deny, to: [{nodes: {}}]}]", "web > internet tcp/1", BY_DEFAULT),
    (ALL, "egress: [{action: Deny, to: [{networks: [198.51.100.0/24, 'fd00::/8']}]}]",
     "web > internet tcp/1", REFUSED),
    (ALL, "egress: [{action: Deny, to: [{networks: [198.51.100.0/24, 'fd00::/8']}]}]",
     "web6 > db6 tcp/1", REFUSED),
    (ALL, "egress: [{action: Deny, to: [{networks: [198.51.100.0/24]}]}]", "web > db tcp/1",
     BY_DEFAULT),
    (ALL, "egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}]}]", "web > db tcp/1", REFUSED),
    (ALL, "egress: [{action: Deny, to: [{domainNames: [a.example]}]}]", "web > internet tcp/1",
     BY_DEFAULT),
    # -- protocols
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {}}]}]",
     "web > db tcp/1", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {}}]}]",
     "web > db udp/1", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{sctp: {}}]}]",
     "web > db sctp/1", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{udp: {destinationPort: {number: 53}}}]}]", "web > db udp/53", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{udp: {destinationPort: {number: 53}}}]}]", "web > db udp/54", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{udp: {destinationPort: {number: 53}}}]}]", "web > db tcp/53", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{tcp: {destinationPort: {range: {start: 80, end: 90}}}}]}]", "web > db tcp/90",
     REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{tcp: {destinationPort: {range: {start: 80, end: 90}}}}]}]", "web > db tcp/91",
     BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{udp: {}}, {tcp: {destinationPort: {number: 80}}}]}]", "web > db tcp/80",
     REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{destinationNamedPort: sql}]}]", "web > db tcp/5432", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{destinationNamedPort: sql}]}]", "web > db udp/99", REFUSED),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{destinationNamedPort: sql}]}]", "web > db tcp/99", BY_DEFAULT),
    (ALL, "ingress: [{action: Deny, from: [{namespaces: {}}], "
     "protocols: [{destinationNamedPort: sql}]}]", "web > db icmp/8/0", BY_DEFAULT),
    (ALL, "egress: [{action: Deny, to: [{namespaces: {}}], "
     "protocols: [{destinationNamedPort: sql}]}]", "web > db tcp/5432", REFUSED),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "rest", "probe", "says"), RULES)
def test_a_cluster_policy(subject: str, rest: str, probe: str, says: str) -> None:
    spec = f"{{tier: Admin, priority: 10, subject: {{{subject}}}, {rest}}}"
    assert said(probe, *CLUSTER, cluster_policy("c", spec)) == says


def everybody(name: str, of: str, priority: int, action: str) -> r.ClusterNetworkPolicy:
    return cluster_policy(
        name,
        f"{{tier: {of}, priority: {priority}, subject: {{namespaces: {{}}}}, "
        f"ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}",
    )


DENY_ALL = kubernetes_policy("shop/p", "{}")
ALLOW_ALL = kubernetes_policy("shop/p", "{ingress: [{}]}")
# what is there, what is said of web > db tcp/1
TIERS = [
    ([everybody("a", "Admin", 1, "Accept"), DENY_ALL], "ALLOWED policy"),
    ([everybody("a", "Admin", 1, "Deny"), ALLOW_ALL], "DENIED policy"),
    ([everybody("a", "Admin", 1, "Pass"), ALLOW_ALL], "ALLOWED policy"),
    ([everybody("a", "Admin", 1, "Pass"), DENY_ALL], "DENIED tier-default"),
    ([everybody("a", "Admin", 1, "Pass"), everybody("b", "Baseline", 1, "Deny")], "DENIED policy"),
    ([everybody("b", "Baseline", 1, "Deny")], "DENIED policy"),
    ([everybody("b", "Baseline", 1, "Deny"), ALLOW_ALL], "ALLOWED policy"),
    ([everybody("b", "Baseline", 1, "Accept"), DENY_ALL], "DENIED tier-default"),
    ([everybody("b", "Baseline", 1, "Pass")], BY_DEFAULT),
    ([everybody("a", "Admin", 1, "Deny"), everybody("b", "Admin", 2, "Accept")], "DENIED policy"),
    ([everybody("a", "Admin", 2, "Deny"), everybody("b", "Admin", 1, "Accept")], "ALLOWED policy"),
    ([everybody("a", "Admin", 1, "Deny"), everybody("b", "Admin", 1, "Accept")], "DENIED policy"),
    ([everybody("b", "Admin", 1, "Deny"), everybody("a", "Admin", 1, "Accept")], "ALLOWED policy"),
    # Pass leaves the whole tier, not only the policy
    ([everybody("a", "Admin", 1, "Pass"), everybody("b", "Admin", 2, "Deny")], BY_DEFAULT),
    # beside Calico's policies of that tier
    ([everybody("a", "Admin", 10, "Deny"),
      global_policy("kube-admin.x", "{tier: kube-admin, order: 9, ingress: [{action: Allow}]}")],
     "ALLOWED policy"),
    ([everybody("a", "Admin", 10, "Deny"),
      global_policy("kube-admin.x", "{tier: kube-admin, order: 11, ingress: [{action: Allow}]}")],
     "DENIED policy"),
    ([everybody("a", "Admin", 10, "Accept"), tier("zero", 5),
      global_policy("zero.x", "{tier: zero, ingress: [{action: Deny}]}")], "DENIED policy"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "says"), TIERS)
def test_cluster_policies_come_in_tiers_and_by_priority(there: list[r.Resource], says: str) -> None:
    assert said("web > db tcp/1", *OPEN, *there) == says


def test_a_cluster_policy_never_selects_a_host_endpoint() -> None:
    """Not even an automatic one."""
    deny = cluster_policy(
        "c",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, "
        "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}",
    )
    here = (deny, felix("{automaticHostEndpoints: Enabled}"))
    assert said("alpha > internet tcp/1", *here) == "ALLOWED profile"


# --- what is told -----------------------------------------------------------------------------

# policy, flow, what the step that says nothing tells
MISSES = [
    (kubernetes_policy("shop/p", "{ingress: [{from: [{podSelector: {matchLabels: {role: api}}}, "
                       "{ipBlock: {cidr: 9.0.0.0/8, except: [9.9.0.0/16]}}]}]}"),
     "teller > db tcp/1",
     "source bank/beta-tortie-teller-eth0 is not pods role=api, 9.0.0.0/8 except 9.9.0.0/16"),
    (kubernetes_policy("shop/p", "{ingress: [{from: [{namespaceSelector: {matchExpressions: "
                       "[{key: a, operator: NotIn, values: [b, c]}, {key: d, operator: Exists}, "
                       "{key: e, operator: DoesNotExist}]}}], ports: [{port: 80}, "
                       "{protocol: UDP, port: 90, endPort: 92}, {protocol: SCTP}]}]}"),
     "internet > db tcp/1",
     "source 198.51.100.7 is not pods any in namespaces a notin (b, c),d,!e; "
     "destination tcp/1 is not tcp/80, udp/90-92, sctp"),
    (kubernetes_policy("shop/p", "{ingress: [{ports: [{port: http}]}]}"), "web > db icmp/8/0",
     "destination icmp is not tcp/http"),
    (cluster_policy("c", "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: "
                    "[{action: Deny, name: no racks, to: [{nodes: {matchLabels: {rack: south}}}, "
                    "{networks: [1.0.0.0/8]}, {pods: {podSelector: {matchLabels: {a: b}}}}], "
                    "protocols: [{tcp: {destinationPort: {range: {start: 1, end: 2}}}}, "
                    "{udp: {}}, {sctp: {destinationPort: {number: 3}}}]}]}"),
     "web > internet tcp/3",
     "destination 198.51.100.7 is not nodes rack=south, 1.0.0.0/8, pods a=b in namespaces any; "
     "destination tcp/3 is not tcp/1-2, udp, sctp/3"),
    (cluster_policy("c", "{tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: "
                    "[{action: Accept, from: [{namespaces: {}}], "
                    "protocols: [{destinationNamedPort: http}]}]}"),
     "web > db tcp/3", "destination tcp/3 is not http"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "probe", "misses"), MISSES)
def test_what_did_not_match_is_told(policy: r.Resource, probe: str, misses: str) -> None:
    step = next(one for one in judged(probe, policy).steps if one.action == "None")
    assert "; ".join(step.misses) == misses
    assert (step.rule, step.policy) == (0, _id(policy))


def _id(policy: r.Resource) -> str:
    parts = (type(policy).__name__, policy.metadata.namespace, policy.metadata.name)
    return "/".join(part for part in parts if part)


def test_a_cluster_policys_rule_has_its_name() -> None:
    policy = cluster_policy(
        "c",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, "
        "ingress: [{name: 'no <b>body: [a/b]', action: Deny, from: [{namespaces: {}}]}]}",
    )
    step = judged("web > db tcp/1", policy).steps[-1]
    assert (step.tier, step.rule_name) == ("kube-admin", "no bbody: a/b")
