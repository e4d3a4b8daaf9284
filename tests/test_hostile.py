"""What users write into names, labels and annotations never reaches a script."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from tortie.bgp.render import render as render_bird
from tortie.calc import World, desired_for
from tortie.dataplane.nft.render import render as render_nft
from tortie.dataplane.nft.ruleset import script_full
from tortie.errors import InvalidInput
from tortie.model import manifest

HOSTILE = (
    'x"; add rule inet tortie base-input accept; #',
    "x'\n} chain evil { type filter hook forward priority -400; accept; }",
    "$(touch /tmp/owned)",
    "`reboot`",
    "a; protocol static { route 0.0.0.0/0 blackhole; }",
    "x { } flush ruleset",
    "\u202eevil",
    "a\x00b",
    "../../etc/passwd",
    "-rf",
    "%s%n{}",
)

OBJECTS = {
    "Node": {"bgp": {"ipv4Address": "172.16.1.2/24", "asNumber": 65001}},
    "IPPool": {"cidr": "10.65.0.0/16"},
    "Tier": {"order": 10},
    "NetworkPolicy": {"selector": "all()", "ingress": [{"action": "Log"}, {"action": "Allow"}]},
    "GlobalNetworkPolicy": {"selector": "all()", "egress": [{"action": "Allow"}]},
    "NetworkSet": {"nets": ["192.0.2.0/24"]},
    "BGPPeer": {
        "peerIP": "172.16.1.1",
        "asNumber": 65001,
        "filters": ["thing"],
        "reachableBy": "172.16.1.9",
        "password": {"file": "uplink.key"},
    },
    "BGPFilter": {
        "exportV4": [
            {
                "action": "Accept",
                "cidr": "10.0.0.0/8",
                "matchOperator": "In",
                "interface": "eth*",
                "communities": {"values": ["65001:1"]},
                "operations": [{"addCommunity": {"value": "65001:2:3"}}],
            }
        ]
    },
    "BGPConfiguration": {
        "ignoredInterfaces": ["docker*"],
        "communities": [{"name": "mine", "value": "65001:1"}],
        "prefixAdvertisements": [{"cidr": "10.65.0.0/16", "communities": ["mine"]}],
        "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
        "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}},
        "nodeMeshBFD": {"interval": "200ms"},
    },
    "IPReservation": {"reservedCIDRs": ["10.65.0.7"]},
    "FelixConfiguration": {"natOutgoingAddress": "192.0.2.1", "natPortRange": "1024:2047"},
    "WorkloadEndpoint": {
        "node": "a1",
        "orchestrator": "tortie",
        "workload": "web",
        "endpoint": "eth0",
        "interfaceName": "tor1",
        "ipNetworks": ["10.65.0.1/32"],
    },
}
NAMES = {
    "Node": "a1",
    "WorkloadEndpoint": "a1-tortie-web-eth0",
    "BGPConfiguration": "default",
    "FelixConfiguration": "default",
}


def document(kind: str, **metadata: object) -> dict[str, object]:
    name = NAMES.get(kind, "thing")
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": OBJECTS[kind],
    }


def load(*documents: dict[str, object]) -> list[manifest.Loaded]:
    return manifest.load(yaml.safe_dump_all(documents), "hostile.yaml")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", OBJECTS)
def test_no_name_is_hostile(kind, text):
    with pytest.raises(InvalidInput) as refused:
        load(document(kind, name=text))
    assert all("\n" not in str(problem) for problem in refused.value.problems)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_no_label_is_hostile(where, text):
    with pytest.raises(InvalidInput):
        load(document("WorkloadEndpoint", **{where: {text: "value"}}))
    if where == "labels":
        with pytest.raises(InvalidInput):
            load(document("WorkloadEndpoint", labels={"key": text}))


@pytest.mark.parametrize("text", HOSTILE)
def test_annotations_stay_where_they_are(text):
    loaded = load(*(document(kind, annotations={"note": text}) for kind in OBJECTS))
    assert all(each.resource.metadata.annotations["note"] == text for each in loaded)
    world = World.of(each.resource for each in loaded)
    desired = desired_for(world, "a1", secrets={"uplink.key": "rose"})
    assert len(desired.filter.endpoints) == 1
    assert desired.bgp is not None
    assert len(desired.bgp.peers) == len(desired.bgp.filters) == 1
    scripts = (
        script_full(render_nft(desired.filter)),
        render_bird(desired.bgp, "a1", Path("/run/tortie/bird")),
    )
    for script in scripts:
        assert text not in script
        assert "evil" not in script
        assert "owned" not in script


@pytest.mark.parametrize("text", HOSTILE)
def test_selectors_are_compared_and_not_pasted(text):
    quoted = f'role == "{text}"' if '"' not in text else f"role == '{text}'"
    policy = document("NetworkPolicy")
    policy["spec"] = {
        "selector": "all()",
        "ingress": [{"action": "Allow", "source": {"selector": quoted}}],
    }
    try:
        loaded = load(document("WorkloadEndpoint"), policy)
    except InvalidInput:
        return
    desired = desired_for(World.of(each.resource for each in loaded), "a1")
    assert text not in script_full(render_nft(desired.filter))


TEXTS = [
    # Kind, and the path of a text that could reach BIRD's configuration or a rule set
    ("BGPFilter", "exportV4", 0, "cidr"),
    ("BGPFilter", "exportV4", 0, "interface"),
    ("BGPFilter", "exportV4", 0, "communities", "values", 0),
    ("BGPFilter", "exportV4", 0, "operations", 0, "addCommunity", "value"),
    ("BGPPeer", "peerIP"),
    ("BGPPeer", "filters", 0),
    ("BGPPeer", "reachableBy"),
    ("BGPPeer", "password", "file"),
    ("BGPConfiguration", "ignoredInterfaces", 0),
    ("BGPConfiguration", "communities", 0, "name"),
    ("BGPConfiguration", "communities", 0, "value"),
    ("BGPConfiguration", "prefixAdvertisements", 0, "cidr"),
    ("BGPConfiguration", "prefixAdvertisements", 0, "communities", 0),
    ("BGPConfiguration", "serviceClusterIPs", 0, "cidr"),
    ("BGPConfiguration", "nodeMeshPassword", "secretKeyRef", "name"),
    ("BGPConfiguration", "nodeMeshPassword", "secretKeyRef", "key"),
    ("BGPConfiguration", "nodeMeshBFD", "interval"),
    ("IPReservation", "reservedCIDRs", 0),
    ("FelixConfiguration", "natOutgoingAddress"),
    ("FelixConfiguration", "natPortRange"),
]


# A name may end in "-rf"; a pattern or a file may be called so.
@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "-rf"])
@pytest.mark.parametrize("place", TEXTS, ids=lambda place: ".".join(map(str, place)))
def test_no_text_of_bgp_and_addresses_is_hostile(place, text):
    kind, *steps, last = place
    made = copy.deepcopy(document(kind))
    load(made)
    inner = made["spec"]
    for step in steps:
        inner = inner[step]
    # Alone, and after what is right.
    right = inner[last]
    for value in (text, f"{right}{text}"):
        inner[last] = value
        with pytest.raises(InvalidInput) as refused:
            load(made)
        assert all("\n" not in str(problem) for problem in refused.value.problems)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_password_is_a_password_and_nothing_else(text):
    """A Secret may hold anything; what no password can be leaves the session out."""
    peer = document("BGPPeer")
    peer["spec"] = {
        **OBJECTS["BGPPeer"],
        "password": {"secretKeyRef": {"name": "bgp", "key": "uplink"}},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bgp", "namespace": "tortie-system"},
        "stringData": {"uplink": text},
    }
    loaded = load(document("Node"), document("BGPFilter"), peer, secret)
    desired = desired_for(World.of(each.resource for each in loaded), "a1")
    assert desired.bgp is not None
    assert text not in repr(desired)
    script = render_bird(desired.bgp, "a1", Path("/run/tortie/bird"))
    if any(mark in text for mark in "\"'\\\n\x00\u202e"):
        assert [name for name, _ in desired.bgp.withheld] == ["thing"]
        assert text not in script
    else:
        assert len(desired.bgp.peers) == 1
        assert script.count(text) == script.count(f'"{text}"') == 1
