"""The chains around the host's own interfaces: the four evaluations of a host endpoint.

Each function makes one kind of chain and says what follows by interface, for
`Building.dispatch`; one that judges nothing has no chain.
"""

from __future__ import annotations

from collections.abc import Callable

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.building import ANY, Building
from tortie.dataplane.iptables.policies import Half
from tortie.dataplane.iptables.rules import DESTINATION, SOURCE, openings
from tortie.dataplane.iptables.ruleset import TableName
from tortie.dataplane.safe import safe_id
from tortie.desired import MARK_MASK, HostEndpoint, TierStep

# RFC 2710, 3810, 4861: an interface without them has no IPv6
ALWAYS_OPEN = tuple(
    f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind}" for kind in (*range(130, 137), 143)
)

_OK = f"{words.if_all(words.HOST_OK)} -j"
_UNTRACK = "tor-untrack"
Targets = dict[str, str]


def untracked_in(b: Building) -> Targets:
    """raw: what comes in, before it is tracked."""

    def rules(host: HostEndpoint) -> list[str]:
        if not _may_be_ok(host):
            return []
        lines = [words.clear_mark(MARK_MASK)]
        if host.untracked_ingress:
            lines += [f"{each} -j RETURN" for each in (*_opened_in(b), *_answers_in(b))]
            lines += _untracked(b, host, Half.INGRESS, host.untracked_ingress)
        return lines

    return _stage(b, "raw", "tor-ui-", rules)


def untracked_out(b: Building) -> Targets:
    """raw: what the host sends, before it is tracked."""

    def rules(host: HostEndpoint) -> list[str]:
        if not host.untracked_egress:
            return []
        return [
            words.clear_mark(MARK_MASK),
            *(f"{each} -j RETURN" for each in (*_opened_out(b), *_answers_out(b))),
            *_untracked(b, host, Half.EGRESS, host.untracked_egress),
        ]

    return _stage(b, "raw", "tor-uo-", rules)


def pre_dnat(b: Building) -> Targets:
    """mangle: what comes in, before its destination is translated."""

    def rules(host: HostEndpoint) -> list[str]:
        if not host.pre_dnat:
            return []
        judge = _judge(b, "mangle", host, Half.INGRESS, host.pre_dnat)
        return [
            *([f"{_OK} RETURN"] if host.untracked_ingress else []),
            f"{words.KNOWN} -j RETURN",
            *(f"{each} -j RETURN" for each in _opened_in(b)),
            f"-j {judge}",
            f"{words.if_all(words.ALLOWED)} {words.set_mark(words.HOST_OK)}",
        ]

    return _stage(b, "mangle", "tor-pd-", rules)


def forward_in(b: Building) -> Targets:
    """filter: what comes in and is forwarded."""

    def rules(host: HostEndpoint) -> list[str]:
        if not host.forward_ingress:
            return []
        skip = [f"{_OK} RETURN"] if _may_be_ok(host) else []
        label = safe_id(host.id)
        policies = b.policies["filter"]
        return [*skip, *policies.judgement(Half.INGRESS, host.forward_ingress, None, label)]

    return _stage(b, "filter", "tor-fi-", rules)


def forward_out(b: Building) -> Targets:
    """filter: what is forwarded and leaves."""

    def rules(host: HostEndpoint) -> list[str]:
        if not host.forward_egress:
            return []
        label = safe_id(host.id)
        policies = b.policies["filter"]
        return [*policies.judgement(Half.EGRESS, host.forward_egress, None, label)]

    return _stage(b, "filter", "tor-fo-", rules)


def comes_in(b: Building) -> Targets:
    """filter: what ends on the host."""

    def rules(host: HostEndpoint) -> list[str]:
        judge = _judge(b, "filter", host, Half.INGRESS, host.ingress, host.profiles)
        cut, *known = b.known()
        return [
            cut,
            *([f"{_OK} ACCEPT"] if _may_be_ok(host) else []),
            *known,
            *(f"{each} -j ACCEPT" for each in _opened_in(b)),
            f"-j {judge}",
            "-j ACCEPT",
        ]

    return _stage(b, "filter", "tor-hi-", rules)


