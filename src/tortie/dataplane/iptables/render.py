"""The neutral filter as iptables rules and IP sets of one family: pure, a function of the whole.

The way of a packet of ours, of a workload (W) or on an interface with a host endpoint (H):

    raw PREROUTING      W: is its source live on this interface?    H: untracked policies
    mangle PREROUTING   H: pre-DNAT policies
    nat                 floating addresses, and what leaves under another address: see `nat`
    filter FORWARD      tor-forward    what is ours goes to
                        tor-judge      is the target live? cut, known, invalid connections; then
                          tor-from     both halves, found by interface: each drops or returns,
                          tor-to       and what both let pass is accepted
    filter INPUT        W: tor-to-host           H: host policy
    filter OUTPUT       W: live addresses only   H: (raw) untracked policies; host policy
    mangle POSTROUTING  H: host policy, for what the host sends to a translated destination

What is allowed is accepted in the table filter, so that no later rule there drops it; raw and
mangle return. What is not ours meets a few rules that do nothing. What is forwarded between
interfaces of hosts, and no forward policy decides, returns too: others may have rules for it.

ARP is not iptables' business: a workload can claim another's address in ARP, and permanent
neighbour entries (`dataplane.links`) are what keeps the host from believing it. A limit of
connections holds for each family on its own.
"""

from __future__ import annotations

from tortie.dataplane.iptables import hosts, nat, words, workloads
from tortie.dataplane.iptables.building import ANY, OURS, Building
from tortie.dataplane.iptables.ruleset import TABLES, Ruleset, TableName
from tortie.dataplane.safe import of_family
from tortie.desired import Encapsulated, Family, Filter

HOOKS: tuple[tuple[TableName, str, str], ...] = (
    ("raw", "PREROUTING", "tor-pre"),
    ("raw", "OUTPUT", "tor-output"),
    ("mangle", "PREROUTING", "tor-pre"),
    ("mangle", "POSTROUTING", "tor-post"),
    ("nat", "PREROUTING", nat.TO),
    ("nat", "OUTPUT", nat.TO),
    ("nat", "POSTROUTING", nat.FROM),
    ("filter", "INPUT", "tor-input"),
    ("filter", "FORWARD", "tor-forward"),
    ("filter", "OUTPUT", "tor-output"),
)
"""Table, built-in chain, and our chain that stands at its head, if there is need of it."""


def render(wanted: Filter, family: Family) -> Ruleset:
    """The rule set for a filter in a family.

    Raises ValueError for an id, interface, address, port or name that is unsafe, and for an
    interface that two endpoints or two host endpoints claim.
    """
    b = Building(wanted, family)
    _raw(b)
    _mangle(b)
    _forward(b)
    _host(b)
    nat.translation(b)
    chains = {table: dict(sorted(b.policies[table].chains.items())) for table in TABLES}
    hooks: dict[TableName, dict[str, tuple[str, ...]]] = {table: {} for table in TABLES}
    for table, hook, chain in HOOKS:
        if chain in chains[table]:
            hooks[table][hook] = (f"-j {chain}",)
    return Ruleset(family, dict(sorted(b.lookups.sets.items())), chains, hooks)


def _each(b: Building, target: str) -> dict[str, str]:
    """The same target for the workloads that the prefix does not find."""
    return dict.fromkeys(b.foreign, target)


def _raw(b: Building) -> None:
    workloads.sources(b)
    source = f"-g {workloads.SOURCE}"
    comes = hosts.untracked_in(b)
    b.dispatch("raw", "tor-pre", "-i", _each(b, source), comes, source)
    goes = hosts.untracked_out(b)
    if goes:
        b.dispatch("raw", "tor-output", "-o", _each(b, "-j RETURN"), goes, "-j RETURN")


def _mangle(b: Building) -> None:
    comes = hosts.pre_dnat(b)
    if comes:
        b.dispatch("mangle", "tor-pre", "-i", _each(b, "-j RETURN"), comes, "-j RETURN")
    goes = hosts.translated(b)
    if goes:
        b.dispatch("mangle", "tor-trans", "-o", _each(b, "-j RETURN"), goes, "-j RETURN")
        chosen = words.join(words.if_all(words.TRANSLATED), words.DNAT)
        b.put("mangle", "tor-post", (f"{chosen} -g tor-trans",))


