"""What users write into names, labels and annotations never reaches a script."""

from __future__ import annotations

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
    "BGPPeer": {"peerIP": "172.16.1.1", "asNumber": 65001},
    "WorkloadEndpoint": {
        "node": "a1",
        "orchestrator": "tortie",
        "workload": "web",
        "endpoint": "eth0",
        "interfaceName": "tor1",
        "ipNetworks": ["10.65.0.1/32"],
    },
}
NAMES = {"Node": "a1", "WorkloadEndpoint": "a1-tortie-web-eth0"}


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
    desired = desired_for(World.of(each.resource for each in loaded), "a1")
    assert len(desired.filter.endpoints) == 1
    assert desired.bgp is not None
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
