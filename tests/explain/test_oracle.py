"""The oracle's verdicts, row by row, as Calico v3 and the house's rules say them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from explain.town import (
    NO,
    TOWN,
    WHO,
    YES,
    felix,
    flow,
    global_policy,
    host_endpoint,
    judged,
    with_floating,
)
from worlds import host, namespace, netset, policy, profile, rule, tier, workload

from tortie import explain
from tortie.errors import TortieError
from tortie.explain.oracle import REASONS, judge
from tortie.model import resources as r


def into_db(*rules, **spec):
    """A policy for the shop's database with these ingress rules."""
    return policy("shop/db", selector="role == 'db'", ingress=list(rules), **spec)


def into_db_globally(*rules, **spec):
    return policy("db", selector="role == 'db'", ingress=list(rules), **spec)


ALLOW, DENY, PASS, LOG = (rule(action) for action in ("Allow", "Deny", "Pass", "Log"))
ON_WEB = {"selector": "role == 'web'"}
HOST = host_endpoint("gate", "{node: beta, interfaceName: '*'}", kind="gate")
OPEN_HOST = host_endpoint(
    "gate", "{node: beta, interfaceName: '*', profiles: [projectcalico-default-allow]}", kind="gate"
)
ANNEX = with_floating(workload("shop/annex", "10.0.0.9", on="beta"), "203.0.113.50")

