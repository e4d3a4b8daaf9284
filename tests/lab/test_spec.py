"""Lab files: what is taken, and what is refused with file, line, path and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.errors import InvalidInput
from tortie.lab import spec
from tortie.model import resources as r

HEAD = "apiVersion: tortie.dev/v1\nkind: Lab\nmetadata: {name: mine}\nspec:\n"
RACK = "  racks: [{name: rack-a, hosts: [a1, a2]}]\n"


def faults(text: str, name: str | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        spec.load(text, "lab.yaml", name)
    return str(caught.value)


def workload(text: str) -> str:
    return f"{HEAD}{RACK}  workloads:\n  - {text}\n"


def test_the_example_of_the_data_centre_is_read() -> None:
    path = Path(__file__).parents[2] / "examples/two-tenants.yaml"
    read = spec.load(path.read_bytes(), "two-tenants.yaml")
    assert [rack.name for rack in read.lab.spec.racks] == ["rack-a", "rack-b"]
    assert {each.namespace for each in read.lab.spec.workloads} == {"shop", "bank"}
    assert [type(each) for each in read.resources] == [r.NetworkPolicy]


def test_a_lab_may_be_given_another_name() -> None:
    assert spec.load(HEAD + RACK, "lab.yaml", "other").lab.metadata.name == "other"
    assert '"Not_this" is no valid name' in faults(HEAD + RACK, "Not_this")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no Lab in this file"),
        (HEAD + RACK + "---\n" + HEAD + RACK, "lab.yaml:7: a file has one Lab"),
        (HEAD + RACK + "  stroe: etcd\n", 'lab.yaml:6: spec.stroe: there is no field "stroe" here;'
         " did you mean store?"),
        (HEAD + RACK + "  store: etcdd\n", "did you mean etcd?"),
        (HEAD.replace("mine", "a" * 21) + RACK, "a name of 21 characters"),
        (HEAD.replace("mine", '"$(reboot)"') + RACK, "no valid name"),
        (HEAD + "  racks: []\n", "there is no rack"),
        (HEAD + "  racks: [{name: r, hosts: [a1, a1]}]\n", '"a1" is the name of a host already'),
        (HEAD + "  racks: [{name: a1, hosts: [a1]}]\n", '"a1" is the name of a rack already'),
        (HEAD + '  racks: [{name: r, hosts: ["a;b"]}]\n', "no valid name"),
        (HEAD + RACK + "  outside: [a2]\n", 'spec.outside[0]: "a2" is the name of a host'),
        (HEAD + RACK + "  outside: [{name: rack-a}]\n", "outside[0].name"),
        (HEAD + RACK + "  outside: [tor-rack-a]\n", "is the name of a router already"),
        (HEAD + RACK + "  store: etcd\n  outside: [store]\n", "the store's machine"),
        (HEAD + "  racks: [{name: r, subnet: 10.65.1.0/24}]\n", "10.65.0.0/16 overlaps"),
        (HEAD + "  racks: [{name: r, subnet: 203.0.113.0/24}]\n", "the machines outside"),
        (HEAD + "  racks: [{name: r, subnet: fd00::/64}]\n", "no subnet for a rack"),
        (HEAD + "  racks: [{name: r, subnet: 10.1.0.0/29, hosts: [a, b, c, d, e, f]}]\n",
         "6 hosts do not fit into 10.1.0.0/29"),
        (HEAD + "  racks: [{name: r, asNumber: 7}, {name: s, asNumber: 7}]\n",
         "AS 7 is another rack's"),
        (workload("{name: w, host: a3}"), 'there is no host "a3"; known: a1, a2'),
        (workload("{name: a1, host: a1}"), '"a1" is the name of a host already'),
        (workload("{name: w, host: a1, serve: [tcp/0]}"), 'serve[0]: "tcp/0" cannot be served'),
        (workload("{name: w, host: a1, serve: [tcp/65536]}"), "cannot be served"),
        (workload("{name: w, host: a1, serve: [icmp/1]}"), "write tcp/PORT or udp/PORT"),
        (workload("{name: w, host: a1, serve: [tcp/1, tcp/1]}"), '"tcp/1" is there twice'),
        (workload("{name: w, host: a1, labels: {'a b': c}}"), "the key"),
        (workload("{name: w, host: a1, ports: [{name: '1', protocol: TCP, port: 1}]}"), "ports[0]"),
        (workload("{name: w, host: a1, ports: [{name: p, protocol: ICMP, port: 1}]}"),
         "has no ports"),
        (workload("{name: w, host: a1, addresses: [10.65.0.010]}"), "no IP address"),
        (workload("{name: w, host: a1}\n  - {name: w, host: a2}"), '"default/w" is there twice'),
        (HEAD + RACK + "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: a1}\n"
         "spec: {bgp: {ipv4Address: 10.0.0.1/24}}\n", "leave the Node's spec out"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(text: str, says: str) -> None:
    assert says in faults(text)


def test_all_faults_of_a_file_are_told_at_once_in_order_of_line() -> None:
    told = faults(
        f"{HEAD}{RACK}  workloads:\n  - {{name: w, host: b1}}\n  - {{name: W, host: a1}}\n"
        "---\napiVersion: projectcalico.org/v3\nkind: Tear\nmetadata: {name: t}\n"
    ).splitlines()
    assert [line.split(":")[1] for line in told] == ["7", "8", "11"]


def test_workloads_of_two_namespaces_may_have_one_name() -> None:
    text = workload("{name: w, host: a1}\n  - {name: w, namespace: other, host: a1}")
    assert len(spec.load(text, "lab.yaml").lab.spec.workloads) == 2
