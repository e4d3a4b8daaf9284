"""Host endpoints: which governs which interface, its four evaluations, failsafe ports."""

from __future__ import annotations

import pytest
from explain.town import (
    TOWN,
    WHO,
    felix,
    flow,
    global_policy,
    host_endpoint,
    judged,
    network_policy,
    said,
)
from msgspec.structs import replace
from worlds import meta, namespace, profile, workload

from tortie.explain.entity import address_of
from tortie.explain.hosts import interface_towards
from tortie.explain.oracle import Flow, Interface, Reading, judge_in, reply_of
from tortie.model import resources as r

OPEN = namespace("shop", "open", tenant="goods")
WAYS = {
    name: (
        Interface("core", (WHO[name], WHO[f"{name}6"])),
        Interface("wan", (), ("198.51.100.0/24", "2001:db8::/32")),
    )
    for name in ("alpha", "beta")
}
"""`core` leads everywhere, `wan` to the outside."""
ALLOW_ALL = "profiles: [projectcalico-default-allow]"


def on(interface: str, rest: str = ALLOW_ALL, name: str = "gate", node: str = "beta"):
    """A host endpoint of an interface."""
    text = f"{{node: {node}, interfaceName: '{interface}', {rest}}}"
    return host_endpoint(name, text, kind="gate")


def for_gates(name: str, spec: str) -> r.GlobalNetworkPolicy:
    return global_policy(name, f"{{selector: kind == 'gate', {spec}}}")


DENY_IN, DENY_OUT = "ingress: [{action: Deny}]", "egress: [{action: Deny}]"
ALLOW_IN, ALLOW_OUT = "ingress: [{action: Allow}]", "egress: [{action: Allow}]"
UNTRACKED, PRE = "doNotTrack: true, applyOnForward: true", "preDNAT: true, applyOnForward: true"
FORWARD = "applyOnForward: true"
FREE, SHUT, BY_PROFILE = "ALLOWED not-policed", "DENIED host-endpoint-default", "ALLOWED profile"
BY_POLICY, REFUSED, AT_END = "ALLOWED policy", "DENIED policy", "DENIED tier-default"
BY_DEFAULT = "ALLOWED namespace-default"

