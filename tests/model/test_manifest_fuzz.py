"""Manifests under generated text and data: only resources or InvalidInput, and faithful writing."""

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.errors import InvalidInput
from tortie.model import kinds, manifest

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        [
            "010",
            "0x10",
            "1:20",
            "1_000",
            "2024-01-01",
            "yes",
            "on",
            ".inf",
            "1e999",
            "1e5",
            "true",
            "null",
            "~",
            "",
            "-",
            "a: b",
            "# x",
            "<<",
            "*a",
            "7",
        ]
    ),
)
DATA = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(),
              st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(TEXTS, DATA, min_size=1, max_size=3), max_size=3))
def test_what_is_written_is_read_back_the_same(data: list[dict[str, object]]) -> None:
    text = manifest.to_yaml(data)
    assert [one.data for one in manifest.documents(text, "f.yaml")] == data
    for ours, theirs in zip(data, yaml.safe_load_all(text), strict=True):
        assert json.dumps(ours) == json.dumps(theirs)


# --- fuzz --------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["apiVersion: projectcalico.org/v3\n", "kind: NetworkPolicy\n", "kind: IPPool\n",
     "apiVersion: networking.k8s.io/v1\n", "kind: FelixConfiguration\n", "  vxlanVNI: 7\n",
     "  podSelector: {}\n", "kind: NetworkPolicyList\n",
     "kind: List\n", "metadata: {name: x}\n", "metadata:\n  name: ", "spec:\n", "spec: ",
     "  ingress:\n",
     "  - action: Allow\n", "  cidr: 10.0.0.0/8\n", "items: ", "- ", "  ", "&a ", "*a ", "<<: ",
     "!!int ", "!x ", "? ", ": ", "[", "]", "{", "}", ",", "\n", "---\n", "...\n", "|\n", ">\n",
     "'", '"', "#", "%YAML 1.1\n", "010", "1e999", "yes", "null", "\t", "\x00", "\x85", "\ud800",
     "\\ud83d", "é", "$(x)", "; flush ruleset", "9" * 30]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=16).map("".join), st.text(max_size=40), st.binary()))
def test_any_text_is_resources_or_invalid_input(text: str | bytes) -> None:
    try:
        manifest.load(text, "f.yaml")
    except InvalidInput as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)


