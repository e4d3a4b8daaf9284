"""BGPFilter: every match and every operation, what is right and what is refused."""

import json

import pytest
from validation import Data, expect, faults, make

from tortie.errors import InvalidInput
from tortie.model import manifest
from tortie.model import resources as r
from tortie.model.validate import normalise
from tortie.model.validate_filter import MAX_RULES

LISTS = ("exportV4", "importV4", "exportV6", "importV6")


def of(rule: Data, field: str = "importV4") -> r.Resource:
    return make("BGPFilter", {field: [{"action": "Accept", **rule}]}, name="guard")


def net(family: int) -> Data:
    return {"cidr": "10.0.0.0/8" if family == 4 else "fd00::/8", "matchOperator": "In"}


GOOD: list[Data] = [
    {},
    {"action": "Reject"},
    *({**net(4), "matchOperator": word} for word in ("Equal", "NotEqual", "In", "NotIn")),
    {"cidr": "0.0.0.0/0", "matchOperator": "Equal"},
    {"cidr": "192.0.2.1/32", "matchOperator": "NotEqual"},
    {**net(4), "prefixLength": {"min": 0, "max": 32}},
    {**net(4), "prefixLength": {"min": 24}},
    {**net(4), "prefixLength": {"max": 24}},
    {**net(4), "prefixLength": {"min": 24, "max": 24}},
    {"source": "RemotePeers"},
    {"interface": "eth0"},
    {"interface": "*"},
    {"interface": "tor*.100"},
    {"interface": "a" * 15},
    {"peerType": "eBGP"},
    {"peerType": "iBGP"},
    {"communities": {"values": ["0:0"]}},
    {"communities": {"values": ["65535:65535"]}},
    {"communities": {"values": ["4294967295:0:4294967295"]}},
    {"asPathPrefix": [65001]},
    {"asPathPrefix": [4294967295] * 100},
    {"priority": 1},
    {"priority": 2147483647},
    {"operations": [{"addCommunity": {"value": "65001:100"}}]},
    {"operations": [{"addCommunity": {"value": "65001:1:2"}}] * 10},
    {"operations": [{"prependASPath": {"prefix": [65001] * 10}}]},
    {"operations": [{"setPriority": {"value": 1}}]},
    {"operations": [{"setPriority": {"value": 2147483647}}, {"prependASPath": {"prefix": [1]}}]},
]


@pytest.mark.parametrize("rule", GOOD, ids=json.dumps)
def test_a_rule_is_accepted(rule: Data) -> None:
    assert faults(of(rule)) == []


COMMUNITY = "communities.values[0]"
BAD: list[tuple[Data, str, str]] = [
    ({"cidr": "10.0.0.0/8"}, "matchOperator", "add matchOperator: In"),
    ({"matchOperator": "In"}, "cidr", "give cidr too"),
    ({**net(4), "cidr": "10.0.0.0"}, "cidr", "write 10.0.0.0/32"),
    ({**net(4), "cidr": "10.0.0.1/8"}, "cidr", "write 10.0.0.0/8"),
    ({**net(4), "cidr": "10.0.0.0/33"}, "cidr", "prefix length"),
    ({**net(4), "cidr": ""}, "cidr", "no IP address"),
    ({"prefixLength": {"min": 8}}, "prefixLength", "give cidr and matchOperator"),
    ({**net(4), "prefixLength": {}}, "prefixLength", "min, max or both"),
    ({**net(4), "prefixLength": {"min": -1}}, "prefixLength.min", "0 to 32"),
    ({**net(4), "prefixLength": {"max": 33}}, "prefixLength.max", "0 to 32"),
    ({**net(4), "prefixLength": {"min": 25, "max": 24}}, "prefixLength.min", "greater than max"),
    ({"interface": ""}, "interface", "1 to 15"),
    ({"interface": "a" * 16}, "interface", "1 to 15"),
    ({"interface": 'eth0"'}, "interface", "no interface name"),
    ({"interface": "eth?"}, "interface", "no interface name"),
    ({"communities": {}}, "communities.values", "exactly one"),
    ({"communities": {"values": ["1:1", "2:2"]}}, "communities.values", "exactly one"),
    ({"communities": {"values": ["1"]}}, COMMUNITY, "no community"),
    ({"communities": {"values": ["1:2:3:4"]}}, COMMUNITY, "no community"),
    ({"communities": {"values": ["01:2"]}}, COMMUNITY, "without leading zeros"),
    ({"communities": {"values": ["no-export"]}}, COMMUNITY, "write AA:NN or AA:NN:MM"),
    ({"communities": {"values": ["1:-1"]}}, COMMUNITY, "no community"),
    ({"communities": {"values": ["\u0661:1"]}}, COMMUNITY, "no community"),
    ({"communities": {"values": ["1:1\n"]}}, COMMUNITY, "no community"),
    ({"communities": {"values": ["65536:1"]}}, COMMUNITY, "0 to 65535 each"),
    ({"communities": {"values": ["1:2:4294967296"]}}, COMMUNITY, "0 to 4294967295 each"),
    ({"asPathPrefix": []}, "asPathPrefix", "leave the field out"),
    ({"asPathPrefix": [1] * 101}, "asPathPrefix", "at most 100"),
    ({"priority": 0}, "priority", "1 to 2147483647"),
    ({"priority": 2147483648}, "priority", "1 to 2147483647"),
    ({"operations": []}, "operations", "give 1 to 10"),
    ({"operations": [{"setPriority": {"value": 1}}] * 11}, "operations", "at most 10"),
    (
        {"action": "Reject", "operations": [{"setPriority": {"value": 1}}]},
        "operations",
        "write action: Accept",
    ),
    ({"operations": [{}]}, "operations[0]", "0 parts; give one of"),
    (
        {"operations": [{"setPriority": {"value": 1}, "addCommunity": {"value": "1:1"}}]},
        "operations[0]",
        "2 parts",
    ),
    (
        {"operations": [{"addCommunity": {"value": "x"}}]},
        "operations[0].addCommunity.value",
        "no community",
    ),
    (
        {"operations": [{"prependASPath": {"prefix": []}}]},
        "operations[0].prependASPath.prefix",
        "give 1 to 10",
    ),
    (
        {"operations": [{"prependASPath": {"prefix": [1] * 11}}]},
        "operations[0].prependASPath.prefix",
        "at most 10",
    ),
    (
        {"operations": [{"setPriority": {"value": 1}}, {"setPriority": {"value": 0}}]},
        "operations[1].setPriority.value",
        "1 to 2147483647",
    ),
]