# what is there besides, flow, what is said
EVALUATIONS = [
    # -- normal: what ends at or begins on the host
    ([], "internet > beta tcp/80", FREE),
    ([on("wan")], "internet > beta tcp/80", BY_PROFILE),
    ([on("wan", "")], "internet > beta tcp/80", SHUT),
    ([on("wan", "")], "internet > alpha tcp/80", FREE),
    ([on("wan", "")], "beta > internet tcp/80", SHUT),
    ([on("wan", "")], "alpha > beta tcp/80", FREE),
    ([on("core", "")], "alpha > beta tcp/80", SHUT),
    ([on("core", "")], "alpha6 > beta6 tcp/80", SHUT),
    ([on("core", "")], "beta > alpha tcp/80", SHUT),
    ([on("wan", "profiles: [none]")], "internet > beta tcp/80", "DENIED profile-missing"),
    ([on("wan", "profiles: [p]"), profile("p")], "internet > beta tcp/80", SHUT),
    ([on("wan", "profiles: [p, q]"), profile("p"), profile("q", [r.Rule(action="Allow")])],
     "internet > beta tcp/80", BY_PROFILE),
    ([on("wan"), for_gates("p", DENY_IN)], "internet > beta tcp/80", REFUSED),
    ([on("wan", ""), for_gates("p", ALLOW_IN)], "internet > beta tcp/80", BY_POLICY),
    ([on("wan"), for_gates("p", DENY_IN)], "beta > internet tcp/80", BY_PROFILE),
    ([on("wan"), for_gates("p", DENY_OUT)], "beta > internet tcp/80", REFUSED),
    ([on("wan"), for_gates("p", "types: [Ingress]")], "internet > beta tcp/80", AT_END),
    ([on("wan"), for_gates("p", "ingress: [{action: Pass}]")], "internet > beta tcp/80",
     BY_PROFILE),
    ([on("wan"), for_gates("p", "tier: kube-baseline")], "internet > beta tcp/80", BY_PROFILE),
    ([on("wan"), global_policy("p", "{ingress: [{action: Deny}]}")], "internet > beta tcp/80",
     REFUSED),
    ([on("wan"), global_policy("p", "{namespaceSelector: all(), ingress: [{action: Deny}]}")],
     "internet > beta tcp/80", BY_PROFILE),
    ([on("wan"), network_policy("default/p", "{ingress: [{action: Deny}]}")],
     "internet > beta tcp/80", BY_PROFILE),
    # -- normal policies do not judge what is forwarded
    ([on("wan", ""), OPEN], "internet > db tcp/80", BY_DEFAULT),
    ([on("wan", ""), OPEN, for_gates("p", DENY_IN)], "internet > db tcp/80", BY_DEFAULT),
    ([on("wan", ""), for_gates("p", DENY_OUT)], "db > internet tcp/80", BY_DEFAULT),
    # -- forward
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, {DENY_IN}")], "internet > db tcp/80",
     REFUSED),
    ([on("wan", ""), for_gates("p", f"{FORWARD}, {DENY_OUT}")], "db > internet tcp/80", REFUSED),
    ([on("wan", ""), for_gates("p", f"{FORWARD}, {DENY_OUT}")], "web > internet tcp/80",
     BY_DEFAULT),
    ([on("core", ""), OPEN, for_gates("p", f"{FORWARD}, {DENY_IN}")], "web > db tcp/80", REFUSED),
    ([on("core", ""), OPEN, for_gates("p", f"{FORWARD}, {DENY_OUT}")], "db > web tcp/80", REFUSED),
    ([on("core", ""), OPEN, for_gates("p", f"{FORWARD}, {DENY_OUT}")], "web > db tcp/80",
     BY_DEFAULT),
    ([on("core", ""), for_gates("p", f"{FORWARD}, {DENY_OUT}")], "db > 10.0.1.1 tcp/80",
     "DENIED namespace-default"),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, {ALLOW_IN}")], "internet > db tcp/80",
     BY_DEFAULT),
    ([on("wan", ""), for_gates("p", f"{FORWARD}, {ALLOW_IN}")], "internet > db tcp/80",
     "DENIED namespace-default"),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, types: [Ingress]")],
     "internet > db tcp/80", AT_END),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, types: [Egress]")],
     "internet > db tcp/80", BY_DEFAULT),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, ingress: [{{action: Pass}}]")],
     "internet > db tcp/80", BY_DEFAULT),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, tier: kube-baseline")],
     "internet > db tcp/80", BY_DEFAULT),
    ([on("wan", ""), for_gates("p", f"{FORWARD}, {ALLOW_IN}")], "internet > beta tcp/80",
     BY_POLICY),
    ([on("wan", ""), for_gates("p", f"{FORWARD}, {DENY_IN}")], "internet > beta tcp/22",
     "ALLOWED failsafe"),
    ([on("wan", ""), OPEN, for_gates("p", f"{FORWARD}, {DENY_IN}")], "internet > db tcp/22",
     REFUSED),
    # -- untracked
    ([on("wan", ""), for_gates("p", f"{UNTRACKED}, {ALLOW_IN}")], "internet > beta tcp/80",
     "ALLOWED untracked"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_IN}")], "internet > beta tcp/80",
     "DENIED untracked"),
    ([on("wan"), OPEN, for_gates("p", f"{UNTRACKED}, {DENY_IN}")], "internet > db tcp/80",
     "DENIED untracked"),
    ([on("wan"), OPEN, for_gates("p", f"{UNTRACKED}, {ALLOW_IN}"),
      for_gates("q", f"{FORWARD}, {DENY_IN}")], "internet > db tcp/80", BY_DEFAULT),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {ALLOW_IN}")], "internet > db tcp/80",
     "DENIED namespace-default"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, types: [Ingress, Egress]")],
     "internet > beta tcp/80", BY_PROFILE),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, ingress: [{{action: Pass}}, {{action: Deny}}]")],
     "internet > beta tcp/80", BY_PROFILE),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_OUT}")], "beta > internet tcp/80",
     "DENIED untracked"),
    ([on("wan", ""), for_gates("p", f"{UNTRACKED}, {ALLOW_OUT}")], "beta > internet tcp/80",
     "ALLOWED untracked"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_OUT}")], "db > internet tcp/80", BY_DEFAULT),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_IN}")], "internet > beta tcp/22",
     "ALLOWED failsafe"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_IN}")], "internet > beta tcp/9 from 2379",
     BY_PROFILE),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_IN}")], "internet > beta tcp/9 from 22",
     "DENIED untracked"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_OUT}")], "beta > internet tcp/9 from 22",
     BY_PROFILE),
    # -- pre-DNAT
    ([on("wan"), for_gates("p", f"{PRE}, {DENY_IN}")], "internet > beta tcp/80",
     "DENIED pre-dnat"),
    ([on("wan"), OPEN, for_gates("p", f"{PRE}, {DENY_IN}")], "internet > db tcp/80",
     "DENIED pre-dnat"),
    ([on("wan", ""), for_gates("p", f"{PRE}, {ALLOW_IN}")], "internet > beta tcp/80",
     "ALLOWED pre-dnat"),
    ([on("wan"), OPEN, for_gates("p", f"{PRE}, {ALLOW_IN}"),
      for_gates("q", f"{FORWARD}, {DENY_IN}")], "internet > db tcp/80", BY_DEFAULT),
    ([on("wan"), for_gates("p", f"{PRE}, types: [Ingress]")], "internet > beta tcp/80",
     BY_PROFILE),
    ([on("wan"), for_gates("p", f"{PRE}, {DENY_IN}")], "beta > internet tcp/80", BY_PROFILE),
    ([on("wan"), for_gates("p", f"{PRE}, {DENY_IN}")], "internet > beta tcp/22",
     "ALLOWED failsafe"),
    ([on("wan"), for_gates("p", f"{PRE}, {DENY_IN}")], "internet > beta tcp/9 from 2379",
     "DENIED pre-dnat"),
    ([on("wan"), OPEN, for_gates("p", f"{PRE}, {DENY_IN}")], "internet > db tcp/22", BY_DEFAULT),
    # -- untracked comes before pre-DNAT, that before the others
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {ALLOW_IN}"), for_gates("q", f"{PRE}, {DENY_IN}")],
     "internet > beta tcp/80", "ALLOWED untracked"),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, ingress: []"), for_gates("q", f"{PRE}, {DENY_IN}")],
     "internet > beta tcp/80", "DENIED pre-dnat"),
    ([on("wan"), for_gates("p", f"{PRE}, {ALLOW_IN}"), for_gates("q", DENY_IN)],
     "internet > beta tcp/80", "ALLOWED pre-dnat"),
    # -- these kinds are for host endpoints alone, and for their own evaluation
    ([OPEN, global_policy("p", f"{{{UNTRACKED}, {DENY_IN}}}")], "internet > db tcp/80",
     BY_DEFAULT),
    ([OPEN, global_policy("p", f"{{{PRE}, {DENY_IN}}}")], "internet > db tcp/80", BY_DEFAULT),
    ([on("wan"), for_gates("p", f"{UNTRACKED}, {DENY_OUT}")], "internet > beta tcp/80",
     BY_PROFILE),
    # -- both hosts judge
    ([on("core", "", "gate", "alpha")], "alpha > db tcp/80", SHUT),
    ([on("core", ALLOW_ALL, "gate", "alpha"), OPEN], "alpha > db tcp/80", BY_DEFAULT),
    ([on("core", ALLOW_ALL, "a", "alpha"), on("core", "", "b")], "alpha > beta tcp/80", SHUT),
    ([on("core", ALLOW_ALL, "a", "alpha"), on("core", ALLOW_ALL, "b")], "alpha > beta tcp/80",
     BY_PROFILE),
    ([on("core", ALLOW_ALL, "a", "alpha"), OPEN, for_gates("p", f"{FORWARD}, {DENY_OUT}")],
     "web > db tcp/80", REFUSED),
    # -- within a host no interface of it is crossed
    ([on("*", "", "gate", "alpha"), for_gates("p", f"{FORWARD}, {DENY_IN}, {DENY_OUT}")],
     "web > stall tcp/80", BY_DEFAULT),
    ([on("*", "", "gate", "alpha")], "alpha > web tcp/80", "ALLOWED from-own-host"),
    ([on("*", "", "gate", "alpha")], "alpha > alpha tcp/80", FREE),
    ([on("*", "", "gate", "alpha")], "alpha > gateway tcp/80", FREE),
    ([on("*", ALLOW_ALL, "gate", "alpha")], "web > alpha tcp/80", "DENIED own-host"),
    # -- nobody's host: outside to outside is not judged
    ([on("*", "")], "internet > 9.9.9.9 tcp/80", FREE),
]  # fmt: skip


