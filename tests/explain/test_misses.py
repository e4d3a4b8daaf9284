"""What is told besides the verdict: rules' names, near misses, the nearest of all."""

from __future__ import annotations

import pytest
from explain.town import global_policy, judged, network_policy, written
from worlds import CALICO, meta, profile, rule, tier, workload

from tortie.model import resources as r

WEB = "shop/alpha-tortie-web-eth0"


def into_db(rules: str, name: str = "shop/db", more: str = "") -> r.NetworkPolicy:
    return network_policy(name, f"{{selector: role == 'db', ingress: [{rules}]{more}}}")


API = "{action: Allow, source: {selector: role == 'api'}}"
ON_80 = "{action: Allow, protocol: TCP, destination: {ports: [80]}}"
API_ON_80 = ("{action: Allow, protocol: TCP, source: {selector: role == 'api'}, "
             "destination: {ports: [80]}}")  # fmt: skip
DENY_81 = "{action: Deny, protocol: TCP, destination: {ports: [81]}}"

# rules of a policy, flow, (rule, action it would have had, misses) of what says nothing
NEAR = [
    (API, "web > db tcp/1", [(0, "Allow", f"source {WEB} does not match role == 'api'")]),
    (ON_80, "web > db tcp/81", [(0, "Allow", "destination port 81 is not 80")]),
    (ON_80, "web > db udp/80", [(0, "Allow", "protocol is udp, not tcp")]),
    (f"{API_ON_80}, {ON_80}", "web > db tcp/1", [(1, "Allow", "destination port 1 is not 80")]),
    (f"{ON_80}, {API_ON_80}", "web > db tcp/1", [(0, "Allow", "destination port 1 is not 80")]),
    (f"{API}, {ON_80}", "web > db tcp/1",
     [(0, "Allow", f"source {WEB} does not match role == 'api'")]),
    # an Allow comes before a Deny that is as near, or nearer
    (f"{DENY_81}, {ON_80}", "web > db tcp/1", [(1, "Allow", "destination port 1 is not 80")]),
    (f"{DENY_81}, {API_ON_80}", "web > db tcp/1",
     [(1, "Allow", f"source {WEB} does not match role == 'api'; destination port 1 is not 80")]),
    (DENY_81, "web > db tcp/1", [(0, "Deny", "destination port 1 is not 81")]),
    # above a rule that denies: the Allow that missed; nothing above one that allows
    (f"{ON_80}, {{action: Deny}}", "web > db tcp/1",
     [(0, "Allow", "destination port 1 is not 80")]),
    (f"{DENY_81}, {{action: Deny}}", "web > db tcp/1", []),
    (f"{ON_80}, {{action: Allow}}", "web > db tcp/1", []),
    (f"{ON_80}, {{action: Pass}}", "web > db tcp/1", []),
    ("{action: Log}", "web > db tcp/1", [(None, "", "")]),
    ("", "web > db tcp/1", [(None, "", "")]),
    ("{action: Log, protocol: UDP}", "web > db tcp/1",
     [(0, "Log", "protocol is tcp, not udp")]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "probe", "near"), NEAR)
def test_the_rule_that_came_nearest(
    rules: str, probe: str, near: list[tuple[int | None, str, str]]
) -> None:
    found = judged(probe, into_db(rules))
    steps = [one for one in found.steps if one.action == "None"]
    assert [(one.rule, one.would, "; ".join(one.misses)) for one in steps] == near
    assert all(one.policy == "NetworkPolicy/shop/db" for one in steps)


def test_a_protocol_without_ports_misses_them_too() -> None:
    found = judged("web > db icmp/8/0", into_db(ON_80)).nearest()
    assert found is not None
    assert found.misses == (
        "protocol is icmp, not tcp",
        "destination port of icmp, which has none, is not 80",
    )


