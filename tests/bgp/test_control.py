"""BIRD's control socket: what it says, as types; and what happens when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tortie.bgp.answers import unquoted
from tortie.bgp.control import BgpRoute, BirdControl, NextHop, Session, plain_words
from tortie.bgp.fake import FakeBird
from tortie.errors import BgpError

RECORDED = Path(__file__).parent / "recorded"
STATUS = """\
1000-BIRD 2.0.12
1011-Router ID is 10.0.0.1
 Hostname is vm
 Current server time is 2026-11-23 02:23:17
 Last reboot on 2026-11-23 02:21:31
 Last reconfiguration on 2026-11-23 02:21:35
0013 Daemon is up and running
"""
ANSWERS = {
    "show status": STATUS,
    "show protocols all": (RECORDED / "protocols.txt").read_text(),
    "show route all": (RECORDED / "routes.txt").read_text(),
    "show route 10.7.0.0/16 all": "8001 Network not found\n",
    "show route for 10.65.3.1 all": "1007-Table master4:\n"
    " 10.65.3.0/26         unicast [node_2_4 02:21:33.414] * (100) [AS65001i]\n"
    " \tvia 172.16.0.2 on eth0 weight 1\n \tvia 172.16.0.3 on eth1 weight 1\n0000 \n",
    "show route filtered all": "1007-Table master4:\n"
    " 10.1.0.0/24          unicast [node_2_4 02:21:33.414] * (100) [i]\n"
    "1008-\tvia 172.16.0.2 on eth0\n1012-\tBGP.local_pref: 100\n"
    " \tBGP.community: (65000,7) (65000,8)\n \tBGP.large_community: (1, 2, 3)\n"
    " \ttor_why: 5\n0000 \n",
    "show bfd sessions": "1020-tor_bfd:\n"
    " IP address                Interface  State      Since         Interval  Timeout\n"
    " 172.16.0.2                ---        Up         08:54:51.956    0.200    0.600\n"
    " fd00::2                   eth0       Down       08:54:51.956    1.000    0.000\n0000 \n",
    "configure": "0002-Reading configuration from /run/bird.conf\n8002 /run/bird.conf:3:1 wrong\n",
    "say nothing": "",
    "talk nonsense": "hello there, this is not BIRD\n",
}


@pytest.fixture
def bird(tmp_path: Path) -> Iterator[FakeBird]:
    with FakeBird(tmp_path / "ctl", ANSWERS) as fake:
        yield fake


def test_sessions_are_read_from_what_bird_printed(bird: FakeBird) -> None:
    began = "2026-11-23T02:21:31+0000"
    assert BirdControl(bird.path).sessions() == [
        Session(
            "mesh_b_4",
            "10.0.0.2",
            64512,
            "Established",
            "2026-11-23T02:26:52+0000",
            imported=2,
            exported=1,
            preferred=2,
            local_as=64512,
        ),
        Session(
            "mesh_b_6",
            "fd00::2",
            64512,
            "Idle",
            "2026-11-23T02:27:09+0000",
            "the other side says that AS 64512, from which this host comes, is wrong",
            local_as=64512,
        ),
        Session(
            "node_dead",
            "10.0.0.9",
            64513,
            "Connect",
            began,
            "nothing answers at the peer's address: is it up and connected?",
            local_as=64512,
        ),
        Session(
            "node_far",
            "10.9.0.9",
            64513,
            "Active",
            began,
            "this host has no route to the peer",
            local_as=64512,
        ),
        Session(
            "node_refused",
            "10.0.0.3",
            64513,
            "Active",
            began,
            "the peer hangs up: it is not configured for this host",
            local_as=64512,
        ),
    ]


def test_routes_are_read_with_their_next_hops(bird: FakeBird) -> None:
    left, beyond = (NextHop("172.16.0.2", "eth0"),), (NextHop("172.16.0.77", "eth0"),)
    assert BirdControl(bird.path).routes() == [
        BgpRoute("10.65.1.0/26", "blackhole", "tor_static_4", True),
        BgpRoute("10.65.3.0/26", "unicast", "node_2_4", True, left, "65001", 100),
        BgpRoute("10.65.3.0/26", "unicast", "node_3_4", False, beyond, "", 90, "172.16.0.3"),
        BgpRoute("10.65.8.1/32", "unicast", "node_2_4", True, left, "65001", 100),
        BgpRoute("10.65.9.0/26", "unreachable", "node_3_4", True, (), "", 90, "172.16.0.3"),
        BgpRoute("fd65::100/122", "blackhole", "tor_static_6", True),
    ]


def test_a_refused_route_comes_with_the_number_of_the_reason(bird: FakeBird) -> None:
    (route,) = BirdControl(bird.path).routes(refused=True)
    assert (route.prefix, route.why) == ("10.1.0.0/24", 5)
    assert route.communities == ("65000:7", "65000:8", "1:2:3")


def test_what_bfd_watches(bird: FakeBird) -> None:
    assert BirdControl(bird.path).watched() == {"172.16.0.2": "Up", "fd00::2": "Down"}


def test_what_bird_says_of_a_configuration_shows_no_quoted_text() -> None:
    said = 'bird.conf:7:3 in password "s3 cret"; and "more'
    assert unquoted(said) == 'bird.conf:7:3 in password "..."; and "..."'


def test_one_address_is_looked_up_and_an_unknown_prefix_has_no_routes(bird: FakeBird) -> None:
    control = BirdControl(bird.path)
    (route,) = control.routes("10.65.3.1")
    assert route.prefix == "10.65.3.0/26"
    assert route.next_hops == (NextHop("172.16.0.2", "eth0"), NextHop("172.16.0.3", "eth1"))
    assert control.routes("10.7.0.0/16") == []


@pytest.mark.parametrize("text", ["10.0.0.0/8 all\ndown", "a.b", "fe80::1%x\ndown", "down"])
def test_only_a_prefix_or_an_address_can_be_asked_for(bird: FakeBird, text: str) -> None:
    with pytest.raises(ValueError):
        BirdControl(bird.path).routes(text)
    with pytest.raises(ValueError):
        BirdControl(bird.path).command("show status\ndown")
    assert bird.asked == []


def test_status_says_that_it_runs(bird: FakeBird) -> None:
    status = BirdControl(bird.path).status()
    assert (status.version, status.router_id, status.running) == ("2.0.12", "10.0.0.1", True)
    assert status.configured == "2026-11-23 02:21:35"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("configure", "conf:3:1 wrong"),
        ("no such thing", "syntax error"),
        ("say nothing", "did not answer"),
        ("talk nonsense", "does not speak BIRD's protocol"),
    ],
)
def test_failures_are_bgp_errors(bird: FakeBird, command: str, said: str) -> None:
    with pytest.raises(BgpError, match=said):
        BirdControl(bird.path, timeout=0.2).command(command)


def test_no_bird_and_a_path_too_long_are_bgp_errors(tmp_path: Path) -> None:
    with pytest.raises(BgpError, match="no BIRD answers"):
        BirdControl(tmp_path / "none").status()
    with pytest.raises(BgpError, match="too long"):
        BirdControl(tmp_path / ("x" * 120)).status()


def test_a_wrong_as_is_told_with_its_number() -> None:
    assert plain_words("Received: Bad peer AS", 65009, 65001) == (
        "the other side says that AS 65001, from which this host comes, is wrong"
    )
    assert plain_words("BGP Error: Bad peer AS", 65009, 65001) == (
        "the other side does not come from AS 65009, as this host is told to expect"
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("Socket: Connection refused", "the peer refuses: no BGP speaker listens there"),
        ("BGP Error: Hold timer expired", "closed by this host: nothing was heard for"),
        ("Received: Administrative shutdown: $(reboot)", "the peer closed the session: an op"),
        ("Automatic: Route limit exceeded", "more routes came than are allowed"),
        ("Received: \x1b[31mUnheard of", "the peer closed the session: ??31mUnheard of"),
    ],
)
def test_errors_are_told_in_plain_words(said: str, words: str) -> None:
    told = plain_words(said)
    assert told.startswith(words)
    assert bool(told) == bool(said)
    assert "$" not in told
    assert told.isprintable()
