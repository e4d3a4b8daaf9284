"""The neutral filter as nftables: pure, one function of the whole filter.

The way of a packet of ours:

    prerouting (raw)  check-source     is this address live on this interface?     else drop
    forward           check-target     the same for where it goes                  else drop
                      judge            known connections pass; then both halves:
                      egress-dispatch    by interface to `from-INTERFACE`: returns if allowed
                      ingress-dispatch   by interface to `to-INTERFACE`: accepts if allowed
    input             host-input       ICMP and neighbour discovery with the gateway, open ports
    output            host-output      the host speaks to live addresses only

Around the host's own interfaces it is `hosts`: before `egress-dispatch` and behind
`ingress-dispatch` in forward, and hooks of its own in raw and mangle if a host endpoint needs them.

Both halves hang on one base chain, so that one version of the rules judges both. Egress says
"allowed" by a mark bit and return, not by goto: the kernel checks every path through the chains at
every commit, and allow rules that led on to all ingress chains would multiply the paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from tortie.dataplane.nft import words
from tortie.dataplane.nft.hosts import REVOKED_DROP, HostChains, known_connections, openings
from tortie.dataplane.nft.nat import translation
from tortie.dataplane.nft.policies import (
    TRANSLATED,
    Half,
    PolicyChains,
    clear_mark,
    marked,
    set_mark,
)
from tortie.dataplane.nft.rules import braced
from tortie.dataplane.nft.ruleset import Chain, Ruleset, SetSpec, Table
from tortie.dataplane.safe import networks
from tortie.desired import (
    GATEWAY_V4,
    GATEWAY_V6,
    INTERFACE_PREFIX,
    Encapsulated,
    Endpoint,
    Family,
    Filter,
)

MAY_SEND = (
    # RFC 2131 section 4.1: a client without an address
    "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67",
    # RFC 4861, 4862: router solicitation and duplicate address detection
    "ip6 saddr :: icmpv6 type { 133, 135 }",
    # RFC 4861 neighbour discovery, RFC 2710 and 3810 listener reports
    "ip6 saddr fe80::/10 icmpv6 type { 131, 132, 133, 135, 136, 143 }",
    "ip6 saddr :: icmpv6 type { 131, 132, 143 }",
    f"ip6 saddr fe80::/10 ip6 daddr {GATEWAY_V6}",
)
"""What a workload may send from an address that is not its own."""

ND_LIMIT = "ip6 saddr fe80::/10 limit rate over 50/second burst 50 packets counter drop"
"""A link-local address can be made up, and each that solicits costs an entry of the neighbour
table, which is the whole host's (1,024) and keeps what is younger than about 8 s."""

MAY_REACH_HOST = (
    f"ip daddr {GATEWAY_V4} icmp type 8",
    f"ip6 daddr {GATEWAY_V6} icmpv6 type 128",
    "icmpv6 type { 131, 132, 133, 135, 136, 143 }",
)
"""What a workload may say to its host; all else is dropped."""

HOST_MAY_REACH = ("ip6 daddr fe80::/10", "ip6 daddr ff02::/16")
"""Where the host may send on a workload's interface besides live addresses: its own link."""

OVER_LIMIT = ("meta l4proto 6 counter reject with tcp reset", "counter drop")
"""What becomes of a connection too many (Calico v3: TCP is reset)."""


def render(wanted: Filter) -> Ruleset:
    """The rule set for a filter. Raises ValueError for an id, interface or address that is unsafe,
    and for an interface that two endpoints claim."""
    claimed = sorted(words.interface(each.interface) for each in wanted.endpoints)
    twice = sorted({each for each in claimed if claimed.count(each) > 1})
    if twice:
        raise ValueError(f"two endpoints claim the interface {twice[0]}")
    foreign = [each for each in claimed if not each.startswith(INTERFACE_PREFIX)]
    return Ruleset((_inet(wanted, foreign), _arp(wanted.endpoints, foreign)))


def _ours(word: str, foreign: list[str], verdict: str) -> tuple[str, ...]:
    """A verdict for all interfaces of ours: those with our prefix, others by exact name."""
    lines = [f'{word} "{INTERFACE_PREFIX}*" {verdict}']
    if foreign:
        names = braced([f'"{each}"' for each in foreign])
        lines.append(f"{word} {names} {verdict}")
    return tuple(lines)