@pytest.mark.parametrize(("rule", "field", "says"), BAD, ids=json.dumps)
def test_a_rule_is_refused(rule: Data, field: str, says: str) -> None:
    expect(of(rule), f"spec.importV4[0].{field}", says)


@pytest.mark.parametrize("field", LISTS)
def test_a_rule_speaks_of_prefixes_of_its_own_family(field: str) -> None:
    mine, other = (4, 6) if field.endswith("V4") else (6, 4)
    bits = 32 if mine == 4 else 128
    place = f"spec.{field}[0]"
    assert faults(of({**net(mine), "prefixLength": {"max": bits}}, field)) == []
    expect(of(net(other), field), f"{place}.cidr", f"give an IPv{mine} prefix")
    long = of({**net(mine), "prefixLength": {"max": bits + 1}}, field)
    expect(long, f"{place}.prefixLength.max", f"0 to {bits}")


def test_the_rules_of_a_filter_are_counted_in_all() -> None:
    half = [{"action": "Reject"}] * (MAX_RULES // 2)
    full = {"importV4": half, "exportV6": half}
    assert faults(make("BGPFilter", full)) == []
    expect(make("BGPFilter", {**full, "exportV4": half[:1]}), "spec", "at most 1000")


MISTYPED = [
    ("{action: Allow}", "spec.importV4[0].action"),
    ("{action: Accept, matchOperator: Within, cidr: 10.0.0.0/8}", "spec.importV4[0].matchOperator"),
    ("{action: Accept, cidr: 7, matchOperator: In}", "spec.importV4[0].cidr"),
    ("{action: Accept, source: Peers}", "spec.importV4[0].source"),
    ("{action: Accept, peerType: EBGP}", "spec.importV4[0].peerType"),
    ("{action: Accept, asPathPrefix: [0]}", "spec.importV4[0].asPathPrefix[0]"),
    ("{action: Accept, asPathPrefix: [4294967296]}", "spec.importV4[0].asPathPrefix[0]"),
]


@pytest.mark.parametrize(("rule", "path"), MISTYPED)
def test_one_fault_of_a_rule_is_told_once(rule: str, path: str) -> None:
    """What depends on the faulty field is not told as well; what is in other rules is."""
    text = (
        "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: x}\n"
        f"spec:\n  importV4:\n  - {rule}\n  - {{action: Accept, priority: 0}}\n"
    )
    with pytest.raises(InvalidInput) as told:
        manifest.load(text, "f.yaml")
    found = [(problem.path, problem.line) for problem in told.value.problems]
    assert found == [(path, 6), ("spec.importV4[1].priority", 7)]


def test_prefixes_have_one_spelling() -> None:
    rule = {"action": "Accept", "cidr": "FD00:0::/8", "matchOperator": "In"}
    kept = normalise(make("BGPFilter", {"importV6": [rule]}))
    assert manifest.plain(kept)["spec"] == {"importV6": [{**rule, "cidr": "fd00::/8"}]}
    assert normalise(kept) == kept