# sentence, flow, what is there besides the town, verdict, reason
ROWS = [
    # -- namespaces that nobody gave a policy
    ("a tenant's workloads reach each other", "web > db tcp/5432", [], YES, "namespace-default"),
    ("and on IPv6", "web6 > db6 tcp/5432", [], YES, "namespace-default"),
    ("a tenant reaches the outside", "web > internet tcp/443", [], YES, "namespace-default"),
    ("the outside does not reach a tenant", "internet > web tcp/80", [], NO, "namespace-default"),
    ("tenants do not reach each other", "web > teller tcp/80", [], NO, "namespace-default"),
    ("anyone reaches an open namespace", "internet > stall tcp/80", [], YES, "namespace-default"),
    ("and so does another tenant", "teller > stall tcp/80", [], YES, "namespace-default"),
    ("isolated workloads reach each other", "safe > box tcp/80", [], YES, "namespace-default"),
    ("isolated does not get out", "safe > internet tcp/80", [], NO, "namespace-default"),
    ("isolated is not reached", "stall > safe tcp/80", [], NO, "namespace-default"),
    ("without Namespace it is a tenant", "internet > cat tcp/80", [], NO, "namespace-default"),
    ("an unknown default is isolated", "cat > internet tcp/80", [namespace("wild", "opne")], NO,
     "namespace-default"),
    ("a network set does not make its addresses neighbours", "internet > web tcp/80",
     [netset("shop/friends", "198.51.100.0/24")], NO, "namespace-default"),
    # -- the fabric
    ("no workload reaches its own host", "web > alpha tcp/22", [], NO, "own-host"),
    ("whatever policy says", "web > alpha tcp/22", [policy("free", egress=[ALLOW])], NO,
     "own-host"),
    ("it may ping its gateway", "web > gateway icmp/8/0", [], YES, "gateway-echo"),
    ("it may ping its gateway on IPv6", "web6 > gateway6 icmpv6/128/0", [], YES, "gateway-echo"),
    ("but not its host's address", "web > alpha icmp/8/0", [], NO, "own-host"),
    ("nor open a port of the gateway", "web > gateway tcp/80", [], NO, "own-host"),
    ("nor send it another ICMP", "web > gateway icmp/13/0", [], NO, "own-host"),
    ("a tenant does not reach a node", "web > beta tcp/179", [], NO, "node-address"),
    ("on IPv6 either", "web6 > beta6 tcp/179", [], NO, "node-address"),
    ("nor by its other address", "web > beta-bis tcp/22", [], NO, "node-address"),
    ("nor from an open namespace", "stall > beta tcp/22", [], NO, "node-address"),
    ("a policy may allow a node", "web > beta tcp/22",
     [policy("shop/out", egress=[ALLOW])], YES, "policy"),
    ("a listed profile may allow a node", "kiosk > beta tcp/22",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"]), profile("p", egress=[ALLOW])], YES,
     "profile"),
    ("a host reaches its own workloads", "alpha > web tcp/80", [], YES, "from-own-host"),
    ("even against policy", "alpha > web tcp/80",
     [policy("shop/shut", ingress=[DENY])], YES, "from-own-host"),
    ("another host is an outsider", "beta > web tcp/80", [], NO, "namespace-default"),
    ("hosts are not policed among themselves", "alpha > beta tcp/179", [], YES, "not-policed"),
    ("an endpoint reaches itself", "web > web tcp/80", [policy("shut", types=["Egress"])], YES,
     "same-endpoint"),
    ("neighbours are found whatever is set", "web6 > alpha6 icmpv6/135/0", [], YES,
     "neighbour-discovery"),
    ("settings open ports of the host", "web > alpha udp/53",
     [felix("{endpointToHostPorts: [{protocol: UDP, port: 53}]}")], YES, "to-host-port"),
    ("workloads do not tunnel", "web > db udp/4789", [], NO, "never-from-workloads"),
    ("who claims a node's address is not served", "kiosk > web tcp/80",
     [workload("shop/kiosk", WHO["kiosk"], WHO["beta"])], NO, "not-served"),
    ("a host endpoint denies", "internet > beta tcp/80", [HOST], NO, "host-endpoint-default"),
    ("but never SSH", "internet > beta tcp/22", [HOST], YES, "failsafe"),
    ("a listed profile may allow", "internet > beta tcp/80", [OPEN_HOST], YES, "profile"),
    ("untracked policies come first", "internet > beta tcp/80", [OPEN_HOST, global_policy(
        "raw", "{doNotTrack: true, applyOnForward: true, selector: kind == 'gate', "
               "ingress: [{action: Deny}]}")], NO, "untracked"),
    ("what they allow reaches no floating address", "internet > 203.0.113.50 tcp/80", [
        ANNEX, OPEN_HOST, global_policy(
            "raw", "{doNotTrack: true, applyOnForward: true, selector: kind == 'gate', "
                   "ingress: [{action: Allow}]}")], NO, "not-translated"),
    ("then those before translation", "internet > beta tcp/80", [OPEN_HOST, global_policy(
        "pre", "{preDNAT: true, applyOnForward: true, selector: kind == 'gate', "
               "ingress: [{action: Deny}]}")], NO, "pre-dnat"),
    ("an address of two endpoints is dead", "web > cat tcp/80",
     [workload("bank/thief", WHO["cat"])], NO, "duplicate-address"),
    ("families do not mix", "web > db6 tcp/80", [], NO, "mixed-families"),
    # -- which policies apply
    ("a policy with no rules denies ingress", "web > db tcp/1", [into_db()], NO, "tier-default"),
    ("but not egress", "db > web tcp/1", [into_db()], YES, "namespace-default"),
    ("egress rules alone mean egress", "internet > stall tcp/1",
     [policy("plaza/out", egress=[DENY])], YES, "namespace-default"),
    ("both kinds of rules mean both", "internet > stall tcp/1",
     [policy("plaza/both", egress=[ALLOW], ingress=[rule("Allow", protocol="UDP")])], NO,
     "tier-default"),
    ("types say more than rules", "stall > internet tcp/1",
     [policy("plaza/both", types=["Egress", "Ingress"])], NO, "tier-default"),
    ("an empty selector is the namespace", "internet > stall tcp/1",
     [policy("shop/all", types=["Ingress"])], YES, "namespace-default"),
    ("of a global policy, everything", "internet > stall tcp/1", [policy("all")], NO,
     "tier-default"),
    ("a global policy may choose namespaces", "internet > stall tcp/1",
     [policy("goods", namespace_selector="tenant == 'goods'")], YES, "namespace-default"),
    ("and by name", "internet > stall tcp/1",
     [policy("goods", namespace_selector="projectcalico.org/name == 'plaza'")], NO,
     "tier-default"),
    ("and by the name that Kubernetes gives", "internet > cat tcp/1",
     [policy("cats", namespace_selector="kubernetes.io/metadata.name == 'wild'",
             ingress=[ALLOW])], YES, "policy"),
    ("preDNAT is not for workloads", "internet > stall tcp/1",
     [policy("pre", pre_dnat=True, apply_on_forward=True, ingress=[DENY])], YES,
     "namespace-default"),
    ("doNotTrack is not for workloads", "internet > stall tcp/1",
     [policy("raw", do_not_track=True, apply_on_forward=True, ingress=[DENY])], YES,
     "namespace-default"),
    ("labels come from profiles", "internet > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"]), profile("p", role="db"),
      into_db(ALLOW)], YES, "policy"),
    ("but its own label wins", "internet > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"], labels={"role": "x"}),
      profile("p", role="db"), into_db(ALLOW)], NO, "no-profile"),
    ("nobody forges a namespace", "internet > cat tcp/1",
     [workload("wild/fake", WHO["kiosk"], labels={"projectcalico.org/namespace": "shop"}),
      policy("g", selector="projectcalico.org/namespace == 'wild'", ingress=[ALLOW])], YES,
     "policy"),
    # -- order
    ("the first policy by order decides", "web > db tcp/1",
     [into_db(DENY, order=20), into_db_globally(ALLOW, order=10)], YES, "policy"),
    ("no order is last", "web > db tcp/1",
     [into_db(DENY), into_db_globally(ALLOW, order=1e9)], YES, "policy"),
    ("ties go by name", "web > db tcp/1",
     [policy("shop/a", ingress=[DENY]), policy("b", ingress=[ALLOW])], NO, "policy"),
    ("then by namespace, a global one first", "web > db tcp/1",
     [policy("shop/a", ingress=[DENY]), policy("a", ingress=[ALLOW])], YES, "policy"),
    ("the first rule that matches decides", "web > db tcp/1", [into_db(ALLOW, DENY)], YES,
     "policy"),
    ("an undecided policy leaves it to the next", "web > db tcp/1",
     [into_db(rule("Deny", protocol="UDP"), order=1), into_db_globally(ALLOW, order=2)], YES,
     "policy"),
    # -- tiers
    ("tiers go by order", "web > db tcp/1",
     [tier("t", 5), into_db_globally(DENY, tier="t"), into_db(ALLOW)], NO, "policy"),
    ("a later tier is not asked", "web > db tcp/1",
     [tier("t", 2e6), into_db_globally(DENY, tier="t"), into_db(ALLOW)], YES, "policy"),
    ("of one order, by name", "web > db tcp/1",
     [tier("t", 5), tier("s", 5), into_db_globally(DENY, tier="t"), into_db(ALLOW, tier="s")],
     YES, "policy"),
    ("a tier without order comes after default", "web > db tcp/1",
     [tier("a"), into_db_globally(DENY, tier="a"), into_db(ALLOW)], YES, "policy"),
    ("Pass leads to the next tier", "web > db tcp/1",
     [tier("t", 5), into_db_globally(PASS, DENY, tier="t"), into_db(ALLOW)], YES, "policy"),
    ("and past the tier's other policies", "web > db tcp/1",
     [into_db(PASS, order=1), into_db_globally(DENY, order=2)], YES, "namespace-default"),
    ("a tier's end denies", "web > db tcp/1",
     [tier("t", 5), into_db_globally(rule("Allow", protocol="UDP"), tier="t"), into_db(ALLOW)],
     NO, "tier-default"),
    ("or passes if told to", "web > db tcp/1",
     [tier("t", 5, "Pass"), into_db_globally(tier="t"), into_db(ALLOW)], YES, "policy"),
    ("a tier with no policy here is skipped", "web > db tcp/1",
     [tier("t", 5), policy("t.x", tier="t", selector="role == 'none'"), into_db(ALLOW)], YES,
     "policy"),
    ("nor for the other direction", "web > db tcp/1",
     [tier("t", 5), policy("t.x", tier="t", selector="role == 'db'", types=["Egress"]),
      into_db(ALLOW)], YES, "policy"),
    ("a tier that does not exist is last and denies", "web > db tcp/1",
     [into_db_globally(DENY, tier="ghost"), into_db(PASS)], NO, "policy"),
    ("kube-admin comes first, and passes", "web > db tcp/1",
     [into_db_globally(tier="kube-admin"), into_db(ALLOW)], YES, "policy"),
    ("Log decides nothing", "web > db tcp/1", [into_db(LOG, ALLOW)], YES, "policy"),
    ("and only Log is still a policy", "web > db tcp/1", [into_db(LOG)], NO, "tier-default"),
    # -- profiles
    ("listed profiles replace the default", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"]), profile("p")], NO, "no-profile"),
    ("profiles are asked in order", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p", "q"]), profile("p"),
      profile("q", [ALLOW])], YES, "profile"),
    ("the first that decides", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p", "q"]), profile("p", [DENY]),
      profile("q", [ALLOW])], NO, "profile"),
    ("Pass leaves a profile undecided", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p", "q"]), profile("p", [PASS, DENY]),
      profile("q", [ALLOW])], YES, "profile"),
    ("a missing profile denies", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p", "q"]), profile("q", [ALLOW])], NO,
     "profile-missing"),
    ("policy comes before profiles", "web > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"]), profile("p", [ALLOW]),
      policy("shop/no", ingress=[DENY])], NO, "policy"),
    ("a profile's selectors mean all namespaces", "teller > kiosk tcp/1",
     [workload("shop/kiosk", WHO["kiosk"], profiles=["p"]),
      profile("p", [rule("Allow", "role == 'web'")])], YES, "profile"),
    ("both ends must agree", "web > stall tcp/1",
     [policy("shop/out", egress=[DENY]), policy("plaza/in", ingress=[ALLOW])], NO, "policy"),
    # -- selectors in rules
    ("a selector picks peers", "web > db tcp/1", [into_db(rule("Allow", "role == 'web'"))], YES,
     "policy"),
    ("of the policy's own namespace", "teller > db tcp/1",
     [into_db(rule("Allow", "role == 'web'"))], NO, "tier-default"),
    ("of any, in a global policy", "teller > db tcp/1",
     [into_db_globally(rule("Allow", "role == 'web'"))], YES, "policy"),
    ("namespaceSelector picks namespaces", "teller > db tcp/1",
     [into_db(rule("Allow", {"namespace_selector": "tenant == 'money'"}))], YES, "policy"),
    ("and peers in them", "teller > db tcp/1",
     [into_db(rule("Allow", {"namespace_selector": "tenant == 'money'",
                             "selector": "role == 'x'"}))], NO, "tier-default"),
    ("all() is any namespaced peer", "cat > db tcp/1",
     [into_db(rule("Allow", {"namespace_selector": "all()"}))], YES, "policy"),
    ("but not the outside", "internet > db tcp/1",
     [into_db(rule("Allow", {"namespace_selector": "all()"}))], NO, "tier-default"),
    ("global() is a global network set", "internet > db tcp/1",
     [netset("net", "198.51.100.0/24"),
      into_db(rule("Allow", {"namespace_selector": "global()"}))], YES, "policy"),
    ("or a host endpoint", "alpha > db tcp/1",
     [host_endpoint("h", "{node: alpha, expectedIPs: [192.168.50.1], "
                         "profiles: [projectcalico-default-allow]}", role="web"),
      into_db(rule("Allow", {"namespace_selector": "global()", **ON_WEB}))], YES, "policy"),
    ("and never a workload", "teller > db tcp/1",
     [into_db(rule("Allow", {"namespace_selector": "global()"}))], NO, "tier-default"),
    ("a negative namespaceSelector does not mean the outside", "internet > db tcp/1",
     [netset("net", "198.51.100.0/24"),
      into_db(rule("Allow", {"namespace_selector": "!has(tenant)"}))], NO, "tier-default"),
    ("a network set of the namespace is a peer", "internet > db tcp/1",
     [netset("shop/net", "198.51.100.0/24", labels={"zone": "corp"}),
      into_db(rule("Allow", "zone == 'corp'"))], YES, "policy"),
    ("one of another namespace is not", "internet > db tcp/1",
     [netset("bank/net", "198.51.100.0/24", labels={"zone": "corp"}),
      into_db(rule("Allow", "zone == 'corp'"))], NO, "tier-default"),
    ("a negated selector means known peers only", "internet > db tcp/1",
     [into_db_globally(rule("Allow", "!has(role)"))], NO, "tier-default"),
    ("notSelector means anybody else", "internet > db tcp/1",
     [into_db_globally(rule("Allow", {"not_selector": "has(role)"}))], YES, "policy"),
    ("except those it selects", "web > db tcp/1",
     [into_db_globally(rule("Allow", {"not_selector": "has(role)"}))], NO, "tier-default"),
    ("in a namespace it means its own others", "internet > db tcp/1",
     [into_db(rule("Allow", {"not_selector": "role == 'x'"}))], NO, "tier-default"),
    ("such as these", "web > db tcp/1",
     [into_db(rule("Allow", {"not_selector": "role == 'x'"}))], YES, "policy"),
    ("selector and notSelector both hold", "web > db tcp/1",
     [into_db(rule("Allow", {**ON_WEB, "not_selector": "env == 'prod'"}))], NO, "tier-default"),
    ("service accounts by name", "teller > db tcp/1",
     [into_db_globally(rule("Allow", {"service_accounts": r.ServiceAccounts(names=["clerk"])}))],
     YES, "policy"),
    ("nobody without one", "web > db tcp/1",
     [into_db_globally(rule("Allow", {"service_accounts": r.ServiceAccounts(names=["clerk"])}))],
     NO, "tier-default"),
    ("rules look at the other end too", "web > db tcp/1",
     [into_db(rule("Allow", dst="role == 'web'"))], NO, "tier-default"),
    # -- nets
    ("nets", "internet > db tcp/1",
     [into_db(rule("Allow", {"nets": ["10.9.0.0/16", "198.51.100.0/24"]}))], YES, "policy"),
    ("a bare address is a net", "internet > db tcp/1",
     [into_db(rule("Allow", {"nets": ["198.51.100.7"]}))], YES, "policy"),
    ("not in nets", "internet > db tcp/1", [into_db(rule("Allow", {"nets": ["10.0.0.0/8"]}))],
     NO, "tier-default"),
    ("nets of the other family", "web6 > db6 tcp/1",
     [into_db(rule("Allow", {"nets": ["0.0.0.0/0"]}))], NO, "tier-default"),
    ("notNets", "internet > db tcp/1",
     [into_db(rule("Allow", {"not_nets": ["198.51.100.0/24"]}))], NO, "tier-default"),
    ("a rule with notNets says nothing of the other family", "web6 > db6 tcp/1",
     [into_db(rule("Allow", {"not_nets": ["10.0.0.0/8"]}))], NO, "tier-default"),
    ("nor does one that denies", "web6 > db6 tcp/1",
     [into_db(rule("Deny", {"not_nets": ["10.0.0.0/8"]}), rule("Allow"))], YES, "policy"),
    ("nets and selector both hold", "web > db tcp/1",
     [into_db(rule("Allow", {**ON_WEB, "nets": ["198.51.100.0/24"]}))], NO, "tier-default"),
    # -- protocols, ports
    ("protocol by name", "web > db udp/1", [into_db(rule("Allow", protocol="UDP"))], YES,
     "policy"),
    ("protocol by number", "web > db udp/1", [into_db(rule("Allow", protocol=17))], YES,
     "policy"),
    ("another protocol", "web > db tcp/1", [into_db(rule("Allow", protocol="UDP"))], NO,
     "tier-default"),
    ("notProtocol", "web > db tcp/1", [into_db(rule("Allow", not_protocol="TCP"))], NO,
     "tier-default"),
    ("notProtocol lets the others", "web > db 47", [into_db(rule("Allow", not_protocol="TCP"))],
     YES, "policy"),
    ("ipVersion", "web > db tcp/1", [into_db(rule("Allow", ip_version=6))], NO, "tier-default"),
    ("port", "web > db tcp/80",
     [into_db(rule("Allow", None, {"ports": [22, 80]}, protocol="TCP"))], YES, "policy"),
    ("range, first port", "web > db tcp/80",
     [into_db(rule("Allow", None, {"ports": ["80:90"]}, protocol="TCP"))], YES, "policy"),
    ("range, last port", "web > db tcp/90",
     [into_db(rule("Allow", None, {"ports": ["80:90"]}, protocol="TCP"))], YES, "policy"),
    ("past the range", "web > db tcp/91",
     [into_db(rule("Allow", None, {"ports": ["80:90"]}, protocol="TCP"))], NO, "tier-default"),
    ("notPorts", "web > db tcp/85",
     [into_db(rule("Allow", None, {"not_ports": ["80:90"]}, protocol="TCP"))], NO,
     "tier-default"),
    ("source port", "web > db tcp/85 from 53",
     [into_db(rule("Allow", {"ports": [53]}, protocol="TCP"))], YES, "policy"),
    ("another source port", "web > db tcp/53 from 54",
     [into_db(rule("Allow", {"ports": [53]}, protocol="TCP"))], NO, "tier-default"),
    ("named port", "web > db tcp/5432",
     [into_db(rule("Allow", None, {"ports": ["sql"]}, protocol="TCP"))], YES, "policy"),
    ("a named port has a protocol", "web > db tcp/99",
     [into_db(rule("Allow", None, {"ports": ["sql"]}, protocol="TCP"))], NO, "tier-default"),
    ("a named port without protocol is any of its protocols", "web > db udp/99",
     [into_db(rule("Allow", None, {"ports": ["sql"]}))], YES, "policy"),
    ("a name that the endpoint lacks", "db > web tcp/5432",
     [policy("shop/w", ingress=[rule("Allow", None, {"ports": ["sql"]}, protocol="TCP")])], NO,
     "tier-default"),
    ("a name or a number", "web > db tcp/7",
     [into_db(rule("Allow", None, {"ports": ["sql", 7]}, protocol="TCP"))], YES, "policy"),
    ("not a named port", "web > db tcp/5432",
     [into_db(rule("Allow", None, {"not_ports": ["sql"]}, protocol="TCP"))], NO, "tier-default"),
    ("a named port of a host endpoint", "web > beta tcp/9",
     [host("h", WHO["beta"], ports=[("api", "TCP", 9)]),
      policy("shop/o", egress=[rule("Allow", None, {"ports": ["api"]}, protocol="TCP")])], YES,
     "policy"),
    # -- ICMP
    ("ICMP by type", "web > db icmp/8/0",
     [into_db(rule("Allow", protocol="ICMP", icmp=r.Icmp(type=8)))], YES, "policy"),
    ("another type", "web > db icmp/13/0",
     [into_db(rule("Allow", protocol="ICMP", icmp=r.Icmp(type=8)))], NO, "tier-default"),
    ("another code", "web > db icmp/8/1",
     [into_db(rule("Allow", protocol="ICMP", icmp=r.Icmp(type=8, code=0)))], NO,
     "tier-default"),
    ("notICMP negates type and code as one", "web > db icmp/8/1",
     [into_db(rule("Allow", protocol="ICMP", not_icmp=r.Icmp(type=8, code=0)))], YES, "policy"),
    ("notICMP", "web > db icmp/8/0",
     [into_db(rule("Allow", protocol="ICMP", not_icmp=r.Icmp(type=8, code=0)))], NO,
     "tier-default"),
    ("ICMP is not ICMPv6", "web6 > db6 icmpv6/128/0", [into_db(rule("Allow", protocol="ICMP"))],
     NO, "tier-default"),
    ("ICMPv6", "web6 > db6 icmpv6/128/0", [into_db(rule("Allow", protocol="ICMPv6"))], YES,
     "policy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "more", "verdict", "reason"),
    [row[1:] for row in ROWS],
    ids=[f"{row[0]}: {row[1]}" for row in ROWS],
)
def test_verdict(text, more, verdict, reason):
    found = judged(text, *more)
    assert (found.verdict, found.reason) == (verdict, reason), found.steps
    assert found.steps


