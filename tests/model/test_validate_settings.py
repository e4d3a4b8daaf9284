"""The settings: FelixConfiguration's fields, and what is said of those that are not here."""

import pytest
from validation import Data, expect, faults, make

from tortie import desired
from tortie.errors import InvalidInput
from tortie.model import manifest
from tortie.model import resources as r
from tortie.model import validate_settings as settings
from tortie.model.validate import normalise
from tortie.model.validate_endpoints import WORKLOAD_PREFIX


def felix(spec: Data, name: str = "default") -> r.Resource:
    return make("FelixConfiguration", spec, name=name)


PORTS = ("endpointToHostPorts", "failsafeInboundHostPorts", "failsafeOutboundHostPorts")
BAD_PORTS = [
    ([{"port": 0}], "[0].port", "1 to 65535"),
    ([{"port": 65536}], "[0].port", "1 to 65535"),
    ([{"port": 22}, {"port": -1}], "[1].port", "1 to 65535"),
    ([{"port": 22, "protocol": "tpc"}], "[0].protocol", "did you mean TCP?"),
    ([{"port": 22, "protocol": "ICMP"}], "[0].protocol", "has no ports"),
    ([{"port": 22, "protocol": "UDPLite"}], "[0].protocol", "has no ports"),
    ([{"port": 22, "protocol": 47}], "[0].protocol", "has no ports"),
    ([{"port": 22, "protocol": 256}], "[0].protocol", "1 to 255"),
    ([{"port": 22, "net": "everywhere"}], "[0].net", "no IP address"),
    ([{"port": 22, "net": "10.0.0.0/33"}], "[0].net", "prefix length"),
    ([{"port": 22, "net": ""}], "[0].net", "no IP address"),
    ([{"port": 22}] * 257, "", "at most 256"),
]


@pytest.mark.parametrize("field", PORTS)
@pytest.mark.parametrize(("ports", "path", "says"), BAD_PORTS)
def test_a_port_that_is_open_is_refused(
    field: str, ports: list[Data], path: str, says: str
) -> None:
    expect(felix({field: ports}), f"spec.{field}{path}", says)


@pytest.mark.parametrize("field", PORTS)
@pytest.mark.parametrize(
    "ports",
    [
        [],
        [{"port": 22}],
        [{"port": 1, "protocol": "tcp"}, {"port": 65535, "protocol": "UDP"}],
        [{"port": 22, "protocol": "SCTP", "net": "10.0.0.0/8"}, {"port": 22, "net": "fd00::/8"}],
        [{"port": 22, "protocol": 6, "net": "0.0.0.0/0"}],
    ],
)
def test_a_port_that_is_open_is_accepted(field: str, ports: list[Data]) -> None:
    kept = normalise(felix({field: ports}))
    assert faults(felix({field: ports})) == []
    # No port is not the same as nothing said: it closes what is open otherwise.
    assert list(manifest.plain(kept)["spec"]) == [field]  # type: ignore[call-overload]


