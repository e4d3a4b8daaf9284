"""The configuration of BIRD 2 as text: a pure function of what BGP should do on this host.

What holds, by design: BIRD learns nothing from the kernel; the kernel gets from BIRD only what BGP
taught it, never a prefix of ours; peers are told only what this host originates within the pools,
and by a route reflector what it reflects. Every word that goes in is checked here, whatever was
checked before, so no value can change the meaning of the file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tortie.desired import INTERFACE_PREFIX, Bgp, BgpPeer, Family

LOG = "bird.log"
"""The log's file name within the run directory."""

_FAMILIES: tuple[Family, ...] = (4, 6)
_BITS = {4: 32, 6: 128}
_CHANNEL = {4: "ipv4", 6: "ipv6"}
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}

# Never a destination that a peer may teach us: this network, loopback, link-local, multicast,
# reserved; unspecified and mapped addresses (RFC 6890).
_MARTIANS = {
    4: ("0.0.0.0/8+", "127.0.0.0/8+", "169.254.0.0/16+", "224.0.0.0/4+", "240.0.0.0/4+"),
    6: ("::/127+", "::ffff:0:0/96+", "fe80::/10+", "ff00::/8+"),
}

# More routes than this from one peer is an accident: BIRD logs it, keeps the session and what it
# has, and takes no more. (Closing the session would take the good routes away too.)
_IMPORT_LIMIT = 100_000

# Larger than any metric the kernel gives by itself (IPv6: 1024), so that a connected route, one of
# the agent's, or one the operator made stands before what a peer says.
_METRIC = 2048

_HOLD, _KEEPALIVE = 90, 30  # seconds, RFC 4271 section 10
_RECOVERY = 30  # seconds that a restarted BIRD waits for its peers before it cleans the kernel

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\Z", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9_./@:+-]*\Z", re.ASCII)
_OURS = "tor_"


def render(bgp: Bgp, node: str, run_dir: Path) -> str:
    """The text of bird.conf for host `node`, logging into `run_dir`.

    Raises ValueError if any value is not what its field says: nothing hostile gets through.
    """
    parts = [_head(bgp, node, run_dir)]
    parts += [_family(bgp, family) for family in _FAMILIES]
    peers = {peer.name: peer for peer in bgp.peers}
    if len(peers) != len(bgp.peers):
        raise ValueError("two BGP peers have the same name")
    parts += [_peer(bgp, peers[name]) for name in sorted(peers)]
    return "\n".join(parts)


def _head(bgp: Bgp, node: str, run_dir: Path) -> str:
    log = str(run_dir / LOG)
    if not _PATH.match(log):
        raise ValueError(f"the run directory {str(run_dir)!r} has characters that BIRD cannot take")
    if not _NODE.match(node):
        raise ValueError(f"{node!r} is not a node name")
    return f"""\
# BGP of host {node}, written by the Tortie agent; what is changed here by hand is lost.
log "{log}" 1048576 "{log}.1" {{ info, remote, warning, error, auth, fatal, bug }};
router id {_address(bgp.router_id, 4)};
timeformat protocol "%Y-%m-%dT%H:%M:%S%z";
timeformat base iso long;
graceful restart wait {_RECOVERY};

protocol device tor_device {{ scan time 10; }}

# Next hops are found in connected networks and nowhere else: in tables of their own, so that no
# peer can teach a way to another one's address and so draw, or break, all that leads through it.
ipv4 table tor_hops4;
ipv6 table tor_hops6;
protocol direct tor_connected {{
  ipv4 {{ table tor_hops4; }};
  ipv6 {{ table tor_hops6; }};
  interface -"{INTERFACE_PREFIX}*", -"lo", "*";
}}
"""


