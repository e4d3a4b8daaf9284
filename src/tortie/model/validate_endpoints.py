"""What endpoints must satisfy beyond their types, and how a workload endpoint is called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import fields, replace

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

# The field (and its name on the wire) that says which workload it is, by orchestrator.
IDENTITY = {
    "k8s": ("pod", "pod"),
    "cni": ("container_id", "containerID"),
    "libnetwork": (None, "libnetwork"),
}
OTHERWISE = ("workload", "workload")

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
GIVEN_LABELS = (NAMESPACE_LABEL, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_LABEL)
"""What policies see of an endpoint or set beside its labels: where it is, and what it is."""
WORKLOAD_PREFIX = "tor"
"""How the interfaces of workloads begin."""
MAX_CONNECTIONS = 2**32 - 1
# Addresses that no workload may have: they mean something else to every host.
_TAKEN = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "the host itself"),
    ("169.254.1.1/32", "the workloads' gateway"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "no interface"),
    ("::/128", "no address"),
    ("::1/128", "the host itself"),
    ("fe80::/10", "one link only"),
    ("ff00::/8", "multicast"),
)


def endpoint_name(spec: r.WorkloadEndpointSpec) -> str:
    """The name that an endpoint must have: NODE-ORCHESTRATOR-WORKLOAD-ENDPOINT.

    "-" inside a part is written "--". WORKLOAD is the pod (k8s), the container's id (cni) or the
    word libnetwork, by orchestrator.
    """
    attribute, word = IDENTITY.get(spec.orchestrator, OTHERWISE)
    workload = str(getattr(spec, attribute)) if attribute else word
    parts = (spec.node, spec.orchestrator, workload, spec.endpoint)
    return "-".join(part.replace("-", "--") for part in parts)


def workload_endpoint(resource: r.WorkloadEndpoint) -> Problems:
    """An endpoint of a workload."""
    spec = resource.spec
    yield from _endpoint_name(resource)
    yield from checks.interface("spec.interfaceName", spec.interface_name)
    yield from _addresses("spec.ipNetworks", spec.ip_networks)
    if spec.mac is not None:
        yield from checks.parsed("spec.mac", spec.mac, net.parse_mac)
    if spec.ipv4_gateway:
        yield from checks.address("spec.ipv4Gateway", spec.ipv4_gateway, 4)
    if spec.ipv6_gateway:
        yield from checks.address("spec.ipv6Gateway", spec.ipv6_gateway, 6)
    if spec.service_account_name:
        yield from checks.name("spec.serviceAccountName", spec.service_account_name)
        if len(spec.service_account_name) > 63:
            yield Problem("too long to be a label", "use 63 at most", "spec.serviceAccountName")
    yield from checks.nets("spec.allowSpoofedSourcePrefixes", spec.allow_spoofed_source_prefixes)
    yield from _profiles_and_ports(spec.profiles, spec.ports)
    yield from _floating(spec)
    if spec.qos_controls:
        yield from _qos(spec.qos_controls)
    own = {
        NAMESPACE_LABEL: resource.metadata.namespace or "default",
        ORCHESTRATOR_LABEL: spec.orchestrator,
        SERVICE_ACCOUNT_LABEL: spec.service_account_name,
    }
    yield from given_labels(resource.metadata, own)


def _qos(qos: r.QosControls) -> Problems:
    """Limits of tracked connections; of bandwidth and packets there are none."""
    for field, limit in (
        ("ingressMaxConnections", qos.ingress_max_connections),
        ("egressMaxConnections", qos.egress_max_connections),
    ):
        yield from checks.between(f"spec.qosControls.{field}", limit, 1, MAX_CONNECTIONS)
    rest = replace(qos, ingress_max_connections=None, egress_max_connections=None)
    for each in fields(rest):
        given = getattr(rest, each.name) is not None
        what = f"{each.encode_name}: a limit of anything but connections"
        yield from checks.refused(f"spec.qosControls.{each.encode_name}", given, what)


def host_endpoint(resource: r.HostEndpoint) -> Problems:
    """An interface of a host."""
    spec = resource.spec
    yield from checks.name("spec.node", spec.node)
    if spec.interface_name not in ("", "*"):
        yield from checks.interface("spec.interfaceName", spec.interface_name)
    if spec.interface_name.startswith(WORKLOAD_PREFIX):
        yield Problem(
            f"interfaces that begin with {WORKLOAD_PREFIX} are workloads'",
            "name an interface of the host",
            "spec.interfaceName",
        )
    if not spec.interface_name and not spec.expected_ips:
        yield Problem(
            "which interface it is, is not said",
            'give interfaceName (or "*"), or expectedIPs',
            "spec.interfaceName",
        )
    for index, text in enumerate(spec.expected_ips):
        yield from checks.address(child("spec.expectedIPs", index), text)
    yield from checks.unique("spec.expectedIPs", spec.expected_ips)
    yield from _profiles_and_ports(spec.profiles, spec.ports)
    yield from given_labels(resource.metadata, {})


def given_labels(metadata: r.Metadata, own: Mapping[str, str]) -> Problems:
    """Where a thing is and what it is are never what a label of its own says.

    A label may repeat what is `own`, as it does in what Calico exports.
    """
    for label in GIVEN_LABELS:
        said = metadata.labels.get(label)
        if said is not None and said != own.get(label):
            is_so = f" as {quote(own[label])}" if own.get(label) else ""
            yield Problem(
                f"this label is given by Tortie{is_so}, and says {quote(said)}",
                "leave it out",
                child("metadata.labels", label),
            )


def _endpoint_name(resource: r.WorkloadEndpoint) -> Problems:
    spec = resource.spec
    attribute, field = IDENTITY.get(spec.orchestrator, OTHERWISE)
    parts = [("node", spec.node), ("orchestrator", spec.orchestrator), ("endpoint", spec.endpoint)]
    if attribute:
        parts.append((field, str(getattr(spec, attribute))))
    problems: list[Problem] = []
    for wire, text in parts:
        place = f"spec.{wire}"
        if text:
            problems.extend(checks.name(place, text))
        else:
            cure = f"an endpoint of orchestrator {quote(spec.orchestrator)} is named by it"
            problems.append(Problem("this field is missing", cure, place))
    yield from problems
    right = endpoint_name(spec)
    if not problems and resource.metadata.name != right:
        yield Problem(
            f"{quote(resource.metadata.name)} is not this endpoint's name",
            f"call it {right}",
            "metadata.name",
        )


def _addresses(path: str, texts: list[str]) -> Problems:
    seen: set[str] = set()
    for index, text in enumerate(texts):
        place = child(path, index)
        found = checks.attempt(text, net.parse_interface)
        if found is None:
            yield from checks.parsed(place, text, net.parse_interface)
            continue
        address, length = found
        if length != net.BITS[address.family]:
            cure = f"write {address.text}/{net.BITS[address.family]}"
            yield Problem(f"{quote(text)} is not one address", cure, place)
        if address.text in seen:
            yield Problem(f"{address.text} is there twice", "leave one out", place)
        seen.add(address.text)
        for prefix, meaning in taken(net.parse_net(address.text), _TAKEN):
            yield Problem(f"{address.text} is in {prefix}: {meaning}", "give another", place)


def _floating(spec: r.WorkloadEndpointSpec) -> Problems:
    """Addresses one to one: each outer stands for one of the endpoint's own."""
    own = {
        found.address.text
        for text in spec.ip_networks
        if (found := checks.attempt(text, net.parse_interface))
    }
    inner: set[str] = set()
    outer: set[str] = set()
    for index, each in enumerate(spec.ip_nats):
        place = child("spec.ipNATs", index)
        internal = checks.attempt(each.internal_ip, net.parse_address)
        external = checks.attempt(each.external_ip, net.parse_address)
        yield from checks.address(f"{place}.internalIP", each.internal_ip)
        yield from checks.address(
            f"{place}.externalIP", each.external_ip, internal.family if internal else None
        )
        if internal is not None:
            yield from _inner(f"{place}.internalIP", internal.text, own, inner)
            inner.add(internal.text)
        if external is not None:
            yield from _outer(f"{place}.externalIP", external.text, own, outer)
            outer.add(external.text)