SPECS = [
    ({"vxlanPort": 0}, "spec.vxlanPort", "1 to 65535"),
    ({"vxlanPort": 65536}, "spec.vxlanPort", "1 to 65535"),
    ({"vxlanVNI": 0}, "spec.vxlanVNI", "1 to 16777215"),
    ({"vxlanVNI": 2**24}, "spec.vxlanVNI", "1 to 16777215"),
    ({"vxlanMTU": -1}, "spec.vxlanMTU", "or 0"),
    ({"vxlanMTU": 575}, "spec.vxlanMTU", "give 576 to 65485, or 0"),
    ({"vxlanMTU": 65486}, "spec.vxlanMTU", "576 to 65485"),
    ({"vxlanMTUV6": 1279}, "spec.vxlanMTUV6", "give 1280 to 65465, or 0"),
    ({"vxlanMTUV6": 65466}, "spec.vxlanMTUV6", "1280 to 65465"),
    ({"natOutgoingAddress": "here"}, "spec.natOutgoingAddress", "no IP address"),
    ({"natOutgoingAddress": ""}, "spec.natOutgoingAddress", "no IP address"),
    ({"natOutgoingAddress": "192.0.2.0/24"}, "spec.natOutgoingAddress", "has a mask"),
    ({"natOutgoingAddress": "192.0.2.1-"}, "spec.natOutgoingAddress", "write FIRST-LAST"),
    ({"natOutgoingAddress": "192.0.2.1-192.0.2.2-192.0.2.3"}, "spec.natOutgoingAddress", "no ran"),
    (
        {"natOutgoingAddress": "192.0.2.2-192.0.2.1"},
        "spec.natOutgoingAddress",
        "write 192.0.2.1-192.0.2.2",
    ),
    ({"natOutgoingAddress": "192.0.2.1-fd00::1"}, "spec.natOutgoingAddress", "both families"),
    ({"natOutgoingAddress": "127.0.0.1"}, "spec.natOutgoingAddress", "the host itself"),
    ({"natOutgoingAddress": "126.0.0.1-128.0.0.1"}, "spec.natOutgoingAddress", "in 127.0.0.0/8"),
    ({"natOutgoingAddress": "fe80::1"}, "spec.natOutgoingAddress", "answers can reach"),
    ({"natPortRange": 0}, "spec.natPortRange", "1 to 65535"),
    ({"natPortRange": "0:10"}, "spec.natPortRange", "no port"),
    ({"natPortRange": "1:65536"}, "spec.natPortRange", "out of range"),
    ({"natPortRange": "20:10"}, "spec.natPortRange", 'write "10:20"'),
    ({"natPortRange": "10-20"}, "spec.natPortRange", "FIRST:LAST"),
    ({"natPortRange": "http"}, "spec.natPortRange", "no range of ports"),
    ({"natPortRange": "1:2\n"}, "spec.natPortRange", "no range of ports"),
    ({"maxConnectionsPerEndpoint": -1}, "spec.maxConnectionsPerEndpoint", "0 to 4294967295"),
    ({"maxConnectionsPerEndpoint": 2**32}, "spec.maxConnectionsPerEndpoint", "0 to 4294967295"),
    ({"protectedNets": ["here"]}, "spec.protectedNets[0]", "no IP address"),
    ({"protectedNets": ["10.0.0.0/8", "fd00::/129"]}, "spec.protectedNets[1]", "prefix length"),
    ({"protectedNets": ["10.0.0.0/8"] * 257}, "spec.protectedNets", "at most 256"),
]


@pytest.mark.parametrize(("spec", "path", "says"), SPECS)
def test_a_setting_is_refused(spec: Data, path: str, says: str) -> None:
    expect(felix(spec), path, says)


GOOD: list[Data] = [
    {},
    {"nftablesMode": "Auto"},
    {"nftablesMode": "Enabled"},
    {"nftablesMode": "Disabled", "iptablesBackend": "NFT"},
    {"iptablesBackend": "Legacy"},
    {"defaultEndpointToHostAction": "Drop"},
    {"defaultEndpointToHostAction": "Return"},
    {"defaultEndpointToHostAction": "Accept"},
    {"automaticHostEndpoints": "Enabled", "connectionRevocation": "Disabled"},
    {"allowVXLANPacketsFromWorkloads": True, "allowIPIPPacketsFromWorkloads": False},
    {"disableConntrackInvalidCheck": True},
    {"vxlanMTU": 0, "vxlanMTUV6": 0},
    {"vxlanMTU": 8950, "vxlanMTUV6": 1280},
    {"natOutgoingAddress": "192.0.2.1", "natOutgoingExclusions": "IPPoolsAndHostIPs"},
    {"natOutgoingAddress": "2001:db8::1-2001:db8::f", "natPortRange": 40000},
    {"natPortRange": "1024:65535", "floatingIPs": "Disabled"},
    {"maxConnectionsPerEndpoint": 0},
    {"maxConnectionsPerEndpoint": 4294967295},
    {"namespaceDefault": "open"},
    {"protectedNets": []},
    {"protectedNets": ["10.0.0.1", "fd00::/8", "0.0.0.0/0"]},
]


