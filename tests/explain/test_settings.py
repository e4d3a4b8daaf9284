"""What FelixConfiguration changes: workloads to their own host, tunnels, defaults; per node."""

from __future__ import annotations

import pytest
from explain.town import felix, global_policy, host_endpoint, network_policy, said
from worlds import namespace, profile, workload

from tortie.explain.settings import settings_of
from tortie.model import resources as r

OWN_HOST = "DENIED own-host"
RETURN = felix("{defaultEndpointToHostAction: Return}")
ACCEPT = felix("{defaultEndpointToHostAction: Accept}")
DNS = felix("{endpointToHostPorts: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53, "
            "net: 10.0.0.0/24}]}")  # fmt: skip
OUT = network_policy("shop/out", "{types: [Egress], egress: [{action: Allow, protocol: TCP, "
                     "destination: {ports: [22, 80]}}]}")  # fmt: skip

# what is there, flow, what is said
TO_HOST = [
    # -- dropped, whatever policy says
    ([], "web > alpha tcp/22", OWN_HOST),
    ([], "web6 > alpha6 tcp/22", OWN_HOST),
    ([], "web > alpha icmp/8/0", OWN_HOST),
    ([], "web > gateway tcp/22", OWN_HOST),
    ([], "web > gateway icmp/8/0", "ALLOWED gateway-echo"),
    ([], "web > gateway icmp/8/3", "ALLOWED gateway-echo"),
    ([], "web > gateway icmp/0/0", OWN_HOST),
    ([], "web6 > gateway6 icmpv6/128/0", "ALLOWED gateway-echo"),
    ([], "web6 > gateway6 icmpv6/8/0", OWN_HOST),
    ([OUT], "web > alpha tcp/22", OWN_HOST),
    ([felix("{defaultEndpointToHostAction: Drop}"), OUT], "web > alpha tcp/22", OWN_HOST),
    # -- neighbours find each other
    *(([], f"web6 > alpha6 icmpv6/{kind}/0", "ALLOWED neighbour-discovery")
      for kind in (131, 132, 133, 135, 136, 143)),
    *(([], f"web6 > alpha6 icmpv6/{kind}/0", OWN_HOST) for kind in (128, 130, 134, 137)),
    ([], "web6 > gateway6 icmpv6/135/0", "ALLOWED neighbour-discovery"),
    ([], "web > alpha icmp/135/0", OWN_HOST),
    # -- ports that are open to workloads
    ([DNS], "web > alpha udp/53", "ALLOWED to-host-port"),
    ([DNS], "web6 > alpha6 udp/53", "ALLOWED to-host-port"),
    ([DNS], "web > gateway udp/53", "ALLOWED to-host-port"),
    ([DNS], "stall > alpha udp/53", "ALLOWED to-host-port"),
    ([DNS], "web > alpha tcp/53", "ALLOWED to-host-port"),
    ([DNS], "stall > alpha tcp/53", OWN_HOST),
    ([DNS], "web > alpha udp/54", OWN_HOST),
    ([DNS], "web > beta udp/53", "DENIED node-address"),
    ([DNS, network_policy("shop/no", "{types: [Egress]}")], "web > alpha udp/53",
     "ALLOWED to-host-port"),
    # -- its egress policy decides
    ([RETURN, OUT], "web > alpha tcp/22", "ALLOWED policy"),
    ([ACCEPT, OUT], "web > alpha tcp/22", "ALLOWED policy"),
    ([RETURN, OUT], "web > alpha tcp/23", "DENIED tier-default"),
    ([RETURN, OUT], "web > gateway tcp/80", "ALLOWED policy"),
    ([RETURN], "web > alpha tcp/22", "DENIED node-address"),
    ([RETURN, namespace("shop", "open")], "web > alpha tcp/22", "DENIED node-address"),
    ([RETURN], "web > gateway tcp/80", "ALLOWED namespace-default"),
    ([RETURN, network_policy("shop/no", "{types: [Egress]}")], "web > gateway icmp/8/0",
     "ALLOWED gateway-echo"),
    ([RETURN, workload("shop/web", "10.0.0.1", profiles=["p"]),
      profile("p", egress=[r.Rule(action="Allow")])], "web > alpha tcp/22", "ALLOWED profile"),
    ([RETURN, global_policy("g", "{selector: all(), types: [Egress], egress: [{action: Allow}]}")],
     "web > alpha udp/4789", "DENIED never-from-workloads"),
    ([felix("{defaultEndpointToHostAction: Return, endpointToHostPorts: [{protocol: UDP, "
            "port: 4789}]}")], "web > alpha udp/4789", "ALLOWED to-host-port"),
    # -- a host endpoint does not judge what its own workloads say to it
    ([RETURN, OUT, host_endpoint("h", "{node: alpha, interfaceName: '*'}")], "web > alpha tcp/22",
     "ALLOWED policy"),
    ([RETURN, OUT, host_endpoint("h", "{node: alpha, expectedIPs: [192.168.50.1]}")],
     "web > alpha tcp/22", "ALLOWED policy"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "probe", "says"), TO_HOST)
