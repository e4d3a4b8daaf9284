"""Host endpoints: which governs which interface, and what judges there."""

from __future__ import annotations

import pytest
from calc.calcrig import ME, found, on_alpha, order, web, who
from worlds import CALICO, meta, namespace, netset, node, policy, profile, rule, tier

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import kinds
from tortie.model import resources as r

INTERFACES = {"eth0": ("172.16.0.1", "fd16::1"), "eth1": ("172.17.0.1",), "dummy0": ()}
NODES = [node(ME, "172.16.0.1/24", "fd16::1/64"), node("beta", "172.16.0.2/24")]


def host(name, interface="", *expected, on=ME, profiles=(), labels=None, ports=()):
    spec = r.HostEndpointSpec(
        node=on,
        interface_name=interface,
        expected_ips=list(expected),
        profiles=list(profiles),
        ports=[r.EndpointPort(name=n, protocol=p, port=q) for n, p, q in ports],
    )
    return r.HostEndpoint(api_version=CALICO, metadata=meta(name, labels), spec=spec)


def felix(name: str = "default", **spec: object) -> r.Resource:
    return r.FelixConfiguration(
        api_version=CALICO, metadata=meta(name), spec=r.FelixConfigurationSpec(**spec)
    )


AUTOMATIC = felix(automatic_host_endpoints="Enabled")
GOVERNS = {
    "nobody": ([], {}),
    "by name": ([host("h", "eth0")], {"eth0": "h"}),
    "by address": ([host("h", "", "172.17.0.1")], {"eth1": "h"}),
    "by IPv6 address": ([host("h", "", "fd16:0::1")], {"eth0": "h"}),
    "by an address that nobody has": ([host("h", "", "172.18.0.1")], {}),
    "by addresses of two": ([host("h", "", "172.16.0.1", "172.17.0.1")],
                            {"eth0": "h", "eth1": "h"}),
    "another name never matches by address": ([host("h", "eth7", "172.16.0.1")], {"eth7": "h"}),
    "the first by name of two that name it": ([host("b", "eth0"), host("a", "eth0")],
                                              {"eth0": "a"}),
    "the first by name, whether by name or by address":
        ([host("b", "eth0"), host("a", "", "172.16.0.1")], {"eth0": "a"}),
    "one named and one by address": ([host("a", "eth0"), host("b", "", "172.16.0.1")],
                                     {"eth0": "a"}),
    "all": ([host("h", "*")], {"*": "h"}),
    "all, the first by name": ([host("b", "*"), host("a", "*")], {"*": "a"}),
    "all and one": ([host("a", "*"), host("z", "eth1")], {"*": "a", "eth1": "z"}),
    "all does not match by address": ([host("a", "*", "172.16.0.1")], {"*": "a"}),
    "another host's": ([host("h", "eth0", on="beta")], {}),
    "an interface that is not there yet": ([host("h", "eth9")], {"eth9": "h"}),
    "a workload's interface": ([host("h", "tor1")], {}),
}  # fmt: skip


@pytest.mark.parametrize(("resources", "expected"), GOVERNS.values(), ids=GOVERNS)
def test_which_governs_which_interface(resources, expected) -> None:
    for given in (resources, list(reversed(resources))):
        hosts = on_alpha(*given, interfaces=INTERFACES).hosts
        assert {each.interface: each.id for each in hosts} == expected
        assert [each.interface for each in hosts] == sorted(expected)


IDLE = {
    "one that is there": ((host("a", "eth0"),), {}),
    "a mistyped name": ((host("a", "eht0"),), {"a": "interface eht0 is not on this host"}),
    "an address that is not here": (
        (host("a", "", "192.0.2.9"),),
        {"a": "no interface of this host has an address that it expects"},
    ),
    "for all": ((host("a", "*"),), {}),
    "the second for one interface": (
        (host("a", "eth0"), host("b", "eth0")),
        {"b": "another guards its interface, one of a"},
    ),
}


@pytest.mark.parametrize(("resources", "expected"), IDLE.values(), ids=IDLE)
def test_one_that_guards_nothing_is_told(resources, expected) -> None:
    interfaces = {"eth0": ("192.0.2.1",)}
    told = desired_for(World.of(resources), ME, interfaces=interfaces).idle
    assert dict(told) == expected


def test_workloads_interfaces_and_names_that_no_rule_set_takes_are_not_governed() -> None:
    here = {"tor5": ("172.16.0.1",), 'e"; drop': ("172.16.0.1",), "lo": ("172.16.0.1",)}
    assert on_alpha(host("h", "", "172.16.0.1"), interfaces=here).hosts == ()


