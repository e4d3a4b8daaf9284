"""What addresses and BGP resources may say only among others, and what may not go."""

from __future__ import annotations

import pytest
from validation import PEER, Data, make

from tortie.errors import InvalidInput
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store import resources
from tortie.store.memory import MemoryStore


def node(name: str = "a1", **spec: object) -> r.Resource:
    number = name[1:]
    return make("Node", {"bgp": {"ipv4Address": f"172.16.0.{number}/24"}, **spec}, name=name)


def pool(name: str, cidr: str, **spec: object) -> r.Resource:
    return make("IPPool", {"cidr": cidr, **spec}, name=name)


def peer(name: str = "uplink", **spec: object) -> r.Resource:
    return make("BGPPeer", {**PEER, **spec}, name=name)


def route_filter(name: str) -> r.Resource:
    return make("BGPFilter", {"importV4": [{"action": "Reject"}]}, name=name)


def configuration(name: str = "default", **spec: object) -> r.Resource:
    return make("BGPConfiguration", spec, name=name)


def endpoint(name: str, address: str, external: str | None = None) -> r.Resource:
    nats = [{"internalIP": address, "externalIP": external}] if external else []
    spec: Data = {
        "node": "a1", "orchestrator": "lab", "workload": name, "endpoint": "eth0",
        "interfaceName": f"tor-{name}", "ipNetworks": [address], "ipNATs": nats,
    }  # fmt: skip
    return make("WorkloadEndpoint", spec, name=f"a1-lab-{name}-eth0", namespace="shop")


def store_of(*given: r.Resource) -> MemoryStore:
    store = MemoryStore()
    resources.apply(store, given)
    return store


def refused(store: MemoryStore, *wanted: r.Resource) -> list[tuple[str, str]]:
    """(path, text) of each problem; nothing is written."""
    before = store.list("/")
    with pytest.raises(InvalidInput) as told:
        resources.apply(store, wanted)
    assert store.list("/") == before
    return [(problem.path, str(problem)) for problem in told.value.problems]


def expect(found: list[tuple[str, str]], path: str, *says: str) -> None:
    assert [place for place, _ in found] == [path], found
    assert all(each in found[0][1] for each in says), found


# --- BGP ------------------------------------------------------------------------------------------


def test_a_peer_names_filters_that_are_there() -> None:
    store = store_of(route_filter("guard"))
    resources.apply(store, [peer(filters=["guard"])])
    found = refused(store, peer("other", filters=["guard", "gaurd"]))
    expect(found, "spec.filters[1]", 'no BGPFilter "gaurd"', 'did you mean "guard"?')
    resources.apply(store, [peer("third", filters=["new"]), route_filter("new")])


def test_files_alone_do_not_miss_a_filter() -> None:
    resources.check(None, [peer(filters=["elsewhere"]), configuration("node.a1", listenPort=180)])


def test_a_filter_that_a_peer_names_does_not_go() -> None:
    store = store_of(route_filter("guard"), route_filter("spare"), peer(filters=["guard"]))
    with pytest.raises(InvalidInput, match="BGPFilter guard is in use by BGPPeer uplink"):
        resources.delete(store, route_filter("guard"))
    assert resources.delete(store, route_filter("spare"))
    assert resources.delete(store, peer())
    assert resources.delete(store, route_filter("guard"))


def test_the_configuration_of_a_node_is_of_one_that_is_there() -> None:
    store = store_of(node("a1"))
    resources.apply(store, [configuration("node.a1", listenPort=1179)])
    found = refused(store, configuration("node.a2", listenPort=1179))
    expect(found, "metadata.name", 'no Node "a2"', "apply a Node of that name first")


