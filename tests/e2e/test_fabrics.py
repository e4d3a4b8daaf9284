"""A dozen fabrics as labs: the routing table of every host and router is what a plain model of BGP
says, with BIRD and FRR in the racks, GoBGP and ExaBGP beside the hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab_fabrics import differences, gobgp_differences, in_kernels
from lab_rig import running, unique, until

pytestmark = pytest.mark.lab

BOTH = "families: [4, 6]"
RACKS = "racks: [{name: ra, hosts: [a1, a2]}, {name: rb, hosts: [b1]}]"
THREE = "racks: [{name: ra, hosts: [a1]}, {name: rb, hosts: [b1]}, {name: rc, hosts: [c1]}]"
MIXED = "racks: [{name: ra, hosts: [a1, a2]}, {name: rb, hosts: [b1], router: frr}]"
ONE = "racks: [{name: ra, hosts: [a1, a2, a3, a4]}]"
LARGE = "racks: [{name: ra, hosts: [a1, a2, a3, a4, a5, a6, a7, a8]}]"
LIES = "0.0.0.0/0, 10.65.0.0/16, 10.64.0.0/10, 192.0.2.0/24, '::/0', '2001:db8:9::/64'"
GOOD = "198.51.100.0/24, '2001:db8:5::/64'"

FABRICS = {
    "two racks": (RACKS, ""),
    "two racks, both families": (RACKS, BOTH),
    "three racks, BFD": (THREE, f"{BOTH}, bfd: true"),
    "FRR in all racks": (THREE, f"{BOTH}, router: frr"),
    "FRR beside BIRD, BFD": (MIXED, f"{BOTH}, bfd: true"),
    "mesh": (ONE, f"{BOTH}, bgp: mesh"),
    "mesh of eight": (LARGE, f"{BOTH}, bgp: mesh, bfd: true"),
    "one reflector": (ONE, f"{BOTH}, bgp: reflectors, reflectors: [a1]"),
    "two reflectors": (ONE, f"{BOTH}, bgp: reflectors, reflectors: [a1, a2]"),
    "GoBGP beside the router": (
        RACKS,
        f"{BOTH}, speakers: [{{name: go, rack: ra, kind: gobgp, originate: [{GOOD}]}}]",
    ),
    "GoBGP as reflector": (
        ONE,
        f"{BOTH}, speakers: [{{name: rr, rack: ra, kind: gobgp, reflector: true}}]",
    ),
    "ExaBGP that lies": (
        RACKS,
        f"{BOTH}, speakers: [{{name: exa, rack: ra, kind: exabgp, originate: [{LIES}]}}]",
    ),
    "everybody": (
        MIXED,
        f"{BOTH}, store: etcd, speakers: [{{name: go, rack: ra, kind: gobgp, originate: [{GOOD}]}},"
        f" {{name: exa, rack: rb, kind: exabgp, originate: [{LIES}]}}]",
    ),
}


def text(racks: str, more: str) -> str:
    """A lab with a workload on each of its hosts, and a machine outside."""
    names = [each for each in ("a1", "a2", "a3", "b1", "c1") if each in racks]
    workloads = ", ".join(f"{{name: w-{each}, namespace: shop, host: {each}}}" for each in names)
    spec = ", ".join(each for each in (racks, more, f"workloads: [{workloads}]") if each)
    outside = ", outside: [internet]" if "bgp:" not in more else ""
    return (
        f"apiVersion: tortie.dev/v1\nkind: Lab\nmetadata: {{name: x}}\nspec: {{{spec}{outside}}}\n"
    )


@pytest.mark.parametrize("name", FABRICS)
def test_every_table_is_what_the_model_says(name: str, tmp_path: Path) -> None:
    with running(text(*FABRICS[name]), unique("fab"), tmp_path) as lab:
        assert until(lambda: not differences(lab), 30.0), differences(lab)
        assert until(lambda: not gobgp_differences(lab), 10.0), gobgp_differences(lab)
        assert sum(map(len, in_kernels(lab.lab.plan).values())) > 3, "a test of something"
