"""The settings of the firewall: FelixConfiguration, those of its fields that mean something here.

`default` is for all nodes, `node.NAME` for one; a field of the node's that is present wins.
Fields that Calico does not have are marked "ours".
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from tortie.model.rules import Plain, Protocol

Switch = Literal["Enabled", "Disabled"]


class ProtoPort(Plain, frozen=True):
    """A port of a protocol (TCP, UDP, SCTP), for the prefix `net` at the other end, or for all."""

    port: int
    protocol: Protocol = "TCP"
    net: str | None = None


class FelixConfigurationSpec(Plain, frozen=True):
    """None: the default, which is named in each docstring. An empty list is an empty list."""

    nftables_mode: Literal["Auto", "Enabled", "Disabled"] | None = None
    """Auto: nftables unless the kernel has none; Disabled: iptables"""
    iptables_backend: Literal["Auto", "NFT", "Legacy"] | None = None
    """which iptables, if nftables is disabled. Auto: found out"""
    default_endpoint_to_host_action: Literal["Drop", "Return", "Accept"] | None = None
    """Drop: what becomes of a workload's packets to its own host. Else its egress policy decides"""
    endpoint_to_host_ports: list[ProtoPort] | None = None
    """ours; none: what workloads may reach on their own host whatever the action, such as DNS"""
    failsafe_inbound_host_ports: list[ProtoPort] | None = None
    failsafe_outbound_host_ports: list[ProtoPort] | None = None
    automatic_host_endpoints: Switch | None = None
    """ours; Disabled: every node without one has a host endpoint for all its interfaces"""
    allow_vxlan_packets_from_workloads: bool | None = field(
        default=None, name="allowVXLANPacketsFromWorkloads"
    )
    allow_ipip_packets_from_workloads: bool | None = field(
        default=None, name="allowIPIPPacketsFromWorkloads"
    )
    vxlan_port: int | None = field(default=None, name="vxlanPort")
    """4789"""
    disable_conntrack_invalid_check: bool | None = None
    """False: packets of no known connection that begin none are dropped"""
    max_connections_per_endpoint: int | None = None
    """ours; 32768 in each direction, unless an endpoint's qosControls say otherwise; 0: none"""
    connection_revocation: Switch | None = None
    """ours; Disabled: whether connections that the policy no longer allows are cut"""
    namespace_default: Literal["tenant", "open", "isolated"] | None = None
    """ours; tenant: the default of namespaces that say none"""
    protected_nets: list[str] | None = None
    """ours; prefixes that no namespace default reaches, besides nodes, their peers and the store"""
    vxlan_vni: int | None = field(default=None, name="vxlanVNI")
    """4096"""
    vxlan_mtu: int | None = field(default=None, name="vxlanMTU")
    """0: computed from the interface that the node's address is on"""
    vxlan_mtu_v6: int | None = field(default=None, name="vxlanMTUV6")
    nat_outgoing_address: str | None = None
    """none: that of the interface by which packets leave"""
    nat_outgoing_exclusions: Literal["IPPoolsOnly", "IPPoolsAndHostIPs"] | None = None
    """IPPoolsOnly: what is not translated"""
    nat_port_range: str | int | None = None
    """none, or FIRST:LAST: source ports of what is translated"""
    floating_ips: Switch | None = field(default=None, name="floatingIPs")
    """Enabled (Calico: Disabled): whether an endpoint's ipNATs are heeded"""
