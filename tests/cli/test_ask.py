"""`tortie can` and `tortie why`: the word, the exit code, the steps, the data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml
from cli_rig import Said, Shell
from json_schema import faults, printed
from worlds import workload

from tortie.explain.answer import Answer
from tortie.explain.oracle import REASONS
from tortie.lab import plan, spec, state
from tortie.model import kinds
from tortie.store.base import Put

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/explain.md"
SCHEMA = msgspec.json.schema(Answer)

RESOURCES = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a1}
spec: {bgp: {ipv4Address: 172.16.1.2/24, ipv6Address: 'fd16::2/64'}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a2}
spec: {bgp: {ipv4Address: 172.16.1.3/24}}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: a1-lab-web-eth0, namespace: shop, labels: {role: web}}
spec: {node: a1, orchestrator: lab, workload: web, endpoint: eth0, interfaceName: tor1,
       ipNetworks: [10.65.0.1/32, 'fd65::1/128']}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: a2-lab-db-eth0, namespace: shop, labels: {role: db}}
spec: {node: a2, orchestrator: lab, workload: db, endpoint: eth0, interfaceName: tor2,
       ipNetworks: [10.65.0.2/32, 'fd65::2/128'], ports: [{name: sql, protocol: TCP, port: 5432}]}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: a2-lab-api-eth0, namespace: shop, labels: {role: api}}
spec: {node: a2, orchestrator: lab, workload: api, endpoint: eth0, interfaceName: tor3,
       ipNetworks: [10.65.0.3/32]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: role == 'db'
  types: [Ingress]
  ingress:
  - action: Allow
    protocol: TCP
    metadata: {annotations: {name: from the api}}
    source: {selector: role == 'api'}
    destination: {ports: [sql]}
  - {action: Deny, source: {nets: ['fd65::/64']}}
  - {action: Allow, protocol: ICMP, source: {nets: [10.65.0.0/16]}}
"""

# SRC, DST, PROTO/PORT, exit code, what the second line says
ASKED = [
    ("api", "db", "tcp/5432", 0, "shop/api to shop/db, tcp/5432: NetworkPolicy/shop/db rule 0"),
    ("api", "db", "tcp/sql", 0, "tier default (ingress of shop/db)"),
    ("shop/web", "shop/db", "tcp/5432", 1, "shop/web to shop/db, tcp/5432: no policy of tier"),
    ("web", "api", "tcp/80", 0, "shop/web to shop/api, tcp/80: the default of namespace shop"),
    ("web", "a1", "tcp/22", 1, "shop/web to a1, tcp/22: "),
    ("a1", "web", "tcp/22", 0, "a1 to shop/web, tcp/22: "),
    ("outside", "api", "udp/53", 1, "outside (198.51.100.9) to shop/api, udp/53: "),
    ("api", "outside", "47", 0, "shop/api to outside (198.51.100.9), 47: "),
    ("8.8.8.8", "10.65.0.3", "tcp/1", 1, "8.8.8.8 to shop/api, tcp/1: "),
    ("10.65.0.1", "fd65::2", "tcp/1", 1, "shop/web to shop/db, tcp/1: "),
]
# SRC, DST, PROTO/PORT, what standard error says
UNASKED = [
    ("wbe", "db", "tcp/1", 'error: nothing is called "wbe"; did you mean web?'),
    ("web", "shop/dbb", "tcp/1", 'error: nothing is called "shop/dbb"; did you mean shop/db?'),
    ("web", "db", "tpc/1", 'error: "tpc" is no protocol; did you mean tcp?'),
    ("web", "db", "tcp", 'error: "tcp" names no port'),
    ("web", "db", "tcp/sq", 'error: shop/db names no tcp port "sq"; did you mean sql?'),
]


@pytest.fixture
def stocked(tortie: Shell) -> Shell:
    assert tortie("apply", "-f", tortie.file(RESOURCES)).code == 0
    return tortie