# what is there, flow, (policy, rule, how many misses) of the nearest; None: there is none
NEAREST = [
    ([into_db(API)], "web > db tcp/1", ("NetworkPolicy/shop/db", 0, 1)),
    ([into_db(API_ON_80), into_db(ON_80, "shop/z")], "web > db tcp/1",
     ("NetworkPolicy/shop/z", 0, 1)),
    ([into_db(ON_80), into_db(API, "shop/z")], "web > db tcp/1", ("NetworkPolicy/shop/db", 0, 1)),
    ([into_db(DENY_81)], "web > db tcp/1", None),
    ([into_db(f"{ON_80}, {{action: Deny}}")], "web > db tcp/1", ("NetworkPolicy/shop/db", 0, 1)),
    ([into_db("{action: Deny}")], "web > db tcp/1", None),
    ([into_db("{action: Pass}, {action: Allow}")], "web > db tcp/1", None),
    ([into_db(ON_80)], "web > db tcp/80", None),
    # of the end that denied
    ([into_db(ON_80), network_policy("shop/out", "{types: [Egress], egress: [{action: Allow, "
      "protocol: UDP}, {action: Allow}]}")], "web > db tcp/1", ("NetworkPolicy/shop/db", 0, 1)),
    ([into_db(ON_80), network_policy("shop/out", "{types: [Egress], egress: [{action: Allow, "
      "protocol: UDP}]}")], "web > db tcp/1", ("NetworkPolicy/shop/out", 0, 1)),
    # in an earlier tier, and in a profile
    ([tier("first", 1, "Pass"), global_policy("first.x", "{tier: first, selector: role == 'db', "
      "ingress: [{action: Allow, protocol: UDP}]}"), into_db("")], "web > db tcp/1",
     ("GlobalNetworkPolicy/first.x", 0, 1)),
    ([workload("shop/db", "10.0.0.2", on="beta", profiles=["p"]),
      profile("p", [rule("Allow", protocol="UDP")])], "web > db tcp/1", ("Profile/p", 0, 1)),
    ([], "web > alpha tcp/1", None),
    ([], "internet > web tcp/1", None),
]  # fmt: skip


@pytest.mark.parametrize(("there", "probe", "nearest"), NEAREST)
def test_the_nearest_that_would_have_allowed(
    there: list[r.Resource], probe: str, nearest: tuple[str, int, int] | None
) -> None:
    found = judged(probe, *there).nearest()
    shown = found and (found.policy, found.rule, len(found.misses))
    assert shown == nearest


# annotations of a rule, its name
NAMES = [
    ({}, ""),
    ({"name": "from the api"}, "from the api"),
    ({"tortie.dev/name": "from the api"}, "from the api"),
    ({"name": "a", "tortie.dev/name": "b"}, "a"),
    ({"name": "", "tortie.dev/name": "b"}, "b"),
    ({"other": "x"}, ""),
    ({"name": "a\x1b[31m\n`$(b)`; é-_./:9"}, "a31mb -_./:9"),
    ({"name": "x" * 200}, "x" * 100),
]


@pytest.mark.parametrize(("notes", "name"), NAMES)
def test_a_rule_has_the_name_that_its_author_gave(notes: dict[str, str], name: str) -> None:
    named = r.Rule(action="Deny", metadata=r.RuleMetadata(annotations=notes))
    spec = r.NetworkPolicySpec(selector="role == 'db'", ingress=[named])
    policy = r.NetworkPolicy(api_version=CALICO, metadata=meta("shop/db"), spec=spec)
    step = judged("web > db tcp/1", policy).steps[-1]
    assert (step.rule, step.rule_name, step.action) == (0, name, "Deny")


def test_the_rule_that_missed_has_its_name_too() -> None:
    named = written("{action: Allow, protocol: UDP, metadata: {annotations: {name: asks}}}", r.Rule)
    spec = r.NetworkPolicySpec(selector="role == 'db'", ingress=[named])
    policy = r.NetworkPolicy(api_version=CALICO, metadata=meta("shop/db"), spec=spec)
    near = judged("web > db tcp/1", policy).nearest()
    assert near is not None
    assert (near.rule_name, near.misses) == ("asks", ("protocol is tcp, not udp",))


def test_every_denial_ends_in_a_step_that_says_so() -> None:
    for there, probe, _ in NEAREST:
        found = judged(probe, *there)
        if not found.allowed:
            last = found.steps[-1]
            assert found.decisive() is last
            assert last.action in ("Deny", "DENIED", "Default")
            assert last.where
            assert last.text
