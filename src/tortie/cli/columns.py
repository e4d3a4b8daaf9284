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

_PODS = (("PODS", "@pods"), ("TYPES", "spec.policy_types"), WIDE, *_RULES)
_STAGED = ("ACTION", "spec.staged_action")

Cells = tuple[tuple[str, str], ...]
COLUMNS: Mapping[str, Cells] = {
    "ClusterInformation": (("GUID", "spec.cluster_guid"),),
    "Namespace": (("DEFAULT", "@default"), WIDE, _LABELS),
    "Node": (
        ("AS", "spec.bgp.as_number"), ("IPV4", "spec.bgp.ipv4_address"),
        ("IPV6", "spec.bgp.ipv6_address"), _STATE,
        WIDE, ("TUNNEL", "@tunnel"), ("ENDPOINTS", "@endpoints"), ("VERSION", "@version"),
        _REASON, _LABELS,
    ),
    "BGPConfiguration": (
        ("AS", "spec.as_number"), ("MESH", "spec.node_to_node_mesh_enabled"),
        ("SERVICES", "@services"),
        WIDE, ("PORT", "spec.listen_port"), ("BIND", "spec.bind_mode"),
        ("PASSWORD", "@password"), ("BFD", "@bfd"), ("COMMUNITIES", "@communities"),
    ),
    "Secret": (("TYPE", "type"), ("KEYS", "@keys"), WIDE, _LABELS),
    "BGPFilter": (
        ("IMPORT-V4", "@import_v4"), ("EXPORT-V4", "@export_v4"),
        ("IMPORT-V6", "@import_v6"), ("EXPORT-V6", "@export_v6"),
    ),
    "BGPPeer": (
        ("PEER", "spec.peer_ip"), ("AS", "spec.as_number"), ("NODE", "spec.node"),
        ("NODES", "spec.node_selector"), ("FILTERS", "spec.filters"),
        WIDE, ("PEERS", "spec.peer_selector"), ("PASSWORD", "@password"), ("BFD", "@bfd"),
        ("BY", "spec.reachable_by"), ("MAX", "spec.max_prefixes"),
    ),
    "IPAMConfiguration": (
        ("STRICT", "spec.strict_affinity"), ("MAX-BLOCKS", "spec.max_blocks_per_host"),
        ("COOLDOWN", "spec.ip_cooldown_seconds"),
        WIDE, ("AUTO-BLOCKS", "spec.auto_allocate_blocks"), ("GRACE", "spec.leak_grace_period"),
    ),
    "IPReservation": (("CIDRS", "@reserved"), WIDE, ("RESERVED", "spec.reserved_cidrs")),
    "IPPool": (
        ("CIDR", "spec.cidr"), ("NAT", "spec.nat_outgoing"), ("VXLAN", "spec.vxlan_mode"),
        ("DISABLED", "spec.disabled"),
        WIDE, ("BLOCK", "spec.block_size"), ("USES", "@uses"), ("MODE", "spec.assignment_mode"),
        ("NODES", "spec.node_selector"), ("NAMESPACES", "spec.namespace_selector"),
    ),
    "BlockAffinity": (
        ("NODE", "spec.node"), ("CIDR", "spec.cidr"), ("STATE", "spec.state"),
    ),
    "Tier": (("ORDER", "spec.order"), ("DEFAULT", "@action")),
    "NetworkSet": _NETS,
    "GlobalNetworkSet": _NETS,
    "Profile": (*_RULES, WIDE, ("APPLIES", "spec.labels_to_apply")),
    "GlobalNetworkPolicy": (
        *_POLICY, ("NAMESPACES", "spec.namespace_selector"), ("UNTRACKED", "spec.do_not_track"),
        ("PRE-DNAT", "spec.pre_dnat"), ("FORWARD", "spec.apply_on_forward"),
    ),
    "NetworkPolicy": _POLICY,
    "KubernetesNetworkPolicy": _PODS,
    "ClusterNetworkPolicy": (
        ("TIER", "spec.tier"), ("PRIORITY", "spec.priority"), ("SUBJECT", "@subject"),
        WIDE, *_RULES,
    ),
    "StagedGlobalNetworkPolicy": (
        _STAGED, *_POLICY, ("NAMESPACES", "spec.namespace_selector"),
    ),
    "StagedNetworkPolicy": (_STAGED, *_POLICY),
    "StagedKubernetesNetworkPolicy": (_STAGED, *_PODS),
    "Service": (
        ("TYPE", "spec.type"), ("CLUSTER-IP", "spec.cluster_ip"), ("PORTS", "@ports"),
        WIDE, ("SELECTOR", "spec.selector"), _LABELS,
    ),
    "EndpointSlice": (
        ("SERVICE", "@service"), ("TYPE", "address_type"), ("PORTS", "@ports"),
        ("ENDPOINTS", "@addresses"), WIDE, _LABELS,
    ),
    "FelixConfiguration": (
        ("FIREWALL", "@firewall"), ("TO-HOST", "spec.default_endpoint_to_host_action"),
        ("NAMESPACES", "spec.namespace_default"), ("REVOKES", "spec.connection_revocation"),
        WIDE, ("AUTO-HOSTS", "spec.automatic_host_endpoints"),
        ("CONNECTIONS", "spec.max_connections_per_endpoint"),
        ("HOST-PORTS", "@host_ports"), ("FAILSAFE-IN", "@failsafe_in"),
        ("FAILSAFE-OUT", "@failsafe_out"), ("PROTECTED", "spec.protected_nets"),
    ),
    "HostEndpoint": (
        ("NODE", "spec.node"), ("INTERFACE", "spec.interface_name"),
        ("ADDRESSES", "spec.expected_ips"),
        WIDE, ("PROFILES", "spec.profiles"), ("PORTS", "@ports"), _LABELS,
    ),
    "WorkloadEndpoint": (
        ("NODE", "spec.node"), ("WORKLOAD", "spec.workload"), ("ADDRESSES", "@addresses"),
        ("INTERFACE", "spec.interface_name"), _STATE,
        WIDE, ("FLOATING", "@floating"), _LABELS, ("PROFILES", "spec.profiles"),
        ("PORTS", "@ports"), _REASON,
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
    match row.resource:
        case r.WorkloadEndpoint(spec=spec):
            return [text.partition("/")[0] for text in spec.ip_networks]
        case r.EndpointSlice(endpoints=endpoints):
            return [text for each in endpoints for text in each.addresses]
        case _:
            return ()


def _ports(row: Row) -> Sequence[str]:
    """NAME:PROTOCOL:PORT, as far as each is given."""
    ports: Sequence[r.EndpointPort | r.ServicePort | r.SlicePort] = ()
    match row.resource:
        case r.WorkloadEndpoint(spec=spec):
            ports = spec.ports
        case r.HostEndpoint(spec=host):
            ports = host.ports
        case r.Service(spec=service):
            ports = service.ports
        case r.EndpointSlice(ports=found):
            ports = found
        case _:
            pass
    parts = [
        (port.name, port.protocol, "all" if port.port is None else port.port) for port in ports
    ]
    return [":".join(str(part) for part in each if part) for each in parts]


def labels_text(given: r.LabelSelector | None) -> str:
    """A label selector as kubectl prints it; `all` if it is empty."""
    if given is None:
        return ""
    words = [f"{key}={value}" for key, value in given.match_labels.items()]
    for each in given.match_expressions:
        values = ",".join(each.values)
        words.append(
            {
                "In": f"{each.key} in ({values})",
                "NotIn": f"{each.key} notin ({values})",
                "Exists": each.key,
                "DoesNotExist": f"!{each.key}",
            }[each.operator]
        )
    return ",".join(words) or "all"


def _pods(row: Row) -> str:
    found = row.resource
    if not isinstance(found, r.KubernetesNetworkPolicy | r.StagedKubernetesNetworkPolicy):
        return ""
    return labels_text(found.spec.pod_selector)


def _subject(row: Row) -> str:
    """Of which namespaces, and which pods of theirs."""
    found = row.resource
    if not isinstance(found, r.ClusterNetworkPolicy):
        return ""
    subject = found.spec.subject
    if subject.pods is None:
        return f"namespaces {labels_text(subject.namespaces)}"
    pods, spaces = subject.pods.pod_selector, subject.pods.namespace_selector
    return f"pods {labels_text(pods)} of namespaces {labels_text(spaces)}"


def _firewall(row: Row) -> str | None:
    """Which is asked for."""
    found = row.resource
    if not isinstance(found, r.FelixConfiguration):
        return None
    mode, backend = found.spec.nftables_mode, found.spec.iptables_backend
    if mode != "Disabled":
        return {None: None, "Enabled": "nftables"}.get(mode, "auto")
    return {"NFT": "iptables-nft", "Legacy": "iptables-legacy"}.get(backend or "", "iptables")


def _open_ports(field: str) -> Callable[[Row], object]:
    get = _at(f"spec.{field}")

    def words(row: Row) -> object:
        """- if nothing is said; "none" if that none is open is said."""
        given = get(row)
        if not isinstance(given, list):
            return None
        of = [
            f"{each.protocol}:{each.port}" + (f" {each.net}" if each.net else "") for each in given
        ]
        return of or "none"

    return words


def _action(row: Row) -> object:
    """What becomes of packets that no policy of the tier decided; Deny if nothing is said."""
    return row.resource.spec.default_action or "Deny" if isinstance(row.resource, r.Tier) else None


def _nets(row: Row) -> object:
    found = row.resource
    return len(found.spec.nets) if isinstance(found, r.NetworkSet | r.GlobalNetworkSet) else None


def _count(field: str) -> Callable[[Row], object]:
    get = _at(f"spec.{field}")

    def count(row: Row) -> object:
        found = get(row)
        return len(found) if isinstance(found, list) else None

    return count


def _password(row: Row) -> str | None:
    """Where it is, never what it is."""
    match row.resource:
        case r.BGPPeer(spec=r.BGPPeerSpec(password=r.Password() as given)):
            pass
        case r.BGPConfiguration(
            spec=r.BGPConfigurationSpec(node_mesh_password=r.Password() as given)
        ):
            pass
        case _:
            return None
    reference = given.secret_key_ref
    return f"secret {reference.name}/{reference.key}" if reference else f"file {given.file}"


def _bfd(row: Row) -> str | None:
    match row.resource:
        case r.BGPPeer(spec=peer):
            bfd = peer.bfd
        case r.BGPConfiguration(spec=configuration):
            bfd = configuration.node_mesh_bfd
        case _:
            bfd = None
    return f"{bfd.interval}*{bfd.multiplier}" if bfd else None


def _services(row: Row) -> Sequence[str]:
    if not isinstance(row.resource, r.BGPConfiguration):
        return ()
    spec = row.resource.spec
    every = (spec.service_cluster_ips, spec.service_external_ips, spec.service_load_balancer_ips)
    return [each.cidr for group in every for each in group]


def _communities(row: Row) -> Sequence[str]:
    if not isinstance(row.resource, r.BGPConfiguration):
        return ()
    return [f"{each.name}={each.value}" for each in row.resource.spec.communities]


def _floating(row: Row) -> Sequence[str]:
    if not isinstance(row.resource, r.WorkloadEndpoint):
        return ()
    return [f"{each.external_ip}={each.internal_ip}" for each in row.resource.spec.ip_nats]


def _tunnel(row: Row) -> Sequence[str]:
    """A node's own addresses within VXLAN."""
    if not isinstance(row.resource, r.Node):
        return ()
    spec = row.resource.spec
    return [each for each in (spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr) if each]


def _uses(row: Row) -> Sequence[str]:
    if not isinstance(row.resource, r.IPPool):
        return ()
    return row.resource.spec.allowed_uses or ("Workload", "Tunnel")


_MADE: Mapping[str, Callable[[Row], object]] = {
    "state": lambda row: row.said.state,
    "reason": lambda row: row.said.reason,
    "version": lambda row: row.said.version,
    "endpoints": lambda row: row.said.endpoints,
    "addresses": _addresses,
    "ports": _ports,
    "action": _action,
    "nets": _nets,
    "ingress": _count("ingress"),
    "egress": _count("egress"),
    "pods": _pods,
    "subject": _subject,
    "service": lambda row: row.resource.metadata.labels.get("kubernetes.io/service-name"),
    "firewall": _firewall,
    "host_ports": _open_ports("endpoint_to_host_ports"),
    "failsafe_in": _open_ports("failsafe_inbound_host_ports"),
    "failsafe_out": _open_ports("failsafe_outbound_host_ports"),
    "services": _services,
    "password": _password,
    "bfd": _bfd,
    "communities": _communities,
    "keys": lambda row: sorted(row.resource.data) if isinstance(row.resource, r.Secret) else (),
    "import_v4": _count("import_v4"),
    "export_v4": _count("export_v4"),
    "import_v6": _count("import_v6"),
    "export_v6": _count("export_v6"),
    "reserved": _count("reserved_cidrs"),
    "floating": _floating,
    "uses": _uses,
    "tunnel": _tunnel,
    "default": lambda row: row.resource.metadata.annotations.get("tortie.dev/default"),
}
