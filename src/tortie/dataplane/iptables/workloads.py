"""The chains around workloads: sources, targets, their own host, and both halves of policy."""

from __future__ import annotations

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.building import Building
from tortie.dataplane.iptables.policies import Half
from tortie.dataplane.iptables.rules import SOURCE as SOURCE_END
from tortie.dataplane.iptables.rules import openings
from tortie.dataplane.safe import networks, safe_id
from tortie.desired import GATEWAY_V4, GATEWAY_V6, Endpoint

_ICMP6 = "-p ipv6-icmp -m icmp6 --icmpv6-type"
_MLD_AND_ND = (131, 132, 133, 135, 136, 143)

MAY_SEND = {
    # RFC 2131 section 4.1: a client without an address
    4: (
        "-s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m multiport --sports 68 "
        "-m multiport --dports 67",
    ),
    6: (
        # RFC 4861, 4862: router solicitation and duplicate address detection; RFC 2710, 3810:
        # listener reports
        *(f"-s ::/128 {_ICMP6} {kind}" for kind in (131, 132, 133, 135, 143)),
        # RFC 4861 neighbour discovery, and listener reports
        *(f"-s fe80::/10 {_ICMP6} {kind}" for kind in _MLD_AND_ND),
        f"-s fe80::/10 -d {GATEWAY_V6}/128",
    ),
}
"""What a workload may send from an address that is not its own."""

ND_LIMIT = "-m limit --limit 50/sec --limit-burst 50"
"""A link-local address can be made up, and each that solicits costs an entry of the neighbour
table, which is the whole host's (1,024) and keeps what is younger than about 8 s."""

MAY_REACH_HOST = {
    4: (f"-d {GATEWAY_V4}/32 -p icmp -m icmp --icmp-type 8",),
    6: (f"-d {GATEWAY_V6}/128 {_ICMP6} 128", *(f"{_ICMP6} {kind}" for kind in _MLD_AND_ND)),
}
"""What a workload may say to its host in any case."""

HOST_MAY_REACH: dict[int, tuple[str, ...]] = {4: (), 6: ("-d fe80::/10", "-d ff02::/16")}
"""Where the host may send on a workload's interface besides live addresses: its own link."""

UNKNOWN = words.join(words.comment("unknown interface"), "-j DROP")
_NOT_LIVE = words.join(words.comment("source is not live here"), "-j DROP")
_NO_TARGET = words.join(words.comment("target is not live here"), "-j DROP")
_TO_HOST = words.join(words.comment("workload to host"), "-j DROP")

# Where others send what is a workload's.
SOURCE, TARGET = "tor-source", "tor-target"
TO_HOST, FROM_HOST = "tor-to-host", "tor-from-host"
_TOO_MANY, _NEVER = "tor-too-many", "tor-never"


def sources(b: Building) -> None:
    """raw: SOURCE returns what comes from a live address of its interface, or may come from
    another."""
    live = b.lookups.live()
    lines = [f"{words.in_set(live, 'src,src')} -j RETURN"] if live else []
    if b.family == 6:
        lines.append("-s fe80::/10 -g tor-link-local")
        b.put("raw", "tor-link-local", (f"{ND_LIMIT} -g tor-exceptions", "-j DROP"))
    b.put("raw", SOURCE, (*lines, "-g tor-exceptions"))
    exceptions = [f"{each} -j RETURN" for each in MAY_SEND[b.family]]
    targets = {}
    for each in b.wanted.endpoints:
        allowed = networks(each.allowed_sources, b.family)
        if allowed:
            from_these = [f"-s {words.masked(net)} -j RETURN" for net in allowed]
            b.put("raw", f"tor-src-{each.interface}", (*from_these, _NOT_LIVE))
            targets[each.interface] = f"-g tor-src-{each.interface}"
    if targets:
        b.tree("raw", "tor-sources", "-i", targets, [_NOT_LIVE])
    b.put("raw", "tor-exceptions", (*exceptions, "-g tor-sources" if targets else _NOT_LIVE))


def targets(b: Building) -> None:
    """filter: TARGET returns what goes to a live address of its interface."""
    live = b.lookups.live()
    is_live = [words.in_set(live, "dst,dst")] if live else []
    b.put("filter", TARGET, (*(f"{each} -j RETURN" for each in is_live), _NO_TARGET))
    accepted = (*HOST_MAY_REACH[b.family], *is_live)
    b.put("filter", FROM_HOST, (words.CUT, *(f"{each} -j ACCEPT" for each in accepted), _NO_TARGET))


def to_host(b: Building) -> None:
    """filter: TO_HOST judges what a workload says to its own host."""
    accepted = [*MAY_REACH_HOST[b.family], *openings(b.wanted.to_host_ports, b.family, SOURCE_END)]
    lines = [*b.known(), *(f"{each} -j ACCEPT" for each in accepted)]
    if b.wanted.to_host == "drop":
        lines.append(_TO_HOST)
    else:
        says = {each.interface: f"-g {egress(each)}" for each in b.wanted.endpoints}
        b.dispatch("filter", "tor-says", "-i", says, {}, UNKNOWN)
        lines += ["-j tor-says", "-j ACCEPT"]
    b.put("filter", TO_HOST, lines)


def policies(b: Building) -> tuple[dict[str, str], dict[str, str]]:
    """filter: what follows by interface for what comes from a workload, and for what goes to one.
    Each returns what is allowed and drops the rest."""
    never = b.policies["filter"].rules(b.wanted.never_from_workloads, "never-from-workloads")
    if never:
        b.put("filter", _NEVER, never)
    says, hears = {}, {}
    for each in b.wanted.endpoints:
        label = safe_id(each.id)
        judged = b.policies["filter"].judgement(Half.EGRESS, each.egress, each.profiles, label)
        b.put("filter", egress(each), (*((f"-j {_NEVER}",) if never else ()), *judged))
        judged = b.policies["filter"].judgement(Half.INGRESS, each.ingress, each.profiles, label)
        b.put("filter", f"tor-in-{each.interface}", judged)
        says[each.interface] = _limited(
            b, f"tor-le-{each.interface}", each.max_egress, "--connlimit-saddr", egress(each)
        )
        hears[each.interface] = _limited(
            b,
            f"tor-li-{each.interface}",
            each.max_ingress,
            "--connlimit-daddr",
            f"tor-in-{each.interface}",
        )
    return says, hears


def egress(endpoint: Endpoint) -> str:
    """The chain that judges what an endpoint sends."""
    return f"tor-eg-{endpoint.interface}"


def _limited(b: Building, name: str, limit: int | None, whose: str, then: str) -> str:
    """What leads to the chain `then` unless there are too many connections.

    Only new connections come here, and a rule counts those that it has seen, so the chain holds
    nothing else that might change.
    """
    if limit is None:
        return f"-g {then}"
    count = f"-m connlimit --connlimit-above {limit:d} --connlimit-mask 0 {whose}"
    b.put("filter", name, (f"{count} -g {_TOO_MANY}", f"-g {then}"))
    b.put("filter", _TOO_MANY, ("-p tcp -j REJECT --reject-with tcp-reset", "-j DROP"))
    return f"-g {name}"
