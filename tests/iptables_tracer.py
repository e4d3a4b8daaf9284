"""A plain interpreter of rendered iptables rule sets: what the kernel would do with a packet.

It knows the rules that we write and nothing else: anything else, and much that iptables itself
would refuse, raises ValueError.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from tortie.dataplane.iptables.ruleset import Ruleset, SetSpec
from tortie.dataplane.matching import Packet

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}
WITH_PORTS = ("tcp", "udp", "sctp")
VERDICTS = ("ACCEPT", "DROP", "REJECT")
TRANSLATES = ("DNAT", "SNAT", "MASQUERADE")
SETTERS = ("MARK", "CT", "NFLOG")
MODULES = {
    "set", "mark", "connmark", "multiport", "conntrack", "comment", "limit", "connlimit",
    "icmp", "icmp6", "addrtype",
}  # fmt: skip
LEAVES = ("mangle POSTROUTING", "nat POSTROUTING")
DECIDED = ("mangle PREROUTING", "raw OUTPUT", "nat PREROUTING", "nat OUTPUT")
"""Behind these a packet has its translated destination."""
COMES, GOES = ("PREROUTING", "INPUT", "FORWARD"), ("FORWARD", "OUTPUT", "POSTROUTING")


@dataclass
class Journey:
    """A packet on its way through the hooks, and what became of it."""

    packet: Packet
    state: str = "NEW"
    """as conntrack says: NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED"""
    connmark: int = 0
    connections: int = 0
    """what every limit has counted"""
    translated: Packet | None = None
    """behind a destination NAT of this host"""
    sent_as: str = ""
    """what its source becomes: ADDRESS, ADDRESS:PORTS, `masquerade`"""
    mark: int = 0
    iif: str | None = None
    oif: str | None = None
    table: str = ""
    hook: str = ""
    verdicts: dict[str, str | None] = field(default_factory=dict)
    """by "table HOOK"; None: our rules said nothing"""
    met: int = 0
    """rules that were looked at"""
    logged: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return all(verdict in (None, "ACCEPT") for verdict in self.verdicts.values())


Test = Callable[[Journey], bool]


class Line(NamedTuple):
    """A rule: what it asks, and where it leads."""

    tests: tuple[Test, ...]
    verb: str
    target: str
    options: Mapping[str, str]


class IptablesTracer:
    """Rule sets by family. `lazy`: only the rules that a packet meets are looked at."""

    def __init__(self, rulesets: Mapping[int, Ruleset], lazy: bool = False) -> None:
        self._families = {family: Parsed(each, lazy) for family, each in rulesets.items()}

    def judge(self, packet: Packet, iif: str | None, oif: str | None, **more) -> bool:
        """Does the packet pass? See `trace`."""
        return self.trace(packet, iif, oif, **more).accepted

    def trace(
        self,
        packet: Packet,
        iif: str | None,
        oif: str | None,
        *,
        first_oif: str | None = None,
        **more,
    ) -> Journey:
        """The way of a packet; `iif` None: from the host itself, `oif` None: to it.

        `first_oif` is where a packet of the host would have gone before it was translated; `more`
        are fields of Journey.
        """
        journey = Journey(packet, iif=iif, oif=None if iif else first_oif or oif, **more)
        rules = self._families[6 if ":" in packet.source else 4]
        if iif is not None:
            way = ["raw PREROUTING", "mangle PREROUTING", "nat PREROUTING"]
            way += ["filter INPUT"] if oif is None else ["filter FORWARD", *LEAVES]
        else:
            way = ["raw OUTPUT", "nat OUTPUT", "filter OUTPUT", *LEAVES]
        for stop in way:
            journey.table, journey.hook = stop.split()
            if journey.table == "nat" and journey.state != "NEW":
                continue  # the kernel asks for the first packet of a connection only
            if journey.hook in ("FORWARD", "POSTROUTING"):
                journey.oif = oif
            journey.verdicts[stop] = rules.run(journey)
            if not journey.accepted:
                break
            if stop in DECIDED and journey.state != "UNTRACKED":
                journey.packet = journey.translated or journey.packet
        return journey


class Parsed:
    """One family's rule set, ready to be walked."""

    def __init__(self, ruleset: Ruleset, lazy: bool) -> None:
        self.family = ruleset.family
        self.sets = {name: Members(name, each) for name, each in ruleset.sets.items()}
        self._texts = {
            (table, name): rules
            for held in (ruleset.chains, ruleset.hooks)
            for table, chains in held.items()
            for name, rules in chains.items()
        }
        self._lines: dict[tuple[str, str], list[Line]] = {}
        for table, chains in {} if lazy else ruleset.chains.items():
            for name in chains:
                if len(name) > 28 or not name.startswith("tor-"):
                    raise ValueError(f"no name for a chain of ours: {name}")
                self.chain(table, name)

    def chain(self, table: str, name: str) -> list[Line]:
        """The rules of a chain of ours, or of ours in a built-in one."""
        found = self._lines.get((table, name))
        if found is None:
            rules = self._texts.get((table, name), ())
            found = self._lines[table, name] = [self._parse(rule, table) for rule in rules]
        return found

    def run(self, journey: Journey) -> str | None:
        return self._walk(journey.hook, journey)

    def _walk(self, name: str, journey: Journey) -> str | None:
        for line in self.chain(journey.table, name):
            journey.met += 1
            if not all(test(journey) for test in line.tests):
                continue
            if line.target == "RETURN":
                return None
            if line.target in VERDICTS:
                return line.target
            if line.target in SETTERS:
                _set(line, journey)
                continue
            if line.target in TRANSLATES:
                return _translate(line, journey)
            verdict = self._walk(line.target, journey)
            if verdict or line.verb == "-g":
                return verdict
        return None

    def _parse(self, rule: str, table: str) -> Line:
        words = shlex.split(rule)
        if "\n" in rule or words.count("-s") > 1 or words.count("-d") > 1:
            raise ValueError(f"not one rule: {rule!r}")
        tests: list[Test] = []
        module, protocol, negated = "", "", False
        while words:
            word = words.pop(0)
            if word == "!":
                negated = True
                continue
            if word in ("-j", "-g"):
                break
            if word in ("--connlimit-saddr", "--connlimit-daddr"):
                continue
            value = words.pop(0)
            if word == "-m":
                if value not in MODULES:
                    raise ValueError(f"not a module that we use: {value}")
                module = value
                continue
            if word == "-p":
                protocol = "" if negated else value
            test = self._test(word, value, words, module, protocol, table)
            if test is not None:
                tests.append(_negated(test) if negated else test)
            negated = False
        else:
            raise ValueError(f"leads nowhere: {rule!r}")
        target = words.pop(0)
        if (
            target not in (*VERDICTS, *SETTERS, *TRANSLATES, "RETURN")
            and (table, target) not in self._texts
        ):
            raise ValueError(f"{table} has no chain {target}")
        options = _options(target, words, table, protocol)
        return Line(tuple(tests), word, target, options)

    def _test(self, word, value, rest, module, protocol, table) -> Test | None:
        """What an option asks; None: nothing that matters here."""
        if (module, word) == ("set", "--match-set"):
            return self.sets[value].test(rest.pop(0).split(","))
        if word in ("-s", "-d"):
            net = ip_network(value)
            if net.version != self.family or "/" not in value:
                raise ValueError(f"not a prefix of IPv{self.family}: {value}")
            end = "source" if word == "-s" else "destination"
            return lambda j: ip_address(getattr(j.packet, end)) in net
        if word == "-p":
            number = PROTOCOLS.get(value) or int(value)
            return lambda j: j.packet.protocol == number
        if word in ("-i", "-o"):
            return _interface(word, value)
        known = OPTIONS.get((module, word))
        if known is None:
            raise ValueError(f"not an option that we use: {module} {word}")
        return known(value, protocol, table)