def told(*communities: str) -> Data:
    return {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": list(communities)}]}


def named(*names: str) -> Data:
    return {"communities": [{"name": name, "value": "65001:7"} for name in names]}


MINE = configuration(**named("mine"), **told("mine"))


def test_a_nodes_configuration_may_use_the_clusters_communities() -> None:
    store = store_of(node("a1"), MINE)
    resources.apply(store, [configuration("node.a1", **told("mine", "1:1"))])
    found = refused(store, configuration("node.a1", **told("yours")))
    expect(found, "spec.prefixAdvertisements[0].communities[0]", 'no community "yours"')


def test_a_nodes_communities_stand_in_place_of_the_clusters() -> None:
    store = store_of(node("a1"), MINE)
    resources.apply(store, [configuration("node.a1", **named("mine", "other"))])
    found = refused(store, configuration("node.a1", **named("other")))
    expect(found, "spec.communities", 'no community "mine"')


def test_the_clusters_communities_stay_while_a_node_needs_them() -> None:
    store = store_of(node("a1"), MINE, configuration("node.a1", **told("mine")))
    found = refused(store, configuration(**named("new"), **told("new")))
    expect(found, "spec.communities", 'no community "mine", which node.a1 needs')
    changed = configuration("node.a1", **told("new"))
    resources.apply(store, [configuration(**named("new"), **told("new")), changed])


# --- tunnels --------------------------------------------------------------------------------------

FOR_TUNNELS = "spec.allowedUses"
VXLAN: Data = {"vxlanMode": "Always"}
WORKLOADS: Data = {**VXLAN, "allowedUses": ["Workload"]}
SUPPLY = [
    # other pools, whether a pool with VXLAN for workloads alone may be there
    ([], False),
    ([("10.2.0.0/16", {**VXLAN, "allowedUses": ["Tunnel"]})], True),
    ([("10.2.0.0/16", VXLAN)], True),
    ([("10.2.0.0/16", {**VXLAN, "disabled": True})], False),
    ([("10.2.0.0/16", {"allowedUses": ["Tunnel"]})], False),
    ([("fd00:2::/64", VXLAN)], False),
]


@pytest.mark.parametrize(("others", "fine"), SUPPLY)
def test_vxlan_needs_a_pool_that_gives_hosts_their_ends(
    others: list[tuple[str, Data]], fine: bool
) -> None:
    store = store_of(*(pool(f"p{n}", cidr, **spec) for n, (cidr, spec) in enumerate(others)))
    wanted = pool("wanted", "10.1.0.0/16", **WORKLOADS)
    if fine:
        resources.apply(store, [wanted])
    else:
        expect(refused(store, wanted), FOR_TUNNELS, "IPv4", "wanted", "[Workload, Tunnel]")


def test_both_pools_may_come_at_once_and_the_last_that_gives_tunnels_stays() -> None:
    small = pool("small", "10.2.0.0/24", **VXLAN)
    store = store_of(pool("large", "10.1.0.0/16", **WORKLOADS), small)
    closed = pool("small", "10.2.0.0/24", **VXLAN, disabled=True)
    expect(refused(store, closed), FOR_TUNNELS, "of large)")
    plain = pool("small", "10.2.0.0/24")
    expect(refused(store, plain), FOR_TUNNELS, "of large)")
    resources.apply(store, [plain, pool("large", "10.1.0.0/16")])


@pytest.mark.parametrize(
    "spec",
    [{"assignmentMode": "Manual"}, {"namespaceSelector": "has(a)"}, {"allowedUses": ["Workload"]}],
)
def test_a_pool_that_gives_addresses_to_some_only_gives_hosts_none(spec: Data) -> None:
    alone = pool("alone", "10.1.0.0/16", **VXLAN, **spec)
    store = store_of(node("a1"))
    expect(refused(store, alone), FOR_TUNNELS, "of alone", "without namespaceSelector")
    resources.apply(store, [alone, pool("ends", "10.2.0.0/24", **VXLAN, allowedUses=["Tunnel"])])


def test_a_pool_may_always_be_disabled() -> None:
    store = store_of(pool("only", "10.1.0.0/16", **VXLAN))
    resources.apply(store, [pool("only", "10.1.0.0/16", **VXLAN, disabled=True)])


def test_a_node_that_is_written_again_keeps_its_ends() -> None:
    store = store_of(node("a1", ipv4VXLANTunnelAddr="10.9.0.1", ipv6VXLANTunnelAddr="fd00::1"))
    assert ends(store) == ("10.9.0.1", "fd00::1")
    done = resources.apply(store, [node("a1")])
    assert (ends(store), done.actions[0][0]) == (("10.9.0.1", "fd00::1"), "unchanged")
    resources.apply(store, [node("a1", ipv4VXLANTunnelAddr="10.9.0.2")])
    assert ends(store) == ("10.9.0.2", "fd00::1")
    # Those of another node do not come with its name.
    resources.delete(store, node("a1"))
    resources.apply(store, [node("a1")])
    assert ends(store) == (None, None)


def ends(store: MemoryStore) -> tuple[str | None, str | None]:
    (stored,) = resources.read(store, kinds.BY_NAME["Node"])
    assert isinstance(stored.resource, r.Node)
    spec = stored.resource.spec
    return spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr


ENDS = [
    ("ipv4VXLANTunnelAddr", "10.9.0.1"),
    ("ipv6VXLANTunnelAddr", "fd00:9::1"),
    ("vxlanTunnelMACAddr", "66:00:00:00:00:01"),
    ("vxlanTunnelMACAddrV6", "66:00:00:00:00:01"),
]


@pytest.mark.parametrize(("field", "value"), ENDS)
def test_two_nodes_have_two_ends(field: str, value: str) -> None:
    store = store_of(node("a1", **{field: value}))
    resources.apply(store, [node("a1", **{field: value})])
    expect(refused(store, node("a2", **{field: value})), f"spec.{field}", "node a1", "its own")


# --- floating addresses ---------------------------------------------------------------------------


def test_a_floating_address_is_one_endpoints() -> None:
    store = store_of(node("a1"), endpoint("web", "10.65.0.1", "192.0.2.1"))
    resources.apply(store, [endpoint("web", "10.65.0.1", "192.0.2.1")])
    found = refused(store, endpoint("db", "10.65.0.2", "192.0.2.1"))
    expect(found, "spec.ipNATs[0].externalIP", "floating address of shop/a1-lab-web-eth0")
    resources.apply(store, [endpoint("db", "10.65.0.2", "192.0.2.2")])


def test_a_floating_address_is_no_workloads_own() -> None:
    store = store_of(node("a1"), endpoint("web", "10.65.0.1", "192.0.2.1"))
    found = refused(store, endpoint("db", "10.65.0.2", "10.65.0.1"))
    expect(found, "spec.ipNATs[0].externalIP", "belongs to shop/a1-lab-web-eth0")
    found = refused(store, endpoint("db", "192.0.2.1"))
    expect(found, "spec.ipNetworks", "floating address of shop/a1-lab-web-eth0")


def test_a_floating_address_is_no_hosts() -> None:
    store = store_of(node("a1"))
    found = refused(store, endpoint("web", "10.65.0.1", "172.16.0.1"))
    expect(found, "spec.ipNATs[0].externalIP", "address of node a1")


def test_of_two_that_come_at_once_both_are_refused() -> None:
    store = store_of(node("a1"))
    wanted = [endpoint("web", "10.65.0.1", "192.0.2.1"), endpoint("db", "10.65.0.2", "192.0.2.1")]
    assert [path for path, _ in refused(store, *wanted)] == ["spec.ipNATs[0].externalIP"] * 2


# --- secrets --------------------------------------------------------------------------------------


def secret(value: str, **top: object) -> r.Resource:
    return make("Secret", None, name="bgp", top={"stringData": {"uplink": value}, **top})


def test_an_immutable_secret_stays_as_it_is() -> None:
    store = store_of(secret("before", immutable=True))
    resources.apply(store, [secret("before", immutable=True)])
    found = refused(store, secret("after-that", immutable=True))
    expect(found, "data", "immutable", "make another")
    assert "after-that" not in found[0][1]
    expect(refused(store, secret("before")), "immutable", "write immutable: true")
    assert resources.delete(store, secret("before"))


def test_another_secret_may_change() -> None:
    store = store_of(secret("before"))
    resources.apply(store, [secret("after", immutable=True)])
