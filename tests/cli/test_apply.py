"""apply and validate: all of a file or nothing; waiting until hosts enforce it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from cli_files import ENDPOINT, NODE, POLICY, POOL, TIER, WORLD
from cli_rig import Shell

from tortie.cli import enforced, where
from tortie.model import kinds
from tortie.store.base import Put, Store


def test_what_was_done_is_told_for_each(tortie: Shell) -> None:
    path = tortie.file(NODE % ("a1", 11) + POLICY % ("open", "shop", "payments"))
    said = tortie("apply", "-f", path)
    assert said.out == "created Node/a1\ncreated NetworkPolicy/shop/open\n"
    assert "a new store is made" in said.err
    tortie.file(NODE % ("a1", 12) + POLICY % ("open", "shop", "payments"))
    said = tortie("apply", "-f", path)
    assert said.out == "configured Node/a1\nunchanged NetworkPolicy/shop/open\n"
    assert (said.code, said.err) == (0, "")


def test_directories_several_files_and_standard_input(tortie: Shell) -> None:
    tortie.file(NODE % ("a1", 11), "dir/a.yaml")
    tortie.file(NODE % ("a2", 12), "dir/deep/b.yml")
    tortie.file(
        '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}', "dir/c.json"
    )
    tortie.file("this is none", "dir/notes.txt")
    one = tortie.file(POOL, "pool.yaml")
    said = tortie(
        "apply", "-f", tortie.directory / "dir", "-f", one, "-f", "-", stdin=NODE % ("a3", 13)
    )
    assert said.code == 0
    assert sorted(words[1] for words in said.lines) == [
        "IPPool/pool", "Namespace/x", "Node/a1", "Node/a2", "Node/a3",
    ]  # fmt: skip


BAD = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: bad, namespace: shop}
spec:
  selecter: all()
  ingress:
  - {action: Alow}
"""


@pytest.mark.parametrize("command", ["apply", "validate"])
def test_every_problem_of_every_file_is_told_and_nothing_applied(
    tortie: Shell, command: str
) -> None:
    good = tortie.file(NODE % ("a1", 11), "good.yaml")
    bad = tortie.file(BAD, "bad.yaml")
    torn = tortie.file(BAD + "---\nkind: [\n", "torn.yaml")
    said = tortie(command, "-f", good, "-f", bad, "-f", torn)
    assert (said.code, said.out) == (1, "")
    told = said.err.splitlines()
    for path in (bad, torn):
        assert any(
            line.startswith(f"{path}:5: spec.selecter: ") and "did you mean selector?" in line
            for line in told
        )
        assert any(line.startswith(f"{path}:7: spec.ingress[0].action: ") for line in told)
    assert any(line.startswith(f"{torn}:") and "this is not YAML" in line for line in told)
    assert len(told) == 5
    assert tortie("get", "nodes").code == 1  # there is not even a store


def test_one_resource_in_two_files_is_refused(tortie: Shell) -> None:
    one, two = tortie.file(POOL, "one.yaml"), tortie.file(POOL, "two.yaml")
    said = tortie("validate", "-f", one, "-f", two)
    assert said.code == 1
    assert f'{two}:3: metadata.name: IPPool "pool" is there twice, first at {one}:1' in said.err


def test_what_the_store_says_against_it_names_the_line(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file(WORLD))
    pool = POOL.replace("name: pool", "name: other")
    said = tortie("apply", "-f", tortie.file(pool, "pool.yaml"))
    path = tortie.directory / "pool.yaml"
    assert said.err == (
        f"{path}:4: spec.cidr: 10.65.0.0/16 overlaps with pool pool (10.65.0.0/16);"
        " pools must not overlap\n"
    )
    assert said.code == 1


def test_validate_needs_no_store(tortie: Shell) -> None:
    said = tortie("validate", "-f", tortie.file(WORLD + TIER))
    assert (said.code, said.out, said.err) == (0, "9 resources are valid\n", "")
    # What is not in the file may be in the store.
    assert tortie("validate", "-f", tortie.file(ENDPOINT % ("w", "w", "w", 1, 1))).code == 0
    assert not list(tortie.directory.glob("*.db"))


def test_files_with_nothing_in_them_are_a_mistake(tortie: Shell) -> None:
    said = tortie("apply", "-f", tortie.file("# nothing\n"))
    assert said.code == 1
    assert "there are no resources in" in said.err


