"""The chains around the host's own interfaces: the four evaluations of a host endpoint.

Each stage is a chain that dispatches by interface to the chains of the host endpoints that it
concerns. A stage that concerns none has no chain, so that a host without host endpoints pays
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tortie.dataplane.nft import words
from tortie.dataplane.nft.policies import (
    ALLOWED,
    HOST_OK,
    TRANSLATED,
    Half,
    PolicyChains,
    clear_mark,
    marked,
    set_mark,
)
from tortie.dataplane.nft.rules import braced
from tortie.dataplane.nft.ruleset import Chain
from tortie.desired import INTERFACE_PREFIX, MARK_MASK, Filter, HostEndpoint, OpenPort, TierStep

ANY = "*"
REVOKED_DROP = "ct mark & 0x00800000 != 0x0 counter drop"
"""Cut connections (desired.REVOKED), in both directions, before any that are known are let by."""

# RFC 2710, 3810, 4861: an interface without them has no IPv6. No range: that would be an interval.
_DISCOVERY = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 143 } accept"
_KNOWN_GO_ON = "ct state established,related accept"


def known_connections(wanted: Filter) -> tuple[str, ...]:
    """What is known passes; what neither is nor begins anything is dropped, if that is wanted."""
    return (_KNOWN_GO_ON, "ct state invalid drop") if wanted.drop_invalid else (_KNOWN_GO_ON,)


@dataclass
class HostChains:
    """The chains and maps of the host endpoints of a filter.

    `stages` names the stages that there are; each is a chain to be jumped into, and returns if it
    has nothing against the packet.
    """

    wanted: Filter
    policies: PolicyChains
    hosts: tuple[HostEndpoint, ...] = ()
    """those that govern any interface, in order"""
    chains: dict[str, Chain] = field(default_factory=dict)
    stages: set[str] = field(default_factory=set)

    @staticmethod
    def of(wanted: Filter, policies: PolicyChains) -> HostChains:
        """All of them. Raises ValueError for what is unsafe."""
        claimed = {"lo", *(each.interface for each in wanted.endpoints)}
        ours = sorted(
            (
                each
                for each in wanted.hosts
                if each.interface not in claimed and not each.interface.startswith(INTERFACE_PREFIX)
            ),
            key=lambda one: one.interface,
        )
        found = HostChains(wanted, policies, tuple(ours))
        if ours:
            found._failsafes()
            for stage, word, rules in (
                ("host-raw-in", "iifname", found._raw_in),
                ("host-raw-out", "oifname", found._raw_out),
                ("host-pre-dnat", "iifname", found._pre_dnat),
                ("host-in", "iifname", found._in),
                ("host-out", "oifname", found._out),
                ("host-translated", "oifname", found._translated),
                ("host-forward-in", "iifname", found._forward_in),
                ("host-forward-out", "oifname", found._forward_out),
            ):
                found._stage(stage, word, rules)
            if any(_may_be_untracked(each) for each in ours):
                lines = ("notrack", f"{set_mark(HOST_OK)} accept")
                found.chains["untrack"] = Chain(lines)
        return found

    def governed(self, word: str, verdict: str) -> tuple[str, ...]:
        """A verdict for what comes in or leaves by an interface that any of them governs. Only for
        where our workloads' interfaces are dealt with."""
        names = [each.interface for each in self.hosts]
        if ANY in names:
            return (f'{word} != "lo" {verdict}',)
        if not names:
            return ()
        quoted = ", ".join(f'"{words.interface(each)}"' for each in names)
        return (f"{word} {{ {quoted} }} {verdict}",)

    # --- stages -------------------------------------------------------------------------------

    def _stage(
        self, stage: str, word: str, rules: Callable[[HostEndpoint, str], list[str]]
    ) -> None:
        """A chain for each host endpoint that the stage concerns, and the dispatch to them."""
        found = {}
        for host in self.hosts:
            name = f"{stage}-{_suffix(host)}"
            lines = rules(host, name)
            if lines:
                self.chains[name] = Chain(tuple(lines), comment=words.safe_id(host.id))
                found[host.interface] = f"goto {name}"
        if not found:
            return
        everywhere = found.pop(ANY, None)
        # No map: packets on their way see old rules and the new elements of a map, and one that
        # finds no element goes by.
        lines = [f'{word} "{words.interface(name)}" {verdict}' for name, verdict in found.items()]
        if everywhere:
            # What another governs is not for this one, nor what is a workload's.
            named = {each.interface for each in self.hosts} - {ANY, *found}
            claimed = {each.interface for each in self.wanted.endpoints}
            foreign = {each for each in claimed if not each.startswith(INTERFACE_PREFIX)}
            if named | foreign:
                others = braced([f'"{words.interface(each)}"' for each in sorted(named | foreign)])
                lines.append(f"{word} {others} return")
            lines.append(f'{word} "{INTERFACE_PREFIX}*" return')
            lines.append(f'{word} != "lo" {everywhere}')
        self.chains[stage] = Chain(tuple(lines))
        self.stages.add(stage)

    def _raw_in(self, host: HostEndpoint, name: str) -> list[str]:
        if not _may_be_ok(host):
            return []
        lines = [clear_mark(MARK_MASK)]
        if host.untracked_ingress:
            lines += ["jump failsafe-raw-in"]
            lines += self._untracked(name, host, Half.HOST_INGRESS, host.untracked_ingress)
        return lines

    def _raw_out(self, host: HostEndpoint, name: str) -> list[str]:
        if not host.untracked_egress:
            return []
        return [
            clear_mark(MARK_MASK),
            "jump failsafe-raw-out",
            *self._untracked(name, host, Half.EGRESS, host.untracked_egress),
        ]

    def _untracked(
        self, name: str, host: HostEndpoint, half: Half, steps: tuple[TierStep, ...]
    ) -> list[str]:
        judge = self._judge(name, host, half, steps, None)
        return [judge, f"{marked(ALLOWED)} goto untrack"]

    def _pre_dnat(self, host: HostEndpoint, name: str) -> list[str]:
        if not host.pre_dnat:
            return []
        return [
            f"{marked(HOST_OK)} accept",
            _KNOWN_GO_ON,
            "jump failsafe-in",
            self._judge(name, host, Half.HOST_INGRESS, host.pre_dnat, None),
            f"{marked(ALLOWED)} {set_mark(HOST_OK)}",
        ]

    def _in(self, host: HostEndpoint, name: str) -> list[str]:
        return [
            REVOKED_DROP,
            *([f"{marked(HOST_OK)} accept"] if _may_be_ok(host) else []),
            *known_connections(self.wanted),
            "jump failsafe-in",
            self._judge(name, host, Half.HOST_INGRESS, host.ingress, host.profiles),
            "accept",
        ]

    def _out(self, host: HostEndpoint, name: str) -> list[str]:
        return [
            REVOKED_DROP,
            *([f"{marked(HOST_OK)} accept"] if host.untracked_egress else []),
            *known_connections(self.wanted),
            f"{marked(TRANSLATED)} accept",
            "jump failsafe-out",
            self._judge(name, host, Half.EGRESS, host.egress, host.profiles),
            "accept",
        ]

    def _translated(self, host: HostEndpoint, name: str) -> list[str]:
        """What the host sends to a translated destination: only behind the translation it is known
        by which interface it leaves."""
        return [
            REVOKED_DROP,
            *known_connections(self.wanted),
            "jump failsafe-out",
            self._judge(name, host, Half.EGRESS, host.egress, host.profiles),
        ]

    def _forward_in(self, host: HostEndpoint, name: str) -> list[str]:
        if not host.forward_ingress:
            return []
        skip = [f"{marked(HOST_OK)} return"] if _may_be_ok(host) else []
        return [*skip, self._judge(name, host, Half.HOST_INGRESS, host.forward_ingress, None)]

    def _forward_out(self, host: HostEndpoint, name: str) -> list[str]:
        if not host.forward_egress:
            return []
        return [self._judge(name, host, Half.EGRESS, host.forward_egress, None)]

    def _judge(
        self,
        name: str,
        host: HostEndpoint,
        half: Half,
        steps: tuple[TierStep, ...],
        profiles: tuple[str, ...] | None,
    ) -> str:
        """Makes the chain of a judgement; gives the jump into it."""
        chain = f"{name}/judge"
        self.chains |= self.policies.judgement(chain, host.id, half, steps, profiles)
        return f"jump {chain}"

    # --- failsafes ----------------------------------------------------------------------------

    def _failsafes(self) -> None:
        inbound, outbound = self.wanted.failsafe_inbound, self.wanted.failsafe_outbound
        here = (_DISCOVERY, *openings(inbound, "saddr", "dport"))
        there = (_DISCOVERY, *openings(outbound, "daddr", "dport"))
        self.chains["failsafe-in"] = Chain(here)
        self.chains["failsafe-out"] = Chain(there)
        # Nothing is tracked there that would tell an answer.
        if any(each.untracked_ingress for each in self.hosts):
            answers = openings(outbound, "saddr", "sport")
            self.chains["failsafe-raw-in"] = Chain((*here, *answers))
        if any(each.untracked_egress for each in self.hosts):
            answers = openings(inbound, "daddr", "sport")
            self.chains["failsafe-raw-out"] = Chain((*there, *answers))


def openings(ports: Iterable[OpenPort], address: str, port: str) -> tuple[str, ...]:
    """Rules that accept what is open, `address` being the other end. Raises ValueError."""
    lines = []
    anywhere = sorted({(each.protocol, each.port) for each in ports if each.net is None})
    if anywhere:
        pairs = ", ".join(f"{protocol:d} . {number:d}" for protocol, number in anywhere)
        lines.append(f"meta l4proto . th {port} {{ {pairs} }} accept")
    for each in sorted(each for each in ports if each.net is not None):
        for family in words.FAMILIES:
            for net in words.networks([each.net or ""], family):
                where = f"{words.LAYER_3[family]} {address} {net}"
                lines.append(
                    f"meta l4proto {each.protocol:d} {where} th {port} {each.port:d} accept"
                )
    return tuple(lines)


def _suffix(host: HostEndpoint) -> str:
    return "any" if host.interface == ANY else f"if-{words.interface(host.interface)}"


def _may_be_ok(host: HostEndpoint) -> bool:
    """Whether what comes in may be marked HOST_OK."""
    return bool(host.untracked_ingress or host.pre_dnat)


def _may_be_untracked(host: HostEndpoint) -> bool:
    return bool(host.untracked_ingress or host.untracked_egress)
