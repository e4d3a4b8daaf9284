"""Secrets: what is right, how they are kept, and that nobody is ever told what they hold."""

import base64
import json
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from validation import Data, expect, faults, make

from tortie.errors import InvalidInput
from tortie.model import kinds, manifest
from tortie.model import resources as r
from tortie.model.validate import normalise, validate
from tortie.model.validate_secret import HIDDEN, LAST_APPLIED

PASSWORD = "correct-horse-battery"
IN_BASE64 = base64.b64encode(PASSWORD.encode()).decode()
TRACES = (PASSWORD, IN_BASE64, PASSWORD[:8], IN_BASE64[:8])


def secret(**top: object) -> r.Secret:
    found = make("Secret", None, name="bgp", namespace="tortie-system", top=top)
    assert isinstance(found, r.Secret)
    return found


GOOD: list[Data] = [
    {},
    {"data": {"uplink": IN_BASE64}},
    {"data": {"empty": ""}, "type": "kubernetes.io/basic-auth"},
    {"stringData": {"uplink": PASSWORD, ".hidden-file_A.b": "\x00\n\u00e9"}},
    {"data": {"a" * 253: "AA=="}, "immutable": True},
    {"data": {"a": base64.b64encode(bytes(1024 * 1024)).decode()}},
]


@pytest.mark.parametrize("top", GOOD, ids=range(len(GOOD)))
def test_a_secret_is_accepted(top: Data) -> None:
    assert faults(secret(**top)) == []


BAD: list[tuple[Data, str, str]] = [
    ({"data": {"a": PASSWORD}}, "data.a", "write it in base64"),
    ({"data": {"a": IN_BASE64.rstrip("=") + "="}}, "data.a", "not base64"),
    ({"data": {"a": "QQ=="[:-1]}}, "data.a", "not base64"),
    ({"data": {"a": IN_BASE64[:8] + "\n" + IN_BASE64[8:]}}, "data.a", "on one line"),
    ({"data": {"a": "QQ==QQ=="}}, "data.a", "not base64"),
    ({"data": {"a": "_-_-"}}, "data.a", "not base64"),
    ({"data": {"a": "\u00e9"}}, "data.a", "not base64"),
    ({"data": {"": "AA=="}}, 'data[""]', "1 to 253"),
    ({"data": {"a/b": "AA=="}}, 'data["a/b"]', "not valid"),
    ({"data": {"a b": "AA=="}}, 'data["a b"]', "not valid"),
    ({"data": {"a" * 254: "AA=="}}, "data." + "a" * 254, "1 to 253"),
    ({"stringData": {"..": "x"}}, 'stringData[".."]', "not beginning with .."),
    ({"stringData": {".": "x"}}, 'stringData["."]', "not valid"),
    ({"data": {"a": HIDDEN}}, "data.a", "`tortie get` shows this in its place"),
    ({"stringData": {"a": HIDDEN}}, "stringData.a", "give the value itself"),
    ({"type": "two words"}, "type", "not valid"),
    ({"type": ""}, "type", "not valid"),
    ({"type": "a" * 318}, "type", "shorter"),
    ({"stringData": {"a": "x" * (1024 * 1024 + 1)}}, "data", "at most 1048576 fit"),
    (
        {"stringData": {"a": "x"}, "data": {"b": base64.b64encode(bytes(1024 * 1024)).decode()}},
        "data",
        "1048577 bytes",
    ),
]


@pytest.mark.parametrize(("top", "path", "says"), BAD, ids=range(len(BAD)))
def test_a_secret_is_refused(top: Data, path: str, says: str) -> None:
    given = secret(**top)
    expect(given, path, says)
    assert not any(trace in str(each) for each in validate(given) for trace in TRACES)


def test_all_of_a_secret_is_kept_as_data() -> None:
    kept = normalise(
        secret(data={"a": "QR==", "b": "QUI="}, stringData={"b": PASSWORD, "c": "\u00e9"})
    )
    assert isinstance(kept, r.Secret)
    assert kept.data == {"a": "QQ==", "b": IN_BASE64, "c": "w6k="}
    assert kept.string_data == {}
    assert normalise(kept) == kept
    assert kinds.decode(kinds.encode(kept)) == kept


def test_kubectls_copy_of_a_secret_is_not_kept() -> None:
    copy = json.dumps({"data": {"a": IN_BASE64}})
    given = make(
        "Secret", None, name="bgp", annotations={LAST_APPLIED: copy, "example.com/note": "kept"}
    )
    assert normalise(given).metadata.annotations == {"example.com/note": "kept"}
    assert IN_BASE64 not in json.dumps(manifest.plain(given))


# --- nobody is told ----------------------------------------------------------------------------


def text_of(top: object) -> str:
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "x"}}
    return yaml.safe_dump({**head, **top} if isinstance(top, dict) else top)


