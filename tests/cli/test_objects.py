"""get and delete: what is found by which name, in which form."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from cli_files import TIER, WORLD
from cli_rig import Said as Ran
from cli_rig import Shell
from validation import Data, make, workload

from tortie.calc.secrets import NAMESPACES
from tortie.cli.columns import COLUMNS, WIDE, Row, columns
from tortie.cli.objects import labels_of
from tortie.cli.output import text_of
from tortie.cli.statuses import Said
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.manifest import load
from tortie.model.validate import normalise
from tortie.model.validate_secret import PASSWORDS_IN
from tortie.store.base import Put


@pytest.fixture
def world(tortie: Shell) -> Shell:
    assert tortie("apply", "-f", tortie.file(WORLD)).code == 0
    return tortie


def report(world: Shell, key: str, **said: object) -> None:
    store = world.store()
    store.commit([Put(key, msgspec.json.encode(said))])
    store.close()


# --- get ----------------------------------------------------------------------------------------


def test_a_table_of_endpoints_with_what_their_agent_says(world: Shell) -> None:
    key = kinds.endpoint_status_key("a1", "shop", "a1-lab-web-eth0")
    report(world, key, state="up")
    key = kinds.endpoint_status_key("a1", "shop", "a1-lab-api-eth0")
    report(world, key, state="waiting", reason="interface tor2 is not on this host")
    assert world("get", "wep").lines == [
        ["NAMESPACE", "NAME", "NODE", "WORKLOAD", "ADDRESSES", "INTERFACE", "STATE"],
        ["shop", "a1-lab-api-eth0", "a1", "api", "10.65.0.2", "tor2", "waiting"],
        ["shop", "a1-lab-web-eth0", "a1", "web", "10.65.0.1", "tor1", "up"],
    ]
    wide = world("get", "wep", "-o", "wide").out
    assert "role=web" in wide
    assert "interface tor2 is not on this host" in wide


def test_nodes_with_the_state_of_their_agents(world: Shell) -> None:
    now = time.time()
    report(world, kinds.node_status_key("a1"), state="ready", revision=3, time=now, endpoints=2)
    report(world, kinds.node_status_key("a2"), state="ready", revision=3, time=now - 7200)
    assert [words[-1] for words in world("get", "nodes").lines] == ["STATE", "ready", "silent"]
    assert "its agent was last heard 2 h ago" in world("get", "nodes", "-o", "wide").out


@pytest.mark.parametrize("kind", ["networkpolicies", "NetworkPolicy", "NP", "networkpolicy"])
def test_a_kind_has_many_names(world: Shell, kind: str) -> None:
    out = world("get", kind, "-o", "name").out
    assert out == "NetworkPolicy/bank/open\nNetworkPolicy/shop/open\n"


SELECTED = [
    (["np"], ["bank/open", "shop/open"]),
    (["np", "-A"], ["bank/open", "shop/open"]),
    (["np", "-n", "shop"], ["shop/open"]),
    (["np", "open"], ["bank/open", "shop/open"]),
    (["np", "-l", "team == 'risk'"], ["bank/open"]),
    (["np", "--selector", "has(team) && team != 'risk'"], ["shop/open"]),
    (["wep", "web"], ["shop/a1-lab-web-eth0"]),
    (["wep", "a1-lab-web-eth0", "api"], ["shop/a1-lab-api-eth0", "shop/a1-lab-web-eth0"]),
    (["wep", "-l", "projectcalico.org/namespace == 'shop' && role in {'api'}"],
     ["shop/a1-lab-api-eth0"]),
    (["node", "-l", "rack == 'r1'"], ["a1", "a2"]),
    (["np", "-n", "nowhere"], []),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "names"), SELECTED, ids=lambda value: " ".join(value))
def test_what_is_selected(world: Shell, arguments: list[str], names: list[str]) -> None:
    said = world("get", *arguments, "-o", "name")
    assert [line.partition("/")[2] for line in said.out.splitlines()] == names
    assert said.code == 0
    assert said.err == ("" if names else "no networkpolicies found\n")


def test_one_by_name_is_one_object_and_several_are_a_list(world: Shell) -> None:
    one = json.loads(world("get", "node", "a1", "-o", "json").out)
    assert (one["kind"], one["metadata"]["name"]) == ("Node", "a1")
    many = json.loads(world("get", "nodes", "-o", "json").out)
    assert (many["apiVersion"], many["kind"]) == ("v1", "List")
    assert [each["metadata"]["name"] for each in many["items"]] == ["a1", "a2"]


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_shown_can_be_applied(world: Shell, form: str) -> None:
    text = world("get", "wep", "-o", form).out
    assert len(load(text, "shown")) == 2
    said = world("apply", "-f", "-", stdin=text)
    assert [words[0] for words in said.lines] == ["unchanged", "unchanged"]


def test_a_wrong_name_suggests_the_nearest_and_the_rest_is_shown(world: Shell) -> None:
    said = world("get", "wep", "api", "webb", "-o", "name")
    assert (said.code, said.out) == (1, "WorkloadEndpoint/shop/a1-lab-api-eth0\n")
    assert said.err == 'error: there is no WorkloadEndpoint "webb"; did you mean web?\n'
    said = world("get", "wep", "web", "-n", "bank")
    assert "it is in shop: -n shop" in said.err


def test_every_kind_has_columns_that_lead_somewhere() -> None:
    assert COLUMNS.keys() == kinds.BY_NAME.keys()
    for name, cells in COLUMNS.items():
        for head, path in cells:
            if path.startswith("@") or (head, path) == WIDE:
                continue
            assert _leads(kinds.BY_NAME[name].type, path.split(".")), (name, path)


def _leads(type_: object, path: list[str]) -> bool:
    found = msgspec.inspect.type_info(type_)
    for step in path:
        options = found.types if isinstance(found, msgspec.inspect.UnionType) else [found]
        struct = next(each for each in options if isinstance(each, msgspec.inspect.StructType))
        fields = {each.name: each.type for each in struct.fields}
        if step not in fields:
            return False
        found = fields[step]
    return True


def test_an_example_of_each_column_that_is_made() -> None:
    text = (
        "apiVersion: v1\nkind: Namespace\n"
        "metadata: {name: x, annotations: {tortie.dev/default: open}}\n---\n"
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: x}\n"
        "spec: {nets: [10.0.0.0/8, 192.0.2.1]}\n---\n"
        "apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: x}\n"
        "spec: {ingress: [{action: Allow}], egress: [{action: Allow}, {action: Deny}]}\n---\n"
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: x}\n"
    )
    cells = [cells_of(each.resource) for each in load(text, "x")]
    assert [cells[0]["DEFAULT"], cells[1]["NETS"]] == ["open", "2"]
    assert [cells[2]["INGRESS"], cells[2]["EGRESS"]] == ["1", "2"]
    assert cells[3]["DEFAULT"] == "Deny"


def cells_of(resource: r.Resource) -> dict[str, str]:
    """What a wide table says of a resource, by heading."""
    row = Row(resource, Said())
    shown = columns(kinds.kind_of(resource))
    return {column.head: text_of(column.value(row)) for column in shown}


LABELS: Data = {
    "matchLabels": {"role": "db"},
    "matchExpressions": [
        {"key": "env", "operator": "In", "values": ["a", "b"]},
        {"key": "env", "operator": "NotIn", "values": ["c"]},
        {"key": "x", "operator": "Exists"},
        {"key": "y", "operator": "DoesNotExist"},
    ],
}
AS_TEXT = "role=db,env in (a,b),env notin (c),x,!y"
ALL: Data = {"namespaces": {}}
ADMIN = {"tier": "Admin", "priority": 7}
SHOWN = [
    # kind, spec, fields beside it, some of the cells
    ("KubernetesNetworkPolicy", {"podSelector": LABELS, "egress": [{}]}, {},
     {"PODS": AS_TEXT, "TYPES": "Ingress,Egress", "EGRESS": "1"}),
    ("KubernetesNetworkPolicy", {}, {}, {"PODS": "all", "TYPES": "Ingress", "INGRESS": "0"}),
    ("StagedKubernetesNetworkPolicy", {}, {}, {"ACTION": "Set", "PODS": "all"}),
    ("StagedNetworkPolicy", {"stagedAction": "Learn", "selector": "has(a)"}, {},
     {"ACTION": "Learn", "TIER": "default", "SELECTOR": "has(a)"}),
    ("StagedGlobalNetworkPolicy", {"namespaceSelector": "has(b)"}, {},
     {"ACTION": "Set", "NAMESPACES": "has(b)"}),
    ("ClusterNetworkPolicy", {**ADMIN, "subject": ALL}, {},
     {"TIER": "Admin", "PRIORITY": "7", "SUBJECT": "namespaces all", "INGRESS": "0"}),
    ("ClusterNetworkPolicy", {**ADMIN, "subject": {"pods": {"podSelector": LABELS}}}, {},
     {"SUBJECT": f"pods {AS_TEXT} of namespaces all"}),
    ("GlobalNetworkPolicy", {"doNotTrack": True, "applyOnForward": True}, {},
     {"UNTRACKED": "yes", "PRE-DNAT": "no", "FORWARD": "yes"}),
    ("Service", {"ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53,
     "protocol": "UDP"}], "clusterIP": "10.96.0.1", "selector": {"role": "web"}}, {},
     {"TYPE": "ClusterIP", "CLUSTER-IP": "10.96.0.1", "PORTS": "http:TCP:80,dns:UDP:53",
      "SELECTOR": "role=web"}),
    ("Service", {"ports": [{"port": 80}]}, {}, {"PORTS": "TCP:80", "CLUSTER-IP": "-"}),
    ("EndpointSlice", None, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]},
     {"addresses": ["10.0.0.2"]}], "ports": [{"name": "http", "port": 80}, {"protocol": "SCTP"}]},
     {"SERVICE": "web", "TYPE": "IPv4", "ENDPOINTS": "10.0.0.1,10.0.0.2",
      "PORTS": "http:TCP:80,SCTP:all"}),
    ("FelixConfiguration", {}, {},
     {"FIREWALL": "-", "TO-HOST": "-", "FAILSAFE-IN": "-", "PROTECTED": "-"}),
    ("FelixConfiguration", {"nftablesMode": "Enabled"}, {}, {"FIREWALL": "nftables"}),
    ("FelixConfiguration", {"nftablesMode": "Auto"}, {}, {"FIREWALL": "auto"}),
    ("FelixConfiguration", {"nftablesMode": "Disabled"}, {}, {"FIREWALL": "iptables"}),
    ("FelixConfiguration", {"nftablesMode": "Disabled", "iptablesBackend": "NFT"}, {},
     {"FIREWALL": "iptables-nft"}),
    ("FelixConfiguration", {"nftablesMode": "Disabled", "iptablesBackend": "Legacy"}, {},
     {"FIREWALL": "iptables-legacy"}),
    ("FelixConfiguration", {"failsafeInboundHostPorts": [{"port": 22, "net": "10.0.0.0/8"}],
     "failsafeOutboundHostPorts": [], "endpointToHostPorts": [{"protocol": "UDP", "port": 53}],
     "namespaceDefault": "open", "connectionRevocation": "Enabled", "maxConnectionsPerEndpoint": 0,
     "automaticHostEndpoints": "Enabled", "protectedNets": ["10.0.0.0/8"],
     "defaultEndpointToHostAction": "Accept"}, {},
     {"FAILSAFE-IN": "TCP:22 10.0.0.0/8", "FAILSAFE-OUT": "none", "HOST-PORTS": "UDP:53",
      "NAMESPACES": "open", "REVOKES": "Enabled", "CONNECTIONS": "0", "AUTO-HOSTS": "Enabled",
      "PROTECTED": "10.0.0.0/8", "TO-HOST": "Accept"}),
    ("BGPConfiguration", {"nodeMeshPassword": {"file": "mesh.key"}, "nodeMeshBFD": {},
     "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}], "serviceExternalIPs":
     [{"cidr": "192.0.2.0/24"}], "communities": [{"name": "a", "value": "1:2"}]}, {},
     {"SERVICES": "10.96.0.0/12,192.0.2.0/24", "PASSWORD": "file mesh.key", "BFD": "200ms*3",
      "COMMUNITIES": "a=1:2"}),
    ("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": 1, "filters": ["a", "b"], "maxPrefixes": 9,
     "password": {"secretKeyRef": {"name": "bgp", "key": "uplink"}}, "reachableBy": "10.1.0.1",
     "bfd": {"interval": "1s"}}, {},
     {"FILTERS": "a,b", "PASSWORD": "secret bgp/uplink", "BFD": "1s*3", "BY": "10.1.0.1",
      "MAX": "9"}),
    ("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": 1}, {}, {"PASSWORD": "-", "BFD": "-"}),
    ("BGPFilter", {"importV4": [{"action": "Reject"}], "exportV6": [{"action": "Accept"}] * 2}, {},
     {"IMPORT-V4": "1", "EXPORT-V4": "0", "IMPORT-V6": "0", "EXPORT-V6": "2"}),
    ("IPReservation", {"reservedCIDRs": ["10.0.0.1", "fd00::/120"]}, {},
     {"CIDRS": "2", "RESERVED": "10.0.0.1/32,fd00::/120"}),
    ("IPAMConfiguration", {"strictAffinity": True, "maxBlocksPerHost": 4, "ipCooldownSeconds": 0,
     "autoAllocateBlocks": False, "leakGracePeriod": "5m"}, {},
     {"STRICT": "yes", "MAX-BLOCKS": "4", "COOLDOWN": "0", "AUTO-BLOCKS": "no", "GRACE": "5m"}),
    ("IPPool", {"cidr": "10.0.0.0/16", "vxlanMode": "CrossSubnet", "natOutgoing": True}, {},
     {"VXLAN": "CrossSubnet", "NAT": "yes", "USES": "Workload,Tunnel", "MODE": "Automatic"}),
    ("Node", {"ipv4VXLANTunnelAddr": "10.65.0.1", "ipv6VXLANTunnelAddr": "fd00::1"}, {},
     {"TUNNEL": "10.65.0.1,fd00::1"}),
    ("Secret", None, {"stringData": {"b": "hunter2"}, "data": {"a": ""}},
     {"TYPE": "Opaque", "KEYS": "a,b"}),
    ("WorkloadEndpoint", {"node": "a1", "orchestrator": "lab", "workload": "web",
     "endpoint": "eth0", "interfaceName": "tor1", "ipNetworks": ["10.65.0.1"], "ipNATs":
     [{"internalIP": "10.65.0.1", "externalIP": "192.0.2.1"}]}, {},
     {"FLOATING": "192.0.2.1=10.65.0.1"}),
    ("HostEndpoint", {"node": "a1", "interfaceName": "*", "ports": [{"name": "ssh",
     "protocol": "TCP", "port": 22}]}, {}, {"INTERFACE": "*", "PORTS": "ssh:TCP:22"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "top", "cells"), SHOWN)
def test_what_a_table_says_of_a_resource(
    kind: str, spec: Data | None, top: Data, cells: dict[str, str]
) -> None:
    name = "default" if kind == "FelixConfiguration" else "x"
    labels = {"kubernetes.io/service-name": "web"} if kind == "EndpointSlice" else {}
    resource = normalise(make(kind, spec, name=name, top=top, labels=labels))
    shown = cells_of(resource)
    assert {head: shown[head] for head in cells} == cells


BOTH = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open, namespace: shop}
spec: {podSelector: {}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {tortie.dev/default: open}}
"""