@pytest.mark.parametrize(("source", "destination", "what", "code", "says"), ASKED)
def test_the_word_comes_first_and_the_exit_code_says_it(
    stocked: Shell, source: str, destination: str, what: str, code: int, says: str
) -> None:
    said = stocked("can", source, destination, what)
    word, line, *more = said.out.splitlines()
    assert (said.code, word, said.err) == (code, "DENIED" if code else "ALLOWED", "")
    assert line.startswith(says) or line.endswith(says)
    assert all(each.startswith(("ALLOWED ", "DENIED ")) for each in more)


@pytest.mark.parametrize("command", ["can", "why"])
@pytest.mark.parametrize(("source", "destination", "what", "says"), UNASKED)
def test_what_cannot_be_answered_exits_2(
    stocked: Shell, command: str, source: str, destination: str, what: str, says: str
) -> None:
    said = stocked(command, source, destination, what)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(says)


def test_a_store_that_is_away_is_no_denial(tortie: Shell) -> None:
    said = tortie("can", "web", "db", "tcp/80")
    assert (said.code, said.out) == (2, "")
    assert "there is no store" in said.err


def test_files_that_are_wrong_are_no_denial(tortie: Shell) -> None:
    said = tortie("can", "web", "db", "tcp/80", "-f", tortie.file("kind: Nod"))
    assert (said.code, said.out) == (2, "")
    assert "file.yaml:1" in said.err


def test_families_that_differ_are_both_told(stocked: Shell) -> None:
    said = stocked("can", "web", "db", "icmp")
    first, second, four, six = said.out.splitlines()
    assert (said.code, first) == (1, "DENIED")
    assert second == "shop/web to shop/db, icmp: not all packets alike"
    assert four.startswith("ALLOWED 10.65.0.1 to 10.65.0.2: NetworkPolicy/shop/db rule 2")
    assert six.startswith("DENIED  fd65::1 to fd65::2: NetworkPolicy/shop/db rule 1")


def test_each_step_on_both_ends_is_told(stocked: Shell) -> None:
    said = stocked("why", "api", "db", "tcp/5432")
    assert said.out.startswith("ALLOWED\nshop/api to shop/db, tcp/5432: ")
    head, *rows = [re.split(r"  +", line) for line in said.out.splitlines()[3:]]
    assert head == ["EVALUATION", "TIER", "POLICY", "RULE", "ACTION", "WHY"]
    assert rows[0][:5] == ["egress of shop/api", "-", "Namespace/shop", "-", "allow"]
    assert rows[1][:4] == ["ingress of shop/db", "default", "NetworkPolicy/shop/db",
                           "0 from the api"]  # fmt: skip
    assert rows[1][4] == "allow"


def test_the_nearest_miss_says_what_did_not_match(stocked: Shell) -> None:
    said = stocked("why", "api", "db", "tcp/80")
    missed = next(line for line in said.out.splitlines() if "no match" in line)
    assert "NetworkPolicy/shop/db  0 from the api  no match" in missed
    assert missed.endswith("nearest miss (allow): destination port 80 is not sql")


def test_a_policy_without_rules_is_said_to_have_none(stocked: Shell) -> None:
    silent = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        "metadata: {name: deny, namespace: shop}\nspec: {podSelector: {}}\n"
    )
    assert stocked("apply", "-f", stocked.file(silent, "deny.yaml")).code == 0
    row = next(line for line in stocked("why", "web", "api", "tcp/1").out.splitlines()
               if "no match" in line)  # fmt: skip
    assert row.endswith("no match  KubernetesNetworkPolicy/shop/deny has no ingress rules")


UNTRACKED = """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: a1-eth0, labels: {role: host}}
spec: {node: a1, interfaceName: eth0, expectedIPs: [172.16.1.2],
       profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: untracked}
spec:
  selector: role == 'host'
  doNotTrack: true
  applyOnForward: true
  ingress: [{action: Allow, protocol: UDP, destination: {ports: [7000]}}]
  egress: [{action: %s, protocol: UDP, source: {ports: [7000]}}]
"""


