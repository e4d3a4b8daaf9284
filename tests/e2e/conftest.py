"""Labs for end-to-end tests, on both stores: one that is looked at, others that are ill-treated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e_rig import Site
from e2e_world import world
from lab_rig import remains, running, tenants, unique

STORES = ("sqlite", "etcd")


@pytest.fixture(scope="session", params=STORES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The world of `e2e_world`. Tests leave it as they found it."""
    store = str(request.param)
    with running(world(store), unique(f"e-{store}"), tmp_path_factory.mktemp("lab")) as lab:
        yield Site(lab)
    assert remains(lab.name) == []


@pytest.fixture(scope="module", params=STORES)
def tenancy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The tenants of `lab_rig`, for a module that breaks things."""
    store = str(request.param)
    with running(tenants(store), unique(f"t-{store}"), tmp_path_factory.mktemp("lab")) as lab:
        yield Site(lab)