def _inet(wanted: Filter, foreign: list[str]) -> Table:
    policies = PolicyChains(wanted)
    hosts = HostChains.of(wanted, policies)
    chains = _base_chains(wanted, foreign, policies, hosts)
    sets = {"live4": _live(wanted.endpoints, 4), "live6": _live(wanted.endpoints, 6)}
    limits: dict[str, SetSpec] = {}
    sources, from_map, to_map = set(), set(), set()
    for each in wanted.endpoints:
        name = each.interface
        if each.allowed_sources:
            chains[f"source-{name}"] = _source_chain(each)
            sources.add(f'"{name}" : jump source-{name}')
        for chain, half, steps, limit in (
            (f"from-{name}", Half.EGRESS, each.egress, _limit("iifname", each.max_egress)),
            (f"to-{name}", Half.INGRESS, each.ingress, _limit("oifname", each.max_ingress)),
        ):
            made = policies.judgement(chain, each.id, half, steps, each.profiles)
            if limit is not None:
                limits[limit.counted] = SetSpec("ifname", dynamic=True)
                made[chain] = replace(made[chain], rules=(limit.rule, *made[chain].rules))
            chains |= made
        from_map.add(f'"{name}" : goto from-{name}')
        to_map.add(f'"{name}" : goto to-{name}')
    translating, looked_up = translation(wanted, _ours("oifname", foreign, "return"))
    chains |= hosts.chains | policies.chains | translating
    if limits:
        chains["over-limit"] = Chain(OVER_LIMIT)
    sets["sources"] = SetSpec("ifname : verdict", frozenset(sources), "map")
    sets["from_workload"] = SetSpec("ifname : verdict", frozenset(from_map), "map")
    sets["to_workload"] = SetSpec("ifname : verdict", frozenset(to_map), "map")
    sets |= limits | _member_sets(wanted) | policies.intervals | looked_up
    return Table("inet", chains, sets)


class _Limit(NamedTuple):
    """Who counts connections, and the rule that refuses one too many."""

    counted: str
    rule: str


def _limit(word: str, most: int | None) -> _Limit | None:
    if most is None:
        return None
    counted = f"limit_{'out' if word == 'iifname' else 'in'}_{most:d}"
    many = f"{{ {word} ct count over {most:d} }}"
    return _Limit(counted, f"ct state new add @{counted} {many} goto over-limit")


def _base_chains(
    wanted: Filter, foreign: list[str], policies: PolicyChains, hosts: HostChains
) -> dict[str, Chain]:
    never = tuple(policies.plain(wanted.never_from_workloads))
    return (
        _forwarding_chains(wanted, foreign, never, hosts)
        | _host_chains(wanted, foreign, hosts)
        | _early_chains(hosts)
    )


def _forwarding_chains(
    wanted: Filter, foreign: list[str], never: tuple[str, ...], hosts: HostChains
) -> dict[str, Chain]:
    """From, to and between workloads, and through interfaces of host endpoints."""
    return {
        "base-prerouting": Chain(
            (
                *_ours("iifname", foreign, "goto check-source"),
                *_into(hosts, "host-raw-in"),
            ),
            "type filter hook prerouting priority raw; policy accept",
        ),
        "check-source": Chain(
            (
                "iifname . ip saddr @live4 accept",
                "iifname . ip6 saddr @live6 accept",
                ND_LIMIT,
                *(f"{each} accept" for each in MAY_SEND),
                "iifname vmap @sources",
                'counter drop comment "source is not live here"',
            )
        ),
        "base-forward": Chain(
            (
                *((clear_mark(TRANSLATED),) if hosts.hosts else ()),
                *_ours("oifname", foreign, "jump check-target"),
                *_ours("iifname", foreign, "goto judge"),
                *_ours("oifname", foreign, "goto judge"),
                *hosts.governed("iifname", "goto judge"),
                *hosts.governed("oifname", "goto judge"),
            ),
            "type filter hook forward priority filter; policy accept",
        ),
        "check-target": Chain(
            (
                "oifname . ip daddr @live4 return",
                "oifname . ip6 daddr @live6 return",
                'counter drop comment "target is not live here"',
            )
        ),
        "judge": Chain(
            (
                REVOKED_DROP,
                *known_connections(wanted),
                *_ours("iifname", foreign, "jump egress-dispatch"),
                *_into(hosts, "host-forward-in"),
                *_ours("oifname", foreign, "goto ingress-dispatch"),
                *_into(hosts, "host-forward-out"),
                "accept",
            )
        ),
        "egress-dispatch": Chain(
            (*never, "iifname vmap @from_workload", 'counter drop comment "unknown interface"')
        ),
        "ingress-dispatch": Chain(
            ("oifname vmap @to_workload", 'counter drop comment "unknown interface"')
        ),
    }


def _into(hosts: HostChains, stage: str) -> tuple[str, ...]:
    return (f"jump {stage}",) if stage in hosts.stages else ()


def _host_chains(wanted: Filter, foreign: list[str], hosts: HostChains) -> dict[str, Chain]:
    """Between the host itself and its workloads, or the wire."""
    policed = ("jump egress-dispatch", "accept")
    dropped = ('counter drop comment "workload to host"',)
    translated = (clear_mark(TRANSLATED), f"ct status dnat {set_mark(TRANSLATED)}")
    return {
        "base-input": Chain(
            (
                *_encapsulated(wanted.encapsulated, "saddr"),
                *_forged(wanted.encapsulated),
                *_ours("iifname", foreign, "goto host-input"),
                *_into(hosts, "host-in"),
            ),
            "type filter hook input priority filter; policy accept",
        ),
        "host-input": Chain(
            (
                REVOKED_DROP,
                *known_connections(wanted),
                *(f"{each} accept" for each in MAY_REACH_HOST),
                *openings(wanted.to_host_ports, "saddr", "dport"),
                *(policed if wanted.to_host == "policy" else dropped),
            )
        ),
        "base-output": Chain(
            (
                *(translated if hosts.hosts else ()),
                *_ours("oifname", foreign, "goto host-output"),
                *_encapsulated(wanted.encapsulated, "daddr"),
                *_into(hosts, "host-out"),
            ),
            "type filter hook output priority filter; policy accept",
        ),
        "host-output": Chain(
            (REVOKED_DROP, *(f"{each} accept" for each in HOST_MAY_REACH), "goto check-target")
        ),
    }