@pytest.mark.parametrize(("replies", "code"), [("Allow", 0), ("Deny", 1)])
def test_what_is_not_tracked_needs_a_rule_for_its_replies(
    tortie: Shell, replies: str, code: int
) -> None:
    path = tortie.file(RESOURCES + "---\n" + UNTRACKED % replies)
    said = tortie("can", "-f", path, "8.8.8.8", "a1", "udp/7000", "-o", "json")
    there, back = _data(said, code)["judged"]
    assert (there["verdict"], there["reason"], there["reply"]) == ("ALLOWED", "untracked", False)
    assert (back["verdict"], back["reason"], back["reply"]) == (
        "DENIED" if code else "ALLOWED", "untracked", True
    )  # fmt: skip
    if code:
        lines = tortie("can", "-f", path, "8.8.8.8", "a1", "udp/7000").out.splitlines()
        assert lines[3].startswith("DENIED  172.16.1.2 to 8.8.8.8 port 40000, the reply: ")


def test_a_host_endpoint_speaks_for_its_host(tortie: Shell) -> None:
    path = tortie.file(RESOURCES + "---\n" + UNTRACKED % "Allow")
    for destination in ("a1", "a1-eth0", "172.16.1.2"):
        said = tortie("why", "-f", path, "outside", destination, "tcp/22")
        assert said.code == 0
        assert "HostEndpoint a1-eth0" in said.out
        assert "port 22 is a failsafe port" in said.out


def test_every_denial_has_a_name(stocked: Shell) -> None:
    for source, destination, what, code, _ in ASKED:
        for each in _data(stocked("why", source, destination, what, "-o", "json"), code)["judged"]:
            assert each["by"]
            assert each["reason"] in REASONS


def test_wide_tells_addresses_and_every_steps_words(stocked: Shell) -> None:
    said = stocked("why", "api", "db", "tcp/5432", "-o", "wide")
    assert "shop/api (10.65.0.3) to shop/db (10.65.0.2)" in said.out
    assert "rule 0 of NetworkPolicy/shop/db: Allow" in said.out


# --- data -------------------------------------------------------------------------------------


def _data(said: Said, code: int) -> dict:
    assert (said.code, said.err) == (code, "")
    return json.loads(said.out)


@pytest.mark.parametrize("command", ["can", "why"])
@pytest.mark.parametrize(("source", "destination", "what", "code", "_"), ASKED)
def test_json_keeps_to_the_schema(
    stocked: Shell, command: str, source: str, destination: str, what: str, code: int, _: str
) -> None:
    data = _data(stocked(command, source, destination, what, "-o", "json"), code)
    assert list(faults(data, SCHEMA, SCHEMA)) == []
    assert data["verdict"] == ("DENIED" if code else "ALLOWED")
    assert data["what"] == what


def test_the_schema_refuses_what_is_no_answer(stocked: Shell) -> None:
    data = _data(stocked("why", "api", "db", "icmp", "-o", "json"), 0)
    wrong = {**data, "verdict": "MAYBE", "extra": 1, "what": None}
    wrong["judged"] = [{**data["judged"][0], "icmp": {"type": 8}, "port": "x"}]
    found = "\n".join(faults(wrong, SCHEMA, SCHEMA))
    for part in ("'MAYBE' is not one of", "extra is unknown", "what: None", "icmp", "port"):
        assert part in found


def test_yaml_says_the_same_as_json(stocked: Shell) -> None:
    found = [stocked("why", "api", "db", "tcp/80", "-o", form).out for form in ("json", "yaml")]
    assert json.loads(found[0]) == yaml.safe_load(found[1])


def _shown(what: str) -> str:
    return DOCUMENT.read_text().partition(f"<!-- {what} -->\n")[2].partition("<!-- /")[0]


def test_the_document_shows_the_schema() -> None:
    assert _shown("schema") == f"```json\n{printed(SCHEMA)}\n```\n"


