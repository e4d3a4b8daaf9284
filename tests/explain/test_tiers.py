"""Tiers and policies in their order: who decides."""

from __future__ import annotations

import re

import pytest
from explain.town import global_policy, judged, network_policy
from worlds import profile, rule, tier, workload

from tortie.model import resources as r

# `TIER(ORDER,DEFAULT): POLICY@ORDER=ACTIONS ...; ...`: what selects shop/db, in no order. `TIER`
# alone has no object. Actions: A(llow), D(eny), P(ass), L(og) of everything; `-`: no rule matches.
# A POLICY of a namespace is shop/NAME. Then who decides, and how.
DECIDED = [
    # -- policies of one tier
    ("default: a@1=A b@2=D", "a ALLOWED"),
    ("default: b@1=A a@2=D", "b ALLOWED"),
    ("default: a@2=A b@1.5=D", "b DENIED"),
    ("default: a@-5=A b@0=D", "a ALLOWED"),
    ("default: a=A b@1e9=D", "b DENIED"),
    ("default: a=A b=D", "a ALLOWED"),
    ("default: b=A a=D", "a DENIED"),
    ("default: a@10=A shop/a@10=D", "a ALLOWED"),
    ("default: b@10=A shop/a@10=D", "shop/a DENIED"),
    ("default: a10@1=A a9@1=D", "a10 ALLOWED"),
    ("default: a@1=- b@2=A", "b ALLOWED"),
    ("default: a@1=L b@2=A", "b ALLOWED"),
    ("default: a=LA", "a ALLOWED"),
    ("default: a=AD", "a ALLOWED"),
    ("default: a=DA", "a DENIED"),
    # -- the end of a tier
    ("default: a=-", "default DENIED"),
    ("default: a=L", "default DENIED"),
    ("", "namespace ALLOWED"),
    ("t(1): a=-", "t DENIED"),
    ("t(1,Deny): a=-", "t DENIED"),
    ("t(1,Pass): a=-", "namespace ALLOWED"),
    ("t(1,Pass): a=D", "a DENIED"),
    ("t(1,Pass): a=-; default: b=D", "b DENIED"),
    ("t(1,Pass): a=-; u(2,Pass): b=-; default: c=-", "default DENIED"),
    ("t(1): ; default: b=A", "b ALLOWED"),
    # -- Pass
    ("default: a=P", "namespace ALLOWED"),
    ("default: a=PD", "namespace ALLOWED"),
    ("default: a@1=P b@2=D", "namespace ALLOWED"),
    ("t(1): a=P; default: b=D", "b DENIED"),
    ("t(1): a@1=P a2@2=D; default: b=A", "b ALLOWED"),
    ("t(1): a=P; u(2): b=P; default: c=P", "namespace ALLOWED"),
    ("t(1): a=P; u(2): b=-; default: c=A", "u DENIED"),
    ("t(1): a=LP; default: b=D", "b DENIED"),
    # -- tiers in order
    ("t(1): a=A; u(2): b=D", "a ALLOWED"),
    ("t(2): a=A; u(1): b=D", "b DENIED"),
    ("t(1): a=A; s(1): b=D", "b DENIED"),
    ("t: a=A; default: b=D", "b DENIED"),
    ("t(): a=A; default: b=D", "b DENIED"),
    ("t(): a=A; s(): b=D", "b DENIED"),
    ("t(): a=A; s: b=D", "a ALLOWED"),
    ("s: b=-", "s DENIED"),
    ("s: b=P", "namespace ALLOWED"),
    ("t(1000001): a=A; default: b=D", "b DENIED"),
    ("t(999999): a=A; default: b=D", "a ALLOWED"),
    # -- the built-in ones
    ("kube-admin: a=-; default: b=A", "b ALLOWED"),
    ("kube-admin: a=D; default: b=A", "a DENIED"),
    ("kube-admin: a=A; t(1001): b=D", "a ALLOWED"),
    ("kube-admin: a=A; t(999): b=D", "b DENIED"),
    ("kube-baseline: a=-", "namespace ALLOWED"),
    ("kube-baseline: a=D", "a DENIED"),
    ("kube-baseline: a=D; default: b=A", "b ALLOWED"),
    ("kube-baseline: a=D; default: b=P", "a DENIED"),
    ("kube-baseline: a=D; default: b=-", "default DENIED"),
    ("kube-baseline: a=A; t(): b=D", "a ALLOWED"),
]  # fmt: skip
ACTIONS = {"A": "Allow", "D": "Deny", "P": "Pass", "L": "Log"}


