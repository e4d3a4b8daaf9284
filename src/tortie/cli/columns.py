"""What a table shows of each kind: (heading, where the value is), as data.

A value is a path of attributes from the resource, or a word of `_MADE` after "@". What comes after
`WIDE` is shown with `-o wide` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tortie.cli.output import Column
from tortie.cli.statuses import Said
from tortie.model import kinds
from tortie.model import resources as r

WIDE = ("WIDE", "")
_LABELS = ("LABELS", "metadata.labels")
_STATE, _REASON = ("STATE", "@state"), ("REASON", "@reason")
_RULES = (("INGRESS", "@ingress"), ("EGRESS", "@egress"))
_NETS = (("NETS", "@nets"), WIDE, ("MEMBERS", "spec.nets"), _LABELS)
_POLICY = (
    ("TIER", "spec.tier"), ("ORDER", "spec.order"), ("SELECTOR", "spec.selector"),
    ("TYPES", "spec.types"), WIDE, *_RULES,
)  # fmt: skip

Cells = tuple[tuple[str, str], ...]
COLUMNS: Mapping[str, Cells] = {
    "ClusterInformation": (("GUID", "spec.cluster_guid"),),
    "Namespace": (("DEFAULT", "@default"), WIDE, _LABELS),
    "Node": (
        ("AS", "spec.bgp.as_number"), ("IPV4", "spec.bgp.ipv4_address"),
        ("IPV6", "spec.bgp.ipv6_address"), _STATE,
        WIDE, ("ENDPOINTS", "@endpoints"), ("VERSION", "@version"), _REASON, _LABELS,
    ),
    "BGPConfiguration": (
        ("AS", "spec.as_number"), ("MESH", "spec.node_to_node_mesh_enabled"),
        WIDE, ("PORT", "spec.listen_port"),
    ),
    "BGPPeer": (
        ("PEER", "spec.peer_ip"), ("AS", "spec.as_number"), ("NODE", "spec.node"),
        ("NODES", "spec.node_selector"), WIDE, ("PEERS", "spec.peer_selector"),
    ),
    "IPPool": (
        ("CIDR", "spec.cidr"), ("NAT", "spec.nat_outgoing"), ("DISABLED", "spec.disabled"),
        WIDE, ("BLOCK", "spec.block_size"), ("VXLAN", "spec.vxlan_mode"),
        ("IPIP", "spec.ipip_mode"), ("NODES", "spec.node_selector"),
    ),
    "BlockAffinity": (
        ("NODE", "spec.node"), ("CIDR", "spec.cidr"), ("STATE", "spec.state"),
    ),
    "Tier": (("ORDER", "spec.order"), ("DEFAULT", "spec.default_action")),
    "NetworkSet": _NETS,
    "GlobalNetworkSet": _NETS,
    "Profile": (*_RULES, WIDE, ("APPLIES", "spec.labels_to_apply")),
    "GlobalNetworkPolicy": (*_POLICY, ("NAMESPACES", "spec.namespace_selector")),
    "NetworkPolicy": _POLICY,
    "HostEndpoint": (
        ("NODE", "spec.node"), ("INTERFACE", "spec.interface_name"),
        ("ADDRESSES", "spec.expected_ips"), WIDE, ("PROFILES", "spec.profiles"), _LABELS,
    ),
    "WorkloadEndpoint": (
        ("NODE", "spec.node"), ("WORKLOAD", "spec.workload"), ("ADDRESSES", "@addresses"),
        ("INTERFACE", "spec.interface_name"), _STATE,
        WIDE, _LABELS, ("PROFILES", "spec.profiles"), ("PORTS", "@ports"), _REASON,
    ),
    "Barrier": (("TOKEN", "spec.token"),),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A resource, and what agents say of it."""

    resource: r.Resource
    said: Said

    @property
    def name(self) -> str:
        """KIND/NAME or KIND/NAMESPACE/NAME."""
        return reference(self.resource)


def reference(resource: r.Resource) -> str:
    """How a resource is called in one word: KIND/NAME or KIND/NAMESPACE/NAME."""
    kind, metadata = kinds.kind_of(resource), resource.metadata
    space = [metadata.namespace or "default"] if kind.namespaced else []
    return "/".join([kind.name, *space, metadata.name])


def columns(kind: kinds.Kind) -> list[Column[Row]]:
    """The columns of a kind's table."""
    found: list[Column[Row]] = []
    if kind.namespaced:
        found.append(Column("NAMESPACE", _at("metadata.namespace")))
    found.append(Column("NAME", _at("metadata.name")))
    wide = False
    for cell in COLUMNS[kind.name]:
        if cell == WIDE:
            wide = True
            continue
        head, path = cell
        found.append(Column(head, _MADE[path[1:]] if path[0] == "@" else _at(path), wide))
    return found


def _at(path: str) -> Callable[[Row], object]:
    get = attrgetter(path)

    def value(row: Row) -> object:
        try:
            return get(row.resource)
        except AttributeError:
            return None  # a part on the way, such as spec.bgp, is not there

    return value


# --- values that are made -----------------------------------------------------------------------


def _addresses(row: Row) -> Sequence[str]:
    found = row.resource
    if not isinstance(found, r.WorkloadEndpoint):
        return ()
    return [text.partition("/")[0] for text in found.spec.ip_networks]


def _ports(row: Row) -> Sequence[str]:
    found = row.resource
    if not isinstance(found, r.WorkloadEndpoint):
        return ()
    return [f"{port.name}:{port.protocol}:{port.port}" for port in found.spec.ports]


def _nets(row: Row) -> object:
    found = row.resource
    return len(found.spec.nets) if isinstance(found, r.NetworkSet | r.GlobalNetworkSet) else None


def _rules(direction: str) -> Callable[[Row], object]:
    get = _at(f"spec.{direction}")

    def count(row: Row) -> object:
        rules = get(row)
        return len(rules) if isinstance(rules, list) else None

    return count


_MADE: Mapping[str, Callable[[Row], object]] = {
    "state": lambda row: row.said.state,
    "reason": lambda row: row.said.reason,
    "version": lambda row: row.said.version,
    "endpoints": lambda row: row.said.endpoints,
    "addresses": _addresses,
    "ports": _ports,
    "nets": _nets,
    "ingress": _rules("ingress"),
    "egress": _rules("egress"),
    "default": lambda row: row.resource.metadata.annotations.get("tortie.dev/default"),
}