def test_the_document_shows_what_is_printed(tortie: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = re.findall(r"```\n\$ tortie (.*)\n((?:.*\n)*?)```", DOCUMENT.read_text())
    assert [command.split()[0] for command, _ in shown] == ["can", "why"]
    assert [tortie(*command.split()).out for command, _ in shown] == [text for _, text in shown]


def test_the_document_has_every_reason() -> None:
    rows = (f"| `{code}` | {text} |" for code, text in REASONS.items())
    assert _shown("reasons") == "\n".join(("| code | says |", "|---|---|", *rows, ""))


# --- files, colours ---------------------------------------------------------------------------


def test_files_need_no_store(tortie: Shell) -> None:
    path = tortie.file(RESOURCES)
    assert tortie("can", "-f", path, "api", "db", "tcp/5432").code == 0
    assert tortie("can", "-f", path, "outside", "db", "tcp/5432").code == 1
    assert not (tortie.directory / "store.db").exists()


def test_a_labs_file_has_its_hosts_and_workloads(tortie: Shell) -> None:
    lab = ("-f", ROOT / "examples/two-tenants.yaml")
    more = ("-f", ROOT / "examples/db-only-api.yaml")
    for asked, code in (
        (("web-1", "database", "tcp/5432", *lab), 0),
        (("web-1", "database", "tcp/5432", *lab, *more), 1),
        (("api-1", "database", "tcp/5432", *lab, *more), 0),
        (("internet", "shop/web-1", "tcp/80", *lab), 0),
        (("internet", "bank/teller", "tcp/443", *lab), 1),
        (("shop/web-1", "a1", "tcp/179", *lab), 1),
    ):
        assert tortie("can", *asked).code == code, asked


def test_in_a_running_lab_its_machines_have_names(stocked: Shell) -> None:
    read = spec.load((ROOT / "examples/two-tenants.yaml").read_bytes(), "lab")
    where = state.directory("two-tenants")
    where.mkdir()
    record = state.first_record(plan.make(read.lab), where)
    assert stocked("can", "internet", "web", "tcp/80").code == 2
    state.write(where, msgspec.structs.replace(record, outer_store_url=stocked.url))
    said = stocked("can", "internet", "web", "tcp/80")
    assert said.out.startswith("DENIED\ninternet to shop/web, tcp/80: ")


def test_an_endpoint_that_cannot_be_read_is_left_out_and_anything_else_refused(
    stocked: Shell,
) -> None:
    store = stocked.store()
    store.commit([Put("/tortie/v1/world/workloadendpoints/a1/shop/x", b"{}")])
    said = stocked("can", "web", "api", "tcp/80")
    assert (said.code, said.err.split(" cannot")[0].split("/")[-1]) == (0, "x")
    store.commit([Put("/tortie/v1/world/networkpolicies/shop/x", b"{}")])
    said = stocked("can", "web", "api", "tcp/80")
    assert (said.code, said.out) == (2, "")
    store.close()


def test_an_endpoint_whose_address_was_anothers_first_is_left_out(stocked: Shell) -> None:
    store = stocked.store()
    late = workload("shop/late", "10.65.0.1", on="a1", labels={"role": "api"})
    store.commit([Put(kinds.key(late), kinds.encode(late))])
    store.close()
    said = stocked("can", "late", "db", "tcp/5432")
    assert said.code == 2
    assert "a1-tortie-late-eth0 is refused by its host: 10.65.0.1/32 belongs to " in said.err
    assert stocked("can", "web", "db", "tcp/5432").code == 1, "no rights by the other's labels"


@pytest.mark.parametrize(("tty", "no_colour", "word"), [
    (True, "", "\x1b[31m\x1b[1mDENIED\x1b[0m"),
    (True, "1", "DENIED"),
    (False, "", "DENIED"),
])  # fmt: skip
def test_colours_are_for_people_who_want_them(
    monkeypatch: pytest.MonkeyPatch, tty: bool, no_colour: str, word: str
) -> None:
    import sys

    from tortie.cli.output import verdict

    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert verdict(False) == word
