"""What FelixConfiguration must satisfy beyond its types, and what of Calico's it does not have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import fields

from tortie.errors import Problem
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

MAX_OPEN_PORTS = 256
MAX_NETS = 256
MAX_VNI = 2**24 - 1
# The least that a link of the family must carry (RFC 791, RFC 8200), and the most that fits.
MTUS: dict[net.Family, tuple[int, int]] = {4: (576, 65485), 6: (1280, 65465)}

_IPIP = "IP-in-IP is not offered; a pool's vxlanMode is"
_VXLAN = "VXLAN is on where a pool has a vxlanMode"
_ENCRYPTED = "what goes between hosts is not encrypted"
_PACE = "changes come as events; `tortie node run --resync` says how often all is compared"
_ROUTES = "docs/design.md says who owns which route"
_SERVED = "`tortie node run --metrics-address` and `--metrics-port` say where the agent answers"
_LOGS = "the agent logs to its standard error"
_MARKS = "the firewall's marks are fixed (0x00f00000)"
_VERDICTS = "allowed packets go on to other tables' rules, denied ones are dropped"

_ANY_CASE = {
    "nftablesMode": ("Auto", "Enabled", "Disabled"),
    "iptablesBackend": ("Auto", "NFT", "Legacy"),
    "defaultEndpointToHostAction": ("Drop", "Return", "Accept"),
    "floatingIPs": ("Enabled", "Disabled"),
    "natOutgoingExclusions": ("IPPoolsOnly", "IPPoolsAndHostIPs"),
}
# Settings of Calico's that mean nothing here, and why.
FOREIGN = {
    **dict.fromkeys(("interfacePrefix", "interfaceExclude"), "those of workloads begin with tor"),
    **dict.fromkeys(("ipipEnabled", "ipipMTU"), _IPIP),
    **dict.fromkeys(
        ("iptablesRefreshInterval", "nftablesRefreshInterval", "ipsetsRefreshInterval",
         "routeRefreshInterval", "interfaceRefreshInterval", "iptablesPostWriteCheckInterval"),
        _PACE,
    ),
    **dict.fromkeys(
        ("programClusterRoutes", "routeSource", "routeSyncDisabled", "routeTableRange",
         "routeTableRanges", "removeExternalRoutes", "deviceRouteProtocol",
         "deviceRouteSourceAddress", "deviceRouteSourceAddressIPv6", "externalNodesList",
         "ipv4NormalRoutePriority", "ipv6NormalRoutePriority", "ipv4ElevatedRoutePriority",
         "ipv6ElevatedRoutePriority"),
        _ROUTES,
    ),
    **dict.fromkeys(
        ("logFilePath", "logSeverityFile", "logSeverityScreen", "logSeveritySys", "logPrefix",
         "logActionRateLimit", "logActionRateLimitBurst", "reportingInterval", "reportingTTL",
         "logDebugFilenameRegex"),
        _LOGS,
    ),
    **dict.fromkeys(("iptablesMarkMask", "nftablesMarkMask"), _MARKS),
    **dict.fromkeys(
        ("iptablesFilterAllowAction", "iptablesFilterDenyAction", "iptablesMangleAllowAction",
         "nftablesFilterAllowAction", "nftablesFilterDenyAction", "nftablesMangleAllowAction",
         "chainInsertMode", "serviceLoopPrevention"),
        _VERDICTS,
    ),
    **dict.fromkeys(
        ("featureDetectOverride", "iptablesLockFilePath", "iptablesLockProbeInterval",
         "iptablesLockTimeout", "iptablesNATOutgoingInterfaceFilter", "maxIpsetSize",
         "genericXDPEnabled", "xdpEnabled", "xdpRefreshInterval", "nftablesFlowTableOffload",
         "netlinkTimeout", "dataplaneWatchdogTimeout", "dataplaneDriver", "kubeNodePortRanges"),
        "the firewall's inner workings are not settings",
    ),
    **dict.fromkeys(("metadataAddr", "metadataPort"), "endpointToHostPorts opens the host"),
    "datastoreType": "`--store` names the store",
    "openstackRegion": "there is one region",
    "workloadSourceSpoofing": "an endpoint's allowSpoofedSourcePrefixes is enough",
    "ipForwarding": "hosts always forward",
    "ipv6Support": "IPv6 is always on",
    "policySyncPathPrefix": "no proxy is told of policies",
    "endpointReportingEnabled": "endpoints are always reported: `tortie get wep`",
    "endpointReportingDelay": "endpoints are always reported: `tortie get wep`",
    "endpointStatusPathPrefix": "endpoints are always reported: `tortie get wep`",
    "usageReportingEnabled": "nothing is reported to anybody",
}  # fmt: skip
PORT_RANGE = re.compile(r"[0-9]+(?::[0-9]+)?", re.ASCII)
NO_SOURCE = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "the host itself"),
    ("169.254.0.0/16", "of one link only"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/127", "the host itself"),
    ("fe80::/10", "of one link only"),
    ("ff00::/8", "multicast"),
)
OURS = frozenset(each.encode_name for each in fields(r.FelixConfigurationSpec))
_FAMILIES = (
    ("bpf", "packets are judged by nftables or iptables, not by eBPF"),
    ("vxlan", _VXLAN),
    ("wireguard", _ENCRYPTED),
    ("flowLogs", "there are no flow logs; rules with action Log are printed by the agent"),
    ("health", _SERVED),
    ("prometheus", _SERVED),
    ("typha", "hosts read the store themselves"),
    ("windows", "hosts run Linux"),
    ("debug", _LOGS),
    ("sidecar", "no proxy is told of policies"),
    ("awsSrc", "no cloud is asked for anything"),
    ("usageReporting", "nothing is reported to anybody"),
)


def foreign(field: str) -> str | None:
    """Why a setting of Calico's means nothing here; None: it is one of ours, or nobody's."""
    if field in OURS:
        return None
    by_name = FOREIGN.get(field)
    return by_name or next((why for start, why in _FAMILIES if field.startswith(start)), None)


def felix_configuration(resource: r.FelixConfiguration) -> Problems:
    """The firewall's settings for all nodes (name default), or for one (node.NODE)."""
    spec, name = resource.spec, resource.metadata.name
    if name != "default" and not name.startswith("node."):
        cure = "call it default, or node.NODE"
        yield Problem(f"{quote(name)} is the configuration of nothing", cure, "metadata.name")
    for field, ports in (
        ("endpointToHostPorts", spec.endpoint_to_host_ports),
        ("failsafeInboundHostPorts", spec.failsafe_inbound_host_ports),
        ("failsafeOutboundHostPorts", spec.failsafe_outbound_host_ports),
    ):
        yield from _open_ports(f"spec.{field}", ports or ())
    yield from _vxlan(spec, name)
    if spec.nat_outgoing_address is not None:
        yield from _nat_address("spec.natOutgoingAddress", spec.nat_outgoing_address)
    if spec.nat_port_range is not None:
        yield from _port_range("spec.natPortRange", spec.nat_port_range)
    limit = spec.max_connections_per_endpoint
    yield from checks.between("spec.maxConnectionsPerEndpoint", limit, 0, 2**32 - 1)
    protected = spec.protected_nets or []
    yield from checks.at_most("spec.protectedNets", protected, MAX_NETS)
    yield from checks.nets("spec.protectedNets", protected)


