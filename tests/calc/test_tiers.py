"""Which policies apply to an endpoint, and in what order."""

from __future__ import annotations

import pytest
from calc.calcrig import found, on_alpha, order, web
from msgspec.structs import replace
from worlds import CALICO, meta, policy, profile, rule, tier

from tortie.model import resources as r

ALLOW = [rule("Allow")]


def kubernetes(name: str) -> r.Resource:
    return r.KubernetesNetworkPolicy(api_version="networking.k8s.io/v1", metadata=meta(name))


def ingress(*resources: r.Resource) -> list[str]:
    (endpoint,) = on_alpha(web(), *resources).endpoints
    return order(endpoint.ingress)


def one(tier_name: str) -> r.Resource:
    """A policy in a tier."""
    return policy(f"{tier_name}.p", tier=tier_name)


TIERS = {
    "by order": (
        [tier("b", 1), tier("a", 2), one("a"), one("b")],
        ["b: b.p > deny", "a: a.p > deny"],
    ),
    "none is last": (
        [tier("a"), tier("z", 9e9), one("a"), one("z")],
        ["z: z.p > deny", "a: a.p > deny"],
    ),
    "ties by name": (
        [tier("b", 5), tier("a", 5), tier("d"), tier("c"), *map(one, "abcd")],
        ["a: a.p > deny", "b: b.p > deny", "c: c.p > deny", "d: d.p > deny"],
    ),
    "the built-in ones need no object": (
        [one("default"), one("kube-baseline"), one("kube-admin")],
        ["kube-admin: kube-admin.p > pass", "default: default.p > deny",
         "kube-baseline: kube-baseline.p > pass"],
    ),
    "a built-in object without order or action is what it always is": (
        [tier("kube-admin"), tier("a", 2000), one("a"), one("kube-admin"), one("kube-baseline")],
        ["kube-admin: kube-admin.p > pass", "a: a.p > deny",
         "kube-baseline: kube-baseline.p > pass"],
    ),
    "one that does not exist is after all others, and denies": (
        [tier("z"), one("z"), one("aaa"), one("kube-baseline")],
        ["kube-baseline: kube-baseline.p > pass", "z: z.p > deny", "aaa: aaa.p > deny"],
    ),
    "default action": (
        [tier("a", 1, "Pass"), tier("b", 2, "Deny"), one("a"), one("b")],
        ["a: a.p > pass", "b: b.p > deny"],
    ),
    "one without a policy here is not there": (
        [tier("a", 1), tier("b", 2), policy("a.p", tier="a", selector="role == 'db'"), one("b")],
        ["b: b.p > deny"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("resources", "expected"), TIERS.values(), ids=TIERS)
def test_order_of_tiers(resources, expected) -> None:
    assert ingress(*resources) == expected
    assert ingress(*reversed(resources)) == expected


POLICIES = {
    "by order, none last": (
        [policy("a"), policy("b", order=20.5), policy("c", order=20), policy("d", order=-1)],
        "default: d c b a > deny",
    ),
    "ties by name before namespace": (
        [policy("shop/b", order=1), policy("a", order=1), policy("shop/a", order=1)],
        "default: a shop/a shop/b > deny",
    ),
    "ties as text: a name that begins as another does": (
        [policy("a"), policy("a-b"), policy("a.b")],
        "default: a-b a.b a > deny",
    ),
    "ties of kinds: global before namespaced before Kubernetes' before the namespaced, by text": (
        [policy("a", order=1000), kubernetes("shop/a"), policy("shop/a", order=1000)],
        "default: a shop/a shop/a > deny",
    ),
    "Kubernetes' is 1000": (
        [policy("late", order=1000.5), kubernetes("shop/k"), policy("early", order=999)],
        "default: early shop/k late > deny",
    ),
}


@pytest.mark.parametrize(("resources", "expected"), POLICIES.values(), ids=POLICIES)
def test_order_of_policies(resources, expected) -> None:
    assert ingress(*resources) == [expected]
    assert ingress(*reversed(resources)) == [expected]


def test_of_equal_names_kinds_go_by_their_own_name() -> None:
    same = [policy("shop/a", order=1000), kubernetes("shop/a")]
    (endpoint,) = on_alpha(web(), *same).endpoints
    assert endpoint.ingress[0].policies == (
        "KubernetesNetworkPolicy/shop/a",
        "NetworkPolicy/shop/a",
    )


APPLIES = {
    "global: all": (policy("p"), True),
    "global: by selector": (policy("p", selector="role == 'web'"), True),
    "global: others": (policy("p", selector="role == 'db'"), False),
    "global: by namespace": (policy("p", namespace_selector="all()"), True),
    "own namespace": (policy("shop/p"), True),
    "another namespace": (policy("bank/p"), False),
    "account": (policy("shop/p", service_account_selector="all()"), False),
    "for packets that are not tracked": (
        policy("p", do_not_track=True, apply_on_forward=True), False),
    "before destination NAT": (policy("p", pre_dnat=True, apply_on_forward=True), False),
    "on forward too": (policy("p", apply_on_forward=True), True),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), APPLIES.values(), ids=APPLIES)
def test_which_policies_apply_to_a_workload(given, expected: bool) -> None:
    assert bool(ingress(given)) is expected


TYPES = {
    "no rules at all": ({}, True, False),
    "ingress rules": ({"ingress": ALLOW}, True, False),
    "egress rules": ({"egress": ALLOW}, False, True),
    "both rules": ({"ingress": ALLOW, "egress": ALLOW}, True, True),
    "said: egress": ({"ingress": ALLOW, "types": ["Egress"]}, False, True),
    "said: both": ({"types": ["Ingress", "Egress"]}, True, True),
}


@pytest.mark.parametrize(("spec", "inward", "outward"), TYPES.values(), ids=TYPES)
def test_types_are_inferred(spec, inward: bool, outward: bool) -> None:
    firewall = on_alpha(web(), policy("shop/p", **spec))
    (endpoint,) = firewall.endpoints
    assert (bool(endpoint.ingress), bool(endpoint.egress)) == (inward, outward)
    made = found(firewall, "NetworkPolicy/shop/p")
    assert bool(made.ingress) == (inward and "ingress" in spec)
    assert bool(made.egress) == (outward and "egress" in spec)


def test_pass_and_all_actions_arrive_in_order() -> None:
    rules = [rule(action) for action in ("Log", "Pass", "Allow", "Deny")]
    made = found(on_alpha(web(), policy("p", ingress=rules)), "GlobalNetworkPolicy/p")
    assert [each.action for each in made.ingress] == ["log", "pass", "allow", "deny"]


STAGED = [
    r.StagedNetworkPolicy(
        api_version=CALICO, metadata=meta("shop/s"), spec=r.StagedNetworkPolicySpec(ingress=ALLOW)
    ),
    r.StagedGlobalNetworkPolicy(
        api_version=CALICO,
        metadata=meta("s"),
        spec=r.StagedGlobalNetworkPolicySpec(ingress=ALLOW, apply_on_forward=True),
    ),
    r.StagedKubernetesNetworkPolicy(api_version=CALICO, metadata=meta("shop/s")),
]


def test_what_is_staged_changes_nothing() -> None:
    assert on_alpha(web(), *STAGED) == on_alpha(web())


NAMES = {
    "first word": ({"name": "let us in", "tortie.dev/name": "x"}, "let us in"),
    "ours": ({"tortie.dev/name": "db: 5432/tcp_only-1.0"}, "db: 5432/tcp_only-1.0"),
    "none": ({"comment": "x"}, ""),
    "hostile": ({"name": 'x"; accept\n$(reboot) #\u202e'}, "x acceptreboot "),
    "long": ({"name": "a" * 300}, "a" * 100),
}


@pytest.mark.parametrize(("annotations", "expected"), NAMES.values(), ids=NAMES)
def test_names_of_rules_are_harmless(annotations, expected: str) -> None:
    named = rule("Allow", metadata=r.RuleMetadata(annotations=annotations))
    made = found(on_alpha(web(), policy("p", ingress=[named])), "GlobalNetworkPolicy/p")
    assert made.ingress[0].name == expected


def annotated(resource: r.Resource) -> r.Resource:
    asks = replace(resource.metadata, annotations={"tortie.dev/revoke": "true"})
    return replace(resource, metadata=asks)


REVOKES = {
    "nobody": ([policy("p")], (False, False)),
    "ingress": ([annotated(policy("p", ingress=ALLOW))], (True, False)),
    "egress": ([annotated(policy("shop/p", egress=ALLOW))], (False, True)),
    "kubernetes": ([annotated(kubernetes("shop/k"))], (True, False)),
    "not here": ([annotated(policy("bank/p")), annotated(policy("p", selector="!all()"))],
                 (False, False)),
    "listed profile": ([annotated(profile("one"))], (True, True)),
    "not tracked": ([annotated(policy("p", do_not_track=True, apply_on_forward=True))],
                    (False, False)),
}  # fmt: skip


@pytest.mark.parametrize(("resources", "expected"), REVOKES.values(), ids=REVOKES)
def test_a_policy_may_ask_for_revocation_where_it_applies(resources, expected) -> None:
    (endpoint,) = on_alpha(web(profiles=["one"]), *resources).endpoints
    assert (endpoint.revoke_ingress, endpoint.revoke_egress) == expected
