"""Files of resources: what is read, what is refused and where, and what is written."""

import json

import pytest

from tortie.errors import InvalidInput
from tortie.model import manifest
from tortie.model import resources as r

TWO = """\
# Two tenants.
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
---
# Nothing here.
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: db-only
  namespace: shop
spec:
  selector: role == 'db'
  ingress:
  - action: Allow
    protocol: tcp
    source: {selector: role == 'api', nets: [10.0.0.7/8]}
    destination: {ports: [5432]}
"""


def problems(text: str | bytes) -> list[tuple[int, str, str]]:
    """Line, path and the whole of every problem of a file."""
    with pytest.raises(InvalidInput) as caught:
        manifest.load(text, "f.yaml")
    found = caught.value.problems
    assert all(problem.file == "f.yaml" and "\n" not in str(problem) for problem in found)
    return [(problem.line, problem.path, str(problem)) for problem in found]


def places(text: str) -> list[tuple[int, str]]:
    return [(line, path) for line, path, _ in problems(text)]


def test_a_file_of_documents_is_read_with_lines() -> None:
    namespace, policy = manifest.load(TWO, "f.yaml")
    assert (namespace.file, namespace.line, policy.line) == ("f.yaml", 2, 9)
    assert isinstance(policy.resource, r.NetworkPolicy)
    entity = policy.resource.spec.ingress[0].source
    assert entity == r.EntityRule(selector="role == 'api'", nets=["10.0.0.0/8"])
    assert policy.resource.spec.types == ["Ingress"]


@pytest.mark.parametrize("text", ["", "# comment\n", "---\n", "---\n...\n---\n# x\n", "null\n"])
def test_a_file_of_nothing_is_fine(text: str) -> None:
    assert manifest.load(text, "f.yaml") == []


def test_json_is_read_too() -> None:
    note = "a\\ud83d\U0001f600/\t"
    about = {"name": "shop", "annotations": {"note": note}}
    data = {"apiVersion": "v1", "kind": "Namespace", "metadata": about}
    for text in (json.dumps(data), json.dumps(data, indent="\t")):
        (loaded,) = manifest.load(text, "f.json")
        assert loaded.resource.metadata.annotations == {"note": note}


def test_bytes_are_utf8() -> None:
    text = "\ufeff" + TWO
    assert len(manifest.load(text.encode(), "f.yaml")) == 2
    assert [(line, path) for line, path, _ in problems(b"a: b\nc: \xff")] == [(2, "")]


TIER = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: x}\nspec: {order: %s}\n"
NAMED = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: %s}\n"

# What YAML 1.1 would misread as another type stays text: fine as a name, refused as a number.
WORDS = ["010", "0x10", "0o10", "1:20", "1_000", "+1", "2024-01-01", "yes", "on", "n", ".inf",
         "-.inf", ".nan", "1e999", "=", "0b1"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_no_word_is_misread_as_a_number(word: str) -> None:
    ((line, path, text),) = problems(TIER % word)
    assert (line, path) == (4, "spec.order")
    assert f'"{word}" is not a number' in text


@pytest.mark.parametrize("word", ["010", "yes", "on", "no", "2024-01-01"])
def test_such_a_word_is_a_fine_name(word: str) -> None:
    (loaded,) = manifest.load(NAMED % word, "f.yaml")
    assert loaded.resource.metadata.name == word


@pytest.mark.parametrize(
    ("word", "number"),
    [("0", 0), ("-7", -7), ("1.5", 1.5), ("1e3", 1000), (".5", 0.5), ("!!float 1", 1)],
)
def test_numbers_are_numbers(word: str, number: float) -> None:
    (loaded,) = manifest.load(TIER % word, "f.yaml")
    assert isinstance(loaded.resource, r.Tier)
    assert loaded.resource.spec.order == number


@pytest.mark.parametrize("word", ["true", "True", "7", "1.5", "null", "~", "[a]", "{a: b}"])
def test_what_is_no_text_is_no_name(word: str) -> None:
    assert places(NAMED % word) == [(3, "metadata.name")]


POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: x}\nspec:\n"
BOOLEAN = POOL + "  cidr: 10.0.0.0/16\n  disabled: %s\n"


