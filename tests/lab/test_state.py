"""Which lab is meant, and where its store is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tortie.errors import LabError
from tortie.lab import state
from tortie.lab.plan import make
from tortie.lab.spec import load

TEXT = """
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: one}
spec: {racks: [{name: rack-a, hosts: [a1]}]}
"""


@pytest.fixture(autouse=True)
def _labs_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ROOT", tmp_path)
    monkeypatch.delenv(state.VARIABLE, raising=False)


def record(name: str) -> None:
    where = state.directory(name)
    where.mkdir()
    state.write(where, state.first_record(make(load(TEXT, "lab.yaml", name).lab), where))


def test_without_a_lab_there_is_no_store() -> None:
    assert state.running_store() is None
    with pytest.raises(LabError, match="no lab is running"):
        state.choose()


def test_the_only_lab_is_meant(tmp_path: Path) -> None:
    record("one")
    assert state.choose().name == "one"
    assert state.running_store() == f"sqlite://{tmp_path}/one/store.db"
    assert state.choose().agent_socket("a1") == tmp_path / "one/hosts/a1/agent.sock"


def test_of_several_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    record("one")
    record("two")
    with pytest.raises(LabError, match="there are several labs: one, two"):
        state.running_store()
    monkeypatch.setenv(state.VARIABLE, "two")
    assert state.choose().name == "two"
    assert state.choose("one").name == "one"
    with pytest.raises(LabError, match="did you mean two"):
        state.choose("tow")


def test_what_is_no_record_is_no_lab(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/lab.json").write_text("{}")
    assert state.labs() == []
    assert state.names() == ["bad", "half"]
