"""Whether a machine is fit for an agent."""

from __future__ import annotations

import gzip
import json
import platform
from pathlib import Path

import pytest

from tortie.errors import KernelError
from tortie.kernel.fitness import legacy_drops, look, modules, nft_drops


def states(root: Path) -> dict[str, tuple[str, str]]:
    return {each.name: (each.state, each.said) for each in modules(root)}


def test_modules_are_loaded_built_in_or_there_to_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "sys/module/nf_conntrack").mkdir(parents=True)
    directory = tmp_path / "lib/modules" / platform.release()
    directory.mkdir(parents=True)
    (directory / "modules.dep").write_text("kernel/net/netfilter/nf_tables.ko.xz: x.ko\n")
    (directory / "modules.builtin").write_text("kernel/drivers/net/veth.ko\n")
    assert states(tmp_path) == {
        "nf_tables": ("ok", "can be loaded"),
        "nf_conntrack": ("ok", "loaded"),
        "nfnetlink_log": ("warning", "for rules of action Log"),
        "veth": ("ok", "built in"),
        "vxlan": ("warning", "for pools with VXLAN"),
    }
    (directory / "modules.dep").write_text("")
    assert states(tmp_path)["nf_tables"] == ("missing", "for the firewall")


def test_the_kernels_configuration_tells_too(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    text = "CONFIG_NF_TABLES=m\nCONFIG_VETH=y\n# CONFIG_NF_CONNTRACK is not set\n"
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(text.encode()))
    found = states(tmp_path)
    assert (found["nf_tables"][1], found["veth"][1]) == ("can be loaded", "built in")
    assert found["nf_conntrack"][0] == "missing"


def test_a_kernel_that_tells_nothing_is_not_called_unfit(tmp_path: Path) -> None:
    assert {state for state, _ in states(tmp_path).values()} == {"warning"}


def chain(name: str, **more: str) -> dict[str, object]:
    return {"chain": {"family": "ip", "table": "filter", "name": name, "handle": 1, **more}}


def test_other_firewalls_that_drop_what_is_forwarded_are_named() -> None:
    drop = {"type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}
    listing = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            chain("FORWARD", **drop),
            chain("INPUT", **{**drop, "hook": "input"}),
            chain("OPEN", **{**drop, "policy": "accept"}),
            chain("DOCKER"),
            chain("own", **{**drop, "table": "tortie"}),
        ]
    }
    assert nft_drops(json.dumps(listing)) == ["nftables chain ip filter FORWARD"]
    assert nft_drops('{"nftables": []}') == []
    with pytest.raises(KernelError, match="cannot be read"):
        nft_drops("{")


def test_iptables_of_the_old_kind_too() -> None:
    assert legacy_drops("-P FORWARD DROP\n-A FORWARD -j X\n", "iptables-legacy")
    assert not legacy_drops("-P FORWARD ACCEPT\n-A FORWARD -j DROP\n", "iptables-legacy")


@pytest.mark.kernel
def test_a_machine_that_runs_these_tests_is_fit() -> None:
    assert [each for each in look() if each.state == "missing"] == []