def test_the_order_in_which_resources_come_does_not_matter():
    for _, text, more, verdict, reason in ROWS:
        found = judge([*reversed(more), *reversed(TOWN)], flow(text))
        assert (found.verdict, found.reason) == (verdict, reason), text


def test_every_reason_is_shown_by_a_row():
    assert {row[4] for row in ROWS} == set(REASONS)


@pytest.mark.parametrize(
    ("default", "verdict"), [("tenant", "DENIED"), ("open", "ALLOWED"), ("isolated", "DENIED")]
)
def test_the_clusters_default_is_for_namespaces_that_say_nothing(default, verdict):
    assert judge(TOWN, flow("internet > cat tcp/80"), default).verdict == verdict
    assert judge(TOWN, flow("internet > stall tcp/80"), default).verdict == "ALLOWED"


def test_no_namespace_default_reaches_a_protected_address():
    probe = flow("web > store tcp/2379")
    assert judge(TOWN, probe).verdict == "ALLOWED"
    assert judge(TOWN, probe, protected=["192.168.60.9"]).reason == "node-address"
    out = policy("shop/out", egress=[ALLOW])
    assert judge([*TOWN, out], probe, protected=["192.168.60.9"]).verdict == "ALLOWED"


def test_the_steps_tell_the_reading():
    world = [*TOWN, tier("t", 5), into_db_globally(PASS, tier="t"), into_db(LOG, ALLOW)]
    steps = judge(world, flow("web > db tcp/1")).steps
    assert [(one.where, one.tier, one.policy, one.rule, one.action) for one in steps] == [
        ("egress of shop/alpha-tortie-web-eth0", None, "Namespace/shop", None, "Allow"),
        ("ingress of shop/beta-tortie-db-eth0", "t", "GlobalNetworkPolicy/db", 0, "Pass"),
        ("ingress of shop/beta-tortie-db-eth0", "default", "NetworkPolicy/shop/db", 0, "Log"),
        ("ingress of shop/beta-tortie-db-eth0", "default", "NetworkPolicy/shop/db", 1, "Allow"),
    ]


def test_what_cannot_be_judged_is_not_guessed():
    unjudged = into_db(rule("Allow", http=r.Http(methods=["GET"])))
    with pytest.raises(TortieError, match="not judged"):
        judge([*TOWN, unjudged], flow("web > db tcp/1"))


ORACLE = {
    "entity", "evaluation", "hosts", "judgement", "known", "kubernetes", "matching", "oracle",
    "policies", "reading", "settings", "translation",
}  # fmt: skip


def test_the_oracle_knows_the_model_only():
    """Were it to share code with calc, agreeing with calc would show nothing."""
    folder = Path(explain.__file__).parent
    allowed = {f"tortie.explain.{name}" for name in ORACLE}
    allowed |= {"tortie.errors", "tortie.model", "tortie.model.selector", "tortie.explain"}
    for name in sorted(ORACLE):
        tree = ast.parse((folder / f"{name}.py").read_text())
        froms = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
        plain = {n.name for one in ast.walk(tree) if isinstance(one, ast.Import) for n in one.names}
        assert {one for one in froms | plain if one and one.startswith("tortie")} <= allowed
