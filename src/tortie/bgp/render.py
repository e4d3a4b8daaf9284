"""The configuration of BIRD 2 as text: a pure function of what BGP should do on this host.

What holds, by design: BIRD learns nothing from the kernel; the kernel gets from BIRD only what BGP
taught it, never a prefix of ours, and the ways to peers that lie behind a gateway; peers are told
only what this host originates within the pools and of services, by a route reflector what it
reflects, and what a filter of the operator tells besides. Every word that goes in is checked (see
`words`), so no value can change the meaning of the file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from tortie.bgp import rules, words
from tortie.bgp.reasons import COVERING, DEFAULT_ROUTE, HERE, MARTIAN, OWN_BLOCK
from tortie.bgp.sessions import session
from tortie.bgp.words import BITS, CHANNEL, DEFAULT, FAMILIES
from tortie.desired import INTERFACE_PREFIX, Bgp, Family

LOG = "bird.log"
"""The log's file name within the run directory."""

# Never a destination that a peer may teach us: this network, loopback, link-local, multicast,
# reserved; unspecified and mapped addresses (RFC 6890).
MARTIANS = {
    4: ("0.0.0.0/8+", "127.0.0.0/8+", "169.254.0.0/16+", "224.0.0.0/4+", "240.0.0.0/4+"),
    6: ("::/127+", "::ffff:0:0/96+", "fe80::/10+", "ff00::/8+"),
}

# Larger than any metric the kernel gives by itself (IPv6: 1024), so that a connected route, one of
# the agent's, or one the operator made stands before what a peer says, whatever its priority.
_METRIC = 2048
_WAYS = 64  # equal ways to one prefix

_RECOVERY = 30  # seconds that a restarted BIRD waits for its peers before it cleans the kernel

# Networks on these are no fabric: workloads, VXLAN, and where kube-proxy keeps service addresses.
_NO_FABRIC = (f"{INTERFACE_PREFIX}*", "vxlan.tortie", "vxlan6.tortie", "kube-ipvs*", "lo")

_LOG_CLASSES = {
    "debug": "{ debug, trace, info, remote, warning, error, auth, fatal, bug }",
    "info": "{ info, remote, warning, error, auth, fatal, bug }",
    "warning": "{ warning, error, auth, fatal, bug }",
    "error": "{ error, auth, fatal, bug }",
    "fatal": "{ fatal, bug }",
    # Without any class BIRD would log to its own places.
    "none": "{ bug }",
}

_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\Z", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9_./@:+-]*\Z", re.ASCII)


def render(bgp: Bgp, node: str, run_dir: Path) -> str:
    """The text of bird.conf for host `node`, logging into `run_dir`.

    Raises ValueError if any value is not what its field says: nothing hostile gets through. No
    message holds a password.
    """
    parts = [_head(bgp, node, run_dir)]
    parts += [_family(bgp, family) for family in FAMILIES]
    peers = {peer.name: peer for peer in bgp.peers}
    if len(peers) != len(bgp.peers):
        raise ValueError("two BGP peers have the same name")
    parts += [session(bgp, peers[name]) for name in sorted(peers)]
    return "\n".join(parts)