def _vxlan(spec: r.FelixConfigurationSpec, name: str) -> Problems:
    yield from checks.between("spec.vxlanPort", spec.vxlan_port, 1, 65535)
    yield from checks.between("spec.vxlanVNI", spec.vxlan_vni, 1, MAX_VNI)
    for field, given in (("vxlanPort", spec.vxlan_port), ("vxlanVNI", spec.vxlan_vni)):
        if given is not None and name.startswith("node."):
            cure = "write it into FelixConfiguration default"
            yield Problem("hosts understand each other only by the same", cure, f"spec.{field}")
    mtus: tuple[tuple[str, int | None, net.Family], ...] = (
        ("vxlanMTU", spec.vxlan_mtu, 4),
        ("vxlanMTUV6", spec.vxlan_mtu_v6, 6),
    )
    for field, mtu, family in mtus:
        low, high = MTUS[family]
        if mtu is not None and mtu != 0 and not low <= mtu <= high:
            cure = f"give {low} to {high}, or 0: found out"
            yield Problem(f"{mtu} is out of range", cure, f"spec.{field}")


def _nat_address(path: str, text: str) -> Problems:
    """ADDRESS, or FIRST-LAST."""
    ends = text.split("-")
    found = [address for each in ends if (address := checks.attempt(each, net.parse_address))]
    if len(found) != len(ends) or len(ends) > 2:
        if len(ends) == 1:
            yield from checks.address(path, text)
        else:
            yield Problem(f"{quote(text)} is no range of addresses", "write FIRST-LAST", path)
        return
    first, last = found[0], found[-1]
    if first.family != last.family:
        yield Problem(f"{quote(text)} is of both families", "give a range of one", path)
    elif first.value > last.value:
        cure = f"write {last.text}-{first.text}"
        yield Problem(f"{quote(text)} ends before it begins", cure, path)
    else:
        for prefix, meaning in NO_SOURCE:
            taboo = net.parse_net(prefix)
            if taboo.family == first.family and not (
                last.value < taboo.first or taboo.last < first.value
            ):
                cure = "give one that answers can reach"
                yield Problem(f"{quote(text)} is in {prefix}: {meaning}", cure, path)


def _port_range(path: str, given: int | str) -> Problems:
    """A number, or FIRST:LAST."""
    if isinstance(given, str) and not PORT_RANGE.fullmatch(given):
        cure = "write a number, or FIRST:LAST in quotes"
        yield Problem(f"{quote(given)} is no range of ports", cure, path)
    else:
        yield from checks.port(path, given)


def _open_ports(path: str, ports: Sequence[r.ProtoPort]) -> Problems:
    yield from checks.at_most(path, ports, MAX_OPEN_PORTS)
    for index, port in enumerate(ports):
        place = child(path, index)
        yield from checks.between(f"{place}.port", port.port, 1, 65535)
        yield from checks.protocol(f"{place}.protocol", port.protocol)
        fine = not any(checks.protocol("", port.protocol))
        if fine and checks.protocol_name(port.protocol) not in checks.WITH_PORTS:
            cure = "use TCP, UDP or SCTP"
            yield Problem(f"{quote(str(port.protocol))} has no ports", cure, f"{place}.protocol")
        if port.net is not None:
            yield from checks.parsed(f"{place}.net", port.net, net.parse_net)


def spelled(data: dict[str, object]) -> dict[str, object]:
    """A FelixConfiguration of a file with its words as we spell them: Calico takes any case."""
    spec = data.get("spec")
    if not isinstance(spec, dict):
        return data
    return {**data, "spec": {name: _word(name, value) for name, value in spec.items()}}


def _word(name: object, value: object) -> object:
    words = _ANY_CASE.get(str(name), ())
    if not isinstance(value, str):
        return value
    return next((word for word in words if word.lower() == value.lower()), value)