RULE = {
    "action": "Allow",
    "protocol": "TCP",
    "source": {"selector": "role == 'api'", "nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"]},
    "destination": {"ports": [80, "8000:8100", "http"], "namespaceSelector": "all()"},
}
POLICY = {
    "tier": "default",
    "order": 1,
    "selector": "all()",
    "types": ["Ingress"],
    "ingress": [RULE],
    "egress": [{"action": "Deny", "protocol": 1, "icmp": {"type": 8}}],
}
ENDPOINT = {
    "node": "a1",
    "orchestrator": "k8s",
    "pod": "web",
    "endpoint": "eth0",
    "interfaceName": "tor1",
    "ipNetworks": ["10.0.0.1/32"],
    "mac": "ee:ee:00:00:00:01",
    "profiles": ["kns.shop"],
    "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
    "ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "192.0.2.1"}],
}
LABELS = {
    "matchLabels": {"role": "web"},
    "matchExpressions": [
        {"key": "env", "operator": "In", "values": ["a", "b"]},
        {"key": "env", "operator": "Exists"},
    ],
}
PODS = {
    "podSelector": LABELS,
    "policyTypes": ["Ingress"],
    "ingress": [
        {
            "from": [
                {"podSelector": LABELS, "namespaceSelector": {}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            ],
            "ports": [{"protocol": "UDP", "port": 53, "endPort": 60}, {"port": "http"}],
        }
    ],
}
VALID: dict[str, dict[str, object]] = {
    "NetworkPolicy": POLICY,
    "GlobalNetworkPolicy": {**POLICY, "preDNAT": False},
    "Profile": {"ingress": [RULE], "labelsToApply": {"pcns.team": "web"}},
    "Tier": {"order": 7, "defaultAction": "Pass"},
    "NetworkSet": {"nets": ["10.0.0.1", "fd00::/8"]},
    "WorkloadEndpoint": ENDPOINT,
    "HostEndpoint": {"node": "a1", "interfaceName": "eth0", "expectedIPs": ["10.0.0.1"]},
    "IPPool": {"cidr": "10.0.0.0/16", "blockSize": 26, "nodeSelector": "all()",
               "vxlanMode": "CrossSubnet", "natOutgoing": True},
    "Node": {"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": 65001},
             "ipv4VXLANTunnelAddr": "10.65.0.1", "vxlanTunnelMACAddr": "66:00:00:00:00:01"},
    "BGPConfiguration": {
        "asNumber": 64512, "nodeToNodeMeshEnabled": True,
        "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}},
        "nodeMeshBFD": {"interval": "1s", "multiplier": 5},
        "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}], "ignoredInterfaces": ["docker*"],
        "communities": [{"name": "mine", "value": "65001:7"}],
        "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["mine", "1:2:3"]}],
    },
    "BGPPeer": {
        "peerIP": "10.0.0.1:179", "asNumber": 65001, "node": "a1", "filters": ["guard"],
        "password": {"file": "uplink.key"}, "reachableBy": "10.0.1.1", "maxPrefixes": 50,
        "bfd": {"interval": "100ms"},
    },
    "BGPFilter": {
        "importV4": [
            {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In",
             "prefixLength": {"min": 16, "max": 24}, "source": "RemotePeers", "interface": "eth*",
             "peerType": "eBGP", "communities": {"values": ["65001:7"]}, "asPathPrefix": [65001],
             "priority": 1024,
             "operations": [{"addCommunity": {"value": "65001:7:8"}},
                            {"prependASPath": {"prefix": [65001]}},
                            {"setPriority": {"value": 512}}]},
            {"action": "Reject"},
        ],
        "exportV6": [{"action": "Reject", "cidr": "fd00::/8", "matchOperator": "NotEqual"}],
    },
    "IPReservation": {"reservedCIDRs": ["10.0.0.1", "fd00::/120"]},
    "IPAMConfiguration": {
        "strictAffinity": True, "maxBlocksPerHost": 4, "autoAllocateBlocks": False,
        "ipCooldownSeconds": 30, "leakGracePeriod": "5m",
    },
    "Secret": {},
    "Namespace": {"finalizers": ["kubernetes"]},
    "KubernetesNetworkPolicy": PODS,
    "StagedNetworkPolicy": {**POLICY, "stagedAction": "Set"},
    "StagedGlobalNetworkPolicy": {"stagedAction": "Delete", "tier": "default"},
    "StagedKubernetesNetworkPolicy": {**PODS, "stagedAction": "Learn"},
    "ClusterNetworkPolicy": {
        "tier": "Admin",
        "priority": 10,
        "subject": {"pods": {"namespaceSelector": LABELS, "podSelector": {}}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": LABELS}]}],
        "egress": [
            {
                "action": "Accept",
                "to": [{"nodes": {}}, {"networks": ["10.0.0.0/8"]}],
                "protocols": [{"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}],
            },
            {"action": "Pass", "to": [{"pods": {}}], "protocols": [{"destinationNamedPort": "a"}]},
        ],
    },
    "Service": {
        "type": "LoadBalancer",
        "selector": {"role": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}],
        "clusterIP": "10.96.0.1",
        "externalIPs": ["192.0.2.1"],
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}},
    },
    "EndpointSlice": {},
    "FelixConfiguration": {
        "nftablesMode": "Disabled",
        "iptablesBackend": "NFT",
        "failsafeInboundHostPorts": [{"port": 22, "protocol": "TCP", "net": "10.0.0.0/8"}],
        "endpointToHostPorts": [],
        "protectedNets": ["10.0.0.0/8"],
        "maxConnectionsPerEndpoint": 7,
        "vxlanPort": 4789,
        "natOutgoingAddress": "10.0.0.1-10.0.0.4",
        "natPortRange": "1024:2047",
        "floatingIPs": "Disabled",
    },
}  # fmt: skip
# What some kinds have beside metadata and spec.
TOPS: dict[str, dict[str, object]] = {
    "Secret": {"type": "Opaque", "data": {"key": "aHVudGVyMg=="}, "immutable": False},
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "a1", "zone": "z",
                       "hostname": "h", "conditions": {"ready": True}, "targetRef": {"a": "b"}}],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
    },
}  # fmt: skip
NAMES = {
    "WorkloadEndpoint": "a1-k8s-web-eth0",
    "BGPConfiguration": "default",
    "FelixConfiguration": "default",
    "IPAMConfiguration": "default",
}
HOSTILE = ['"; flush ruleset; #', "'; reboot; '", "$(reboot)", "a\nb", "}", "a b", "\x00", "../x"]
ODDITIES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.sampled_from([*HOSTILE, "Allow", "TCP", "10.0.0.0/8", "fd00::1", "all()", "80:90", [], {}]),
    st.dictionaries(st.sampled_from(["name", "x;y", "nets", "a/b"]), st.text(max_size=3)),
)  # fmt: skip


