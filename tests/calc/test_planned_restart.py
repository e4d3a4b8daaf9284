"""While a node's BGP restarts as planned, BFD's silence on sessions with it is no failure."""

from __future__ import annotations

from typing import Literal

import pytest

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import kinds
from tortie.model import resources as r

V3: Literal["projectcalico.org/v3"] = "projectcalico.org/v3"


def node(name: str, number: int, restarts: bool) -> r.Node:
    annotations = {"tortie.dev/bgp-restart": "true"} if restarts else {}
    bgp = r.NodeBgp(ipv4_address=f"172.16.0.{number}/24")
    metadata = r.Metadata(name=name, annotations=annotations)
    return r.Node(api_version=V3, metadata=metadata, spec=r.NodeSpec(bgp=bgp))


@pytest.mark.parametrize("restarts", ["", "a", "b", "c"])
def test_both_ends_of_a_session_with_the_node_and_no_others(restarts: str) -> None:
    mesh = r.BGPConfiguration(
        api_version=V3,
        metadata=r.Metadata(name="default"),
        spec=r.BGPConfigurationSpec(node_mesh_bfd=r.Bfd()),
    )
    nodes = [node(name, number, name == restarts) for number, name in enumerate("abc", 1)]
    bgp = desired_for(World.of([mesh, *nodes]), "a").bgp
    assert bgp is not None
    told = {peer.shown: peer.bfd for peer in bgp.peers}
    assert told.keys() == {"b", "c"}
    for other, bfd in told.items():
        assert isinstance(bfd, d.Bfd)
        assert bfd.graceful == (restarts in ("a", other))


def test_a_node_that_says_so_in_the_store_is_believed() -> None:
    """Else every host would hold, as for any object that cannot be read."""
    world, restarting = World(), node("a", 1, True)
    world.fold(kinds.key(restarting), kinds.encode(restarting))
    assert not world.unreadable
    assert world.node("a") is not None