@pytest.mark.parametrize(("there", "probe", "says"), EVALUATIONS)
def test_evaluations(there: list[r.Resource], probe: str, says: str) -> None:
    assert said(probe, *there, interfaces=WAYS) == says


# --- which host endpoint governs --------------------------------------------------------------

OPENED, CLOSED = f"node: beta, {ALLOW_ALL}", "node: beta"


def named(name: str, text: str) -> r.HostEndpoint:
    return host_endpoint(name, f"{{{text}}}", kind="gate")


# host endpoints of beta, flow, whether one lets it, with interfaces told
GOVERNED = [
    ([named("a", f"{CLOSED}, interfaceName: wan")], "internet > beta tcp/80", False),
    ([named("a", f"{CLOSED}, interfaceName: wan0")], "internet > beta tcp/80", True),
    ([named("a", f"{CLOSED}, interfaceName: '*'")], "internet > beta tcp/80", False),
    ([named("a", f"{CLOSED}, interfaceName: '*'")], "alpha > beta tcp/80", False),
    ([named("a", f"{CLOSED}, interfaceName: '*'"), named("b", f"{OPENED}, interfaceName: wan")],
     "internet > beta tcp/80", True),
    ([named("a", f"{CLOSED}, interfaceName: '*'"), named("b", f"{OPENED}, interfaceName: wan")],
     "alpha > beta tcp/80", False),
    ([named("b", f"{CLOSED}, interfaceName: wan"), named("a", f"{OPENED}, interfaceName: wan")],
     "internet > beta tcp/80", True),
    ([named("a", f"{CLOSED}, interfaceName: '*'"), named("b", f"{OPENED}, interfaceName: '*'")],
     "internet > beta tcp/80", False),
    # by address
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.2]")], "alpha > beta tcp/80", False),
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.2]")], "alpha6 > beta6 tcp/80", False),
    ([named("a", f"{CLOSED}, expectedIPs: ['fd50:0::2']")], "alpha > beta tcp/80", False),
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.2]")], "internet > beta tcp/80", True),
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.9]")], "alpha > beta tcp/80", True),
    ([named("b", f"{CLOSED}, expectedIPs: [192.168.50.2]"),
      named("a", f"{OPENED}, interfaceName: core")], "alpha > beta tcp/80", True),
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.2]"),
      named("b", f"{OPENED}, interfaceName: core")], "alpha > beta tcp/80", False),
    # one that names another interface is none of this, whatever it expects
    ([named("a", f"{CLOSED}, interfaceName: wan, expectedIPs: [192.168.50.2]")],
     "alpha > beta tcp/80", True),
    # another node's
    ([host_endpoint("a", "{node: alpha, interfaceName: wan}")], "internet > beta tcp/80", True),
]  # fmt: skip


