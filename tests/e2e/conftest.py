"""Labs for end-to-end tests, on both stores: one that is looked at, others that are ill-treated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e_rig import Site
from e2e_tenants import lab
from e2e_versions import Changes, Stage, targets
from e2e_world import world
from lab_rig import remains, running, tenants, unique

STORES = ("sqlite", "etcd")
DATAPLANES = {"nft": "sqlite", "iptables-nft": "etcd", "iptables-legacy": "sqlite"}
"""each with a store"""


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


@pytest.fixture(scope="module", params=DATAPLANES)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The tenants of `e2e_tenants`, on each dataplane."""
    dataplane = str(request.param)
    name = unique(f"c-{dataplane.replace('iptables-', 'i')}")
    text = lab(DATAPLANES[dataplane], dataplane)
    with running(text, name, tmp_path_factory.mktemp("lab")) as found:
        site = Site(found)
        made = Stage(site, dataplane, targets(site))
        assert made.guarded_by(dataplane)
        yield made
    assert remains(name) == []


@pytest.fixture
def changes(stage: Stage) -> Iterator[Changes]:
    """Changes of the stage. After the test everything is as it was before it."""
    with Changes(stage.site) as found:
        before = dict(found.world)
        try:
            yield found
        finally:
            found.commit("as before", dict.fromkeys(found.world.keys() - before.keys()) | before)
            found.settle()
