"""Labs come and go: side by side, half-built, half-dead; and the machine's own network stays."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from lab_rig import TORTIE, remains, running, tortie, unique, until

from tortie.kernel import process

pytestmark = pytest.mark.lab

SMALL = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: small}
spec:
  racks: [{name: rack-a, hosts: [a1]}, {name: rack-b, hosts: [b1]}]
  workloads:
  - {name: one, host: a1, serve: [tcp/80]}
  - {name: two, host: b1, serve: [tcp/80]}
"""
NO_SUCH_ADDRESS = SMALL.replace("serve: [tcp/80]}", "addresses: [192.168.7.7]}", 1)


# These are no settings: they count, or are secret.
_COUNTING = {"nf_conntrack_count", "stable_secret"}


def root_network() -> dict[str, str]:
    """The machine's own network, as far as anything of ours could change it."""
    commands = [
        ["ip", "-o", "link"], ["ip", "-o", "address"], ["ip", "rule"], ["ip", "-6", "rule"],
        ["ip", "route", "show", "table", "all"], ["ip", "-6", "route", "show", "table", "all"],
        ["ip", "neigh", "show", "nud", "permanent"], ["nft", "list", "ruleset"],
    ]  # fmt: skip
    found = {" ".join(words): process.run(words).stdout for words in commands}
    for pattern in ("ipv[46]/*", "ipv[46]/conf/*/*", "ipv[46]/neigh/*/*", "netfilter/*"):
        for path in Path("/proc/sys/net").glob(pattern):
            if path.is_file() and path.stat().st_mode & 0o444 and path.name not in _COUNTING:
                found[str(path)] = path.read_text()
    return found


def test_two_labs_stand_side_by_side_and_leave_the_machine_as_it_was(tmp_path: Path) -> None:
    before = root_network()
    with running(SMALL, unique("left"), tmp_path) as left:
        with running(SMALL, unique("right"), tmp_path) as right:
            assert root_network() == before
            for lab in (left, right):
                assert [one.connected for one in lab.probe()] == [True, True]
            done = tortie("lab", "probe", check=False)
            assert done.returncode == 1
            assert "--lab NAME or TORTIE_LAB" in done.stderr
        assert [one.connected for one in left.probe()] == [True, True]
        assert remains(right.name) == []
    assert remains(left.name) == []
    assert root_network() == before


def test_a_lab_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    name = unique("fails")
    file = tmp_path / "fails.yaml"
    file.write_text(NO_SUCH_ADDRESS)
    done = tortie("lab", "up", str(file), "--name", name, check=False)
    assert done.returncode == 1
    assert "workload default/one cannot be attached to a1" in done.stderr
    assert remains(name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["namespaces", "agents", "workloads"])
def test_a_lab_interrupted_half_way_leaves_nothing_behind(
    step: str, number: signal.Signals, tmp_path: Path
) -> None:
    name = unique(f"int-{step[:2]}")
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL)
    with subprocess.Popen(
        [*TORTIE, "lab", "up", str(file), "--name", name], stderr=subprocess.PIPE, text=True
    ) as up:
        assert up.stderr is not None
        while step not in up.stderr.readline():
            assert up.poll() is None
        up.send_signal(number)
        assert up.wait(timeout=30) != 0
    assert until(lambda: remains(name) == [], 2.0), remains(name)


def test_an_invalid_file_builds_nothing(tmp_path: Path) -> None:
    name = unique("invalid")
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL + "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n"
                    "metadata: {name: p, namespace: default}\nspec: {tier: nowhere}\n")  # fmt: skip
    done = tortie("lab", "up", str(file), "--name", name, check=False)
    assert done.returncode == 1
    assert f"{file}:" in done.stderr
    assert "nowhere" in done.stderr
    assert remains(name) == []


def test_a_namespace_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    name = unique("taken")
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL)
    process.run(["ip", "netns", "add", f"tortie-{name}-b1"])
    try:
        done = tortie("lab", "up", str(file), "--name", name, check=False)
        assert done.returncode == 1
        assert f"tortie-{name}-b1 is there already" in done.stderr
        assert remains(name) == [f"tortie-{name}-b1"]
    finally:
        process.run(["ip", "netns", "delete", f"tortie-{name}-b1"])


def test_a_lab_whose_supervisor_was_killed_goes_down_all_the_same(tmp_path: Path) -> None:
    name = unique("headless")
    with running(SMALL, name, tmp_path) as lab:
        os.kill(int(lab.lab.supervisor.partition(":")[0]), signal.SIGKILL)
        said = tortie("lab", "status", lab=name).stdout
        assert f"lab {name}: broken" in said
        tortie("lab", "down", name)
        assert until(lambda: remains(name) == [], 2.0), remains(name)


def test_going_down_twice_is_no_error(tmp_path: Path) -> None:
    name = unique("twice")
    with running(SMALL, name, tmp_path):
        assert tortie("lab", "down", name).stdout == f"lab {name} is gone\n"
        assert "nothing to do" in tortie("lab", "down", name).stdout


def test_a_lab_whose_record_is_lost_goes_down_by_its_name(tmp_path: Path) -> None:
    name = unique("lost")
    with running(SMALL, name, tmp_path) as lab, running(SMALL, f"{name}-2", tmp_path) as other:
        (lab.lab.directory / "lab.json").unlink()
        tortie("lab", "down", name)
        assert [each for each in remains(name) if f"{name}-2" not in each] == []
        assert [one.connected for one in other.probe()] == [True, True]


def test_a_command_inside_the_lab_ends_with_it(tmp_path: Path) -> None:
    name = unique("inside")
    with running(SMALL, name, tmp_path):
        command = [*TORTIE, "lab", "exec", "--lab", name, "one", "--", "sleep", "60"]
        with subprocess.Popen(command) as held:
            assert until(lambda: any("sleep" in each for each in commands_in(name)))
            tortie("lab", "down", name)
            assert held.wait(timeout=10) == 128 + signal.SIGTERM


def commands_in(name: str) -> list[str]:
    """What runs in the namespace of workload one."""
    space = f"tortie-{name}-default.one"
    pids = process.run(["ip", "netns", "pids", space]).stdout.split()
    return [Path("/proc", pid, "cmdline").read_bytes().decode() for pid in pids]