def traced(text: str) -> str:
    """What is said of a file that is wrong."""
    with pytest.raises(InvalidInput) as told:
        manifest.load(text, "secret.yaml")
    return "\n".join([str(told.value), repr(told.value), *map(str, told.value.problems)])


WRONG: list[tuple[Data, str]] = [
    # what is wrong, and what is said of it
    ({"data": {"a": PASSWORD}}, "data.a: the value is not base64"),
    ({"data": {"a": [PASSWORD]}}, "data.a: this is not a string"),
    ({"data": {"a": {PASSWORD: 1}}}, "data.a: this is not a string"),
    ({"data": PASSWORD}, "data: this is not a mapping"),
    ({"data": [PASSWORD]}, "data: this is not a mapping"),
    ({"stringData": PASSWORD}, "stringData: this is not a mapping"),
    ({"stringData": {"a": None}}, "stringData.a: this is not a string"),
    ({"spec": {"password": PASSWORD}}, "there is no field"),
    ({"password": PASSWORD}, "there is no field"),
    ({"data": {"a/b": PASSWORD}}, "the key"),
    ({"stringData": {"a": PASSWORD}, "immutable": "yes"}, "immutable"),
    ({"metadata": {"name": "bgp", "annotations": {LAST_APPLIED: [PASSWORD]}}}, "leave it out"),
]


@pytest.mark.parametrize(("top", "says"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_secret_is_said_without_it(top: Data, says: str) -> None:
    said = traced(text_of(top))
    assert says in said
    assert not any(trace in said for trace in TRACES)


def test_a_number_for_a_password_is_not_repeated() -> None:
    said = traced(text_of({"stringData": {"a": 73313377}}))
    assert "stringData.a: this is not a string" in said
    assert "put the value in quotes" in said
    assert "73313377" not in said


BROKEN = [
    f"apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{a: {PASSWORD}",
    f"apiVersion: v1\nkind: Secret\nstringData:\n  a: '{PASSWORD}\n",
    f"apiVersion: v1\nkind: Secret\nstringData:\n a: {PASSWORD}\n a: {PASSWORD}\n",
    f"apiVersion: v1\nkind: Secret\nstringData:\n a: {PASSWORD}: {PASSWORD}\n",
    f"apiVersion: v1\nkind: Secrt\nmetadata: {{name: x}}\nstringData: {{a: {PASSWORD}}}\n",
    f"kind: Secret\nmetadata: {{name: x}}\nstringData: {{a: {PASSWORD}}}\n",
    f"apiVersion: v1\nkind: List\nitems:\n- kind: Secret\n  stringData: [{PASSWORD}]\n",
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_told_of_without_its_secret(text: str) -> None:
    assert not any(trace in traced(text) for trace in TRACES)


def test_a_secret_is_never_part_of_any_text() -> None:
    text = text_of({"stringData": {"uplink": PASSWORD}})
    (loaded,) = manifest.load(text, "secret.yaml")
    kept = loaded.resource
    assert isinstance(kept, r.Secret)
    assert kept.data["uplink"] == IN_BASE64
    seen = [
        repr(kept), str(kept), f"{kept}", repr([kept]), repr(loaded), repr(loaded.document),
        repr(secret(stringData={"a": PASSWORD})),
        json.dumps(manifest.plain(kept)),
        manifest.to_yaml([manifest.plain(kept)]),
        manifest.to_yaml([manifest.plain(secret(stringData={"a": PASSWORD}))]),
    ]  # fmt: skip
    assert not any(trace in each for each in seen for trace in TRACES)
    assert manifest.plain(kept)["data"] == {"uplink": HIDDEN}


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_what_is_shown_cannot_be_applied(field: str) -> None:
    said = traced(text_of({field: {"uplink": HIDDEN, "other": HIDDEN}}))
    assert f"{field}.uplink: (hidden) is not the value; give the value itself" in said
    assert f"{field}.other" in said


# Random so that no text of ours holds it by chance.
NEEDLE = "".join(random.Random(7).choices("abcdefghjkmnpqrstuvwxyz23456789", k=16))
ODD = st.recursive(
    st.sampled_from([NEEDLE, base64.b64encode(NEEDLE.encode()).decode(), 7, None, True, HIDDEN]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["a", "b c", "data"]), inner, max_size=2),
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(ODD, ODD)
def test_no_shape_of_a_secret_makes_it_told(data: object, string_data: object) -> None:
    text = text_of({"data": data, "stringData": string_data})
    try:
        (loaded,) = manifest.load(text, "secret.yaml")
    except InvalidInput as error:
        said = "\n".join(map(str, error.problems))
    else:
        said = repr(loaded) + json.dumps(manifest.plain(loaded.resource))
    assert NEEDLE not in said
    assert base64.b64encode(NEEDLE.encode()).decode()[:20] not in said