def test_an_address_that_appears_brings_its_host_endpoint() -> None:
    world = World.of([host("h", "", "172.18.0.1")])
    assert desired_for(world, ME, interfaces={"eth0": ()}).filter.hosts == ()
    (now,) = desired_for(world, ME, interfaces={"eth0": ("172.18.0.1",)}).filter.hosts
    assert (now.id, now.interface) == ("h", "eth0")


# --- which policy goes to which evaluation --------------------------------------------------------

ALLOW = [rule("Allow")]
BOTH = {"ingress": ALLOW, "egress": ALLOW}
FORWARD = {"apply_on_forward": True}
EVALUATIONS = {
    "plain": (policy("p", **BOTH), {"ingress": "deny", "egress": "deny"}),
    "on forward": (
        policy("p", **BOTH, **FORWARD),
        dict.fromkeys(("ingress", "egress", "forward_ingress", "forward_egress"), "deny"),
    ),
    "on forward, one direction": (
        policy("p", egress=ALLOW, **FORWARD), {"egress": "deny", "forward_egress": "deny"}
    ),
    "not tracked": (
        policy("p", do_not_track=True, **BOTH, **FORWARD),
        {"untracked_ingress": "pass", "untracked_egress": "pass"},
    ),
    "not tracked, out": (
        policy("p", do_not_track=True, egress=ALLOW, **FORWARD), {"untracked_egress": "pass"}
    ),
    "before destination NAT": (
        policy("p", pre_dnat=True, ingress=ALLOW, **FORWARD), {"pre_dnat": "pass"}
    ),
    "by label": (policy("p", selector="role == 'edge'"), {"ingress": "deny"}),
    "by another label": (policy("p", selector="role == 'web'"), {}),
    "of what has a namespace": (policy("p", namespace_selector="all()"), {}),
    "of accounts": (policy("p", service_account_selector="all()"), {}),
    "of a namespace": (policy("shop/p", **BOTH), {}),
}  # fmt: skip
PARTS = ("ingress", "egress", "forward_ingress", "forward_egress", "untracked_ingress",
         "untracked_egress", "pre_dnat")  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), EVALUATIONS.values(), ids=EVALUATIONS)
def test_which_policy_goes_to_which_evaluation(given, expected) -> None:
    firewall = on_alpha(host("h", "eth0", labels={"role": "edge"}), given)
    (edge,) = firewall.hosts
    assert {part: getattr(edge, part)[0].default for part in PARTS if getattr(edge, part)} == (
        expected
    )
    assert len(firewall.policies) == bool(expected)


def test_each_evaluation_has_its_own_tiers() -> None:
    resources = [
        tier("first", 1, "Pass"),
        policy("first.a", tier="first", ingress=ALLOW, **FORWARD),
        policy("first.b", tier="first", ingress=ALLOW),
        policy("c", ingress=ALLOW, pre_dnat=True, **FORWARD),
        policy("d", ingress=ALLOW, **FORWARD),
    ]
    (edge,) = on_alpha(host("h", "*"), *resources).hosts
    assert order(edge.ingress) == ["first: first.a first.b > pass", "default: d > deny"]
    assert order(edge.forward_ingress) == ["first: first.a > pass", "default: d > deny"]
    assert order(edge.pre_dnat) == ["default: c > pass"]


def test_profiles_of_a_host_endpoint_are_those_it_lists_and_no_namespaces_default() -> None:
    given = [host("h", "eth0"), host("i", "eth1", profiles=["one", "gone"]), profile("one", ALLOW)]
    firewall = on_alpha(*given, namespace("default", "open"))
    assert [each.profiles for each in firewall.hosts] == [(), ("Profile/one", "Profile/gone")]
    assert found(firewall, "Profile/gone").ingress == (d.Rule("deny"),)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (True, False)),
        (FORWARD, (True, False)),
        ({"pre_dnat": True, **FORWARD}, (True, False)),
        ({"do_not_track": True, **FORWARD}, (False, False)),
    ],
)
def test_revocation_on_a_host_endpoint(spec, expected) -> None:
    asks = r.GlobalNetworkPolicy(
        api_version=CALICO,
        metadata=meta("p", annotations={"tortie.dev/revoke": "true"}),
        spec=r.GlobalNetworkPolicySpec(ingress=ALLOW, **spec),
    )
    (edge,) = on_alpha(host("h", "*"), asks).hosts
    assert (edge.revoke_ingress, edge.revoke_egress) == expected


# --- automatic host endpoints ---------------------------------------------------------------------


def test_a_node_without_host_endpoint_has_one_for_all_if_so_set() -> None:
    assert on_alpha(*NODES).hosts == ()
    firewall = on_alpha(
        *NODES, AUTOMATIC, policy("p", selector="has(projectcalico.org/created-by)")
    )
    (mine,) = firewall.hosts
    assert (mine.id, mine.interface) == ("alpha-auto-hep", "*")
    assert mine.profiles == ("Profile/projectcalico-default-allow",)
    assert found(firewall, mine.profiles[0]).egress == (d.Rule("allow"),)
    assert order(mine.ingress) == ["default: p > deny"]