@pytest.mark.parametrize("spec", GOOD)
@pytest.mark.parametrize("name", ["default", "node.a1", "node.rack-1.a1.example.com"])
def test_a_setting_is_accepted(spec: Data, name: str) -> None:
    assert faults(felix(spec, name)) == []


@pytest.mark.parametrize("field", ["vxlanPort", "vxlanVNI"])
def test_what_hosts_must_have_in_common_is_no_nodes(field: str) -> None:
    assert faults(felix({field: 8472})) == []
    expect(felix({field: 8472}, "node.a1"), f"spec.{field}", "FelixConfiguration default")


@pytest.mark.parametrize("name", ["a1", "defaults", "nodea1", "global"])
def test_settings_are_of_all_nodes_or_of_one(name: str) -> None:
    expect(felix({}, name), "metadata.name", "call it default, or node.NODE")


@pytest.mark.parametrize("name", ["node.", "node.A", "node.a;b", "node.a b"])
def test_settings_are_of_no_node_that_cannot_be(name: str) -> None:
    expect(felix({}, name), "metadata.name", "no valid name")


def test_settings_have_one_spelling() -> None:
    given = {
        "failsafeInboundHostPorts": [{"port": 22, "protocol": "tcp", "net": "10.0.0.9/8"}],
        "endpointToHostPorts": [{"port": 53, "protocol": 17}],
        "protectedNets": ["FD00::1", "10.1.0.9/16"],
        "natOutgoingAddress": "FD00::1-fd00:0::9",
        "natPortRange": "5000:5000",
    }
    kept = normalise(felix(given))
    assert kept == normalise(kept)
    assert manifest.plain(kept)["spec"] == {
        "endpointToHostPorts": [{"port": 53, "protocol": "UDP"}],
        "failsafeInboundHostPorts": [{"port": 22, "net": "10.0.0.0/8"}],
        "protectedNets": ["fd00::1/128", "10.1.0.0/16"],
        "natOutgoingAddress": "fd00::1-fd00::9",
        "natPortRange": 5000,
    }


# --- what is not here --------------------------------------------------------------------------

HEAD = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\n"


def refused(field: str, value: str = "true") -> str:
    """All that is said of one field."""
    with pytest.raises(InvalidInput) as caught:
        manifest.load(f"{HEAD}spec:\n  {field}: {value}\n", "f.yaml")
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (f"spec.{field}", 5)
    return str(problem)


CALICOS = [
    ("interfacePrefix", "begin with tor"),
    ("bpfEnabled", "not by eBPF"),
    ("bpfConnectTimeLoadBalancing", "not by eBPF"),
    ("bpfLogLevel", "not by eBPF"),
    ("ipipEnabled", "a pool's vxlanMode is"),
    ("ipipMTU", "a pool's vxlanMode is"),
    ("vxlanEnabled", "where a pool has a vxlanMode"),
    ("wireguardEnabled", "not encrypted"),
    ("wireguardListeningPort", "not encrypted"),
    ("iptablesRefreshInterval", "--resync"),
    ("routeRefreshInterval", "--resync"),
    ("programClusterRoutes", "docs/design.md"),
    ("deviceRouteProtocol", "docs/design.md"),
    ("removeExternalRoutes", "docs/design.md"),
    ("logSeverityScreen", "standard error"),
    ("reportingInterval", "standard error"),
    ("logActionRateLimit", "standard error"),
    ("debugPort", "standard error"),
    ("iptablesMarkMask", "0x00f00000"),
    ("nftablesMarkMask", "0x00f00000"),
    ("iptablesFilterDenyAction", "dropped"),
    ("chainInsertMode", "dropped"),
    ("iptablesLockTimeout", "inner workings"),
    ("xdpEnabled", "inner workings"),
    ("metadataAddr", "endpointToHostPorts"),
    ("workloadSourceSpoofing", "allowSpoofedSourcePrefixes"),
    ("ipv6Support", "always on"),
    ("ipForwarding", "always forward"),
    ("flowLogsFlushInterval", "no flow logs"),
    ("healthEnabled", "--metrics-port"),
    ("healthPort", "--metrics-port"),
    ("prometheusMetricsEnabled", "--metrics-port"),
    ("prometheusMetricsPort", "--metrics-port"),
    ("typhaAddr", "read the store themselves"),
    ("windowsManageFirewallRules", "Linux"),
    ("policySyncPathPrefix", "no proxy"),
    ("endpointReportingEnabled", "tortie get wep"),
    ("usageReportingEnabled", "to anybody"),
    ("openstackRegion", "one region"),
    ("awsSrcDstCheck", "no cloud"),
    ("datastoreType", "--store"),
]