def _forward(b: Building) -> None:
    workloads.targets(b)
    target = f"-g {workloads.TARGET}"
    says, hears = workloads.policies(b)
    b.dispatch("filter", "tor-from", "-i", says, hosts.forward_in(b), workloads.UNKNOWN)
    b.dispatch("filter", "tor-to", "-o", hears, hosts.forward_out(b), workloads.UNKNOWN)
    lines = [f"-o {OURS} -j {workloads.TARGET}"]
    if b.foreign:
        b.tree("filter", "tor-targets", "-o", _each(b, target))
        lines.append("-j tor-targets")
    lines += [*b.known(), "-j tor-from", "-j tor-to", "-j ACCEPT"]
    b.put("filter", "tor-judge", lines)
    ways = [f"-i {OURS} -g tor-judge", f"-o {OURS} -g tor-judge"]
    if b.foreign:
        b.tree("filter", "tor-ours-in", "-i", _each(b, "-g tor-judge"))
        b.tree("filter", "tor-ours-out", "-o", _each(b, "-g tor-judge"))
        ways += ["-j tor-ours-in", "-j tor-ours-out"]
    b.put("filter", "tor-forward", (*ways, *_between_hosts(b)))


def _between_hosts(b: Building) -> tuple[str, ...]:
    """What leads to the judgement of what comes in or leaves by a host endpoint's interface, and
    is no workload's. Accepted is what a forward policy allows, and what it once allowed."""
    if not b.hosts:
        return ()
    allowed = f"{words.if_all(words.ALLOWED)} -j ACCEPT"
    lines = (*b.known(), words.clear_mark(words.ALLOWED), "-j tor-from", "-j tor-to", allowed)
    b.put("filter", "tor-judge-host", lines)
    named = {each.interface: "-g tor-judge-host" for each in b.hosts}
    if ANY in named:
        return ("-g tor-judge-host",)
    b.tree("filter", "tor-hosts-in", "-i", named, ["-g tor-hosts-out"])
    b.tree("filter", "tor-hosts-out", "-o", named)
    return ("-g tor-hosts-in",)


def _host(b: Building) -> None:
    workloads.to_host(b)
    to_host, from_host = f"-g {workloads.TO_HOST}", f"-g {workloads.FROM_HOST}"
    vxlan = b.wanted.encapsulated
    comes = "tor-comes" if vxlan else "tor-input"
    b.dispatch("filter", comes, "-i", _each(b, to_host), hosts.comes_in(b), to_host)
    if vxlan:
        b.put("filter", "tor-input", (*_ours(b, vxlan, "src"), _forged(vxlan), f"-g {comes}"))
    goes = hosts.goes_out(b)
    b.dispatch("filter", "tor-leaves", "-o", _each(b, from_host), goes, from_host)
    mark = (f"{words.DNAT} {words.set_mark(words.TRANSLATED)}",) if goes else ()
    others = _ours(b, vxlan, "dst") if vxlan else ()
    if others:
        others = (*(f"-o {each} -g tor-leaves" for each in (OURS, *b.foreign)), *others)
    b.put("filter", "tor-output", (*mark, *others, "-g tor-leaves"))


def _ours(b: Building, vxlan: Encapsulated, end: str) -> tuple[str, ...]:
    """VXLAN between this host and others of ours, who are at that end."""
    others = of_family(vxlan.sources, b.family)
    if not others:
        return ()
    known = words.in_set(b.lookups.hosts(others), end)
    return (f"-p udp -m multiport --dports {vxlan.port:d} {known} -j ACCEPT",)


def _forged(vxlan: Encapsulated) -> str:
    """VXLAN from anybody else."""
    why = words.comment("VXLAN from no host of ours")
    return f"-p udp -m multiport --dports {vxlan.port:d} {why} -j DROP"