def _inner(path: str, address: str, own: Collection[str], before: Collection[str]) -> Problems:
    if address not in own:
        cure = "give one of spec.ipNetworks"
        yield Problem(f"{address} is no address of this endpoint", cure, path)
    elif address in before:
        cure = "give each address one outside"
        yield Problem(f"{address} has two floating addresses", cure, path)


def _outer(path: str, address: str, own: Collection[str], before: Collection[str]) -> Problems:
    if address in own:
        cure = "give one that is nobody's"
        yield Problem(f"{address} is the endpoint's own address", cure, path)
    elif address in before:
        yield Problem(f"{address} is there twice", "leave one out", path)
    for prefix, meaning in taken(net.parse_net(address), _TAKEN):
        yield Problem(f"{address} is in {prefix}: {meaning}", "give another", path)


def taken(wanted: net.Net, table: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The rows (prefix, meaning) of the table that the prefix overlaps."""
    return [row for row in table if net.parse_net(row[0]).overlaps(wanted)]


def _profiles_and_ports(profiles: list[str], ports: list[r.EndpointPort]) -> Problems:
    for index, name in enumerate(profiles):
        yield from checks.name(child("spec.profiles", index), name)
    yield from checks.unique("spec.profiles", profiles)
    for index, port in enumerate(ports):
        place = child("spec.ports", index)
        yield from checks.port_name(f"{place}.name", port.name)
        yield from checks.between(f"{place}.port", port.port, 1, 65535)
        yield from checks.between(f"{place}.hostPort", port.host_port, 0, 65535)
        if port.host_ip:
            yield from checks.address(f"{place}.hostIP", port.host_ip)
        if checks.protocol_name(port.protocol) not in checks.WITH_PORTS:
            yield Problem(
                f"{quote(str(port.protocol))} has no ports",
                "use TCP, UDP or SCTP",
                f"{place}.protocol",
            )