@pytest.mark.parametrize(("there", "probe", "lets"), GOVERNED)
def test_which_host_endpoint_governs(there: list[r.Resource], probe: str, lets: bool) -> None:
    assert judged(probe, *there, interfaces=WAYS).allowed == lets


@pytest.mark.parametrize("name", ["lo", "tor1"])
def test_no_host_endpoint_governs_a_workloads_interface_or_lo(name: str) -> None:
    ways = {"beta": (Interface(name, (WHO["beta"],)),)}
    for host in (on("*", ""), on(name, "")):
        assert said("internet > beta tcp/80", host, interfaces=ways) == FREE


# host endpoints of beta, whether one lets alpha > beta tcp/80, if nobody told the interfaces
UNTOLD = [
    ([named("a", f"{CLOSED}, expectedIPs: [192.168.50.2]")], False),
    ([named("a", f"{CLOSED}, interfaceName: eth0, expectedIPs: [192.168.50.2]")], False),
    ([named("a", f"{CLOSED}, interfaceName: eth0")], False),
    ([named("a", f"{CLOSED}, interfaceName: eth0"), named("b", f"{CLOSED}, interfaceName: eth1")],
     True),
    ([named("a", f"{CLOSED}, interfaceName: eth0"), named("b", f"{CLOSED}, interfaceName: eth1"),
      named("c", f"{CLOSED}, interfaceName: '*'")], False),
    ([named("a", f"{CLOSED}, interfaceName: '*'"),
      named("b", f"{OPENED}, expectedIPs: [192.168.50.2]")], True),
    ([named("a", f"{CLOSED}, interfaceName: eth0"),
      named("b", f"{OPENED}, expectedIPs: [192.168.50.2]")], True),
    ([named("a", f"{CLOSED}, interfaceName: '*'")], False),
]  # fmt: skip