def slots(data: object) -> list[tuple[dict[str, object] | list[object], str | int]]:
    """Every place in the data that holds a value."""
    items: list[tuple[str | int, object]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data))
    here = [(data, key) for key, _ in items]
    return here + [slot for _, value in items for slot in slots(value)]  # type: ignore[return-value]


def rules_of(kept: dict[str, object]) -> list[dict[str, object]]:
    """The rules of a ClusterNetworkPolicy; none of another kind."""
    spec = kept.get("spec")
    if kept["kind"] != "ClusterNetworkPolicy" or not isinstance(spec, dict):
        return []
    return [*spec.get("ingress", ()), *spec.get("egress", ())]


def test_every_kind_that_people_write_is_made_odd() -> None:
    assert VALID.keys() >= {kind.name for kind in kinds.KINDS if not kind.internal} - {
        "GlobalNetworkSet"  # as NetworkSet
    }


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(VALID)), st.lists(ODDITIES, max_size=2), st.data())
def test_a_valid_object_made_odd_is_a_resource_or_invalid_input(
    kind: str, odd: list[object], choose: st.DataObject
) -> None:
    about = {"name": NAMES.get(kind, "x"), "labels": {"a": "b"}, "annotations": {"c": "d"}}
    row = kinds.BY_NAME[kind]
    data = {
        "apiVersion": row.api_version,
        "kind": row.word,
        "metadata": about,
        **TOPS.get(kind, {}),
    }
    if VALID[kind]:
        data["spec"] = VALID[kind]
    data = json.loads(json.dumps(data))
    for value in odd:
        place, key = choose.draw(st.sampled_from(slots(data)))
        place[key] = value  # type: ignore[call-overload,index]
    try:
        (loaded,) = manifest.load(json.dumps(data), "f.json")
    except InvalidInput as error:
        assert odd
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)
        return
    # Only annotations and the names of a ClusterNetworkPolicy's rules, which are for people, may
    # say what means something to a shell, nft or BIRD.
    kept = manifest.plain(loaded.resource)
    for rule in rules_of(kept):
        rule.pop("name", None)
    named = kept["metadata"]
    assert isinstance(named, dict)
    named.pop("annotations", None)
    assert not any(text in json.dumps(kept) for text in map(json.dumps, HOSTILE))
    if kind == "Secret":
        assert "aHVudGVy" not in json.dumps(kept)
        return  # it is not shown, so it cannot be read back
    again = manifest.to_yaml([manifest.plain(loaded.resource)])
    assert manifest.load(again, "f.yaml")[0].resource == loaded.resource
