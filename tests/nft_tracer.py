"""A plain interpreter of rendered nftables rule sets: what the kernel would do with a packet.

It knows the words that we write and nothing else: anything else raises ValueError, and so does a
look at what is not there yet or would be read out of another thing's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from tortie.dataplane.matching import Packet
from tortie.dataplane.nft.ruleset import Ruleset, SetSpec

PRIORITIES = {"raw": -300, "mangle": -150, "-100": -100, "filter": 0, "100": 100}
CONNTRACK, NAT = -200, -100
"""Where connections are known (notrack comes before), and where destinations are translated."""
HOOK = re.compile(r"type (filter|nat) hook (\w+) priority (-?\w+); policy accept")

PORTS, ICMP = (6, 17, 132), {"icmp": (1, 4), "icmpv6": (58, 6)}
GARBAGE = "no port"
NO_CONNECTION = ("untracked", "invalid")
Name = str | None
COMES, GOES = ("prerouting", "input", "forward"), ("forward", "output", "postrouting")


@dataclass
class Journey:
    """A packet on its way through the hooks, and what became of it."""

    packet: Packet
    state: str = "new"
    """as conntrack says: new, established, related, invalid, untracked"""
    connmark: int = 0
    connections: int = 0
    """what every limit has counted, this one too"""
    translated: Packet | None = None
    """behind a destination NAT of this host"""
    sent_as: str = ""
    """what its source becomes: ADDRESS, ADDRESS:PORTS, `masquerade`"""
    mark: int = 0
    iif: str | None = None
    oif: str | None = None
    hook: str = ""
    priority: int = 0
    verdicts: dict[str, str | None] = field(default_factory=dict)
    """by base chain; None: no rule of it decided"""
    rule: str = ""
    """the one that decided last"""
    logged: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return all(verdict != "drop" for verdict in self.verdicts.values())


Read = Callable[[Journey], str | None]
"""What a packet has in a field; None: no such field, and the rule ends there."""


class Leads(NamedTuple):
    """accept, drop or return; or jump or goto, and the chain."""

    verb: str
    target: str = ""


Do = Callable[[Journey], "bool | Leads | None"]
"""A piece of a rule: True goes on, False ends it, a Leads too; None (only a map's) ends it."""


class NftTracer:
    """The inet table of a rule set; rules are looked at when a packet meets them."""

    def __init__(self, ruleset: Ruleset) -> None:
        (self.table,) = (each for each in ruleset.tables if each.family == "inet")
        self._rules: dict[str, list[tuple[str, list[Do]]]] = {}
        self._members: dict[str, Members] = {}
        self.bases: dict[str, list[tuple[int, str]]] = {}
        for name, chain in self.table.chains.items():
            if chain.hook:
                found = HOOK.fullmatch(chain.hook)
                if not found:
                    raise ValueError(f"not a hook of ours: {chain.hook}")
                if (found[1] == "nat") != (abs(PRIORITIES[found[3]]) == 100):
                    raise ValueError(f"translates at another moment than NAT: {chain.hook}")
                self.bases.setdefault(found[2], []).append((PRIORITIES[found[3]], name))

    def judge(self, packet: Packet, iif: Name, oif: Name, **more) -> bool:
        """Does the packet pass? See `trace`."""
        return self.trace(packet, iif, oif, **more).accepted

    def trace(
        self, packet: Packet, iif: Name, oif: Name, first_oif: Name = None, **more
    ) -> Journey:
        """The way of a packet; `iif` None: from the host itself, `oif` None: to it.

        `first_oif` is where a packet of the host would have gone before it was translated; `more`
        are fields of Journey.
        """
        if iif is None:
            hooks = ["output", "postrouting"]
        else:
            hooks = ["prerouting", *(["input"] if oif is None else ["forward", "postrouting"])]
        journey = Journey(packet, iif=iif, **more)
        for hook in hooks:
            # The kernel keeps an interface for the whole of a hook, whatever is translated in it.
            journey.oif = (first_oif or oif) if hook == "output" else oif
            for priority, base in sorted(self.bases.get(hook, ())):
                journey.hook, journey.priority = hook, priority
                if abs(priority) == 100 and journey.state != "new":
                    continue  # the kernel asks for the first packet of a connection only
                if (priority > NAT or hook == "postrouting") and journey.state != "untracked":
                    journey.packet = journey.translated or packet
                journey.verdicts[base] = self._walk(base, journey)
                if not journey.accepted:
                    return journey
        return journey

    def _walk(self, chain: str, journey: Journey) -> str | None:
        """What a chain decides; None: back to whoever jumped here."""
        for text, parts in self.chain(chain):
            leads = _follow(parts, journey)
            if leads is None:
                continue
            if leads.verb == "return":
                return None
            if leads.verb in ("accept", "drop"):
                journey.rule = text
                return leads.verb
            found = self._walk(leads.target, journey)
            if found or leads.verb == "goto":
                return found
        return None

    def chain(self, name: str) -> list[tuple[str, list[Do]]]:
        """The rules of a chain, ready to be walked."""
        found = self._rules.get(name)
        if found is None:
            rules = self.table.chains[name].rules
            found = self._rules[name] = [(rule, Line(rule, self).parts()) for rule in rules]
        return found

    def members(self, name: str) -> Members:
        """What a named set or map holds."""
        if name not in self._members:
            self._members[name] = Members(self.table.sets[name])
        return self._members[name]


def _follow(parts: list[Do], journey: Journey) -> Leads | None:
    for part in parts:
        said = part(journey)
        if said is not True:
            return said or None
    return None


class Members:
    """A set, or a map to verdicts, of plain values joined by ` . ` as keys."""

    def __init__(self, spec: SetSpec) -> None:
        pairs = [each.replace('"', "").partition(" : ") for each in spec.elements]
        self.values = {key: Leads(*(verdict.split() or [""])) for key, _, verdict in pairs}
        self.interval = spec.interval

    def holds(self, value: str) -> bool:
        if self.interval:
            return any(_within(value, each) for each in self.values)
        return value in self.values


@lru_cache(100_000)
def _within(value: str, what: str) -> bool:
    """Whether a value is this, or in this prefix, range or family of names."""
    if "/" in what:
        return ip_address(value) in ip_network(what)
    if re.fullmatch(r"\d+-\d+", what):
        first, last = map(int, what.split("-"))
        return value != GARBAGE and first <= int(value) <= last
    if what.endswith("*"):
        return value.startswith(what[:-1])
    return value == what


class Line:
    """One rule as words, read from left to right."""

    def __init__(self, text: str, tracer: NftTracer) -> None:
        self.text, self.tracer = text, tracer
        self.words = re.findall(r'"[^"]*"|[{},]|[^\s{},"]+', text)
        if "\n" in text or ";" in text or "#" in text:
            raise ValueError(f"not one rule: {text!r}")

    def parts(self) -> list[Do]:
        found: list[Do] = []
        while self.words and self.words[0] != "comment":
            if self.words[0] in ("accept", "drop", "return", "jump", "goto", "reject"):
                found.append(self.verdict())
                break
            if self.words[0] in ("dnat", "snat", "masquerade"):
                found.append(self.translation())
                break
            found.append(self.statement(self.words[0]) or self.match())
        comment = " ".join(self.words)
        if comment and not re.fullmatch(r'comment "[A-Za-z0-9 ._/:-]{1,128}"', comment):
            raise ValueError(f"not a comment: {self.text!r}")
        return found

    def verdict(self) -> Do:
        verb = self.words.pop(0)
        if verb == "reject":
            self.take("with", "tcp", "reset")
            return _reset
        target = self.words.pop(0) if verb in ("jump", "goto") else ""
        if target and target not in self.tracer.table.chains:
            raise ValueError(f"no chain {target}: {self.text!r}")
        leads = Leads(verb, target)
        return lambda journey: leads

    def translation(self) -> Do:
        """What ends a chain that translates, unless a map has nothing for the packet."""
        verb = self.words.pop(0)
        if verb != "masquerade":
            family = self.words.pop(0)
            if family not in ("ip", "ip6"):
                raise ValueError(f"translates what? {self.text!r}")
        if verb == "masquerade" and self.words[:1] != ["to"]:
            return lambda journey: _translate(journey, verb, verb)
        self.take("to")
        if not self.words[0].startswith("ip"):
            target = ("masquerade" if verb == "masquerade" else "") + self.words.pop(0)
            return lambda journey: _translate(journey, verb, target)
        fields = [self.field()]
        while self.words[0] == ".":
            self.take(".")
            fields.append(self.field())
        read = _joined(fields)
        self.take("map")
        values = self.right().values

        def look(journey: Journey) -> Leads | None:
            found = values.get(read(journey) or "")
            return found and _translate(journey, verb, found.verb)

        return look

    def statement(self, word: str) -> Do | None:
        """What does something, or None."""
        if word in ("counter", "notrack"):
            self.take(word)
            return _notrack if word == "notrack" else lambda journey: True
        if word == "limit":  # never reached here
            over = self.words[2] == "over"
            phrase = " ".join(self.words.pop(0) for _ in range(6 + over))
            if not re.fullmatch(r"limit rate (over )?\d+/second burst \d+ packets", phrase):
                raise ValueError(f"not a limit: {self.text!r}")
            return lambda journey: not over
        if word == "log":
            self.take("log", "prefix")
            prefix = self.words.pop(0).strip('"')
            self.take("group", "84")
            return lambda journey: journey.logged.append(prefix) or True
        if word == "add":
            return self.count()
        if self.words[:3] == ["meta", "mark", "set"]:
            self.take("meta", "mark", "set", "meta", "mark")
            operator, bits = self.words.pop(0), int(self.words.pop(0), 16)
            return {"|": _mark(~0, bits), "&": _mark(bits, 0)}[operator]
        return None

    def count(self) -> Do:
        self.take("add")
        if not self.tracer.table.sets[self.words.pop(0).removeprefix("@")].dynamic:
            raise ValueError(f"counts in a set that is not dynamic: {self.text!r}")
        self.take("{")
        read = FIELDS[self.words.pop(0)]
        self.take("ct", "count", "over")
        most = int(self.words.pop(0))
        self.take("}")
        return lambda journey: bool(read(journey)) and journey.connections > most

    def match(self) -> Do:
        fields = [self.field()]
        while self.words[0] == ".":
            self.take(".")
            fields.append(self.field())
        read = fields[0] if len(fields) == 1 else _joined(fields)
        word = self.words[0]
        if word == "&":
            self.take("&")
            bits = int(self.words.pop(0), 16)
            self.take("!=", "0x0")
            return lambda journey: (value := read(journey)) is not None and bool(int(value) & bits)
        if word == "vmap":
            self.take("vmap")
            verdicts = self.right().values
            return lambda journey: verdicts.get(read(journey) or "")
        negated = word == "!="
        self.words = self.words[negated:]
        right = self.right()

        def test(journey: Journey) -> bool:
            value = read(journey)
            if value is None:
                return False
            if value == GARBAGE:
                raise ValueError(f"asks for the port of {journey.packet}: {self.text!r}")
            return right.holds(value) != negated

        return test

    def field(self) -> Read:
        for many in (1, 2, 3):
            found = FIELDS.get(" ".join(self.words[:many]))
            if found:
                del self.words[:many]
                return found
        raise ValueError(f"not a field that we use: {self.words[:2]} in {self.text!r}")

    def right(self) -> Members:
        """A named set or map, a set in braces, or one value."""
        word = self.words.pop(0)
        if word.startswith("@"):
            return self.tracer.members(word[1:])
        if word != "{":
            values = [word]
            while self.words[:1] == [","]:  # bits, such as the states of connections
                values.append(self.words[1])
                del self.words[:2]
            return Members(SetSpec("", frozenset(values), interval=True))
        end = self.words.index("}")
        inside, self.words = " ".join(self.words[:end]), self.words[end + 1 :]
        return Members(SetSpec("", frozenset(inside.split(" , "))))

    def take(self, *words: str) -> None:
        for word in words:
            if self.words.pop(0) != word:
                raise ValueError(f"expected {word!r} in {self.text!r}")


def _reset(journey: Journey) -> Leads:
    if journey.packet.protocol != 6 or journey.hook not in ("input", "forward", "output"):
        raise ValueError(f"a reset of {journey.packet} in {journey.hook}")
    return Leads("drop")


def _translate(journey: Journey, verb: str, target: str) -> Leads:
    if abs(journey.priority) != 100 or (verb == "dnat") != (journey.priority < 0):
        raise ValueError(f"{verb} in {journey.hook} at {journey.priority}")
    if verb == "dnat":
        journey.translated = journey.packet._replace(destination=target)
    else:
        journey.sent_as = target
    return Leads("accept")


def _notrack(journey: Journey) -> bool:
    if journey.priority >= CONNTRACK:
        raise ValueError("notrack is too late here")
    journey.state, journey.connmark = "untracked", 0
    return True


def _mark(kept: int, added: int) -> Do:
    return lambda j: setattr(j, "mark", j.mark & kept | added) or True


def _joined(fields: list[Read]) -> Read:
    def read(journey: Journey) -> str | None:
        values = [each(journey) for each in fields]
        return None if None in values else " . ".join(values)

    return read


def _interface(name: str, hooks: tuple[str, ...]) -> Read:
    def read(journey: Journey) -> str | None:
        if journey.hook not in hooks:
            raise ValueError(f"{name} in {journey.hook}")
        return getattr(journey, name)

    return read


def _family(journey: Journey) -> int:
    return 6 if ":" in journey.packet.source else 4


def _address(family: int, end: str) -> Read:
    return lambda j: getattr(j.packet, end) if _family(j) == family else None


def _port(end: str, protocol: int | None = None) -> Read:
    def read(journey: Journey) -> str | None:
        packet = journey.packet
        if protocol not in (None, packet.protocol):
            return None
        return str(getattr(packet, end)) if packet.protocol in PORTS else GARBAGE

    return read


def _icmp(name: str, part: int) -> Read:
    def read(journey: Journey) -> str | None:
        packet = journey.packet
        if (packet.protocol, _family(journey)) != ICMP[name] or packet.icmp is None:
            return None
        return str(packet.icmp[part])

    return read


def _connection(read: Read, always: bool = False) -> Read:
    def look(journey: Journey) -> str | None:
        if journey.priority <= CONNTRACK:
            raise ValueError("nothing is known of connections here")
        return read(journey) if always or journey.state not in NO_CONNECTION else None

    return look


FIELDS: Mapping[str, Read] = {
    "iifname": _interface("iif", COMES),
    "oifname": _interface("oif", GOES),
    "meta nfproto": lambda j: f"ipv{_family(j)}",
    "meta l4proto": lambda j: str(j.packet.protocol),
    "meta mark": lambda j: str(j.mark),
    "ip saddr": _address(4, "source"),
    "ip daddr": _address(4, "destination"),
    "ip6 saddr": _address(6, "source"),
    "ip6 daddr": _address(6, "destination"),
    "th sport": _port("source_port"),
    "th dport": _port("port"),
    "udp sport": _port("source_port", 17),
    "udp dport": _port("port", 17),
    **{f"{name} type": _icmp(name, 0) for name in ICMP},
    **{f"{name} code": _icmp(name, 1) for name in ICMP},
    "fib saddr type": lambda j: "local" if j.iif is None else "unicast",
    "ct state": _connection(lambda j: j.state, always=True),
    "ct mark": _connection(lambda j: str(j.connmark)),
    "ct status": _connection(lambda j: "dnat" if j.translated else "confirmed"),
}