def _family(bgp: Bgp, family: Family) -> str:
    """Sets, filters, kernel and statics of one family."""
    channel, bits, default = _CHANNEL[family], _BITS[family], _DEFAULT[family]
    source = _source(bgp, family)
    pools = _prefixes(bgp.pools, family)
    own = _prefixes(bgp.originate, family)
    speakers = _speakers(bgp, family)
    covering = [default, *(f"{each}-" for each in (*pools, *speakers))]
    refused = [*_MARTIANS[family], *([f"{source}/{bits}"] if source else [])]
    refused += [_own(prefix, bits) for prefix in own]
    prefer = f"  krt_prefsrc = {source};\n" if source else ""
    statics = "".join(f"  route {prefix} blackhole;\n" for prefix in own)
    reflected = _REFLECTED if any(peer.reflector_client for peer in bgp.peers) else ""
    return f"""\
# From nobody: martians, this host's address, and our own blocks or pieces of them. A single address
# within a block of ours is taken: it has moved to another host.
define tor_refused{family} = {_set(refused)};

# Only from an upstream: a default route, and what covers our pools or a BGP speaker.
define tor_covering{family} = {_set(covering)};

define tor_own{family} = {_set(own)};
define tor_pools{family} = {_set(f"{pool}+" for pool in pools)};
define tor_silent{family} = {_set(f"{each}+" for each in _prefixes(bgp.no_export, family))};

function tor_told{family}(bool same_as)
{{
  if net ~ tor_silent{family} then return false;
{reflected.format(family=family)}\
  return source = RTS_STATIC && net ~ tor_pools{family};
}}

filter tor_kernel{family}
{{
  if source != RTS_BGP || net ~ tor_own{family} then reject;
{prefer}\
  accept;
}}

protocol kernel tor_kernel_{family} {{
  persist;
  scan time 2;
  metric {_METRIC};
  merge paths on;
  graceful restart on;
  {channel} {{ import none; export filter tor_kernel{family}; }};
}}

protocol static tor_static_{family} {{
  {channel};
{statics}\
}}
"""


_REFLECTED = """\
  # A route reflector: BGP's own rules say to whom; outside the AS nothing but our pools.
  if source = RTS_BGP then return same_as || net ~ tor_pools{family};
"""


def _peer(bgp: Bgp, peer: BgpPeer) -> str:
    """One session, for the family of the peer's address."""
    if not _SYMBOL.match(peer.name) or peer.name.startswith(_OURS):
        raise ValueError(f"{peer.name!r} cannot name a BGP session")
    address = ipaddress.ip_address(_plain(peer.address))
    family: Family = 4 if address.version == 4 else 6
    if any(
        (address.is_loopback, address.is_multicast, address.is_unspecified, address.is_link_local)
    ):
        raise ValueError(f"{address} cannot be a BGP peer")
    remote, local = _number(peer.remote_as, 1, 2**32 - 1), _number(peer.local_as, 1, 2**32 - 1)
    internal = "true" if remote == local else "false"
    refuse = f"net ~ tor_refused{family}"
    if not peer.upstream:
        refuse += f" || net ~ tor_covering{family}"
    body = [
        *_listen(bgp, peer, family),
        f"neighbor {address} port {_number(peer.port, 1, 65535)} as {remote};",
        *_options(peer),
    ]
    channel = [
        f"import filter {{ if {refuse} then reject; accept; }};",
        f"export filter {{ if tor_told{family}({internal}) then accept; reject; }};",
        f"import limit {_IMPORT_LIMIT} action block;",
        f"igp table tor_hops{family};",
        *_channel_options(peer),
    ]
    lines = [f"  {line}" for line in body]
    lines += [f"  {_CHANNEL[family]} {{", *(f"    {line}" for line in channel), "  };"]
    return "\n".join([f"protocol bgp {peer.name} {{", *lines, "}", ""])


