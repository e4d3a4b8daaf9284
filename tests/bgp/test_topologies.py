"""What BIRD is told on the hosts of every fabric in the table: golden, and accepted by BIRD.

TORTIE_GOLDEN=write writes the golden files anew; what changed is then to be read in the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fabrics import TABLE
from topologies import Topology

from tortie import desired as d
from tortie.bgp.render import render
from tortie.calc import World, desired_for
from tortie.kernel import process

GOLDEN = Path(__file__).parent / "golden" / "topologies"
RUN_DIR = Path("/run/tortie/bird")
CASES = [(name, host) for name, given in TABLE.items() for host in given.hosts]


def told(given: Topology, host: str) -> d.Bgp:
    found = desired_for(World.of(given.resources), host, secrets=given.secrets).bgp
    assert found is not None
    return found


def text(name: str, host: str) -> str:
    """What BIRD is told, and above it who is left out."""
    bgp = told(TABLE[name], host)
    withheld = "".join(f"# left out: {peer}: {why}\n" for peer, why in bgp.withheld)
    return withheld + render(bgp, host, RUN_DIR)


def test_the_table_is_large() -> None:
    assert len(TABLE) >= 60


@pytest.mark.parametrize(("name", "host"), CASES)
def test_the_text_is_the_golden_one(name: str, host: str) -> None:
    file = GOLDEN / f"{name}.{host}.conf"
    if os.environ.get("TORTIE_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text(name, host))
    assert text(name, host) == file.read_text()


def test_no_golden_file_is_left_over() -> None:
    names = {f"{name}.{host}.conf" for name, host in CASES}
    assert {each.name for each in GOLDEN.iterdir()} == names


SAME = (
    {"alone", "mesh-off"},
    {"reflectors-of-one-cluster", "reflectors-for-all-and-each-other"},
    {"peer-of-one-node", "peer-of-some-nodes"},
    {"peer-asked-for-twice", "password-that-is-optional", "filter-without-rules"},
    {"next-hop-keep", "next-hop-kept-the-old-way"},
    {"reservations-change-nothing", "block-not-yet-confirmed"},
    {"service-ranges", "service-nobody-ready"},
)
"""Asked for in different ways, these come to the same."""


def test_each_fabric_shows_something_of_its_own() -> None:
    seen: dict[str, set[str]] = {}
    for name, given in TABLE.items():
        seen.setdefault("".join(text(name, host) for host in given.hosts), set()).add(name)
    assert sorted(map(sorted, (each for each in seen.values() if len(each) > 1))) == sorted(
        map(sorted, SAME)
    )


@pytest.mark.parametrize("part", range(4))
def test_bird_accepts_them_all(part: int, tmp_path: Path) -> None:
    """In parts, so that one that hangs is found."""
    for name, host in CASES[part::4]:
        file = tmp_path / "bird.conf"
        file.write_text(text(name, host))
        done = process.run(["bird", "-p", "-c", str(file)], check=False)
        assert done.returncode == 0, f"{name} on {host}: {done.stderr}"


def test_no_password_is_in_what_is_shown() -> None:
    for name in ("password-of-a-secret", "password-of-a-file", "mesh-password-of-a-secret"):
        bgp = told(TABLE[name], "n1")
        assert any(peer.password for peer in bgp.peers)
        assert "only" not in repr(bgp)
