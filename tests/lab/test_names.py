"""What people call things in a lab, and which namespace is meant."""

from __future__ import annotations

import pytest

from tortie.errors import LabError
from tortie.lab.names import resolve
from tortie.lab.plan import make
from tortie.lab.spec import load

PLAN = make(
    load(
        """
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: dc}
spec:
  store: etcd
  racks: [{name: rack-a, hosts: [a1]}]
  outside: [internet]
  workloads:
  - {name: web-1, namespace: shop, host: a1}
  - {name: web-1, namespace: bank, host: a1}
  - {name: database, namespace: shop, host: a1}
""",
        "lab.yaml",
    ).lab
)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("a1", "a1"),
        ("tor-rack-a", "tor-rack-a"),
        ("rack-a", "tor-rack-a"),
        ("internet", "internet"),
        ("store", "store"),
        ("shop/web-1", "shop.web-1"),
        ("database", "shop.database"),
    ],
)
def test_a_name_means_one_thing(name: str, space: str) -> None:
    assert resolve(PLAN, name).space == f"tortie-dc-{space}"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("web-1", "may mean shop/web-1, bank/web-1"),
        ("web-2", "did you mean"),
        ("databsae", "did you mean shop/database?"),
        ("shop/databsae", "did you mean shop/database?"),
        ("xyzzy", "known: a1, tor-rack-a, internet"),
        ("", "there is nothing called"),
    ],
)
def test_a_name_that_means_none_or_several_is_refused(name: str, says: str) -> None:
    with pytest.raises(LabError) as caught:
        resolve(PLAN, name)
    assert says in str(caught.value)