class Members:
    """An IP set."""

    def __init__(self, name: str, spec: SetSpec) -> None:
        if not spec.members or len(name) > 31:
            raise ValueError(f"{name}: an empty set, or too long a name")
        self.kind, self.members = spec.type, spec.members
        self.nets = [ip_network(each) for each in spec.members] if spec.type == "hash:net" else []
        if any(net.prefixlen == 0 for net in self.nets):
            raise ValueError("hash:net takes no /0")

    def test(self, ways: list[str]) -> Test:
        if len(ways) != 1 + (self.kind in ("hash:ip,port", "hash:net,iface")) or len(set(ways)) > 1:
            raise ValueError(f"{self.kind} is not looked up by {ways}")
        source = {"src": True, "dst": False}[ways[0]]

        def look(journey: Journey) -> bool:
            packet = journey.packet
            address = packet.source if source else packet.destination
            if self.kind == "hash:net":
                return any(ip_address(address) in net for net in self.nets)
            if self.kind == "hash:ip,port":
                port = packet.source_port if source else packet.port
                return f"{address},{NAMES.get(packet.protocol)}:{port}" in self.members
            if self.kind == "hash:net,iface":
                _may_ask(journey, "-i" if source else "-o")
                return f"{address},{journey.iif if source else journey.oif}" in self.members
            return address in self.members

        return look


def _negated(test: Test) -> Test:
    return lambda journey: not test(journey)


def _may_ask(journey: Journey, word: str) -> None:
    if journey.hook not in (COMES if word == "-i" else GOES):
        raise ValueError(f"{word} in {journey.hook}")


def _interface(word: str, name: str) -> Test:
    if len(name) > 15:
        raise ValueError(f"no name of an interface: {name}")

    def test(journey: Journey) -> bool:
        _may_ask(journey, word)
        actual = (journey.iif if word == "-i" else journey.oif) or ""
        return actual.startswith(name[:-1]) if name.endswith("+") else actual == name

    return test


def _ports(which: str) -> Callable[[str, str, str], Test]:
    def make(value: str, protocol: str, table: str) -> Test:
        ranges = [tuple(map(int, each.split(":"))) for each in value.split(",")]
        if protocol not in WITH_PORTS or sum(map(len, ranges)) > 15:
            raise ValueError(f"multiport takes no {value} with protocol {protocol!r}")
        return lambda j: any(each[0] <= getattr(j.packet, which) <= each[-1] for each in ranges)

    return make