def test_two_kinds_of_one_name_are_told_apart(world: Shell) -> None:
    said = world("apply", "-f", world.file(BOTH))
    assert said.out == "created Namespace/shop\ncreated KubernetesNetworkPolicy/shop/open\n"
    for kind in ("knp", "netpol", "networkpolicies.networking.k8s.io", "KubernetesNetworkPolicy"):
        assert world("get", kind, "-o", "name").out == "KubernetesNetworkPolicy/shop/open\n"
    assert "Kubernetes" not in world("get", "networkpolicies", "-o", "name").out
    text = world("get", "knp", "open", "-n", "shop", "-o", "yaml").out
    assert text.startswith("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n")
    assert world("apply", "-f", "-", stdin=text).lines[0][0] == "unchanged"
    assert world("delete", "-f", world.file(text, "mine.yaml")).code == 0
    assert world("get", "np", "open", "-n", "shop", "-o", "name").out != ""
    assert world("get", "knp", "-o", "name").out == ""


def test_an_endpoint_is_found_by_its_service_account() -> None:
    labels = labels_of(workload(serviceAccountName="teller"))
    assert labels["projectcalico.org/serviceaccount"] == "teller"
    assert "projectcalico.org/serviceaccount" not in labels_of(workload())


def test_what_another_writer_left_cannot_steer_the_terminal(world: Shell) -> None:
    value = (
        b'{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"x",'
        b'"labels":{"a":"\\u001b[2J\\nfake"}}}'
    )
    store = world.store()
    store.commit([Put(f"{kinds.WORLD}namespaces/x", value)])
    store.close()
    for form in ("wide", "json", "yaml", "name"):
        said = world("get", "ns", "-o", form)
        assert "\x1b" not in said.out
    assert len(world("get", "ns", "-o", "wide").out.splitlines()) == 2


