"""Addresses and prefixes: canonical out, anything doubtful refused with a reason."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.model import net
from tortie.model.net import NetError

NETS = [
    ("10.0.0.1", "10.0.0.1/32"),
    ("10.0.0.77/24", "10.0.0.0/24"),
    ("0.0.0.0/0", "0.0.0.0/0"),
    ("FD00:0::0001/64", "fd00::/64"),
    ("fd00::1", "fd00::1/128"),
    ("::/0", "::/0"),
]


@pytest.mark.parametrize(("text", "canonical"), NETS)
def test_a_prefix_has_one_canonical_text(text: str, canonical: str) -> None:
    assert net.parse_net(text).text == canonical


REFUSED = [
    ("010.0.0.1", "octal"),
    ("10.0.0.0/08", "prefix length"),
    ("10.0.0.0/255.0.0.0", "prefix length"),
    ("10.0.0.0/33", "/0 to /32"),
    ("fd00::/129", "/0 to /128"),
    ("fd00::/", "prefix length"),
    ("::ffff:10.0.0.1", "write 10.0.0.1"),
    ("fe80::1%eth0", "zone"),
    ("10.1", "no IP address"),
    ("10.0.0.1 ", "no IP address"),
    ("\u0661.1.1.1", "no IP address"),
    ("", "no IP address"),
    ("10.0.0.1; flush ruleset", "no IP address"),
    ("10.0.0.1\n", "no IP address"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_a_doubtful_prefix_is_refused(text: str, says: str) -> None:
    with pytest.raises(NetError) as caught:
        net.parse_net(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_has_no_mask_and_an_interface_keeps_its_host_bits() -> None:
    assert net.parse_address("FD00::0:1") == ("fd00::1", 6, int(ipaddress.ip_address("fd00::1")))
    assert net.parse_interface("10.0.0.7/24").text == "10.0.0.7/24"
    with pytest.raises(NetError, match="mask"):
        net.parse_address("10.0.0.1/32")


PEERS = [
    ("10.0.0.1", ("10.0.0.1", None)),
    ("10.0.0.1:1179", ("10.0.0.1", 1179)),
    ("FD00::1", ("fd00::1", None)),
    ("[fd00::1]:1179", ("fd00::1", 1179)),
    ("10.0.0.1:0", None),
    ("10.0.0.1:65536", None),
    ("10.0.0.1:0179", None),
    ("peer.example", None),
]


@pytest.mark.parametrize(("text", "meaning"), PEERS)
def test_a_peer_may_have_a_port(text: str, meaning: tuple[str, int | None] | None) -> None:
    if meaning is None:
        with pytest.raises(NetError):
            net.parse_peer(text)
    else:
        address, port = net.parse_peer(text)
        assert (address.text, port) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1m1s", 61)]
)
def test_a_duration_is_whole_seconds(text: str, meaning: int) -> None:
    assert net.seconds(text) == meaning


@pytest.mark.parametrize("text", ["", "90", "1.5s", "100ms", "-1s", "1s1m", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(NetError):
        net.seconds(text)


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "01:00:00:00:00:01", "00:00:00:00:00:00", "02-00-00-00-00-01"]
)
def test_what_is_no_mac_of_one_interface_is_refused(text: str) -> None:
    assert net.parse_mac("EE:ee:00:00:00:01") == "ee:ee:00:00:00:01"
    with pytest.raises(NetError):
        net.parse_mac(text)


COLLAPSED = [
    ([], ()),
    (["10.0.0.128/25", "10.0.0.0/25"], ("10.0.0.0/24",)),
    (["10.0.0.0/24", "10.0.0.7"], ("10.0.0.0/24",)),
    (["10.0.1.0/24", "10.0.2.0/24"], ("10.0.1.0/24", "10.0.2.0/24")),
    (["fd00::1", "10.0.0.1", "fd00::"], ("10.0.0.1/32", "fd00::/127")),
    (["128.0.0.0/1", "0.0.0.0/1", "::/0"], ("0.0.0.0/0", "::/0")),
    (["255.255.255.255"], ("255.255.255.255/32",)),
]


@pytest.mark.parametrize(("nets", "collapsed"), COLLAPSED)
def test_prefixes_collapse(nets: list[str], collapsed: tuple[str, ...]) -> None:
    assert net.collapse(nets) == collapsed


# A small space, so that prefixes meet, at both ends of the address range.
SPACES = st.sampled_from(["10.0.0.{}", "255.255.255.{}", "0.0.0.{}"])
SMALL = st.builds(
    lambda space, host, length: f"{space.format(host)}/{length}",
    SPACES,
    st.integers(0, 255),
    st.integers(22, 32),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SMALL, max_size=12))
def test_collapse_agrees_with_the_standard_library(nets: list[str]) -> None:
    plain = ipaddress.collapse_addresses(ipaddress.IPv4Network(text, strict=False) for text in nets)
    assert net.collapse(nets) == tuple(str(prefix) for prefix in plain)


SHORT = [("200ms", 200), ("1s", 1000), ("1s500ms", 1500), ("0ms", 0), ("999999999ms", 999999999)]
NOT_SHORT = ["", "1", "ms", "1.5s", "1m", "-1ms", "1ms1s", " 1ms", "1ms\n", "\u0661ms", "1 ms"]


@pytest.mark.parametrize(("text", "milliseconds"), SHORT)
def test_short_durations(text: str, milliseconds: int) -> None:
    assert net.milliseconds(text) == milliseconds


@pytest.mark.parametrize("text", NOT_SHORT)
def test_no_short_durations(text: str) -> None:
    with pytest.raises(net.NetError):
        net.milliseconds(text)