@pytest.mark.parametrize(("there", "lets"), UNTOLD)
def test_if_nobody_tells_the_interfaces(there: list[r.Resource], lets: bool) -> None:
    assert judged("alpha > beta tcp/80", *there).allowed == lets


def test_the_node_itself_may_tell_its_interface() -> None:
    beta = next(one for one in TOWN if one.metadata.name == "beta")
    spec = replace(
        beta.spec,
        interfaces=[
            r.NodeInterface(name="eth9", addresses=["9.9.9.8"]),
            r.NodeInterface(name="eth1", addresses=["192.168.50.2/24"]),
        ],
    )
    two = [
        named("a", f"{OPENED}, interfaceName: eth0"),
        named("b", f"{CLOSED}, interfaceName: eth1"),
    ]
    assert not judged("alpha > beta tcp/80", replace(beta, spec=spec), *two).allowed


def test_an_address_that_a_host_endpoint_expects_is_its_hosts() -> None:
    far = named("far", f"{CLOSED}, expectedIPs: [172.20.0.9]")
    assert said("internet > 172.20.0.9 tcp/80", far) == SHUT
    near = named("near", f"{OPENED}, expectedIPs: [192.168.50.2]")
    assert said("internet > 172.20.0.9 tcp/80", far, near) == SHUT
    assert said("internet > beta tcp/80", far, near) == BY_PROFILE


def test_the_longest_prefix_says_which_way() -> None:
    ways = (
        Interface("any", ()),
        Interface("net", (), ("198.51.0.0/16",)),
        Interface("host", (), ("198.51.100.7/32", "2001:db8::/32")),
    )
    found = [
        judged("internet > beta tcp/80", on(one.name, ""), interfaces={"beta": ways}).allowed
        for one in ways
    ]
    assert found == [True, True, False]


@pytest.mark.parametrize(
    ("address", "name"),
    [("9.9.9.9", "any"), ("198.51.9.9", "net"), ("2001:db8::1", "host"), ("fd00::1", "any")],
)
def test_every_address_is_reached_by_one_interface(address: str, name: str) -> None:
    ways = (
        Interface("any", ()),
        Interface("net", (), ("198.51.0.0/16",)),
        Interface("host", (), ("198.51.100.7/32", "2001:db8::/32")),
    )
    known, target = Reading(TOWN).known, address_of(address)
    assert interface_towards(known, {"beta": ways}, "beta", target).name == name
    if name == "any":  # and if none leads there
        assert interface_towards(known, {"beta": ways[1:]}, "beta", target).name == ""


# --- failsafe ports ---------------------------------------------------------------------------

SAFE_IN = ["tcp/22", "udp/68", "tcp/179", "tcp/2379", "tcp/2380", "tcp/5473", "tcp/6443",
           "tcp/6666", "tcp/6667", "udp/3784", "udp/3785", "udp/4784"]  # fmt: skip