def test_a_workload_to_its_own_host(there: list[r.Resource], probe: str, says: str) -> None:
    assert said(probe, *there) == says


VXLAN = felix("{allowVXLANPacketsFromWorkloads: true}")
IPIP = felix("{allowIPIPPacketsFromWorkloads: true}")
NEVER, FINE = "DENIED never-from-workloads", "ALLOWED namespace-default"
TUNNELS = [
    ([], "web > db udp/4789", NEVER),
    ([], "web > stall udp/4789", NEVER),
    ([], "web > internet udp/4789", NEVER),
    ([], "web6 > db6 udp/4789", NEVER),
    ([], "web > internet 4", NEVER),
    ([], "web > internet tcp/4789", FINE),
    ([], "web > internet udp/4788", FINE),
    ([], "web > internet udp/53 from 4789", FINE),
    ([], "web > internet 41", FINE),
    ([VXLAN], "web > db udp/4789", FINE),
    ([VXLAN], "web > internet 4", NEVER),
    ([IPIP], "web > internet 4", FINE),
    ([IPIP], "web > internet udp/4789", NEVER),
    ([felix("{vxlanPort: 8472}")], "web > db udp/8472", NEVER),
    ([felix("{vxlanPort: 8472}")], "web > db udp/4789", FINE),
    ([felix("{vxlanPort: 8472, allowVXLANPacketsFromWorkloads: true}")], "web > db udp/8472", FINE),
    ([network_policy("shop/out", "{types: [Egress], egress: [{action: Allow}]}")],
     "web > internet udp/4789", NEVER),
    ([], "alpha > web udp/4789", "ALLOWED from-own-host"),
    ([], "alpha > beta udp/4789", "ALLOWED not-policed"),
    ([], "internet > stall udp/4789", FINE),
]  # fmt: skip


@pytest.mark.parametrize(("there", "probe", "says"), TUNNELS)
def test_tunnels_from_workloads(there: list[r.Resource], probe: str, says: str) -> None:
    assert said(probe, *there) == says


