"""The same tenants behind each dataplane, and a switch in a lab that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_rig import RunningLab, running, tenants, tenants_verdict, unique, until

pytestmark = pytest.mark.lab

FELIX = (
    "{{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {{name: default}},"
    " spec: {{nftablesMode: {mode}, iptablesBackend: {backend}}}}}"
)
WAY = [
    ("Disabled", "NFT", "iptables-nft"),
    ("Disabled", "Legacy", "iptables-legacy"),
    ("Enabled", "Auto", "nft"),
]


def in_force(lab: RunningLab) -> set[str]:
    """The dataplanes that the agents say they use."""
    said = json.loads(lab.tortie("node", "status", "-o", "json").stdout)
    return {each["dataplane"] for each in said}


def ruled_by(lab: RunningLab, host: str) -> set[str]:
    """The dataplanes that have rules of ours on a host."""
    commands = {
        "nft": ["nft", "list", "tables"],
        "iptables-nft": ["iptables-nft-save"],
        "iptables-legacy": ["iptables-legacy-save"],
    }
    words = {"nft": "inet tortie"}
    return {
        name
        for name, command in commands.items()
        if words.get(name, "tor-forward") in lab.exec(host, *command)
    }


def wrong(lab: RunningLab) -> list[str]:
    """The pairs that are not as a reader of the file expects."""
    return [
        str(each)
        for each in lab.probe()
        if each.connected
        != tenants_verdict(each.source, each.destination, each.protocol, each.port)
    ]


def file_of(dataplane: str) -> str:
    return tenants("sqlite").replace("store: sqlite", f"store: sqlite\n  dataplane: {dataplane}")


@pytest.mark.parametrize("dataplane", ["iptables-nft", "iptables-legacy"])
def test_tenants_are_apart_behind_iptables(dataplane: str, tmp_path: Path) -> None:
    with running(file_of(dataplane), unique("ipt"), tmp_path) as lab:
        assert in_force(lab) == {dataplane}
        assert wrong(lab) == []
        assert ruled_by(lab, "a1") == {dataplane}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    with running(tenants("sqlite"), unique("switch"), tmp_path) as made:
        yield made


def test_a_running_lab_is_switched_by_a_resource(lab: RunningLab) -> None:
    assert in_force(lab) == {"nft"}
    for mode, backend, name in WAY:
        lab.tortie("apply", "-f", "-", stdin=FELIX.format(mode=mode, backend=backend))
        assert until(lambda name=name: in_force(lab) == {name})
        assert wrong(lab) == []
        assert [ruled_by(lab, host) for host in ("a1", "a2", "b1", "b2")] == [{name}] * 4