SAFE_OUT = ["udp/53", "udp/67", *SAFE_IN[2:]]
NET = "[{protocol: TCP, port: 23, net: 198.51.100.0/24}]"
# settings, flow, whether it passes a host endpoint that denies all
FAILSAFE = [
    *(("{}", f"internet > beta {port}", True) for port in SAFE_IN),
    *(("{}", f"beta > internet {port}", True) for port in SAFE_OUT),
    ("{}", "internet > beta udp/22", False),
    ("{}", "internet > beta tcp/23", False),
    ("{}", "internet > beta sctp/22", False),
    ("{}", "internet > beta udp/53", False),
    ("{}", "beta > internet tcp/22", False),
    ("{}", "beta > internet udp/68", False),
    ("{}", "internet > beta tcp/9 from 22", False),
    ("{}", "beta > internet tcp/9 from 22", False),
    ("{}", "internet > beta icmp/8/0", False),
    *(("{failsafeInboundHostPorts: [], failsafeOutboundHostPorts: []}",
       f"internet6 > beta6 icmpv6/{kind}/0", True) for kind in (*range(130, 137), 143)),
    *(("{}", f"beta6 > internet6 icmpv6/{kind}/0", True) for kind in (130, 143)),
    *(("{}", f"internet6 > beta6 icmpv6/{kind}/0", False) for kind in (128, 129, 137, 142, 144)),
    ("{failsafeInboundHostPorts: []}", "internet > beta tcp/22", False),
    ("{failsafeInboundHostPorts: []}", "beta > internet udp/53", True),
    ("{failsafeOutboundHostPorts: []}", "beta > internet udp/53", False),
    ("{failsafeOutboundHostPorts: []}", "internet > beta tcp/22", True),
    ("{failsafeInboundHostPorts: [{protocol: UDP, port: 9}]}", "internet > beta udp/9", True),
    ("{failsafeInboundHostPorts: [{protocol: UDP, port: 9}]}", "internet > beta tcp/22", False),
    (f"{{failsafeInboundHostPorts: {NET}}}", "internet > beta tcp/23", True),
    (f"{{failsafeInboundHostPorts: {NET}}}", "alpha > beta tcp/23", False),
    (f"{{failsafeInboundHostPorts: {NET}}}", "internet6 > beta6 tcp/23", False),
    (f"{{failsafeOutboundHostPorts: {NET}}}", "beta > internet tcp/23", True),
    (f"{{failsafeOutboundHostPorts: {NET}}}", "beta > alpha tcp/23", False),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "probe", "passes"), FAILSAFE)
def test_failsafe_ports(settings: str, probe: str, passes: bool) -> None:
    deny = for_gates("p", "ingress: [{action: Deny}], egress: [{action: Deny}]")
    found = said(probe, on("*", ""), deny, felix(settings))
    assert found == ("ALLOWED failsafe" if passes else REFUSED)


def test_a_failsafe_port_is_no_workloads() -> None:
    deny = for_gates("p", f"{FORWARD}, {DENY_IN}")
    assert said("internet > db tcp/22", on("*", ""), deny, OPEN) == REFUSED


def test_replies_of_what_is_not_tracked_are_judged_by_their_own_rules() -> None:
    one_way = for_gates("p", f"{UNTRACKED}, types: [Ingress, Egress], {ALLOW_IN}, egress: "
                        "[{action: Deny, protocol: TCP, source: {ports: [80]}}]")  # fmt: skip
    world = Reading((*TOWN, on("*"), one_way))
    probe = flow("internet > beta tcp/80")
    assert judge_in(world, probe).allowed
    assert judge_in(world, reply_of(probe)).reason == "untracked"
    assert not judge_in(world, reply_of(probe)).allowed


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (Flow("1.1.1.1", "2.2.2.2", 6, 80, 4000), Flow("2.2.2.2", "1.1.1.1", 6, 4000, 80)),
        (Flow("1.1.1.1", "2.2.2.2", 1, icmp=(8, 0)), Flow("2.2.2.2", "1.1.1.1", 1, icmp=(0, 0))),
        (Flow("::1", "::2", 58, icmp=(128, 0)), Flow("::2", "::1", 58, icmp=(129, 0))),
        (Flow("1.1.1.1", "2.2.2.2", 1, icmp=(13, 1)), Flow("2.2.2.2", "1.1.1.1", 1, icmp=(13, 1))),
        (Flow("1.1.1.1", "2.2.2.2", 47), Flow("2.2.2.2", "1.1.1.1", 47)),
    ],
)
def test_the_reply(there: Flow, back: Flow) -> None:
    assert reply_of(there) == back


# --- automatic host endpoints -----------------------------------------------------------------

AUTOMATIC = felix("{automaticHostEndpoints: Enabled}")


def test_automatic_host_endpoints_let_everything_until_a_policy_selects_them() -> None:
    assert said("internet > beta tcp/80", AUTOMATIC) == BY_PROFILE
    step = judged("internet > beta tcp/80", AUTOMATIC).steps[-1]
    assert step.where == "ingress of host beta (HostEndpoint beta-auto-hep)"
    mine = "projectcalico.org/created-by == 'tortie'"
    deny = global_policy("p", f"{{selector: {mine}, {DENY_IN}}}")
    assert said("internet > beta tcp/80", AUTOMATIC, deny) == REFUSED
    assert said("internet > beta tcp/80", deny) == FREE