def resources(text: str) -> list[r.Resource]:
    made: list[r.Resource] = []
    for part in filter(None, text.split("; ")):
        found = re.fullmatch(r"([\w-]+)(?:\(([^,)]*)(?:,(\w+))?\))?: ?(.*)", part)
        assert found
        name, order, default, policies = found.groups()
        if order is not None:
            made.append(tier(name, float(order) if order else None, default))
        for one in policies.split():
            made.append(policy(name, *one.split("=")))
    return made


def policy(tier: str, name: str, actions: str) -> r.Resource:
    name, _, order = name.partition("@")
    rules = ["{action: Allow, protocol: UDP}"] if actions == "-" else [
        f"{{action: {ACTIONS[one]}}}" for one in actions]  # fmt: skip
    place = f", order: {float(order)}" if order else ""
    make = network_policy if "/" in name else global_policy
    return make(name, f"{{tier: {tier}, selector: role == 'db'{place}, "
                      f"ingress: [{', '.join(rules)}]}}")  # fmt: skip


@pytest.mark.parametrize(("there", "decided"), DECIDED)
@pytest.mark.parametrize("turn", [1, -1], ids=["as written", "in reverse"])
def test_who_decides(there: str, decided: str, turn: int) -> None:
    found = judged("web > db tcp/1", *resources(there)[::turn])
    last = found.decisive()
    kind, _, name = (last.policy or f"Tier/{last.tier}").partition("/")
    who = "namespace" if kind == "Namespace" else name
    assert f"{who} {found.verdict}" == decided, found.steps


# profiles that shop/db lists, what is there, reason
KIOSKS = {
    "yes": profile("yes", [rule("Allow")]),
    "no": profile("no", [rule("Deny")]),
    "empty": profile("empty"),
    "udp": profile("udp", [rule("Allow", protocol="UDP")]),
    "pass": profile("pass", [rule("Pass"), rule("Deny")]),
    "log": profile("log", [rule("Log")]),
    "out": profile("out", egress=[rule("Allow")]),
}
PROFILES = [
    ("yes", "", "ALLOWED profile"),
    ("no yes", "", "DENIED profile"),
    ("empty yes", "", "ALLOWED profile"),
    ("udp yes", "", "ALLOWED profile"),
    ("udp", "", "DENIED no-profile"),
    ("pass yes", "", "ALLOWED profile"),
    ("pass", "", "DENIED no-profile"),
    ("log", "", "DENIED no-profile"),
    ("out", "", "DENIED no-profile"),
    ("ghost yes", "", "DENIED profile-missing"),
    ("yes ghost", "", "ALLOWED profile"),
    ("projectcalico-default-allow", "", "ALLOWED profile"),
    ("yes", "default: a=P", "ALLOWED profile"),
    ("no", "default: a=P", "DENIED profile"),
    ("yes", "default: a=-", "DENIED tier-default"),
    ("no", "default: a=A", "ALLOWED policy"),
    ("yes", "t(1,Pass): a=-; kube-baseline: b=P", "ALLOWED profile"),
]


@pytest.mark.parametrize(("profiles", "there", "says"), PROFILES)
def test_what_no_tier_decides_the_profiles_do(profiles: str, there: str, says: str) -> None:
    listed = profiles.split()
    db = workload("shop/db", "10.0.0.2", on="beta", labels={"role": "db"}, profiles=listed)
    found = judged("web > db tcp/1", db, *KIOSKS.values(), *resources(there))
    assert f"{found.verdict} {found.reason}" == says