def test_the_default_store_makes_its_directory(
    tortie: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORTIE_STORE")
    monkeypatch.setattr(where, "DEFAULT_STORE", f"sqlite://{tortie.directory}/lib/x/store.db")
    assert tortie("apply", "-f", tortie.file(POOL)).code == 0
    assert tortie("get", "ippools", "-o", "name").out == "IPPool/pool\n"
    said = tortie(
        "--store", f"sqlite://{tortie.directory}/none/s.db", "apply", "-f", "-", stdin=POOL
    )
    assert (said.code, said.out) == (1, "")
    assert "see that the directory exists" in said.err


def test_more_than_a_transaction_is_said_not_to_be_atomic(tortie: Shell) -> None:
    text = "".join(POLICY % (f"p{number}", "shop", "x") for number in range(130))
    said = tortie("apply", "-f", tortie.file(text))
    assert said.code == 0
    assert "2 transactions, so it was not atomic" in said.err


@pytest.mark.parametrize(
    "text",
    [
        'metadata: {name: "x\\n; flush ruleset"}',
        'metadata: {name: "$(reboot)"}',
        'metadata: {name: x, labels: {"a\\u001b[2J": b}}',
        'metadata: {name: x, labels: {a: "\'; drop"}}',
    ],
)
def test_hostile_names_are_refused_in_one_printable_line(tortie: Shell, text: str) -> None:
    said = tortie("apply", "-f", tortie.file(f"apiVersion: v1\nkind: Namespace\n{text}\n"))
    assert (said.code, said.out) == (1, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.rstrip("\n").isprintable()


# --- waiting ------------------------------------------------------------------------------------


def report(store: Store, node: str, state: str, age: float = 0.0, reason: str = "") -> None:
    """What an agent says of itself, `age` seconds ago."""
    said = {"state": state, "reason": reason, "revision": 1, "time": time.time() - age}
    store.commit([Put(kinds.node_status_key(node), msgspec.json.encode(said))])


@contextmanager
def answering(tortie: Shell, *nodes: str) -> Iterator[None]:
    """Hosts that confirm every barrier."""
    started, done = threading.Event(), threading.Event()

    def answer() -> None:
        store = tortie.store()
        barriers = f"{kinds.WORLD}barriers/"
        watch = store.watch(barriers, store.list(barriers).revision)
        started.set()
        while not done.is_set():
            changes = watch.next(0.05)
            for event in changes.events if changes else ():
                if event.entry is None:
                    continue
                for node in nodes:
                    receipt = kinds.Receipt(node, event.entry.revision, time.time())
                    key = kinds.receipt_key(event.key.rpartition("/")[2], node)
                    store.commit([Put(key, msgspec.json.encode(receipt))])
        watch.close()
        store.close()

    thread = threading.Thread(target=answer)
    thread.start()
    started.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def hosts(tortie: Shell) -> Iterator[Store]:
    """A store with the hosts a1 and a2, whose agents are ready."""
    tortie("apply", "-f", tortie.file(NODE % ("a1", 11) + NODE % ("a2", 12), "nodes.yaml"))
    store = tortie.store()
    report(store, "a1", "ready")
    report(store, "a2", "ready")
    yield store
    store.close()


def waited(tortie: Shell, timeout: float = 10.0) -> tuple[int, str, str]:
    path = tortie.file(POLICY % ("open", "shop", "payments"))
    said = tortie("apply", "-f", path, "--wait", "--timeout", timeout)
    return said.code, said.out.splitlines()[-1], said.err


def test_enforced_on_all_hosts(tortie: Shell, hosts: Store) -> None:
    with answering(tortie, "a1", "a2"):
        code, last, err = waited(tortie)
    assert (code, err) == (0, "")
    assert last.startswith("enforced on 2/2 hosts, p50 ")
    assert last.endswith((", slowest a1", ", slowest a2"))
    left = hosts.list(kinds.RECEIPTS).entries + hosts.list(f"{kinds.WORLD}barriers/").entries
    assert left == ()


def test_a_host_that_does_not_answer_in_time_is_named(tortie: Shell, hosts: Store) -> None:
    with answering(tortie, "a1"):
        code, last, err = waited(tortie, 0.3)
    assert code == 1
    assert last.startswith("enforced on 1/2 hosts, ")
    assert "error: a2 does not enforce it yet: no answer within 0.3 s" in err


def test_a_host_that_holds_is_not_waited_for_but_counts(tortie: Shell, hosts: Store) -> None:
    report(hosts, "a2", "holding", reason="the store is another one")
    with answering(tortie, "a1"):
        code, last, err = waited(tortie)
    assert (code, last[:24]) == (1, "enforced on 1/2 hosts, p")
    assert "a2 does not enforce it yet: its agent is holding: the store is another one" in err


def test_a_host_without_a_live_agent_is_noted(tortie: Shell, hosts: Store) -> None:
    report(hosts, "a2", "ready", age=3600)
    with answering(tortie, "a1"):
        code, last, err = waited(tortie)
    assert code == 0
    assert last.startswith("enforced on 1/1 hosts")
    assert err == "note: no live agent, so not waited for: a2\n"


def test_with_no_live_agent_nothing_is_enforced(tortie: Shell) -> None:
    code, last, err = waited(tortie)
    assert (code, last) == (1, "created NetworkPolicy/shop/open")
    assert "no host has a live agent" in err


def test_percentiles_are_nearest_rank() -> None:
    times = [0.001 * number for number in range(1, 101)]
    assert enforced.percentile(times, 50) == times[49]
    assert enforced.percentile(times, 99) == times[98]
    assert enforced.percentile([0.5], 50) == enforced.percentile([0.5], 99) == 0.5
    took = {"a1": 0.004, "a2": -0.001, "b1": 0.008, "b2": 0.012}
    assert enforced.summary(took, 4) == "enforced on 4/4 hosts, p50 4 ms, p99 12 ms, slowest b2"


# --- notes --------------------------------------------------------------------------------------

PODS = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: %s}
spec: {podSelector: {}}
"""
SPACE = """\
---
apiVersion: v1
kind: Namespace
metadata: {name: %s, annotations: {tortie.dev/default: %s}}
"""
BARE_SPACE = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
SETTINGS = """\
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {namespaceDefault: %s}
"""
CLUSTER = """\
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: quiet}
spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}
"""
HOST_ENDPOINT = """\
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: eth0}
spec: {node: a1, interfaceName: eth0}
"""

NOTED = {
    # what is there before, what is applied, what a note says (nothing: there is none)
    "no Namespace": ("", PODS % "shop", "shop has Kubernetes' policies and is tenant"),
    "a Namespace that says nothing": ("", PODS % "shop" + BARE_SPACE % "shop", "is tenant"),
    "an isolated one": (SPACE % ("shop", "isolated"), PODS % "shop", "shop has Kub"),
    "an open one": (SPACE % ("shop", "open"), PODS % "shop", ""),
    "open to come": (PODS % "shop", SPACE % ("shop", "open"), ""),
    "closed to come": (PODS % "shop", SPACE % ("shop", "tenant"), "annotate it tortie.dev/default"),
    "another's": (PODS % "shop", SPACE % ("bank", "tenant"), ""),
    "all are open": (SETTINGS % "open", PODS % "shop", ""),
    "all are closed": (SETTINGS % "isolated", PODS % "shop", "is isolated"),
    "all but it are open": (
        SETTINGS % "open" + SPACE % ("shop", "tenant"), PODS % "shop", "is tenant",
    ),
    "all are closed later": (SETTINGS % "open" + PODS % "shop", SETTINGS % "tenant", "is tenant"),
    "for the cluster": (BARE_SPACE % "shop", CLUSTER, "not open as in Kubernetes (shop): "),
    "for the cluster, no Namespace": ("", CLUSTER, "(those that say nothing are tenant)"),
    "for the cluster, all open": (SETTINGS % "open" + BARE_SPACE % "shop", CLUSTER, ""),
    "nothing of Kubernetes": ("", POLICY % ("open", "shop", "x") + BARE_SPACE % "shop", ""),
    "a host": (NODE % ("a1", 11), HOST_ENDPOINT, ""),
}  # fmt: skip


@pytest.mark.parametrize(("before", "given", "says"), NOTED.values(), ids=NOTED)
def test_a_namespace_that_is_not_as_in_kubernetes_is_noted(
    tortie: Shell, before: str, given: str, says: str
) -> None:
    tortie("apply", "-f", tortie.file(before or POOL, "before.yaml"))
    said = tortie("apply", "-f", tortie.file(given))
    assert said.code == 0
    if says:
        (line,) = said.err.splitlines()
        assert line.startswith("note: ")
        assert says in line
    else:
        assert said.err == ""


HOST = """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: a1-eth0}
spec: {node: a1, interfaceName: eth0, profiles: [%s]}
"""
PROFILE = "---\napiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: quiet}\n"


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        (HOST % "quiet", True),
        (HOST % "quiet" + PROFILE, False),
        (HOST % "projectcalico-default-allow", False),
        (HOST % "", False),
    ],
)
def test_a_profile_that_does_not_exist_is_noted(tortie: Shell, given: str, noted: bool) -> None:
    tortie("apply", "-f", tortie.file(NODE % ("a1", 11), "before.yaml"))
    said = tortie("apply", "-f", tortie.file(given))
    assert said.code == 0
    note = "note: HostEndpoint a1-eth0 lists a profile that does not exist (quiet): what its"
    assert said.err.startswith(note) if noted else said.err == ""


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        (PODS % "shop", False),  # its Namespace may be in the store, and open
        (PODS % "shop" + BARE_SPACE % "shop", True),
        (PODS % "shop" + SPACE % ("shop", "open"), False),
        (CLUSTER, False),
        (CLUSTER + SPACE % ("shop", "tenant"), True),
    ],
)
def test_files_alone_are_noted_as_far_as_they_tell(tortie: Shell, given: str, noted: bool) -> None:
    said = tortie("validate", "-f", tortie.file(given))
    assert said.code == 0
    assert ("note: " in said.err) is noted


def test_what_cannot_be_read_in_the_store_keeps_no_note_back(tortie: Shell) -> None:
    tortie("apply", "-f", tortie.file(POOL))
    store = tortie.store()
    store.commit([Put(f"{kinds.WORLD}namespaces/broken", b"{")])
    store.close()
    said = tortie("apply", "-f", tortie.file(PODS % "shop"))
    assert said.code == 0
    assert "shop has Kubernetes' policies" in said.err