@pytest.mark.parametrize(("field", "says"), CALICOS)
def test_a_setting_of_calicos_that_means_nothing_here_is_told_why(field: str, says: str) -> None:
    said = refused(field)
    assert f"{field} means nothing here: " in said
    assert says in said
    assert said.endswith("; leave it out")


NEAR = [
    ("nftablesmode", "nftablesMode"),
    ("iptablesBackEnd", "iptablesBackend"),
    ("defaultEndpointToHostaction", "defaultEndpointToHostAction"),
    ("failsafeInboundPorts", "failsafeInboundHostPorts"),
    ("failsafeOutboundHostPort", "failsafeOutboundHostPorts"),
    ("automaticHostEndpoint", "automaticHostEndpoints"),
    ("allowVxlanPacketsFromWorkload", "allowVXLANPacketsFromWorkloads"),
    ("maxConnections", "maxConnectionsPerEndpoint"),
    ("connectionsRevocation", "connectionRevocation"),
    ("namespaceDefaults", "namespaceDefault"),
    ("protectedNetworks", "protectedNets"),
    ("disableConntrackInvalid", "disableConntrackInvalidCheck"),
    ("endpointToHostPort", "endpointToHostPorts"),
]


@pytest.mark.parametrize(("field", "nearest"), NEAR)
def test_an_unknown_setting_is_told_the_nearest(field: str, nearest: str) -> None:
    assert f"did you mean {nearest}?" in refused(field)


def test_a_setting_like_none_is_told_all() -> None:
    said = refused("colour")
    assert "known: nftablesMode, " in said
    assert "protectedNets" in said


MISTYPED = [
    ("nftablesMode", "enable", "did you mean Enabled?"),
    ("defaultEndpointToHostAction", "Dropp", "did you mean Drop?"),
    ("automaticHostEndpoints", "true", "true is not"),
    ("allowVXLANPacketsFromWorkloads", "'yes'", "write true or false"),
    ("vxlanPort", "'4789'", "without quotes"),
    ("namespaceDefault", "close", "none of isolated, open, tenant"),
    ("failsafeInboundHostPorts", "22", "write a list"),
    ("protectedNets", "10.0.0.0/8", "write a list"),
]


@pytest.mark.parametrize(("field", "value", "says"), MISTYPED)
def test_a_setting_of_ours_of_another_type_is_told_so(field: str, value: str, says: str) -> None:
    said = refused(field, value)
    assert says in said
    assert "means nothing here" not in said


def test_no_setting_of_ours_is_said_to_mean_nothing() -> None:
    assert [field for field in settings.OURS if settings.foreign(field)] == []
    assert settings.OURS.isdisjoint(settings.FOREIGN)


def test_workloads_interfaces_begin_with_the_same_word_everywhere() -> None:
    assert WORKLOAD_PREFIX == desired.INTERFACE_PREFIX