@pytest.mark.parametrize("word", ["yes", "on", "Y", "'true'", "1", "tRUE"])
def test_only_true_and_false_are_booleans(word: str) -> None:
    ((line, path, text),) = problems(BOOLEAN % word)
    assert (line, path) == (6, "spec.disabled")
    assert "true or false" in text


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "!!bool true"])
def test_true_is_true(word: str) -> None:
    (loaded,) = manifest.load(BOOLEAN % word, "f.yaml")
    assert isinstance(loaded.resource, r.IPPool)
    assert loaded.resource.spec.disabled is True


BROKEN = [
    # text, line, part of what is said
    ("kind: [a\nb: c", 2, "this is not YAML"),
    ("spec:\n\ta: b", 2, "not tabs"),
    ("a: b: c", 1, "indentation"),
    ("a: &x [*x]", 1, "contains itself"),
    ("a: 1\nb: *x", 2, "not defined"),
    ("a: 1\nb: \x00", 2, "this is not YAML"),
    ("a: \ud800", 1, "UTF-8"),
    ("? [a]\n: b", 1, "plain word"),
    ("a: 1\n" + "[" * 100_000, 2, "this is not YAML"),
    ("[" * 100_000, 1, "more than 64 levels"),
    ("- " * 100_000, 1, "more than 64 levels"),
    ("%YAML 7.7\n---\na: 1", 1, "this is not YAML"),
]


@pytest.mark.parametrize(("text", "line", "says"), BROKEN)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int, says: str) -> None:
    assert [row[0] for row in problems(text) if says in row[2]] == [line]


ODD = [
    ("kind: Tier\nkind: Tier\n", 2, "kind", "there twice, first in line 1"),
    ("metadata:\n  name: x\n  labels: {a: b, a: c}\n", 3, "metadata.labels.a", "there twice"),
    ("1: x\n", 1, "", "a key must be a string"),
    ("x: !!python/object:os.system {}\n", 1, "x", "is not allowed"),
    ("x: !foo bar\n", 1, "x", "is not allowed"),
    ("x: 9223372036854775808\n", 1, "x", "too large"),
    ("<<: [7]\n", 1, "", "merges mappings only"),
    ("7\n", 1, "", "begin with apiVersion"),
    ("[]\n", 1, "", "begin with apiVersion"),
    ("a: b\n", 1, "kind", "missing"),
    ("kind: Foo\n", 1, "kind", "known: Namespace, Node"),
    ("kind: networkpolicy\n", 1, "kind", "did you mean NetworkPolicy?"),
    ("kind: GlobalNetworkPolcy\n", 1, "kind", "did you mean GlobalNetworkPolicy?"),
    ("kind: ConfigMap\n", 1, "kind", "not available yet"),
    ("kind: Pod\n", 1, "kind", "not available yet"),
    ("kind: AdminNetworkPolicy\n", 1, "kind", "as a ClusterNetworkPolicy of tier Admin"),
    ("kind: BaselineAdminNetworkPolicy\n", 1, "kind", "of tier Baseline"),
    ("kind: Endpoints\n", 1, "kind", "EndpointSlice"),
    ("kind: Lab\n", 1, "kind", "`tortie lab up` takes it"),
    (
        "kind: KubernetesNetworkPolicy\n",
        1,
        "kind",
        "write kind: NetworkPolicy with apiVersion: net",
    ),
    ("kind: StagedNetworkPolcy\n", 1, "kind", "did you mean StagedNetworkPolicy?"),
    ("kind: ClusterInformation\n", 1, "kind", "written by Tortie"),
    ("kind: Barrier\n", 1, "kind", "written by Tortie"),
    ("kind: 7\n", 1, "kind", "no string"),
    ("kind: Tier\n", 1, "apiVersion", "give projectcalico.org/v3"),
    ("kind: Tier\napiVersion: crd.projectcalico.org/v1\n", 2, "apiVersion", "write projectcal"),
    ("kind: Namespace\napiVersion: v2\n", 2, "apiVersion", "write v1"),
    ("kind: NetworkPolicy\n", 1, "apiVersion", "projectcalico.org/v3 (Calico's) or networking.k"),
    (
        "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1beta1\n",
        2,
        "apiVersion",
        "v1beta1\" has no NetworkPolicy; write projectcalico.org/v3 (Calico's) or"
        " networking.k8s.io/v1 (Kubernetes')",
    ),
    ("kind: NetworkPolicy\napiVersion: [a]\n", 2, "apiVersion", "this has no NetworkPolicy"),
    ("kind: ClusterNetworkPolicy\napiVersion: v1\n", 2, "apiVersion", "io/v1alpha2"),
    ("kind: Service\napiVersion: v2\n", 2, "apiVersion", "write v1"),
    ("kind: EndpointSlice\napiVersion: v1\n", 2, "apiVersion", "write discovery.k8s.io/v1"),
    ("kind: NetworkPolicyList\nitems: []\n", 1, "apiVersion", "v3 or networking.k8s.io/v1"),
    ("kind: Tier\nspec:\n  odrer: 7\n", 3, "spec.odrer", "did you mean order?"),
    ("kind: List\napiVersion: v1\n", 1, "items", "has items"),
    ("kind: List\nitems: []\n", 1, "apiVersion", "write v1"),
    ("kind: List\napiVersion: v1\nitems: []\nwat: 1\n", 4, "wat", "no field"),
]