# what is there, cluster's default as an argument, flow, what is said
DEFAULTS = [
    ([], "open", "internet > cat tcp/1", FINE),
    ([felix("{namespaceDefault: open}")], "tenant", "internet > cat tcp/1", FINE),
    ([felix("{namespaceDefault: tenant}")], "open", "internet > cat tcp/1",
     "DENIED namespace-default"),
    ([felix("{namespaceDefault: isolated}")], "open", "cat > internet tcp/1",
     "DENIED namespace-default"),
    ([felix("{namespaceDefault: isolated}")], "tenant", "safe > box tcp/1", FINE),
    ([felix("{namespaceDefault: isolated}")], "tenant", "internet > stall tcp/1", FINE),
    ([felix("{namespaceDefault: isolated}"), felix("{namespaceDefault: open}", "node.beta")],
     "tenant", "internet > cat tcp/1", FINE),
    ([felix("{namespaceDefault: isolated}"), felix("{namespaceDefault: open}", "node.alpha")],
     "tenant", "internet > cat tcp/1", "DENIED namespace-default"),
    # each end by its own host's
    ([felix("{namespaceDefault: open}", "node.beta")], "isolated", "web > cat tcp/1",
     "DENIED namespace-default"),
    ([felix("{namespaceDefault: open}", "node.beta"),
      felix("{namespaceDefault: tenant}", "node.alpha")], "isolated", "web > cat tcp/1", FINE),
    # what no default reaches
    ([felix("{protectedNets: [198.51.100.0/24]}")], "tenant", "web > internet tcp/1",
     "DENIED node-address"),
    ([felix("{protectedNets: [198.51.100.7]}")], "tenant", "web > internet tcp/1",
     "DENIED node-address"),
    ([felix("{protectedNets: [198.51.101.0/24]}")], "tenant", "web > internet tcp/1", FINE),
    ([felix("{protectedNets: [198.51.100.0/24]}", "node.beta")], "tenant",
     "web > internet tcp/1", FINE),
    ([felix("{protectedNets: [198.51.100.0/24]}", "node.beta")], "tenant",
     "db > internet tcp/1", "DENIED node-address"),
    ([felix("{protectedNets: [198.51.100.0/24]}"), felix("{protectedNets: []}", "node.alpha")],
     "tenant", "web > internet tcp/1", FINE),
    ([felix("{protectedNets: [198.51.100.0/24]}"),
      network_policy("shop/out", "{types: [Egress], egress: [{action: Allow}]}")], "tenant",
     "web > internet tcp/1", "ALLOWED policy"),
    ([felix("{protectedNets: [10.0.2.0/24]}")], "tenant", "web > stall tcp/1",
     "DENIED node-address"),
    ([felix("{protectedNets: [198.51.100.0/24]}")], "tenant", "internet > stall tcp/1", FINE),
]  # fmt: skip


@pytest.mark.parametrize(("there", "default", "probe", "says"), DEFAULTS)
def test_what_namespaces_get(there: list[r.Resource], default: str, probe: str, says: str) -> None:
    assert said(probe, *there, cluster_default=default, without="shop") == says


# fields of `default`, of `node.beta`, a question of beta's settings, the answer
FIELDS = [
    ("{}", "{}", "automatic_hosts", False),
    ("{automaticHostEndpoints: Enabled}", "{}", "automatic_hosts", True),
    ("{automaticHostEndpoints: Enabled}", "{automaticHostEndpoints: Disabled}",
     "automatic_hosts", False),
    ("{}", "{}", "policy_to_host", False),
    ("{defaultEndpointToHostAction: Accept}", "{}", "policy_to_host", True),
    ("{defaultEndpointToHostAction: Accept}", "{defaultEndpointToHostAction: Drop}",
     "policy_to_host", False),
    ("{}", "{}", "vxlan_port", 4789),
    ("{vxlanPort: 1}", "{vxlanPort: 2}", "vxlan_port", 2),
    ("{allowVXLANPacketsFromWorkloads: true}", "{allowVXLANPacketsFromWorkloads: false}",
     "vxlan_port", 4789),
    ("{allowVXLANPacketsFromWorkloads: true}", "{vxlanPort: 2}", "vxlan_port", None),
    ("{}", "{}", "ipip", False),
    ("{allowIPIPPacketsFromWorkloads: false}", "{allowIPIPPacketsFromWorkloads: true}", "ipip",
     True),
    ("{namespaceDefault: open}", "{}", "namespace_default", "open"),
    ("{}", "{}", "namespace_default", None),
    ("{protectedNets: [1.0.0.0/8]}", "{protectedNets: []}", "protected", ()),
    ("{endpointToHostPorts: [{port: 1}]}", "{endpointToHostPorts: []}", "to_host_ports", ()),
    ("{failsafeInboundHostPorts: [{port: 1}]}", "{failsafeInboundHostPorts: []}",
     "failsafe_inbound", ()),
]  # fmt: skip


@pytest.mark.parametrize(("default", "own", "field", "value"), FIELDS)
def test_each_field_of_a_nodes_own_settings_wins(
    default: str, own: str, field: str, value: object
) -> None:
    configurations = [felix(own, "node.beta"), felix("{vxlanPort: 9}", "node.other"),
                      felix(default)]  # fmt: skip
    assert getattr(settings_of(configurations, "beta"), field) == value
