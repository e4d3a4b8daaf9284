"""Random changes of all that policy is made of, over the tenants of `e2e_tenants`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from e2e_leak import Delta
from e2e_tenants import Document, put, relabelled, remove, resource, settings
from msgspec.structs import replace

from tortie.model import kinds
from tortie.model import resources as r

NAMESPACES = ("shop", "bank", "plaza")
SELECTORS = (
    "all()", "role == 'web'", "role in {'db', 'api'}", "!has(colour)", "colour == 'red'",
    "has(colour) && role != 'api'",
)  # fmt: skip
NETS = (
    "10.65.10.0/29", "10.65.10.8/29", "10.65.10.1/32", "10.65.10.16/28", "203.0.113.0/24",
    "172.16.0.0/16", "0.0.0.0/0",
)  # fmt: skip
PORTS: tuple[dict[str, Any], ...] = (
    {}, {}, {"protocol": "TCP"}, {"protocol": "UDP"},
    {"protocol": "TCP", "destination": {"ports": [80]}},
    {"protocol": "TCP", "destination": {"ports": ["80:81", 1000]}},
    {"protocol": "TCP", "destination": {"notPorts": [80]}},
    {"protocol": "TCP", "destination": {"ports": ["http"]}},
    {"protocol": "UDP", "destination": {"ports": [53]}},
)  # fmt: skip
ACTIONS = ("Allow", "Allow", "Allow", "Deny", "Deny", "Pass")
AT_MOST = 14
"""Policies at once."""
EDGES: dict[str, dict[str, Any]] = {
    "a1-uplink": {"node": "a1", "interfaceName": "eth0"},
    "b1-all": {"node": "b1", "interfaceName": "*"},
    "b2-uplink": {"node": "b2", "interfaceName": "eth0", "profiles": ["hosts"]},
}


class Dice:
    """Draws changes of a world; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._chances: list[tuple[int, Callable[[Mapping[str, r.Resource]], Delta]]] = [
            (8, self._new_policy), (4, self._replace_policy), (4, self._delete_policy),
            (3, self._rename_policy), (1, self._delete_all), (2, self._new_policies),
            (3, self._tier), (4, self._relabel), (3, self._network_set), (2, self._namespace),
            (2, self._profile), (3, self._host_endpoint), (2, self._host_policy),
            (1, self._settings),
        ]  # fmt: skip

    def draw(self, world: Mapping[str, r.Resource]) -> tuple[str, Delta]:
        """A change, and what it is called. It may change nothing."""
        weights = [weight for weight, _ in self._chances]
        (chosen,) = self._random.choices([each for _, each in self._chances], weights)
        delta = chosen(world)
        word = chosen.__name__.strip("_").replace("_", " ")
        written = (kinds.encode(each).decode() if each else "gone" for each in delta.values())
        told = "; ".join(f"{key} {text}" for key, text in zip(delta, written, strict=True))
        return f"{word}: {told}".replace(kinds.WORLD, ""), delta

    # --- policies -----------------------------------------------------------------------------

    def _policies(self, world: Mapping[str, r.Resource]) -> list[str]:
        kinds_ = (
            r.NetworkPolicy, r.GlobalNetworkPolicy, r.KubernetesNetworkPolicy,
            r.ClusterNetworkPolicy,
        )  # fmt: skip
        return sorted(key for key, each in world.items() if isinstance(each, kinds_))

    def _new_policy(self, world: Mapping[str, r.Resource]) -> Delta:
        if len(self._policies(world)) >= AT_MOST:
            return self._delete_policy(world)
        draw = self._random.choice((self._calico, self._calico, self._kubernetes, self._cluster))
        return put(draw(f"p{self._random.randrange(40)}"))

    def _new_policies(self, world: Mapping[str, r.Resource]) -> Delta:
        return {**self._new_policy(world), **self._new_policy(world), **self._new_policy(world)}

    def _replace_policy(self, world: Mapping[str, r.Resource]) -> Delta:
        found = self._policies(world)
        if not found:
            return self._new_policy(world)
        key = self._random.choice(found)
        old = world[key]
        name, space = old.metadata.name, old.metadata.namespace
        match old:
            case r.KubernetesNetworkPolicy():
                new = self._kubernetes(name, space)
            case r.ClusterNetworkPolicy():
                new = self._cluster(name)
            case r.NetworkPolicy() | r.GlobalNetworkPolicy():
                if old.metadata.name.endswith("-edge"):
                    return {key: None}
                new = self._calico(name.rpartition(".")[2], space, name.rpartition(".")[0])
            case _:
                raise AssertionError(key)
        assert kinds.key(new) == key
        return {key: new}

    def _delete_policy(self, world: Mapping[str, r.Resource]) -> Delta:
        found = self._policies(world)
        return {self._random.choice(found): None} if found else {}

    def _delete_all(self, world: Mapping[str, r.Resource]) -> Delta:
        return dict.fromkeys(self._policies(world))

    def _rename_policy(self, world: Mapping[str, r.Resource]) -> Delta:
        found = self._policies(world)
        if not found:
            return {}
        old = world[self._random.choice(found)]
        tier, dot, _ = old.metadata.name.rpartition(".")
        name = f"{tier}{dot}r{self._random.randrange(1000)}"
        if old.metadata.name.endswith("-edge"):
            name += "-edge"
        new = replace(old, metadata=replace(old.metadata, name=name))
        return {kinds.key(old): None, kinds.key(new): new}

    def _calico(self, name: str, space: str | None = "", tier: str | None = None) -> r.Resource:
        if space == "":
            space = self._random.choice((None, *NAMESPACES))
        if tier is None:
            tier = self._random.choice(("", "", "alpha", "beta"))
        types = self._random.choice((["Ingress"], ["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        spec: Document = {
            "tier": tier or "default",
            "selector": self._random.choice(SELECTORS),
            "types": types,
        }
        if self._random.random() < 0.6:
            spec["order"] = self._random.choice((5, 10, 10, 20.5))
        for direction in types:
            count = self._random.choice((0, 1, 1, 2, 3))
            spec[direction.lower()] = [self._rule(space) for _ in range(count)]
        if space is None and self._random.random() < 0.3:
            spec["namespaceSelector"] = self._random.choice(("team == 'fun'", "has(team)"))
        full = f"{tier}.{name}" if tier else name
        if space is None:
            return resource("GlobalNetworkPolicy", full, spec)
        return resource("NetworkPolicy", full, spec, namespace=space)

    def _rule(self, space: str | None) -> Document:
        rule = {"action": self._random.choice(ACTIONS), **self._random.choice(PORTS)}
        destination = dict(rule.get("destination", {}))
        rule["source"] = self._end()
        named = "http" in destination.get("ports", [])
        if not named and self._random.random() < 0.5:
            destination |= self._end()
        return {**rule, "destination": destination}

    def _end(self) -> Document:
        draw = self._random
        return draw.choice((
            {},
            {"selector": draw.choice(SELECTORS)},
            {"selector": draw.choice(SELECTORS), "namespaceSelector": "all()"},
            {"notSelector": draw.choice(SELECTORS)},
            {"namespaceSelector": draw.choice(("team == 'fun'", "!has(team)"))},
            {"nets": draw.sample(NETS, 2)},
            {"notNets": [draw.choice(NETS[:-1])]},
            {"selector": "zone == 'corp'", "namespaceSelector": "global()"},
        ))  # fmt: skip

    def _kubernetes(self, name: str, space: str | None = None) -> r.Resource:
        draw = self._random
        pods = {"matchLabels": draw.choice(({}, {"role": "web"}, {"colour": "red"}))}
        peers: list[Document] = [
            {"podSelector": {"matchLabels": {"role": "web"}}},
            {"podSelector": {}, "namespaceSelector": {"matchLabels": {"team": "fun"}}},
            {"namespaceSelector": {}},
            {"ipBlock": {"cidr": "10.65.10.0/28", "except": ["10.65.10.8/30"]}},
        ]
        ports = [[], [{"port": 80}], [{"port": 80, "endPort": 81}], [{"protocol": "UDP"}]]
        spec: Document = {"podSelector": pods, "policyTypes": ["Ingress"]}
        spec["ingress"] = [
            {"from": [draw.choice(peers)], "ports": draw.choice(ports)}
            for _ in range(draw.choice((0, 1, 2)))
        ]
        if draw.random() < 0.3:
            spec["policyTypes"] = ["Ingress", "Egress"]
            spec["egress"] = [{"to": [draw.choice(peers)], "ports": draw.choice(ports)}]
        space = space or draw.choice(NAMESPACES)
        return resource("KubernetesNetworkPolicy", name, spec, namespace=space)

    def _cluster(self, name: str) -> r.Resource:
        draw = self._random
        spaces: list[Document] = [{}, {"matchLabels": {"team": "money"}}]
        spec: Document = {
            "tier": draw.choice(("Admin", "Baseline")),
            "priority": draw.choice((1, 10, 10)),
            "subject": {"namespaces": draw.choice(spaces)},
        }
        actions = ("Accept", "Deny", "Pass")
        spec["ingress"] = [
            {"action": draw.choice(actions), "from": [{"namespaces": draw.choice(spaces)}]}
            for _ in range(draw.choice((0, 1, 2)))
        ]
        if draw.random() < 0.5:
            to = draw.choice(({"networks": [draw.choice(NETS)]}, {"namespaces": spaces[1]}))
            spec["egress"] = [{"action": draw.choice(actions), "to": [to]}]
        return resource("ClusterNetworkPolicy", name, spec)

    # --- what policies hang on ----------------------------------------------------------------

    def _tier(self, world: Mapping[str, r.Resource]) -> Delta:
        name = self._random.choice(("alpha", "beta"))
        spec = {
            "order": self._random.choice((100, 200, 300, 2e6)),
            "defaultAction": self._random.choice(("Deny", "Pass", "Pass")),
        }
        return put(resource("Tier", name, spec))

    def _relabel(self, world: Mapping[str, r.Resource]) -> Delta:
        found = sorted(key for key, each in world.items() if isinstance(each, r.WorkloadEndpoint))
        key = self._random.choice(found)
        old = world[key]
        assert isinstance(old, r.WorkloadEndpoint)
        labels = {}
        if self._random.random() < 0.8:
            labels["role"] = self._random.choice(("web", "api", "db"))
        if self._random.random() < 0.5:
            labels["colour"] = self._random.choice(("red", "blue"))
        profiles = ["kiosk"] if self._random.random() < 0.3 else []
        new = relabelled(old, **labels)
        return {key: replace(new, spec=replace(new.spec, profiles=profiles))}

    def _network_set(self, world: Mapping[str, r.Resource]) -> Delta:
        nets = self._random.sample(NETS[:-1], self._random.choice((0, 1, 2, 3)))
        new = resource("GlobalNetworkSet", "corp", {"nets": nets}, labels={"zone": "corp"})
        return put(new)

    def _namespace(self, world: Mapping[str, r.Resource]) -> Delta:
        name = self._random.choice(NAMESPACES)
        team = self._random.choice(({}, {"team": "fun"}, {"team": "money"}))
        default = self._random.choice(("tenant", "open", "open", "isolated"))
        annotations = {"tortie.dev/default": default}
        return put(resource("Namespace", name, {}, labels=team, annotations=annotations))

    def _profile(self, world: Mapping[str, r.Resource]) -> Delta:
        rules = [[self._rule(None) for _ in range(2)] for _ in range(2)]
        spec = {"ingress": rules[0], "egress": [*rules[1], {"action": "Allow"}]}
        return put(resource("Profile", "kiosk", spec))

    # --- hosts --------------------------------------------------------------------------------

    def _host_endpoint(self, world: Mapping[str, r.Resource]) -> Delta:
        name = self._random.choice(sorted(EDGES))
        profiles = ["projectcalico-default-allow"] if self._random.random() < 0.7 else []
        spec = {"profiles": profiles, **EDGES[name]}
        edge = resource("HostEndpoint", name, spec, labels={"edge": "yes"})
        if kinds.key(edge) in world and self._random.random() < 0.5:
            return remove(edge)
        rules = {"ingress": [self._rule(None), {"action": "Allow"}], "egress": [self._rule(None)]}
        return put(edge, resource("Profile", "hosts", rules))

    def _host_policy(self, world: Mapping[str, r.Resource]) -> Delta:
        draw = self._random
        how: Document = draw.choice((
            {}, {"applyOnForward": True}, {"applyOnForward": True, "preDNAT": True}
        ))  # fmt: skip
        tier = draw.choice(("", "alpha"))
        spec: Document = {
            **how,
            "tier": tier or "default",
            "selector": draw.choice(("has(edge)", "has(projectcalico.org/created-by)")),
            "order": draw.choice((5, 10)),
            "types": ["Ingress"],
            "ingress": [self._rule(None) for _ in range(2)],
        }
        if "preDNAT" not in how and draw.random() < 0.5:
            spec |= {"types": ["Ingress", "Egress"], "egress": [self._rule(None)]}
        if draw.random() < 0.8:
            # Else what it judges is denied to all, and there is little left to look at.
            for direction in spec["types"]:
                spec[direction.lower()].append({"action": "Allow"})
        name = f"{draw.choice(('one', 'two'))}-edge"
        return put(resource("GlobalNetworkPolicy", f"{tier}.{name}" if tier else name, spec))

    def _settings(self, world: Mapping[str, r.Resource]) -> Delta:
        return settings(
            world,
            automatic_host_endpoints=self._random.choice(("Enabled", "Disabled")),
            namespace_default=self._random.choice(("tenant", "open")),
            default_endpoint_to_host_action=self._random.choice(("Drop", "Accept")),
        )