@pytest.mark.parametrize(("text", "line", "path", "says"), ODD)
def test_an_odd_object_is_refused_at_its_place(text: str, line: int, path: str, says: str) -> None:
    found = [row for row in problems(text) if says in row[2]]
    assert [(row[0], row[1]) for row in found] == [(line, path)]


ALL_WRONG = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: Deny
  namespace: shop
  labels: {a: 1, "b;": c}
spec:
  order: first
  preDNAT: yes
  selector: role = 'web'
  types: [ingress, Egress]
  ingress:
  - action: allow
    source: {nets: [nowhere]}
  - action: Allow
    source:
      nets:
      - 10.0.0.1
      - 10.0.0.300
---
kind: WorkloadEndpoint
metadata: {name: x}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
metadata: {name: bank}
---
[
"""


def test_all_faults_of_a_file_are_told_at_once() -> None:
    assert places(ALL_WRONG) == [
        (4, "metadata.name"),
        (5, "metadata.namespace"),
        (6, "metadata.labels.a"),
        (6, 'metadata.labels["b;"]'),
        (8, "spec.order"),
        (9, "spec.preDNAT"),
        (10, "spec.selector"),
        (11, "spec.types[0]"),
        (13, "spec.ingress[0].action"),
        (14, "spec.ingress[0].source.nets[0]"),
        (19, "spec.ingress[1].source.nets[1]"),
        (21, "apiVersion"),
        (21, "spec"),
        (27, "metadata"),
        (30, ""),
    ]


def test_the_same_thing_twice_in_a_file_is_refused() -> None:
    again = "---\nkind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n"
    ((line, path, text),) = problems(TWO + again)
    assert (line, path) == (24, "metadata.name")
    assert 'Namespace "shop" is there twice, first at f.yaml:2' in text
    assert len(manifest.load(TWO + again.replace("shop", "bank"), "f.yaml")) == 3


@pytest.mark.parametrize("head", ["v1\nkind: List", "projectcalico.org/v3\nkind: TierList"])
def test_a_list_is_taken_apart(head: str) -> None:
    items = "".join(
        f"- apiVersion: projectcalico.org/v3\n  kind: Tier\n  metadata: {{name: {name}}}\n"
        for name in ("a", "b")
    )
    text = f"apiVersion: {head}\nmetadata: {{resourceVersion: '7'}}\nitems:\n{items}"
    loaded = manifest.load(text, "f.yaml")
    assert [(one.resource.metadata.name, one.line) for one in loaded] == [("a", 5), ("b", 8)]
    assert places(text.replace("name: b", "name: B")) == [(10, "items[1].metadata.name")]


def test_anchors_aliases_and_merges_are_followed() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: &about
  name: a
  labels: &labels {team: web}
  annotations: {<<: *labels, x: y}
spec:
  ingress:
  - &rule {action: Allow, protocol: TCP, destination: {ports: [80]}}
  - {<<: *rule, protocol: UDP}
  - {<<: [{protocol: SCTP}, *rule]}
"""
    (loaded,) = manifest.load(text, "f.yaml")
    policy = loaded.resource
    assert isinstance(policy, r.NetworkPolicy)
    assert [rule.protocol for rule in policy.spec.ingress] == ["TCP", "UDP", "SCTP"]
    assert all(rule.destination.ports == [80] for rule in policy.spec.ingress)
    assert policy.metadata.annotations == {"team": "web", "x": "y"}
    assert places(text.replace("80", "no way")) == [
        (9, "spec.ingress[0].destination.ports[0]"),
        (9, "spec.ingress[1].destination.ports[0]"),
        (9, "spec.ingress[2].destination.ports[0]"),
    ]


def test_a_merge_key_in_quotes_is_a_key() -> None:
    (one,) = manifest.documents("a: &a {x: 1}\nb: {<<: *a, '<<': y}\n", "f.yaml")
    assert one.data == {"a": {"x": 1}, "b": {"x": 1, "<<": "y"}}


def test_aliases_that_grow_without_bound_are_refused() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    assert any("aliases stand for too much" in said for _, _, said in problems(text))


def test_documents_of_another_kind_can_be_taken_out_first() -> None:
    text = "apiVersion: tortie.dev/v1\nkind: Lab\nmetadata: {name: x}\nspec:\n  racks: []\n---\n"
    lab, *others = manifest.documents(text + TWO, "f.yaml")
    assert isinstance(lab.data, dict)
    assert lab.data["kind"] == "Lab"
    assert (lab.line, lab.line_of("spec.racks"), lab.line_of("spec.rakcs[0].x")) == (1, 5, 4)
    assert [one.line for one in manifest.load_documents(others)] == [8, 15]
    with pytest.raises(InvalidInput):
        manifest.load_documents([lab])


def test_what_only_tortie_writes_is_read_when_asked_for() -> None:
    text = "apiVersion: tortie.dev/v1\nkind: Barrier\nmetadata: {name: x}\nspec: {token: y}\n"
    assert len(manifest.load(text, "f.yaml", extra=("Barrier",))) == 1


# --- written -----------------------------------------------------------------------------------


def test_a_resource_is_written_as_people_write_it() -> None:
    loaded = manifest.load(TWO + "---\n" + TIER % "10", "f.yaml")
    assert (
        manifest.to_yaml(manifest.plain(one.resource) for one in loaded[1:])
        == """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: db-only
  namespace: shop
spec:
  ingress:
  - action: Allow
    protocol: TCP
    source:
      nets:
      - 10.0.0.0/8
      selector: role == 'api'
    destination:
      ports:
      - 5432
  selector: role == 'db'
  types:
  - Ingress
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata:
  name: x
spec:
  order: 10
"""
    )


@pytest.mark.parametrize("order", ["10", "0.5", "-9.223372036854776e+18", "9.223372036854776e+18"])
def test_every_order_that_is_taken_is_written_so_that_it_is_taken_again(order):
    text = f"""{{"apiVersion": "projectcalico.org/v3", "kind": "Tier",
                "metadata": {{"name": "first"}}, "spec": {{"order": {order}}}}}"""
    (loaded,) = manifest.load(text, "f.json")
    again = manifest.to_yaml([manifest.plain(loaded.resource)])
    assert manifest.load(again, "f.yaml")[0].resource == loaded.resource
