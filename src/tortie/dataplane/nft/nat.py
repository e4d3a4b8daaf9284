"""The chains that translate addresses, in nftables: floating addresses, and what leaves. Pure.

    prerouting, output (dstnat)   to a floating address: on to its workload
    postrouting (srcnat)          a workload to itself by its floating address: from that
                                  what stays among our workloads: as it is
                                  out of all pools, with a floating address: from that
                                  out of all that is excluded, in a pool that asks: masqueraded

The kernel asks these chains for the first packet of a connection only, and translates the rest as
that one, as long as there is any chain of their type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address

from tortie.dataplane.nft import words
from tortie.dataplane.nft.rules import Members
from tortie.dataplane.nft.ruleset import Chain, Ruleset, SetSpec, Table
from tortie.dataplane.safe import joined_ports
from tortie.desired import Family, Filter, Floating, NatOutgoing

Parts = tuple[dict[str, Chain], dict[str, SetSpec]]
"""Chains and sets by name."""

_FIRST, _HOST, LAST = "base-nat-prerouting", "base-nat-output", "base-nat-postrouting"
_HOOKS = {
    _FIRST: "type nat hook prerouting priority -100; policy accept",
    _HOST: "type nat hook output priority -100; policy accept",
    LAST: "type nat hook postrouting priority 100; policy accept",
}
_WITH_PORTS = f"meta l4proto {{ {', '.join(map(str, words.PORT_PROTOCOLS))} }}"


def translation(wanted: Filter, among_workloads: Iterable[str]) -> Parts:
    """What a filter asks for; nothing if it asks for none.

    `among_workloads` are the rules that end it for what leaves by a workload's interface. Raises
    ValueError for what is no address, prefix or port.
    """
    members = Members.of((), ())
    chains: dict[str, Chain] = {}
    sets: dict[str, SetSpec] = {}
    there: list[str] = []
    itself: list[str] = []
    back: list[str] = []
    for family in words.FAMILIES:
        own = [each for each in wanted.floating if words.family_of(each.external) == family]
        if own:
            l3, kind = words.LAYER_3[family], words.ADDRESS_TYPE[family]
            sets |= _maps(own, family)
            there.append(f"dnat {l3} to {l3} daddr map @float{family}")
            itself.append(f"snat {l3} to {l3} saddr . {l3} daddr map @itself{family}")
            inside = words.networks(wanted.inside, family)
            out = f"{l3} daddr != {members.any_of(kind, inside)} " if inside else ""
            back.append(f"{out}snat {l3} to {l3} saddr map @behind{family}")
    leaving = [line for each in wanted.nat_outgoing for line in _leaving(each, members)]
    if there:
        chains[_FIRST] = Chain(tuple(there), _HOOKS[_FIRST])
        chains[_HOST] = Chain(tuple(there), _HOOKS[_HOST])
    if there or leaving:
        lines = (*itself, *among_workloads, *back, *leaving)
        chains[LAST] = Chain(lines, _HOOKS[LAST])
    return chains, sets | members.intervals


def kept(wanted: Ruleset, chains: Collection[str]) -> Ruleset:
    """The rule set with an empty chain that translates, if none of its own does and one of
    `chains`, those that are there, did: without any the kernel would no longer translate the
    connections that go on."""
    tables = tuple(
        replace(each, chains={**each.chains, LAST: Chain((), _HOOKS[LAST])})
        if each.family == "inet" and not _HOOKS.keys().isdisjoint(chains) and _is_without(each)
        else each
        for each in wanted.tables
    )
    return replace(wanted, tables=tables)


def _is_without(table: Table) -> bool:
    return LAST not in table.chains


def _maps(floating: Iterable[Floating], family: Family) -> dict[str, SetSpec]:
    to: dict[str, str] = {}
    behind: dict[str, str] = {}
    for each in floating:
        external, internal = _address(each.external, family), _address(each.internal, family)
        to[external] = internal
        behind.setdefault(internal, external)
    kind = words.ADDRESS_TYPE[family]
    pair = f"{kind} : {kind}"
    own = frozenset(f"{each} . {each} : {external}" for each, external in behind.items())
    return {
        f"float{family}": SetSpec(pair, frozenset(f"{e} : {i}" for e, i in to.items()), "map"),
        f"behind{family}": SetSpec(pair, frozenset(f"{i} : {e}" for i, e in behind.items()), "map"),
        f"itself{family}": SetSpec(f"{kind} . {pair}", own, "map"),
    }


def _leaving(nat: NatOutgoing, members: Members) -> list[str]:
    """The rules for one family: with ports first, if they are limited."""
    l3, kind = words.LAYER_3[nat.family], words.ADDRESS_TYPE[nat.family]
    sources = words.networks(nat.sources, nat.family)
    exclude = words.networks(nat.exclude, nat.family)
    if not sources:
        return []
    match = f"{l3} saddr {members.any_of(kind, sources)}"
    if exclude:
        match += f" {l3} daddr != {members.any_of(kind, exclude)}"
    # What the host itself sends is its own, though a tunnel's address may be one of a pool.
    match += " fib saddr type != local"
    addresses = [_address(each, nat.family) for each in nat.address.split("-") if each]
    plain = f"snat {l3} to {'-'.join(addresses)}" if addresses else "masquerade"
    if nat.ports is None:
        return [f"{match} {plain}"]
    ((first, last),) = joined_ports([nat.ports])
    shown = [f"[{each}]" if nat.family == 6 else each for each in addresses]
    target = f"snat {l3} to {'-'.join(shown)}" if addresses else "masquerade to "
    return [f"{_WITH_PORTS} {match} {target}:{first}-{last}", f"{match} {plain}"]


def _address(text: str, family: Family) -> str:
    """Raises ValueError for what is no address of the family."""
    found = ip_address(text)
    if found.version != family:
        raise ValueError(f"not an address of IPv{family}: {text!r}")
    return str(found)
