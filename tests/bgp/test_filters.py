"""`judge`, the reading of our rules in words, and BIRD, the reading that counts: one verdict on
hundreds of routes, from peers, to peers and into the kernel, in both families."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from itertools import product
from random import Random

import msgspec
import pytest
from bgp_rig import Host, foreign, three_hosts, until

from tortie.bgp import judge
from tortie.bgp.control import BgpRoute, BirdControl, NextHop
from tortie.desired import Bgp, BgpPeer, RouteFilter, RouteRule

pytestmark = pytest.mark.kernel

hosts = pytest.fixture(three_hosts)

COMMUNITIES = ("65000:1", "65000:2", "65000:70000:1")
PATHS: tuple[tuple[int, ...], ...] = ((), (65010,), (65010, 65011), (65011, 65010))
PRIORITIES = (512, 1024, 2000)
NETS = {
    4: ("10.65.0.0/16", "10.65.128.0/17", "192.0.2.0/24", "198.51.0.0/16", "10.96.0.0/12"),
    6: ("fd65::/64", "fd65::8000/113", "2001:db8::/32", "2001:db8:1::/48", "fd96::/108"),
}
# BIRD itself takes no prefix whose scope is wrong (127.0.0.0/8, fe80::/10), and keeps none.
ALWAYS = {
    4: ("0.0.0.0/0", "10.0.0.0/8", "172.16.0.1/32", "169.254.7.0/24", "10.65.1.0/27",
        "10.65.1.9/32"),
    6: ("::/0", "fd65::/48", "fd00::1/128", "fd65::100/123", "fd65::105/128"),
}  # fmt: skip


def rules(random: Random, family: int) -> tuple[RouteRule, ...]:
    """A few rules of every kind of match and operation."""
    return tuple(_rule(random, family) for _ in range(5))


def _rule(random: Random, family: int) -> RouteRule:
    net = ipaddress.ip_network(random.choice(NETS[family]))
    given: dict[str, object] = {"net": str(net), "operator": "in"}
    if random.random() < 0.6:
        given["operator"] = random.choice(("equal", "not_equal", "in", "in", "not_in"))
    if random.random() < 0.5:
        first = random.randint(0, net.max_prefixlen)
        given["lengths"] = (first, random.randint(first, net.max_prefixlen))
    more = {
        "from_peers": True,
        "interface": random.choice(("eth*", "eth0", "*0", "wlan*", "*")),
        "peer": random.choice(("ebgp", "ibgp")),
        "community": random.choice(COMMUNITIES),
        "as_path_prefix": random.choice(((65010,), (65010, 65011), (65002, 65010), (65002,))),
        "priority": random.choice(PRIORITIES),
    }
    for field in random.sample(sorted(more), random.choice((0, 0, 1, 1, 2))):
        given[field] = more[field]
    if random.random() < 0.3:
        given |= {"net": "", "operator": "in"}
    if random.random() < 0.5:
        return RouteRule("reject", **given)  # type: ignore[arg-type]
    operations = {
        "add_communities": ("65000:99", "65000:1:99"),
        "prepend": (65020, 65021),
        "set_priority": 600,
    }
    chosen = {each: operations[each] for each in random.sample(sorted(operations), 1)}
    return RouteRule("accept", **given, **chosen)  # type: ignore[arg-type]


def routes(random: Random, family: int) -> list[BgpRoute]:
    """Routes near the nets that rules speak of, some with attributes, and those always refused."""
    found: dict[str, BgpRoute] = {}
    for net in map(ipaddress.ip_network, NETS[family]):
        for _ in range(25):
            length = random.randint(net.prefixlen, net.max_prefixlen)
            offset = random.getrandbits(net.max_prefixlen - net.prefixlen)
            start = ipaddress.ip_address(int(net.network_address) + offset)
            prefix = str(ipaddress.ip_network(f"{start}/{length}", strict=False))
            path = random.choice(PATHS)
            found[prefix] = BgpRoute(
                prefix,
                "unicast",
                "",
                True,
                as_path=" ".join(map(str, path)),
                local_pref=random.choice((100, 200, *(2147483647 - each for each in PRIORITIES))),
                communities=tuple(sorted(random.sample(COMMUNITIES, random.choice((0, 0, 1, 2))))),
            )
    for prefix in ALWAYS[family]:
        found[prefix] = BgpRoute(prefix, "unicast", "", True, local_pref=100)
    return list(found.values())


def written(route: BgpRoute) -> str:
    """A route as a static one of a router that is not ours."""
    lines = [f"bgp_path.prepend({each});" for each in reversed(route.as_path.split())]
    lines.append(f"bgp_local_pref = {route.local_pref};")
    for each in route.communities:
        kind = "bgp_large_community" if each.count(":") == 2 else "bgp_community"
        lines.append(f"{kind}.add(({each.replace(':', ',')}));")
    return f"{route.prefix} {{ {' '.join(lines)} }}"


def as_heard(route: BgpRoute, peer: BgpPeer, family: int) -> BgpRoute:
    """A route as it reaches us from a peer."""
    external = peer.remote_as != peer.local_as
    path = f"{peer.remote_as} {route.as_path}".strip() if external else route.as_path
    return msgspec.structs.replace(
        route,
        session=peer.name,
        as_path=path,
        local_pref=100 if external else route.local_pref,
        next_hops=(NextHop(peer.address, "eth0"),),
    )


def world(one: Host, two: Host, three: Host, random: Random) -> Bgp:
    """A reflector with an internal client (two) and an external peer (three), and filters."""
    filters = tuple(
        RouteFilter(
            f"f{number}",
            f"filter.{number}",
            *(rules(random, family) for _, family in product(("import", "export"), (4, 6))),
        )
        for number in range(3)
    )
    peers = []
    for family in (4, 6):
        client = one.peer(two, family, reflector_client=True, filters=("f0", "f1"))
        client = msgspec.structs.replace(client, cluster_id="1.0.0.1")
        outside = one.peer(three, family, remote_as=65002, filters=("f2", "f1"))
        peers += [client, outside]
    return msgspec.structs.replace(
        one.bgp(*peers),
        filters=filters,
        communities=(("10.65.0.0/16", ("65000:2", "65000:5:5")), ("fd65::/64", ("65000:2",))),
        services=("10.96.0.0/12", "192.0.2.80/32", "fd96::/108"),
        service_nets=("10.96.0.0/12", "192.0.2.80/32", "fd96::/108"),
        not_in_kernel=("10.65.192.0/18",),
        no_export=("10.65.64.0/18",),
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_judge_and_bird_agree(hosts: list[Host], seed: int) -> None:
    one, two, three = hosts
    random = Random(seed)
    sent = {family: routes(random, family) for family in (4, 6)}
    lines = tuple(written(route) for family in (4, 6) for route in sent[family])
    ways = {
        two: two.run_plain(foreign(one, lines, 64512, me=two, more="multihop;")),
        three: three.run_plain(foreign(one, lines, 65002, me=three, more="multihop;")),
    }
    bgp = world(one, two, three, random)
    one.apply(bgp)

    wanted = {
        (peer.name, route.prefix): judge.imported(bgp, peer, as_heard(route, peer, family))
        for peer in bgp.peers
        for family in [6 if ":" in peer.address else 4]
        for route in sent[family]
    }

    def heard() -> dict[tuple[str, str], BgpRoute]:
        every = one.driver.control.routes() + one.driver.control.routes(refused=True)
        return {(each.session, each.prefix): each for each in every}

    until(lambda: wanted.keys() <= heard().keys(), "all routes, taken or refused", 30)
    taken = {(each.session, each.prefix): each for each in one.driver.control.routes()}
    refused = one.driver.control.routes(refused=True)
    for key, verdict in wanted.items():
        assert (key in taken) == (verdict.refused == ""), (key, verdict)
        if key in taken:
            assert _attributes(taken[key]) == _attributes(verdict.route), key
    assert {(r.session, r.prefix): r.why for r in refused} == {
        key: verdict.code for key, verdict in wanted.items() if verdict.refused
    }
    assert 50 < len(refused) < len(wanted) - 50, "a test of something"
    assert len({verdict.refused for verdict in wanted.values()}) > 6

    _told_is_as_judged(bgp, one, ways)
    _kernel_is_as_judged(bgp, one)


def _told_is_as_judged(bgp: Bgp, one: Host, ways: dict[Host, BirdControl]) -> None:
    best = [route for route in one.driver.control.routes() if route.best]
    for host, control in ways.items():
        for family in (4, 6):
            (peer,) = (p for p in bgp.peers if p.address == host.address[family])
            verdicts = {
                route.prefix: judge.exported(bgp, peer, route)
                for route in best
                if (":" in route.prefix) == (family == 6)
            }
            wanted = {prefix: v.route for prefix, v in verdicts.items() if not v.refused}

            told = partial(_told, control, f"ours{family}")
            until(partial(_same, told, wanted), f"what {host.number} is told")
            for prefix, route in told().items():
                assert set(route.communities) == set(wanted[prefix].communities), prefix
                path = wanted[prefix].as_path
                if peer.remote_as != peer.local_as:
                    path = f"64512 {path}".strip()
                assert route.as_path == path, prefix
                if peer.remote_as == peer.local_as:
                    assert route.local_pref == (wanted[prefix].local_pref or 100), prefix


def _told(control: BirdControl, session: str) -> dict[str, BgpRoute]:
    return {route.prefix: route for route in control.routes() if route.session == session}


def _same(told: Callable[[], dict[str, BgpRoute]], wanted: dict[str, BgpRoute]) -> bool:
    return told().keys() == wanted.keys()


def _kernel_is_as_judged(bgp: Bgp, one: Host) -> None:
    wanted = {
        ipaddress.ip_network(route.prefix)
        for route in one.driver.control.routes()
        if route.best and not judge.in_kernel(bgp, route)
    }
    assert len(wanted) > 20

    def there() -> set[object]:
        return {ipaddress.ip_network(each) for family in (4, 6) for each in one.learnt(family)}

    until(lambda: there() == wanted, "the kernel as judged")


def _attributes(route: BgpRoute) -> tuple[object, ...]:
    return (set(route.communities), route.as_path, route.local_pref)