# --- delete -------------------------------------------------------------------------------------


def test_deleted_by_name_in_its_namespace_only(world: Shell) -> None:
    said = world("delete", "networkpolicy", "open", "-n", "shop")
    assert (said.code, said.out) == (0, "deleted NetworkPolicy/shop/open\n")
    assert world("get", "np", "-o", "name").out == "NetworkPolicy/bank/open\n"


def test_without_a_namespace_only_the_default_one_is_meant(world: Shell) -> None:
    said = world("delete", "np", "open")
    assert (said.code, said.out) == (1, "")
    assert 'no NetworkPolicy "open" in namespace "default"; it is in bank, shop' in said.err


def test_a_workloads_endpoint_goes_by_its_workload(world: Shell) -> None:
    said = world("delete", "wep", "web", "-n", "shop")
    assert said.out == "deleted WorkloadEndpoint/shop/a1-lab-web-eth0\n"


def test_what_is_not_there(world: Shell) -> None:
    said = world("delete", "node", "a9", "a1")
    assert (said.code, said.out) == (1, "deleted Node/a1\n")
    assert 'there is no Node "a9"' in said.err
    said = world("delete", "node", "a9", "--ignore-not-found")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_a_file_is_deleted_in_the_order_that_works(world: Shell) -> None:
    path: Path = world.file(TIER, "tier.yaml")
    world("apply", "-f", path)
    said = world("delete", "tier", "security")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: Tier security is in use by NetworkPolicy security.block")
    said = world("delete", "-f", path)
    assert said.out == "deleted NetworkPolicy/shop/security.block\ndeleted Tier/security\n"
    assert world("delete", "-f", path).code == 1
    assert world("delete", "-f", path, "--ignore-not-found").code == 0


