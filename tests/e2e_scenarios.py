"""Changes between states that agree on some connections: those that all of them forbid, and those
that all of them allow. The data centre is that of `e2e_tenants`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from e2e_leak import Delta
from e2e_tenants import gone, policy, put, resource


@dataclass(frozen=True)
class Scenario:
    """States, gone through again and again; `before` is there all the time. `labels`: those of
    workloads in each state. Questions as in `e2e_rig`."""

    before: Delta
    states: Sequence[Delta]
    never: Sequence[str]
    always: Sequence[str]
    labels: Sequence[dict[str, dict[str, str]]] = ()


def swapped(first: Delta, second: Delta) -> list[Delta]:
    """Two states: of two objects one is there, or the other."""
    return [{**gone(second), **first}, {**gone(first), **second}]


def tier(name: str, order: float, default: str = "Deny") -> Delta:
    return put(resource("Tier", name, {"order": order, "defaultAction": default}))


def namespace(name: str, default: str) -> Delta:
    return put(resource("Namespace", name, {}, annotations={"tortie.dev/default": default}))


P1 = "role == 'api'"
FROM_P2: dict[str, Any] = {"action": "Allow", "source": {"selector": "colour == 'blue'"}}
FROM_SHOP = {"selector": "role == 'web'", "namespaceSelector": "projectcalico.org/name == 'shop'"}
NOT_SHOP: dict[str, Any] = {"action": "Deny", "source": FROM_SHOP}
ONLY_P2 = policy("plaza/only-p2", selector=P1, ingress=[FROM_P2])
INTO_P1 = ("shop/s1 plaza/p1 tcp/80", "internet plaza/p1 tcp/80", "bank/k1 plaza/p1 tcp/80")
P2_TO_P1 = ("plaza/p2 plaza/p1 tcp/80",)
OWN_ONLY = policy("bank/own-only", selector="role == 'db'", ingress=[
    {"action": "Allow", "source": {"selector": "colour == 'red'"}}])  # fmt: skip
INTO_K2 = ("plaza/p1 bank/k2 tcp/80", "shop/s1 bank/k2 tcp/81", "internet bank/k2 tcp/80")
BANK = ("bank/k1 bank/k2 tcp/80", "bank/k3 bank/k2 tcp/81")

SCENARIOS = {
    "the last policy of an endpoint goes and comes": Scenario(
        {}, [OWN_ONLY, gone(OWN_ONLY)], INTO_K2, BANK
    ),
    "a policy is renamed": Scenario(
        {},
        swapped(ONLY_P2, policy("plaza/another", selector=P1, ingress=[FROM_P2])),
        INTO_P1,
        P2_TO_P1,
    ),
    "a policy becomes one of another kind, in another tier": Scenario(
        {},
        swapped(ONLY_P2, put(resource("KubernetesNetworkPolicy", "k", {
            "podSelector": {"matchLabels": {"role": "api"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"colour": "blue"}}}]}],
        }, namespace="plaza"))),
        INTO_P1,
        P2_TO_P1,
    ),
    "an endpoint is relabelled from one policy's to another's": Scenario(
        {**ONLY_P2, **policy("plaza/db", selector="role == 'db'", ingress=[FROM_P2, NOT_SHOP])},
        [{}, {}],
        INTO_P1,
        P2_TO_P1,
        labels=[{"plaza/p1": {"role": "db"}}, {"plaza/p1": {"role": "api"}}],
    ),
    "peers are relabelled from one rule's to another's": Scenario(
        policy("plaza/p", selector=P1, ingress=[
            {"action": "Deny", "source": {"notSelector": "colour in {'blue', 'green'}"}},
            {"action": "Allow", "source": {"selector": "colour == 'green'"}}, FROM_P2,
        ]),
        [{}, {}],
        INTO_P1,
        P2_TO_P1,
        labels=[{"plaza/p2": {"colour": "green"}}, {"plaza/p2": {"colour": "blue"}}],
    ),
    "two tiers change places": Scenario(
        {
            **policy("alpha.p", tier="alpha", selector=P1, types=["Ingress"], ingress=[
                NOT_SHOP, FROM_P2]),
            **policy("beta.p", tier="beta", selector=P1, types=["Ingress"], ingress=[
                FROM_P2, {"action": "Deny"}]),
        },
        [
            {**tier("alpha", 100, "Pass"), **tier("beta", 200)},
            {**tier("alpha", 300, "Deny"), **tier("beta", 200, "Pass")},
        ],
        INTO_P1,
        P2_TO_P1,
    ),
    "a network set changes its prefixes": Scenario(
        policy("plaza/p", selector=P1, ingress=[
            {"action": "Allow", "source": {"selector": "zone == 'corp'",
                                           "namespaceSelector": "global()"}}]),
        [
            put(resource("GlobalNetworkSet", "corp", {"nets": nets}, labels={"zone": "corp"}))
            for nets in (
                ["10.65.10.16/30"], ["10.65.10.18/31", "192.0.2.0/24"], ["10.65.10.18/32"],
                [f"198.51.{n}.0/25" for n in range(90)] + ["10.65.10.18/32"],
            )
        ],
        INTO_P1,
        P2_TO_P1,
    ),
    "a namespace changes its default": Scenario(
        {}, [namespace("bank", "isolated"), namespace("bank", "tenant")], INTO_K2, BANK
    ),
}  # fmt: skip