def _icmp(name: str) -> Callable[[str, str, str], Test]:
    def make(value: str, protocol: str, table: str) -> Test:
        if protocol != name:
            raise ValueError(f"an ICMP type with protocol {protocol!r}")
        wanted = tuple(map(int, value.split("/")))
        return lambda j: j.packet.icmp is not None and j.packet.icmp[: len(wanted)] == wanted

    return make


def _mark(value: str, protocol: str, table: str) -> Test:
    bits, mask = (int(each, 16) for each in value.split("/"))
    return lambda j: j.mark & mask == bits


def _connmark(value: str, protocol: str, table: str) -> Test:
    bits, mask = (int(each, 16) for each in value.split("/"))
    return lambda j: j.connmark & mask == bits if j.state != "UNTRACKED" else False


def _ctstate(value: str, protocol: str, table: str) -> Test:
    if table == "raw":
        raise ValueError("nothing is tracked yet in raw")
    states = set(value.split(","))
    if not states <= {"RELATED", "ESTABLISHED", "INVALID", "DNAT"}:
        raise ValueError(f"not a state that we ask for: {value}")

    def test(journey: Journey) -> bool:
        tracked = journey.state not in ("UNTRACKED", "INVALID")
        dnat = "DNAT" in states and tracked and journey.translated is not None
        return journey.state in states or dnat

    return test


def _nothing(value: str, protocol: str, table: str) -> None:
    return None


def _comment(value: str, protocol: str, table: str) -> None:
    if not 0 < len(value) <= 255 or value.startswith("-"):
        raise ValueError(f"not a comment: {value!r}")


# Here nobody but the host itself has an address of its own.
_LOCAL: dict[str, Test] = {"LOCAL": lambda journey: journey.iif is None}

OPTIONS: dict[tuple[str, str], Callable[[str, str, str], Test | None]] = {
    ("multiport", "--dports"): _ports("port"),
    ("multiport", "--sports"): _ports("source_port"),
    ("icmp", "--icmp-type"): _icmp("icmp"),
    ("icmp6", "--icmpv6-type"): _icmp("ipv6-icmp"),
    ("mark", "--mark"): _mark,
    ("connmark", "--mark"): _connmark,
    ("conntrack", "--ctstate"): _ctstate,
    ("comment", "--comment"): _comment,
    ("addrtype", "--src-type"): lambda value, *_: _LOCAL[value],
    ("limit", "--limit"): _nothing,  # never reached here
    ("limit", "--limit-burst"): _nothing,
    ("connlimit", "--connlimit-above"): lambda value, *_: lambda j: j.connections > int(value),
    ("connlimit", "--connlimit-mask"): _nothing,
}


TARGET_OPTIONS: dict[str, tuple[str, ...]] = {
    "MARK": ("--set-xmark",),
    "NFLOG": ("--nflog-prefix", "--nflog-group"),
    "REJECT": ("--reject-with",),
    "DNAT": ("--to-destination",),
    "SNAT": ("--to-source",),
}


def _options(target: str, words: list[str], table: str, protocol: str) -> dict[str, str]:
    """What stands behind a target."""
    if target == "CT":
        if (words, table) != (["--notrack"], "raw"):
            raise ValueError(f"CT {words} in {table}")
        return {}
    names = TARGET_OPTIONS.get(target, ())
    if target in TRANSLATES and table != "nat":
        raise ValueError(f"{target} in {table}")
    if words and words[0] == "--to-ports" and protocol not in WITH_PORTS:
        raise ValueError(f"ports of protocol {protocol!r}")
    names = ("--to-ports",) if target == "MASQUERADE" and words else names
    if tuple(words[::2]) != names or len(words) != 2 * len(names):
        raise ValueError(f"{target} with {words}")
    found = dict(zip(names, words[1::2], strict=True))
    if target == "REJECT" and (table, protocol) != ("filter", "tcp"):
        raise ValueError(f"REJECT in {table} with protocol {protocol!r}")
    if len(found.get("--nflog-prefix", "")) > 63:
        raise ValueError(f"too long a prefix: {found}")
    return found


def _translate(line: Line, journey: Journey) -> str:
    if (line.target == "DNAT") != (journey.hook in ("PREROUTING", "OUTPUT")):
        raise ValueError(f"{line.target} in {journey.hook}")
    if line.target == "DNAT":
        target = str(ip_address(line.options["--to-destination"]))
        journey.translated = journey.packet._replace(destination=target)
    else:
        ports = line.options.get("--to-ports")
        masked = "masquerade" + (f":{ports}" if ports else "")
        journey.sent_as = line.options.get("--to-source", masked)
    return "ACCEPT"


def _set(line: Line, journey: Journey) -> None:
    if line.target == "MARK":
        bits, mask = (int(each, 16) for each in line.options["--set-xmark"].split("/"))
        journey.mark = (journey.mark & ~mask) ^ bits
    elif line.target == "CT":
        journey.state, journey.connmark = "UNTRACKED", 0
    else:
        journey.logged.append(line.options["--nflog-prefix"])
