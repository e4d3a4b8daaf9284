"""The chains of the table nat: floating addresses, and what leaves under another address. Pure.

    PREROUTING, OUTPUT   tor-nat-to     to a floating address: on to its workload
    POSTROUTING          tor-nat-from   a workload to itself by its floating address: from that
                                        what stays among our workloads: as it is
                                        out of all pools, with a floating address: from that
                                        out of all that is excluded, in a pool that asks: as one
                                        of the host's

The kernel asks them for the first packet of a connection only, and translates the rest as that one.
A table that has been made stays, so those connections go on when nothing is asked for any more.
"""

from __future__ import annotations

from ipaddress import ip_address

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.building import OURS, Building
from tortie.dataplane.safe import PORT_PROTOCOLS, family_of, joined_ports, networks
from tortie.desired import Family, NatOutgoing

TO, FROM = "tor-nat-to", "tor-nat-from"
_ITSELF, _BACK = "tor-nat-itself", "tor-nat-back"


def translation(b: Building) -> None:
    """nat: TO and FROM, if anything is asked for. Raises ValueError for what is no address, prefix
    or port."""
    floating = _floating(b)
    leaving = [
        line
        for each in b.wanted.nat_outgoing
        if each.family == b.family
        for line in _leaving(b, each)
    ]
    if not floating and not leaving:
        return
    lines: list[str] = []
    from_them = ""
    if floating:
        behind: dict[str, str] = {}
        for external, internal in floating.items():
            behind.setdefault(internal, external)
        to_them = words.in_set(b.lookups.hosts(floating), "dst", negated=True)
        from_them = words.in_set(b.lookups.hosts(behind), "src")
        b.put("nat", TO, (f"{to_them} -j RETURN", *map(_dnat, floating, floating.values())))
        own = {internal: words.masked(internal) for internal in behind}
        b.put("nat", _ITSELF, [f"-s {own[i]} -d {own[i]} {_snat(e)}" for i, e in behind.items()])
        b.put("nat", _BACK, [f"-s {own[i]} {_snat(e)}" for i, e in behind.items()])
        lines.append(f"{from_them} -j {_ITSELF}")
    lines += [f"-o {each} -j RETURN" for each in (OURS, *b.foreign)]
    if floating:
        lines.append(words.join(from_them, _out_of(b, b.wanted.inside), f"-g {_BACK}"))
    b.put("nat", FROM, (*lines, *leaving))


def _floating(b: Building) -> dict[str, str]:
    """Internal by external address."""
    return {
        _address(each.external, b.family): _address(each.internal, b.family)
        for each in b.wanted.floating
        if family_of(each.external) == b.family
    }


def _leaving(b: Building, nat: NatOutgoing) -> list[str]:
    """What leaves: with ports first, if they are limited."""
    sources = networks(nat.sources, b.family)
    if not sources:
        return []
    match = words.join(
        words.in_set(b.lookups.prefixes(map(words.masked, sources)), "src"),
        _out_of(b, nat.exclude),
        # What the host itself sends is its own, though a tunnel's address may be one of a pool.
        "-m addrtype ! --src-type LOCAL",
    )
    addresses = "-".join(_address(each, b.family) for each in nat.address.split("-") if each)
    plain = _snat(addresses) if addresses else "-j MASQUERADE"
    if nat.ports is None:
        return [f"{match} {plain}"]
    ((first, last),) = joined_ports([nat.ports])
    shown = f"[{addresses}]" if b.family == 6 else addresses
    limited = f"{_snat(shown)}:" if addresses else f"{plain} --to-ports "
    ports = str(first) if first == last else f"{first}-{last}"
    protocols = [words.protocol(each) for each in PORT_PROTOCOLS]
    return [*(f"-p {each} {match} {limited}{ports}" for each in protocols), f"{match} {plain}"]


def _out_of(b: Building, nets: tuple[str, ...]) -> str:
    """The match of what goes to none of these; "" without any of this family."""
    own = networks(nets, b.family)
    if not own:
        return ""
    return words.in_set(b.lookups.prefixes(map(words.masked, own)), "dst", negated=True)


def _dnat(external: str, internal: str) -> str:
    return f"-d {words.masked(external)} -j DNAT --to-destination {internal}"


def _snat(external: str) -> str:
    return f"-j SNAT --to-source {external}"


def _address(text: str, family: Family) -> str:
    """Raises ValueError for what is no address of the family."""
    found = ip_address(text)
    if found.version != family:
        raise ValueError(f"not an address of IPv{family}: {text!r}")
    return str(found)
