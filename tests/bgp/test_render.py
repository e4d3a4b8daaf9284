"""The configuration of BIRD as text: golden, accepted by BIRD, and closed to hostile values."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tortie.bgp.render import render
from tortie.desired import Bfd, Bgp, BgpPeer, Hidden, RouteFilter, RouteRule
from tortie.kernel import process

HERE = Path(__file__).parent
RUN_DIR = Path("/run/tortie/bird")


def mesh(number: int, family: int = 4, passive: bool = False) -> BgpPeer:
    """A full-mesh session of host 1 to host `number`."""
    start = {4: "172.16.0.", 6: "fd00::"}[family]
    return BgpPeer(
        name=f"mesh_host{number}_{family}",
        address=f"{start}{number}",
        remote_as=64512,
        local_as=64512,
        passive=passive,
        kind="mesh",
        source_address=f"{start}1",
    )


HOST = Bgp(
    router_id="172.16.0.1",
    local_as=64512,
    source_v4="172.16.0.1",
    source_v6="fd00::1",
    originate=("10.65.0.0/26", "10.65.9.9/32", "fd65::/122"),
    pools=("10.65.0.0/16", "fd65::/64"),
)

TOR = BgpPeer(
    name="node_tor",
    address="172.16.0.254",
    remote_as=65001,
    local_as=65001,
    kind="node",
    upstream=True,
    source_address="172.16.0.1",
)

FILTERS = (
    RouteFilter(
        name="everything",
        shown="every.thing",
        import_v4=(
            RouteRule("reject", net="10.9.0.0/16", operator="equal"),
            RouteRule("accept", net="10.9.0.0/16", operator="not_equal", community="65000:1"),
            RouteRule("accept", net="10.8.0.0/16", lengths=(24, 28), peer="ibgp"),
            RouteRule("reject", net="10.8.0.0/16", operator="not_in", lengths=(0, 20)),
            RouteRule("reject", lengths=(31, 32), from_peers=True),
            RouteRule("accept", as_path_prefix=(65001, 4200000000), interface="eth*"),
        ),
        import_v6=(RouteRule("reject", net="fd99::/16", peer="ebgp"),),
        export_v4=(
            RouteRule(
                "accept",
                community="65000:1:2",
                add_communities=("65000:7", "4200000000:1:2"),
                prepend=(65010, 65011),
            ),
            RouteRule("accept", priority=512, set_priority=1024),
            RouteRule("reject"),
        ),
    ),
    RouteFilter(name="unused", import_v4=(RouteRule("reject"),)),
    RouteFilter(name="second", export_v6=(RouteRule("reject", net="fd65::/64"),)),
)

WORLDS = {
    "no-peers": Bgp(router_id="127.0.0.1", local_as=64512),
    "mesh-both-families": msgspec.structs.replace(
        HOST, peers=(mesh(2), mesh(3, passive=True), mesh(2, 6), mesh(3, 6, passive=True))
    ),
    "rack-host": msgspec.structs.replace(
        HOST, local_as=65001, no_export=("10.65.128.0/17",), peers=(TOR,)
    ),
    "route-reflector": msgspec.structs.replace(
        HOST,
        peers=(
            msgspec.structs.replace(
                mesh(2), name="node_client", reflector_client=True, cluster_id="1.0.0.1"
            ),
            msgspec.structs.replace(mesh(3), name="node_other_reflector", next_hop="self"),
            msgspec.structs.replace(TOR, local_as=64512),
        ),
    ),
    "every-option": msgspec.structs.replace(
        HOST,
        listen_port=1790,
        listen_addresses=("172.16.0.1", "fd00::1"),
        peers=(
            BgpPeer(
                name="global_far",
                address="192.0.2.7",
                remote_as=4200000000,
                local_as=64999,
                port=1179,
                next_hop="keep",
                ttl_security=3,
                keepalive=5,
                restart_time=60,
                allow_local_as=2,
            ),
            BgpPeer(name="global_far6", address="2001:db8::7", remote_as=64999, local_as=64999),
        ),
    ),
    "filters": msgspec.structs.replace(
        HOST,
        filters=FILTERS,
        peers=(
            msgspec.structs.replace(mesh(2), filters=("everything", "second")),
            msgspec.structs.replace(mesh(2, 6), filters=("second", "everything")),
            msgspec.structs.replace(TOR, local_as=64512, filters=("everything",)),
        ),
    ),
    "services-and-vxlan": msgspec.structs.replace(
        HOST,
        communities=(("10.65.0.0/16", ("65000:100", "65000:1:2")), ("fd65::/64", ("65000:6",))),
        services=("10.96.0.0/12", "192.0.2.80/32", "fd96::/108"),
        service_nets=("10.96.0.0/12", "192.0.2.0/24", "fd96::/108"),
        not_in_kernel=("10.65.0.0/17",),
        ignored_interfaces=("docker*", "br-x"),
        log="warning",
        peers=(
            msgspec.structs.replace(mesh(2), reflector_client=True, cluster_id="1.0.0.1"),
            TOR,
        ),
    ),
    "bfd-and-passwords": msgspec.structs.replace(
        HOST,
        log="none",
        listen_addresses=("172.16.0.1", "fd00::1"),
        peers=(
            msgspec.structs.replace(
                mesh(2), bfd=Bfd(), password=Hidden("s3cret ;}#{"), max_prefixes=500
            ),
            msgspec.structs.replace(mesh(2, 6), bfd=Bfd(50, 5, graceful=True)),
            msgspec.structs.replace(TOR, local_as=64512, adjacent=True, bfd=Bfd(300, 3)),
        ),
    ),
    "behind-a-gateway": msgspec.structs.replace(
        HOST,
        log="debug",
        peers=(
            BgpPeer("far", "192.0.2.7", 65007, 64512, reachable_by="172.16.0.254"),
            BgpPeer("far_too", "192.0.2.7", 65008, 64512, port=1179, reachable_by="172.16.0.254"),
            BgpPeer("far6", "2001:db8::7", 65007, 64512, reachable_by="fd00::fe", adjacent=True),
        ),
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_text_is_the_golden_one(name: str) -> None:
    assert render(WORLDS[name], "host-1", RUN_DIR) == (HERE / f"golden/{name}.conf").read_text()


@pytest.mark.parametrize("name", WORLDS)
def test_bird_accepts_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bird.conf"
    file.write_text(render(WORLDS[name], "host-1", tmp_path))
    assert process.run(["bird", "-p", "-c", str(file)]).returncode == 0


def test_the_order_of_peers_and_prefixes_changes_nothing() -> None:
    world = WORLDS["mesh-both-families"]
    turned = msgspec.structs.replace(
        world,
        peers=world.peers[::-1],
        originate=world.originate[::-1] + world.originate[:1],
        pools=world.pools[::-1],
    )
    assert render(turned, "host-1", RUN_DIR) == render(world, "host-1", RUN_DIR)


HOSTILE = ('x"; }', "a\nb", "a;b", "$(reboot)", "'", "name with spaces", "ü", "", "a" * 64)


@pytest.mark.parametrize("text", [*HOSTILE, "tor_kernel4", "9lives", "a-b"])
def test_a_session_name_is_a_symbol_and_not_one_of_ours(text: str) -> None:
    bad = msgspec.structs.replace(HOST, peers=(msgspec.structs.replace(mesh(2), name=text),))
    with pytest.raises(ValueError, match="cannot name"):
        render(bad, "host-1", RUN_DIR)


@pytest.mark.parametrize("field", ["router_id", "source_v4", "source_v6"])
@pytest.mark.parametrize("text", [*HOSTILE, "10.0.0.1/24", "fe80::1%eth0;", "1.2.3.4\n"])
def test_addresses_are_addresses(field: str, text: str) -> None:
    with pytest.raises(ValueError):
        render(msgspec.structs.replace(HOST, **{field: text}), "host-1", RUN_DIR)


@pytest.mark.parametrize("field", ["originate", "pools", "no_export", "listen_addresses"])
@pytest.mark.parametrize("text", [*HOSTILE, "10.0.0.1/24", "fe80::%x/64", "10.0.0.0/33", "0/0"])
def test_prefixes_are_prefixes(field: str, text: str) -> None:
    bad = msgspec.structs.replace(HOST, peers=(mesh(2),), **{field: (text,)})
    with pytest.raises(ValueError):
        render(bad, "host-1", RUN_DIR)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "172.16.0.2; }"},
        {"address": "fe80::1%eth0"},
        {"address": "fe80::1"},
        {"address": "127.0.0.1"},
        {"address": "0.0.0.0"},
        {"address": "224.0.0.5"},
        {"source_address": "fd00::1"},
        {"source_address": "172.16.0.1 as 1; }"},
        {"remote_as": 0},
        {"local_as": 2**32},
        {"remote_as": "1; }"},
        {"remote_as": True},
        {"port": 0},
        {"port": 65536},
        {"ttl_security": 255},
        {"keepalive": 0},
        {"restart_time": 4096},
        {"allow_local_as": -1},
        {"reflector_client": True, "cluster_id": "1.2.3.4; }"},
        {"password": Hidden('a"; }')},
        {"password": Hidden("back\\slash")},
        {"password": Hidden("two\nlines")},
        {"password": Hidden("ü")},
        {"password": Hidden("")},
        {"password": Hidden("x" * 81)},
        {"bfd": Bfd(interval=9)},
        {"bfd": Bfd(multiplier=51)},
        {"bfd": Bfd(), "source_address": None, "address": "172.16.0.9", "remote_as": 0},
        {"reachable_by": "fd00::1"},
        {"reachable_by": "172.16.0.9%eth0"},
        {"max_prefixes": 0},
        {"filters": ("not_there",)},
    ],
)
def test_a_peer_with_a_value_out_of_its_range_is_refused(change: dict[str, object]) -> None:
    bad = msgspec.structs.replace(HOST, peers=(msgspec.structs.replace(mesh(2), **change),))
    with pytest.raises(ValueError):
        render(bad, "host-1", RUN_DIR)


@pytest.mark.parametrize("node", [*HOSTILE[:7], "", "-x", "a\n"])
def test_a_node_name_is_a_name(node: str) -> None:
    with pytest.raises(ValueError, match="node name"):
        render(HOST, node, RUN_DIR)


@pytest.mark.parametrize("path", ['/run/"x', "/run/a b", "/run/a\nb", "relative"])
def test_a_run_directory_cannot_end_the_string_it_stands_in(path: str) -> None:
    with pytest.raises(ValueError, match="run directory"):
        render(HOST, "host-1", Path(path))


def test_two_sessions_cannot_share_a_name() -> None:
    twice = msgspec.structs.replace(mesh(3), name=mesh(2).name)
    with pytest.raises(ValueError, match="the same name"):
        render(msgspec.structs.replace(HOST, peers=(mesh(2), twice)), "host-1", RUN_DIR)


def test_no_session_speaks_from_an_address_where_bird_may_not_listen() -> None:
    bad = msgspec.structs.replace(HOST, listen_addresses=("fd00::1",), peers=(mesh(2),))
    with pytest.raises(ValueError, match="may not listen"):
        render(bad, "host-1", RUN_DIR)


def test_no_message_of_a_refusal_holds_a_password() -> None:
    bad = msgspec.structs.replace(mesh(2), password=Hidden('hush"hush'))
    with pytest.raises(ValueError) as caught:
        render(msgspec.structs.replace(HOST, peers=(bad,)), "host-1", RUN_DIR)
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(bad)


@pytest.mark.parametrize(
    "rule",
    [
        RouteRule("accept", net="10.0.0.1/8"),
        RouteRule("accept", net="fd00::/8"),
        RouteRule("accept", net="10.0.0.0/8; }"),
        RouteRule("accept", net="10.0.0.0/8", lengths=(9, 33)),
        RouteRule("accept", net="10.0.0.0/8", lengths=(20, 10)),
        RouteRule("accept", interface='eth0" then accept; #'),
        RouteRule("accept", interface="a-name-far-too-long"),
        RouteRule("accept", community="65536:1"),
        RouteRule("accept", community="1:2:3:4"),
        RouteRule("accept", community="1:2) ~ bgp_community"),
        RouteRule("accept", add_communities=("no-export",)),
        RouteRule("accept", as_path_prefix=(2**32,)),
        RouteRule("accept", prepend=(True,)),
        RouteRule("accept", priority=-1),
        RouteRule("accept", set_priority=2**31),
    ],
)
def test_a_rule_with_a_value_that_is_none_is_refused(rule: RouteRule) -> None:
    peer = msgspec.structs.replace(mesh(2), filters=("f",))
    bad = msgspec.structs.replace(HOST, filters=(RouteFilter("f", "", (rule,)),), peers=(peer,))
    with pytest.raises(ValueError):
        render(bad, "host-1", RUN_DIR)


@pytest.mark.parametrize("name", [*HOSTILE, "tor_x", "x" * 60])
def test_a_filter_name_is_part_of_a_symbol(name: str) -> None:
    peer = msgspec.structs.replace(mesh(2), filters=(name,))
    rules = (RouteRule("reject"),)
    bad = msgspec.structs.replace(HOST, filters=(RouteFilter(name, "", rules),), peers=(peer,))
    with pytest.raises(ValueError, match=r"cannot name|too long"):
        render(bad, "host-1", RUN_DIR)


@pytest.mark.parametrize("text", [*HOSTILE[:7], "x" * 16])
def test_an_ignored_interface_is_a_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        render(msgspec.structs.replace(HOST, ignored_interfaces=(text,)), "host-1", RUN_DIR)