def test_an_automatic_host_endpoint_has_its_nodes_labels_and_addresses() -> None:
    beta = next(one for one in TOWN if one.metadata.name == "beta")
    beta = replace(beta, metadata=meta("beta", {"rack": "north"}))
    deny = global_policy("p", f"{{selector: rack == 'north', {DENY_IN}}}")
    assert said("internet > beta tcp/80", AUTOMATIC, beta, deny) == REFUSED
    assert said("internet > alpha tcp/80", AUTOMATIC, beta, deny) == BY_PROFILE
    out = network_policy("shop/p", "{types: [Egress], egress: [{action: Allow, destination: "
                         "{selector: rack == 'north', namespaceSelector: global()}}]}")  # fmt: skip
    for target in ("beta tcp/80", "beta-bis tcp/80"):
        assert said(f"web > {target}", AUTOMATIC, beta, out) == BY_PROFILE
    assert said("db > alpha tcp/80", AUTOMATIC, beta, out) == AT_END


def test_a_node_that_has_a_host_endpoint_gets_no_automatic_one() -> None:
    elsewhere = named("a", f"{CLOSED}, interfaceName: dmz")
    assert said("internet > beta tcp/80", AUTOMATIC, elsewhere, interfaces=WAYS) == FREE
    assert said("internet > alpha tcp/80", AUTOMATIC, elsewhere, interfaces=WAYS) == BY_PROFILE


def test_one_node_may_have_automatic_ones_and_another_not() -> None:
    only = felix("{automaticHostEndpoints: Enabled}", "node.beta")
    not_beta = felix("{automaticHostEndpoints: Disabled}", "node.beta")
    assert said("internet > beta tcp/80", only) == BY_PROFILE
    assert said("internet > alpha tcp/80", only) == FREE
    assert said("internet > beta tcp/80", AUTOMATIC, not_beta) == FREE


# --- the steps --------------------------------------------------------------------------------


def test_the_steps_go_from_host_to_host() -> None:
    there = [
        on("core", ALLOW_ALL, "a", "alpha"),
        on("core", ALLOW_ALL, "b"),
        for_gates("f", f"{FORWARD}, ingress: [{{action: Pass}}], {ALLOW_OUT}"),
        for_gates("p", f"{PRE}, ingress: [{{action: Allow, protocol: UDP}}]"),
        for_gates("u", f"{UNTRACKED}, ingress: [{{action: Log}}]"),
        workload("shop/web", WHO["web"], labels={"role": "web"}),
    ]
    found = judged("web > db tcp/80", *there, interfaces=WAYS)
    assert (found.verdict, found.reason) == ("ALLOWED", "namespace-default")
    at = "of host beta (HostEndpoint b)"
    assert [(one.where, one.policy, one.action) for one in found.steps] == [
        ("egress of shop/alpha-tortie-web-eth0", "Namespace/shop", "Allow"),
        ("forward egress of host alpha (HostEndpoint a)", "GlobalNetworkPolicy/f", "Allow"),
        (f"untracked ingress {at}", "GlobalNetworkPolicy/u", "Log"),
        (f"untracked ingress {at}", "GlobalNetworkPolicy/u", "None"),
        (f"untracked ingress {at}", None, "Default"),
        (f"pre-DNAT ingress {at}", "GlobalNetworkPolicy/p", "None"),
        (f"pre-DNAT ingress {at}", None, "Default"),
        (f"forward ingress {at}", "GlobalNetworkPolicy/f", "Pass"),
        ("ingress of shop/beta-tortie-db-eth0", "Namespace/shop", "Allow"),
    ]


def test_what_a_later_evaluation_leaves_open_was_decided_before() -> None:
    silent = for_gates("f", f"{FORWARD}, tier: kube-admin, types: [Egress]")
    found = judged("db > internet tcp/80", on("wan"), silent, interfaces=WAYS)
    assert (found.verdict, found.steps[-1].action) == ("ALLOWED", "Default")
    assert found.decisive().policy == "Namespace/shop"
    refused = judged("db > internet tcp/80", on("wan"), for_gates("f", f"{FORWARD}, {DENY_OUT}"),
                     interfaces=WAYS)  # fmt: skip
    assert refused.decisive().policy == "GlobalNetworkPolicy/f"