def _head(bgp: Bgp, node: str, run_dir: Path) -> str:
    log = str(run_dir / LOG)
    if not _PATH.match(log):
        raise ValueError(f"the run directory {str(run_dir)!r} has characters that BIRD cannot take")
    if not _NODE.match(node):
        raise ValueError(f"{node!r} is not a node name")
    if bgp.log not in _LOG_CLASSES:
        raise ValueError(f"{bgp.log!r} is not a log level")
    ignored = sorted({words.interface(each) for each in bgp.ignored_interfaces})
    nowhere = ", ".join(f'-"{each}"' for each in (*_NO_FABRIC, *ignored))
    debug = "debug protocols { states, interfaces, events };\n" if bgp.log == "debug" else ""
    return f"""\
# BGP of host {node}, written by the Tortie agent; what is changed here by hand is lost.
log "{log}" 1048576 "{log}.1" {_LOG_CLASSES[bgp.log]};
{debug}\
router id {words.address(bgp.router_id, 4)};
timeformat protocol "%Y-%m-%dT%H:%M:%S%z";
timeformat base iso long;
graceful restart wait {_RECOVERY};

# Why a route of a peer was refused; it is kept to be shown (`show route filtered`).
attribute int tor_why;

# BIRD 2.0.12 may sleep until its next timer though it has routes to tell (what is fed to a new
# session is sent by an event that does not wake it): so there is a timer each second.
protocol device tor_device {{ scan time 1; }}
{_bfd(bgp)}
# Next hops are found in connected networks and nowhere else: in tables of their own, so that no
# peer can teach a way to another one's address and so draw, or break, all that leads through it.
ipv4 table tor_hops4;
ipv6 table tor_hops6;
protocol direct tor_connected {{
  ipv4 {{ table tor_hops4; }};
  ipv6 {{ table tor_hops6; }};
  interface {nowhere}, "*";
}}
{rules.priority(bgp)}"""


def _bfd(bgp: Bgp) -> str:
    """BFD speaks only with the peers whose sessions ask for it; others it does not hear."""
    if all(peer.bfd is None for peer in bgp.peers):
        return ""
    strict = " strict bind on; " if bgp.listen_addresses else ""
    return f"protocol bfd tor_bfd {{{strict}}}\n"


def _family(bgp: Bgp, family: Family) -> str:
    """Sets, filters, kernel and statics of one family."""
    channel = CHANNEL[family]
    own = words.prefixes(bgp.originate, family)
    services = words.prefixes(bgp.services, family)
    return f"""\
{_sets(bgp, family)}
{_functions(bgp, family)}{_marks(bgp, family)}{rules.functions(bgp, family)}
{_to_kernel(bgp, family)}
protocol kernel tor_kernel_{family} {{
  persist;
  scan time 2;
  metric {_METRIC};
  merge paths on limit {_WAYS};
  graceful restart on;
  {channel} {{ import none; export filter tor_kernel{family}; }};
}}

{_static(f"tor_static_{family}", f"{channel};", own)}{
        _static(f"tor_service_{family}", f"{channel};", services)
    }{_gateways(bgp, family)}"""


def _sets(bgp: Bgp, family: Family) -> str:
    """Which prefixes are which, by name."""
    bits, source = BITS[family], words.source(bgp, family)
    pools = words.prefixes(bgp.pools, family)
    own = words.prefixes(bgp.originate, family)
    nets = words.prefixes(bgp.service_nets, family)
    elsewhere = [
        *nets,
        *words.prefixes(bgp.services, family),
        *words.prefixes(bgp.not_in_kernel, family),
    ]
    covering = [*pools, *_speakers(bgp, family)]
    return f"""\
# From nobody: martians, this host's address, and our own blocks or pieces of them. A single address
# within a block of ours is taken: it has moved to another host.
define tor_martians{family} = {words.patterns(MARTIANS[family])};
define tor_here{family} = {words.patterns([f"{source}/{bits}"] if source else [])};
define tor_blocks{family} = {words.patterns(_own(prefix, bits) for prefix in own)};

# Only from an upstream: a default route, and what covers our pools or a BGP speaker.
define tor_covering{family} = {words.patterns(f"{each}-" for each in covering)};

define tor_own{family} = {words.patterns(own)};
define tor_pools{family} = {_within(pools)};
define tor_services{family} = {_within(nets)};
define tor_silent{family} = {_within(words.prefixes(bgp.no_export, family))};

# Never in the kernel by BGP: services, which each host serves itself, and what VXLAN carries.
define tor_elsewhere{family} = {_within(sorted(set(elsewhere)))};
"""


def _within(prefixes: Iterable[str]) -> str:
    """A set of prefixes and all their parts."""
    return words.patterns(f"{each}+" for each in prefixes)


