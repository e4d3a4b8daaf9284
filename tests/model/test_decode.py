"""Decoding: all faults at once, by field path, with what would be right."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct, field

from tortie.model import resources as r
from tortie.model.decode import child, decode, mended


class Rack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    hosts: list[str] = []
    slots: Annotated[int, Meta(ge=1, le=48)] = 48
    weight: float = 1.0
    spare: bool = False


class Hall(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="Hall"):
    racks: list[Rack]
    store: Literal["sqlite", "etcd"] = "sqlite"
    doors: dict[str, int | str] = {}
    cooling_power: int | None = field(default=None, name="coolingPower")


def hall(**fields: object) -> dict[str, object]:
    return {"kind": "Hall", "racks": [], **fields}


def rack(**fields: object) -> dict[str, object]:
    return hall(racks=[{"name": "a", **fields}])


FAULTS = [
    ([], "", "a list is not a mapping"),
    (hall(racks=None), "racks", "nothing (null) is not a list; give a value or leave"),
    (hall(racks={}), "racks", "a mapping is not a list"),
    ({}, "racks", "this field is missing; give a list"),
    (hall(kind="Hull"), "kind", '"Hull" is not Hall'),
    (hall(stor="x"), "stor", 'no field "stor" here; did you mean store?'),
    (hall(cooling_power=1), "cooling_power", "did you mean coolingPower?"),
    (hall(store="sqlit"), "store", '"sqlit" is none of etcd, sqlite; did you mean sqlite?'),
    (hall(store="SQLITE"), "store", "did you mean sqlite?"),
    (hall(store=1), "store", "1 is not etcd or sqlite"),
    (hall(coolingPower="7"), "coolingPower", '"7" is not an integer; write a decimal'),
    (hall(coolingPower=True), "coolingPower", "true is not an integer"),
    (hall(coolingPower=1.5), "coolingPower", "1.5 is not an integer"),
    (hall(doors={"a/b": True}), 'doors["a/b"]', "true is not an integer or a string"),
    (hall(doors={1: 1}), "doors", "the key 1 is no string; put it in quotes"),
    (hall(doors={"a": []}), "doors.a", "a list is not an integer or a string"),
    (hall(racks=[7]), "racks[0]", "7 is not a mapping"),
    (hall(racks=[{}]), "racks[0].name", "this field is missing; give a string"),
    (rack(name=7), "racks[0].name", "7 is not a string; put it in quotes"),
    (rack(hosts="a1"), "racks[0].hosts", '"a1" is not a list; write a list'),
    (rack(hosts=["a1", True]), "racks[0].hosts[1]", "true is not a string; put it in quotes"),
    (rack(slots=0), "racks[0].slots", "0 is too small; give an integer from 1 to 48"),
    (rack(slots=49), "racks[0].slots", "49 is too large; give an integer from 1 to 48"),
    (rack(slots="010"), "racks[0].slots", "without leading zeros"),
    (rack(weight="1"), "racks[0].weight", '"1" is not a number'),
    (rack(weight=True), "racks[0].weight", "true is not a number"),
    (rack(spare="yes"), "racks[0].spare", '"yes" is not true or false; write true or false'),
    (rack(spare=1), "racks[0].spare", "1 is not true or false"),
    (rack(name="a\nb", size=1), "racks[0].size", 'no field "size" here'),
]


@pytest.mark.parametrize(("data", "path", "says"), FAULTS)
def test_a_fault_is_told_with_its_path_and_cure(data: object, path: str, says: str) -> None:
    value, problems = decode(data, Hall)
    assert value is None
    assert [problem.path for problem in problems] == [path]
    assert says in str(problems[0])


def test_what_is_right_is_decoded() -> None:
    value, problems = decode(
        hall(racks=[{"name": "a", "weight": 2}], doors={"n": 1, "s": "x"}), Hall
    )
    assert not problems
    assert value == Hall(racks=[Rack(name="a", weight=2.0)], doors={"n": 1, "s": "x"})


def test_all_faults_are_told_at_once() -> None:
    data = hall(racks=[{"nam": "a"}, {"name": 1, "slots": 99}], store="x", wat=1)
    paths = [problem.path for problem in decode(data, Hall)[1]]
    assert paths == ["racks[0].nam", "racks[0].name", "racks[1].name", "racks[1].slots",
                     "store", "wat"]  # fmt: skip


def test_a_union_of_kinds_names_the_nearest() -> None:
    data = {"apiVersion": "projectcalico.org/v3", "kind": "BGPPer", "metadata": {"name": "x"}}
    value, problems = decode(data, r.Resource)
    assert value is None
    assert [problem.path for problem in problems] == ["kind"]
    assert "did you mean BGPPeer?" in str(problems[0])


def test_what_is_faulty_is_mended_so_that_the_rest_can_be_looked_at() -> None:
    data = hall(racks=[{"name": 1, "hosts": ["a1", 7]}, "x"], store=[], doors={"n": 1, "s": None})
    assert mended(data, Hall) == Hall(
        racks=[Rack(name="", hosts=["a1", ""]), Rack(name="")], doors={"n": 1}
    )


def test_user_text_in_a_path_is_quoted() -> None:
    assert child("a", "b") == "a.b"
    assert child("", "b") == "b"
    assert child("a", 3) == "a[3]"
    assert child("a", 'x.y/z "$(rm)"\n') == 'a["x.y/z \\"$(rm)\\"\\n"]'