def test_what_tortie_needs_itself_stays(world: Shell) -> None:
    said = world("delete", "clusterinformation", "default")
    assert said.code == 1
    assert "in use by Tortie itself" in said.err


# --- secrets --------------------------------------------------------------------------------------

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: bgp, namespace: tortie-system}
stringData: {uplink: hunter2-hunter2, mesh: swordfish-swordfish}
"""
HELD = ("hunter2", "swordfish", "aHVudGVyMi1odW50ZXIy", "c3dvcmRmaXNo")


def silent(said: Ran) -> bool:
    return not any(held in said.out + said.err for held in HELD)


@pytest.mark.parametrize("form", ["table", "wide", "yaml", "json", "name"])
@pytest.mark.parametrize("names", [[], ["bgp"]])
def test_no_form_shows_what_a_secret_holds(world: Shell, form: str, names: list[str]) -> None:
    said = world("apply", "-f", "-", stdin=SECRET)
    assert said.out == "created Secret/tortie-system/bgp\n"
    said = world("get", "secrets", *names, "-o", form)
    assert silent(said)
    assert "bgp" in said.out
    if form != "name":
        assert "uplink" in said.out
    if form in ("yaml", "json"):
        assert said.out.count("(hidden)") == 2


def test_a_secret_that_is_shown_is_not_taken_back(world: Shell) -> None:
    world("apply", "-f", "-", stdin=SECRET)
    before = world.store().list("/").entries
    shown = world("get", "secret", "bgp", "-o", "yaml").out
    said = world("apply", "-f", "-", stdin=shown)
    assert said.code != 0
    assert "(hidden) is not the value; give the value itself" in said.err
    assert world.store().list("/").entries == before
    assert world("apply", "-f", "-", stdin=SECRET).lines[0][0] == "unchanged"


FAULTY = [
    "data: {uplink: hunter2}",
    "stringData: hunter2",
    "stringData: {a: [hunter2]}",
    "stringData: {uplink: hunter2}\ntype: {}",
    "stringData: {uplink: hunter2",
]


@pytest.mark.parametrize("wrong", FAULTY)
@pytest.mark.parametrize("verb", ["apply", "validate"])
def test_a_secret_with_a_fault_is_not_told(world: Shell, verb: str, wrong: str) -> None:
    head = SECRET.partition("stringData")[0]
    said = world(verb, "-f", "-", stdin=f"{head}{wrong}\n")
    assert said.code != 0
    assert silent(said)


PEER = """\
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 172.16.0.1, asNumber: 65001, password: {secretKeyRef: {name: bgp, key: uplink}}}
"""


def test_a_peer_whose_secret_is_not_there_is_taken_with_a_note(world: Shell) -> None:
    assert PASSWORDS_IN == NAMESPACES
    said = world("apply", "-f", "-", stdin=PEER)
    assert said.code == 0
    note = "note: BGPPeer rack waits for a Secret bgp with the key uplink"
    assert said.err.startswith(note)
    elsewhere = SECRET.replace("tortie-system", "shop")
    assert world("apply", "-f", "-", stdin=f"{PEER}---\n{elsewhere}").err.startswith(note)
    assert world("apply", "-f", "-", stdin=f"{PEER}---\n{SECRET}").err == ""
    optional = PEER.replace("key: uplink}", "key: none, optional: true}")
    assert world("apply", "-f", "-", stdin=optional).err == ""