def _functions(bgp: Bgp, family: Family) -> str:
    """What is refused of peers, what no filter may tell them, and what they are told by default."""
    reflected = _REFLECTED if any(peer.reflector_client for peer in bgp.peers) else ""
    return f"""\
function tor_refused{family}(bool upstream)
{{
  if net ~ tor_martians{family} then return {MARTIAN};
  if net ~ tor_here{family} then return {HERE};
  if net ~ tor_blocks{family} then return {OWN_BLOCK};
  if upstream then return 0;
  if net = {DEFAULT[family]} then return {DEFAULT_ROUTE};
  if net ~ tor_covering{family} then return {COVERING};
  return 0;
}}

# What no filter may tell: a silent pool, and what neither BGP nor this host originates.
function tor_mute{family}()
{{
  if net ~ tor_silent{family} then return true;
  return source != RTS_BGP && proto != "tor_static_{family}" && proto != "tor_service_{family}";
}}

function tor_told{family}(bool same_as)
{{
{reflected.format(family=family)}\
  if proto = "tor_service_{family}" then return true;
  return proto = "tor_static_{family}" && net ~ tor_pools{family};
}}
"""


def _to_kernel(bgp: Bgp, family: Family) -> str:
    """What the kernel gets."""
    source = words.source(bgp, family)
    prefer = f"  krt_prefsrc = {source};\n" if source else ""
    return f"""\
filter tor_kernel{family}
{{
  if proto = "tor_gateways_{family}" then accept;
  # What leads nowhere is no route: it would only hide another that leads somewhere.
  if source != RTS_BGP || dest != RTD_UNICAST then reject;
  if net ~ tor_own{family} || net ~ tor_elsewhere{family} then reject;
{prefer}\
  accept;
}}
"""


_REFLECTED = """\
  # A route reflector: BGP's own rules say to whom; outside the AS nothing but pools and services.
  if source = RTS_BGP then
    return same_as || net ~ tor_pools{family} || net ~ tor_services{family};
"""


def _static(name: str, channel: str, prefixes: Iterable[str]) -> str:
    lines = "".join(f"  route {prefix} blackhole;\n" for prefix in prefixes)
    return f"protocol static {name} {{\n  {channel}\n{lines}}}\n"


def _gateways(bgp: Bgp, family: Family) -> str:
    """The ways to peers that are in no connected network: for their own next hops, and for us."""
    ways = {
        (words.plain(peer.address), words.address(peer.reachable_by, family))
        for peer in bgp.peers
        if peer.reachable_by and words.family_of(peer.address) == family
    }
    if not ways:
        return ""
    if len({address for address, _ in ways}) != len(ways):
        raise ValueError("one BGP peer cannot be reached by two gateways")
    bits, channel = BITS[family], CHANNEL[family]
    lines = "".join(
        f"  route {address}/{bits} via {gateway};\n" for address, gateway in sorted(ways)
    )
    return f"""\

# Peers behind a gateway: once where next hops are found, once for the kernel.
protocol static tor_behind_{family} {{
  {channel} {{ table tor_hops{family}; }};
{lines}}}
protocol static tor_gateways_{family} {{
  {channel};
{lines}}}
"""


def _marks(bgp: Bgp, family: Family) -> str:
    """The function that marks what we originate, if anything is to be marked."""
    lines = []
    for net, values in words.marks(bgp, family):
        adds = " ".join(f"{attribute}.add({value});" for attribute, value in values)
        lines.append(f"  if net ~ [ {net}+ ] then {{ {adds} }}\n")
    if not lines:
        return ""
    return f"\nfunction tor_mark{family}()\n{{\n{''.join(lines)}}}\n"


def _speakers(bgp: Bgp, family: Family) -> list[str]:
    """This host's own address and its peers', as prefixes."""
    source = words.source(bgp, family)
    addresses = [*([source] if source else []), *(words.plain(peer.address) for peer in bgp.peers)]
    return words.prefixes(
        [f"{each}/{ipaddress.ip_address(each).max_prefixlen}" for each in addresses], family
    )


def _own(prefix: str, bits: int) -> str:
    """The BIRD pattern of a block of ours and its pieces, without its single addresses."""
    length = int(prefix.partition("/")[2])
    return prefix if length == bits else f"{prefix}{{{length},{bits - 1}}}"