def _encapsulated(wanted: Encapsulated | None, address: str) -> tuple[str, ...]:
    """VXLAN between this host and others of ours, `address` being the other end."""
    if wanted is None:
        return ()
    return tuple(
        f"udp dport {wanted.port:d} {words.LAYER_3[family]} {address} @vxlan{family} accept"
        for family in words.FAMILIES
        if words.of_family(wanted.sources, family)
    )


def _forged(wanted: Encapsulated | None) -> tuple[str, ...]:
    """VXLAN from anybody else."""
    if wanted is None:
        return ()
    return (f'udp dport {wanted.port:d} counter drop comment "VXLAN from no host of ours"',)


def _early_chains(hosts: HostChains) -> dict[str, Chain]:
    """Hooks that are there only if a host endpoint needs them."""
    found = {}
    for name, stage, match, hook in (
        ("base-raw-output", "host-raw-out", "", "output priority raw"),
        ("base-mangle", "host-pre-dnat", "", "prerouting priority mangle"),
        (
            "base-translated",
            "host-translated",
            f"{marked(TRANSLATED)} ",
            "postrouting priority mangle",
        ),
    ):
        if stage in hosts.stages:
            text = f"type filter hook {hook}; policy accept"
            found[name] = Chain((f"{match}jump {stage}",), text)
    return found


def _live(endpoints: Iterable[Endpoint], family: Family) -> SetSpec:
    """Pairs of interface and address that may be spoken from and to."""
    pairs = frozenset(
        f'"{each.interface}" . {address}'
        for each in endpoints
        for address in words.of_family(each.addresses, family)
    )
    return SetSpec(f"ifname . {words.ADDRESS_TYPE[family]}", pairs)


def _source_chain(endpoint: Endpoint) -> Chain:
    lines = []
    for family in words.FAMILIES:
        for prefix in networks(endpoint.allowed_sources, family):
            lines.append(f"{words.LAYER_3[family]} saddr {prefix} accept")
    return Chain(tuple(lines))


def _member_sets(wanted: Filter) -> dict[str, SetSpec]:
    """The hosts of address sets, for each family, and port sets. Only those that have members:
    rules do not name the others."""
    found = {}
    others = wanted.encapsulated.sources if wanted.encapsulated else ()
    for family in words.FAMILIES:
        kind = words.ADDRESS_TYPE[family]
        found[f"vxlan{family}"] = SetSpec(kind, words.of_family(others, family))
    for each in wanted.sets:
        for family in words.FAMILIES:
            kind = words.ADDRESS_TYPE[family]
            hosts = words.of_family(each.addresses, family)
            found[words.address_set(each.id, family)] = SetSpec(kind, hosts)
    for ports in wanted.port_sets:
        for family in words.FAMILIES:
            own = words.of_family((address for address, _, _ in ports.members), family)
            members = frozenset(
                f"{address} . {protocol:d} . {port:d}"
                for address, protocol, port in ports.members
                if address in own
            )
            kind = f"{words.ADDRESS_TYPE[family]} . inet_proto . inet_service"
            found[words.port_set(ports.id, family)] = SetSpec(kind, members)
    return {name: spec for name, spec in found.items() if spec.elements}


def _arp(endpoints: tuple[Endpoint, ...], foreign: list[str]) -> Table:
    """A workload's ARP speaks for its own addresses and, if one is known, its own MAC."""
    known = [(each.interface, words.mac(each.mac)) for each in endpoints if each.mac]
    chains = {
        "base-input": Chain(
            _ours("iifname", foreign, "goto check-sender"),
            "type filter hook input priority filter; policy accept",
        ),
        "check-sender": Chain(
            (
                "iifname @with_mac iifname . arp saddr ether != @macs counter drop",
                "iifname . arp saddr ip @live4 accept",
                # RFC 5227: a probe has no sender address
                "arp operation request arp saddr ip 0.0.0.0 accept",
                'counter drop comment "sender is not live here"',
            )
        ),
    }
    sets = {
        "live4": _live(endpoints, 4),
        "with_mac": SetSpec("ifname", frozenset(f'"{name}"' for name, _ in known)),
        "macs": SetSpec(
            "ifname . ether_addr", frozenset(f'"{name}" . {mac}' for name, mac in known)
        ),
    }
    return Table("arp", chains, sets)