AUTOMATIC_FOR = {
    "all": ([AUTOMATIC], True),
    "not set": ([felix()], False),
    "not for me": ([AUTOMATIC, felix("node.alpha", automatic_host_endpoints="Disabled")], False),
    "for me": ([felix("node.alpha", automatic_host_endpoints="Enabled")], True),
    "for another": ([felix("node.beta", automatic_host_endpoints="Enabled")], False),
    "beside one that is written": ([AUTOMATIC, host("h", "eth7", on=ME)], False),
    "beside another node's": ([AUTOMATIC, host("h", "eth0", on="beta")], True),
}


@pytest.mark.parametrize(("resources", "expected"), AUTOMATIC_FOR.values(), ids=AUTOMATIC_FOR)
def test_who_has_an_automatic_one(resources, expected: bool) -> None:
    for given in ([*NODES, *resources], [*reversed(resources), *NODES]):
        hosts = on_alpha(*given).hosts
        assert ("alpha-auto-hep" in {each.id for each in hosts}) is expected


def reached(selector: str, *resources: r.Resource) -> set[str]:
    """Whom a rule of a workload on this host means by a selector."""
    policies = policy("p", egress=[rule("Allow", dst=selector)])
    firewall = on_alpha(web(), policies, *resources)
    return who(firewall, found(firewall, "GlobalNetworkPolicy/p").egress[0].destination)


def test_other_hosts_see_automatic_ones_by_the_labels_and_addresses_of_their_nodes() -> None:
    racked = r.Node(
        api_version=CALICO,
        metadata=meta("gamma", {"rack": "7"}),
        spec=r.NodeSpec(
            bgp=r.NodeBgp(ipv4_address="172.16.0.3/24"),
            addresses=[r.NodeAddress(address="fd16::3")],
        ),
    )
    assert reached("rack == '7'", racked) == set()
    assert reached("rack == '7'", racked, AUTOMATIC) == {"172.16.0.3", "fd16::3"}
    assert reached("projectcalico.org/created-by == 'tortie'", *NODES, AUTOMATIC) == {
        "172.16.0.1", "fd16::1", "172.16.0.2"
    }  # fmt: skip
    assert reached("rack == '7'", racked, AUTOMATIC, host("h", "eth0", on="gamma")) == set()


def test_automatic_ones_come_and_go_with_what_they_hang_on() -> None:
    world = World.of([*NODES, AUTOMATIC, web()])
    written = host("h", "eth0")

    def ids() -> list[str]:
        return [each.id for each in desired_for(world, ME).filter.hosts]

    assert ids() == ["alpha-auto-hep"]
    for resource, before, after in (
        (written, ["h"], ["alpha-auto-hep"]),
        (AUTOMATIC, ["alpha-auto-hep"], []),
        (felix("node.alpha", automatic_host_endpoints="Enabled"), ["alpha-auto-hep"], []),
    ):
        world.put(kinds.key(resource), resource)
        assert ids() == before
        world.put(kinds.key(resource), None)
        assert ids() == after
    for each in (AUTOMATIC, written, host("h", "eth0", on="beta")):
        world.put(kinds.key(each), each)
    assert ids() == ["alpha-auto-hep"]


# --- labels that nobody may claim -----------------------------------------------------------------

CLAIMS = {
    "projectcalico.org/namespace": "shop",
    "projectcalico.org/orchestrator": "tortie",
    "projectcalico.org/serviceaccount": "boss",
}


@pytest.mark.parametrize("label", CLAIMS)
def test_labels_that_this_house_gives_are_not_believed_of_others(label: str) -> None:
    liars = [
        host("h", "", "172.18.0.1", labels=CLAIMS),
        host("i", "", "172.18.0.2", profiles=["liar"]),
        netset("everywhere", "172.18.1.0/24", labels=CLAIMS),
        netset("bank/set", "172.18.2.0/24", labels=CLAIMS),
        profile("liar", **CLAIMS),
        node("gamma", "172.18.0.3/24"),
    ]
    true = {"10.65.0.1"} if label != "projectcalico.org/serviceaccount" else set()
    assert reached(f"{label} == '{CLAIMS[label]}'", *liars) == true
    assert reached(f"{label} == 'bank'", *liars) == (
        {"172.18.2.0/24"} if label == "projectcalico.org/namespace" else set()
    )


def test_no_profile_gives_a_workload_another_account() -> None:
    claims = profile("liar", **CLAIMS)
    resources = [web(profiles=["liar"]), claims, policy("p", service_account_selector="all()")]
    assert on_alpha(*resources).endpoints[0].ingress == ()