def goes_out(b: Building) -> Targets:
    """filter: what the host sends, but for what is judged in `translated`."""

    def rules(host: HostEndpoint) -> list[str]:
        judge = _judge(b, "filter", host, Half.EGRESS, host.egress, host.profiles)
        cut, *known = b.known()
        return [
            cut,
            *([f"{_OK} ACCEPT"] if host.untracked_egress else []),
            *known,
            f"{words.DNAT} -j ACCEPT",
            *(f"{each} -j ACCEPT" for each in _opened_out(b)),
            f"-j {judge}",
            "-j ACCEPT",
        ]

    return _stage(b, "filter", "tor-ho-", rules)


def translated(b: Building) -> Targets:
    """mangle: what the host sends to a translated destination. Only here is the interface known by
    which it leaves."""

    def rules(host: HostEndpoint) -> list[str]:
        judge = _judge(b, "mangle", host, Half.EGRESS, host.egress, host.profiles)
        return [
            *b.known("-j RETURN"),
            *(f"{each} -j RETURN" for each in _opened_out(b)),
            f"-j {judge}",
        ]

    return _stage(b, "mangle", "tor-tr-", rules)


def _stage(
    b: Building,
    table: TableName,
    start: str,
    rules: Callable[[HostEndpoint], list[str]],
) -> Targets:
    found = {}
    for host in b.hosts:
        lines = rules(host)
        if lines:
            name = start + _suffix(host)
            b.put(table, name, lines)
            found[host.interface] = f"-g {name}"
    if ANY in found:
        # It must not get what another guards.
        return {**{host.interface: "-j RETURN" for host in b.hosts}, **found}
    return found


def _suffix(host: HostEndpoint) -> str:
    return "/any" if host.interface == ANY else host.interface  # no interface has a "/"


def _judge(
    b: Building,
    table: TableName,
    host: HostEndpoint,
    half: Half,
    steps: tuple[TierStep, ...],
    profiles: tuple[str, ...] | None = None,
) -> str:
    """A chain of a judgement of its own, to be jumped into."""
    kind = "in" if half is Half.INGRESS else "out"
    name = f"tor-h{kind}-{_suffix(host)}"
    b.put(table, name, b.policies[table].judgement(half, steps, profiles, safe_id(host.id)))
    return name


def _untracked(
    b: Building, host: HostEndpoint, half: Half, steps: tuple[TierStep, ...]
) -> list[str]:
    b.put("raw", _UNTRACK, ("-j CT --notrack", words.set_mark(words.HOST_OK)))
    judge = _judge(b, "raw", host, half, steps)
    return [f"-j {judge}", f"{words.if_all(words.ALLOWED)} -g {_UNTRACK}"]


def _may_be_ok(host: HostEndpoint) -> bool:
    """Whether what comes in may be marked HOST_OK."""
    return bool(host.untracked_ingress or host.pre_dnat)


def _opened_in(b: Building) -> list[str]:
    return [*openings(b.wanted.failsafe_inbound, b.family, SOURCE), *_always_open(b)]


def _opened_out(b: Building) -> list[str]:
    return [*openings(b.wanted.failsafe_outbound, b.family, DESTINATION), *_always_open(b)]


def _answers_in(b: Building) -> list[str]:
    """Answers to what failsafes let out: nothing is tracked yet that would tell."""
    return openings(b.wanted.failsafe_outbound, b.family, SOURCE, "--sports")


def _answers_out(b: Building) -> list[str]:
    return openings(b.wanted.failsafe_inbound, b.family, DESTINATION, "--sports")


def _always_open(b: Building) -> tuple[str, ...]:
    return ALWAYS_OPEN if b.family == 6 else ()