def _listen(bgp: Bgp, peer: BgpPeer, family: Family) -> Iterable[str]:
    """Our end of a session; with listen addresses given, BIRD listens on those alone."""
    local = _number(peer.local_as, 1, 2**32 - 1)
    port = _number(bgp.listen_port, 1, 65535)
    allowed = [_plain(each) for each in bgp.listen_addresses]
    mine = [each for each in allowed if ipaddress.ip_address(each).version == family]
    source = peer.source_address
    if allowed and source is None:
        source = mine[0] if mine else None
    if allowed and (source is None or _address(source, family) not in mine):
        raise ValueError(f"BGP peer {peer.name} would need an address that BIRD may not listen on")
    at = f" {_address(source, family)}" if source is not None else ""
    yield f"local{at} port {port} as {local};"
    if allowed:
        yield "strict bind on;"


def _options(peer: BgpPeer) -> Iterable[str]:
    hops = _number(peer.ttl_security, 0, 254)
    # As Calico: a peer may be any number of routers away, unless TTL security says how many.
    yield f"multihop {hops};" if hops else "multihop;"
    yield f"ttl security {'on' if hops else 'off'};"
    if peer.passive:
        yield "passive on;"
    if peer.reflector_client:
        yield "rr client;"
        if peer.cluster_id is not None:
            yield f"rr cluster id {_address(peer.cluster_id, 4)};"
    if peer.allow_local_as:
        yield f"allow local as {_number(peer.allow_local_as, 1, 255)};"
    keepalive = _KEEPALIVE if peer.keepalive is None else _number(peer.keepalive, 1, 21845)
    hold = _HOLD if peer.keepalive is None else 3 * keepalive
    yield f"hold time {hold};"
    yield f"keepalive time {keepalive};"
    yield "connect delay time 1;"
    yield "connect retry time 5;"
    yield "error wait time 1, 10;"
    yield "graceful restart on;"
    yield f"graceful restart time {_number(peer.restart_time, 0, 4095)};"


def _channel_options(peer: BgpPeer) -> Iterable[str]:
    yield "add paths on;"
    if peer.next_hop == "self":
        yield "next hop self;"
    elif peer.next_hop == "keep":
        yield "next hop keep;"


def _source(bgp: Bgp, family: Family) -> str | None:
    source = bgp.source_v4 if family == 4 else bgp.source_v6
    return None if source is None else _address(source, family)


def _speakers(bgp: Bgp, family: Family) -> list[str]:
    """This host's own address and its peers', as prefixes."""
    source = _source(bgp, family)
    addresses = [*([source] if source else []), *(_plain(peer.address) for peer in bgp.peers)]
    return _prefixes(
        [f"{each}/{ipaddress.ip_address(each).max_prefixlen}" for each in addresses], family
    )


def _own(prefix: str, bits: int) -> str:
    """The BIRD pattern of a block of ours and its pieces, without its single addresses."""
    length = int(prefix.partition("/")[2])
    return prefix if length == bits else f"{prefix}{{{length},{bits - 1}}}"


def _set(patterns: Iterable[str]) -> str:
    return f"[ {', '.join(patterns)} ]"


def _prefixes(prefixes: Sequence[str], family: Family) -> list[str]:
    """The prefixes of one family, canonical and in order, each once. Raises ValueError."""
    for each in prefixes:
        if "%" in each:
            raise ValueError(f"{each!r} is not a prefix")
    networks = {ipaddress.ip_network(each) for each in prefixes}
    mine = [network for network in networks if network.version == family]
    return [
        str(each) for each in sorted(mine, key=lambda n: (n.network_address.packed, n.prefixlen))
    ]


def _plain(address: str) -> str:
    """An address as canonical text. Raises ValueError; also for a zone (`%eth0`): free text."""
    if "%" in address:
        raise ValueError(f"{address!r} has a zone, which BGP here does not take")
    return str(ipaddress.ip_address(address))


def _address(address: str, family: Family) -> str:
    plain = _plain(address)
    if ipaddress.ip_address(plain).version != family:
        raise ValueError(f"{plain} is not an IPv{family} address")
    return plain


def _number(value: int, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is not a number from {least} to {most}")
    return value
