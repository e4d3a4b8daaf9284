"""The settings of one host's firewall: FelixConfiguration, with its defaults (Calico v3's)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec.structs import replace

from tortie import desired as d
from tortie.calc.members import protocol_number
from tortie.model import kinds, net
from tortie.model import resources as r

Ports = tuple[tuple[str, int], ...]

# SSH, BGP, etcd (and its old ports), Typha, Kubernetes, DHCP and DNS; then BFD.
_BOTH: Ports = tuple(("TCP", port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)) + tuple(
    ("UDP", port) for port in (3784, 3785, 4784)
)
FAILSAFE_INBOUND: Ports = (("TCP", 22), ("UDP", 68), *_BOTH)
FAILSAFE_OUTBOUND: Ports = (("UDP", 53), ("UDP", 67), *_BOTH)
VXLAN_PORT = 4789
IPIP = 4
MAX_CONNECTIONS = 32768

_IPTABLES: dict[str | None, d.Dataplane] = {
    None: "iptables",
    "Auto": "iptables",
    "NFT": "iptables-nft",
    "Legacy": "iptables-legacy",
}
Configurations = Mapping[str, r.FelixConfiguration]
"""by store key"""


def of_node(configurations: Configurations, node: str) -> r.FelixConfigurationSpec:
    """What is set for a node: `default`, and before it `node.NAME`, field by field."""
    start = f"{kinds.WORLD}felixconfigurations/"
    spec = r.FelixConfigurationSpec()
    for name in ("default", f"node.{node}"):
        found = configurations.get(start + name)
        if found is not None:
            given = {key: getattr(found.spec, key) for key in spec.__struct_fields__}
            spec = replace(spec, **{key: each for key, each in given.items() if each is not None})
    return spec


def dataplane(spec: r.FelixConfigurationSpec) -> d.Dataplane:
    """Which driver is asked for."""
    if spec.nftables_mode == "Disabled":
        return _IPTABLES[spec.iptables_backend]
    return "nft" if spec.nftables_mode == "Enabled" else "auto"


def max_connections(
    spec: r.FelixConfigurationSpec, qos: r.QosControls | None
) -> tuple[int | None, int | None]:
    """The limits of tracked connections of an endpoint, (ingress, egress); None: no limit."""
    usual = spec.max_connections_per_endpoint
    usual = MAX_CONNECTIONS if usual is None else usual
    own = qos or r.QosControls()
    wanted = (own.ingress_max_connections, own.egress_max_connections)
    ingress, egress = (usual if each is None else each for each in wanted)
    return ingress or None, egress or None


def protected_nets(spec: r.FelixConfigurationSpec) -> tuple[str, ...]:
    """Prefixes that no namespace default reaches."""
    return tuple(net.parse_net(each).text for each in spec.protected_nets or ())


def settle(spec: r.FelixConfigurationSpec, firewall: d.Filter) -> d.Filter:
    """The filter with all that the settings say of the host as a whole."""
    to_host: Literal["drop", "policy"] = (
        "drop" if spec.default_endpoint_to_host_action in (None, "Drop") else "policy"
    )
    return replace(
        firewall,
        failsafe_inbound=_open(spec.failsafe_inbound_host_ports, FAILSAFE_INBOUND),
        failsafe_outbound=_open(spec.failsafe_outbound_host_ports, FAILSAFE_OUTBOUND),
        to_host=to_host,
        to_host_ports=_open(spec.endpoint_to_host_ports, ()),
        never_from_workloads=_never(spec),
        drop_invalid=not spec.disable_conntrack_invalid_check,
        dataplane=dataplane(spec),
    )


def _open(given: Iterable[r.ProtoPort] | None, usual: Ports) -> tuple[d.OpenPort, ...]:
    if given is None:
        given = [r.ProtoPort(protocol=protocol, port=port) for protocol, port in usual]
    found = {
        d.OpenPort(
            protocol_number(each.protocol),
            each.port,
            net.parse_net(each.net).text if each.net else None,
        )
        for each in given
    }
    return tuple(sorted(found, key=lambda each: (each.protocol, each.port, each.net or "")))


def _never(spec: r.FelixConfigurationSpec) -> tuple[d.Rule, ...]:
    """Tunnel packets, with which a workload could speak as if it were a host (Calico v3)."""
    found = []
    if not spec.allow_vxlan_packets_from_workloads:
        port = spec.vxlan_port or VXLAN_PORT
        found.append(
            d.Rule(
                "deny",
                protocol=17,
                destination=d.Side(ports=(d.PortRange(port, port),)),
                name="no VXLAN from workloads",
            )
        )
    if not spec.allow_ipip_packets_from_workloads:
        found.append(d.Rule("deny", protocol=IPIP, name="no IPIP from workloads"))
    return tuple(found)
