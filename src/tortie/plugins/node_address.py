"""Which address a host speaks from, found out: for nodes whose Node resource nobody writes by hand.

Methods, in Calico's words (IP_AUTODETECTION_METHOD):

    first-found              the only usable interface, or that of the default route
    interface=NAME[,NAME]    the address on these interfaces; `*` stands for any text
    skip-interface=NAME[...] first-found without these
    cidr=CIDR[,CIDR]         the address in these prefixes
    can-reach=ADDRESS        the one that the kernel would send from
    ADDRESS[/LENGTH]         this one

Where several addresses fit equally well none is taken: a wrong guess would move all BGP sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from msgspec.structs import replace

from tortie.errors import AgentError, Conflict, UsageError
from tortie.kernel.reach import source_towards
from tortie.kernel.rtnetlink import NetlinkPort
from tortie.model import checks, kinds, net
from tortie.model import resources as r
from tortie.model.words import did_you_mean, quote
from tortie.store.base import Put, Store

Word = Literal["first-found", "interface", "skip-interface", "cidr", "can-reach", "address"]
METHODS: tuple[str, ...] = tuple(word for word in get_args(Word) if word != "address")

VIRTUAL = (
    "docker*", "cbr*", "br-*", "virbr*", "lxc*", "lxd*", "veth*", "cali*", "tor*", "tunl*",
    "vxlan*", "flannel*", "cni*", "kube-*", "wg*", "tap*", "vnet*", "podman*", "nerdctl*", "lo",
)  # fmt: skip
"""Interfaces that `first-found` and `cidr` pass over: they lead to workloads, not to hosts."""


@dataclass(frozen=True, slots=True)
class Method:
    """How an address is found: `values` are patterns, prefixes, or an address."""

    word: Word
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address of this host: ADDRESS/LENGTH of its subnet on an interface."""

    interface: str
    prefix: str

    @property
    def address(self) -> str:
        """Without the mask."""
        return self.prefix.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the host: `way` is the interface of the default route of the family, or "";
    `source` says which address the kernel would send from to reach another ("": no way there).
    """

    candidates: Sequence[Candidate]
    way: str
    source: Callable[[str], str]


def parse(text: str, family: net.Family) -> Method:
    """The method that a text means. Raises UsageError."""
    word, equals, rest = text.partition("=")
    values = tuple(each.strip() for each in rest.split(",")) if equals else ()
    match word:
        case "first-found" if not equals:
            return Method("first-found")
        case "interface" | "skip-interface" if all(values) and values:
            for name in values:
                _require(checks.interface("--ip", name.replace("*", "x")), text)
            return Method("interface" if word == "interface" else "skip-interface", values)
        case "cidr" if values:
            found = [_parsed(each, family, text) for each in values]
            return Method("cidr", tuple(each.text for each in found))
        case "can-reach" if len(values) == 1:
            _parsed(values[0], family, text)
            return Method("can-reach", (net.parse_address(values[0]).text,))
    if not equals and ("." in text or ":" in text):
        _parsed(text, family, text)
        return Method("address", (net.parse_interface(text).text,))
    raise UsageError(
        f"{quote(text)} is no way to find an address",
        did_you_mean(word, METHODS) + ", or give the address itself",
    )


def choose(method: Method, family: net.Family, around: Surroundings) -> str:
    """The host's ADDRESS/LENGTH. Raises AgentError: none fits, or several do equally well."""
    mine = [each for each in around.candidates if _usable(each, family)]
    real = [each for each in mine if not _named(each, VIRTUAL)]
    match method.word:
        case "address":
            return _explicit(method.values[0], mine)
        case "interface":
            return _only([each for each in mine if _named(each, method.values)], method, family)
        case "cidr":
            nets = [net.parse_net(each) for each in method.values]
            inside = [
                each
                for each in real
                if any(one.covers(net.parse_net(each.address)) for one in nets)
            ]
            return _only(inside, method, family)
        case "can-reach":
            source = around.source(method.values[0])
            return _only([each for each in mine if each.address == source], method, family)
        case "first-found" | "skip-interface":
            left = [each for each in real if not _named(each, method.values)]
            uplink = [each for each in left if each.interface == around.way]
            return _only(uplink or left, method, family)


def look(netlink: NetlinkPort, family: net.Family) -> Surroundings:
    """This host as it is. Raises KernelError."""
    names = {link.index: link.name for link in netlink.links() if link.up}
    candidates = [
        Candidate(names[each.index], each.prefix)
        for each in netlink.addresses()
        if each.index in names and each.scope == "global"
    ]
    default = "0.0.0.0/0" if family == 4 else "::/0"
    ways = [route for route in netlink.routes() if route.prefix == default and route.index in names]
    way = names[min(ways, key=lambda route: route.metric).index] if ways else ""
    return Surroundings(candidates, way, source_towards)


def keep(
    store: Store, node: str, netlink: NetlinkPort, methods: Mapping[net.Family, Method]
) -> None:
    """Find the host's addresses and write them, each family for itself.

    Raises AgentError that names each family for which none is taken, and StoreError, KernelError.
    """
    found: dict[net.Family, str] = {}
    problems: list[AgentError] = []
    for family, method in methods.items():
        try:
            found[family] = choose(method, family, look(netlink, family))
        except AgentError as error:
            problems.append(error)
    if found:
        publish(store, node, found)
    if problems:
        said = "; ".join(each.message for each in problems)
        raise AgentError(f"the address of this host is not known: {said}", problems[0].cure)


def publish(store: Store, node: str, found: dict[net.Family, str]) -> bool:
    """Write addresses into the Node resource, made if it is not there; whether anything changed.

    Labels and all else of the Node stay. Raises AgentError if another node has the address,
    StoreError.
    """
    key = kinds.key(_node(node))
    for _ in range(20):
        entry = store.get(key)
        resource = kinds.decode(entry.value) if entry else _node(node)
        if not isinstance(resource, r.Node):
            raise AgentError(f"what is stored as Node {node} is none", "delete it")
        wanted = _with(resource, found)
        if entry is not None and wanted == resource:
            return False
        _require_free(store, node, found)
        try:
            store.commit([Put(key, kinds.encode(wanted), entry.revision if entry else 0)])
        except Conflict:
            continue
        return True
    raise Conflict(f"the Node {node} keeps changing", "it is tried again")


def _usable(candidate: Candidate, family: net.Family) -> bool:
    found = net.parse_interface(candidate.prefix).address
    useless = ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "224.0.0.0/4")
    own = net.parse_net(found.text)
    return found.family == family and not any(net.parse_net(each).covers(own) for each in useless)


def _named(candidate: Candidate, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(candidate.interface, pattern) for pattern in patterns)


def _explicit(wanted: str, mine: Sequence[Candidate]) -> str:
    """An address as given; without a length, with that of the subnet it has on this host."""
    given = net.parse_interface(wanted)
    here = [each for each in mine if each.address == given.address.text]
    if not here:
        raise AgentError(
            f"{given.address.text} is no address of this host", _has(mine) + "; name one of them"
        )
    return here[0].prefix if given.length == net.BITS[given.address.family] else given.text


def _only(fitting: Sequence[Candidate], method: Method, family: net.Family) -> str:
    said = "=".join([method.word, ",".join(method.values)]) if method.values else method.word
    if not fitting:
        raise AgentError(
            f"no IPv{family} address of this host fits {said}", "choose another way with --ip"
        )
    if len({each.address for each in fitting}) > 1:
        raise AgentError(
            f"several IPv{family} addresses of this host fit {said} equally well: {_list(fitting)}",
            "name the interface (interface=NAME), the prefix (cidr=CIDR) or the address itself",
        )
    return fitting[0].prefix


def _has(candidates: Sequence[Candidate]) -> str:
    return f"it has {_list(candidates)}" if candidates else "it has none"


def _list(candidates: Sequence[Candidate]) -> str:
    return ", ".join(f"{each.address} on {each.interface}" for each in candidates)


def _parsed(text: str, family: net.Family, whole: str) -> net.Net:
    try:
        found = net.parse_net(text)
    except net.NetError as error:
        raise UsageError(f"in {quote(whole)}: {error.message}", error.cure) from error
    if found.family != family:
        option = "--ip" if family == 4 else "--ip6"
        raise UsageError(f"{quote(text)} is not IPv{family}", f"{option} takes IPv{family} only")
    return found


def _require(problems: checks.Problems, whole: str) -> None:
    for problem in problems:
        raise UsageError(f"in {quote(whole)}: {problem.message}", problem.cure)


def _node(name: str) -> r.Node:
    return r.Node(api_version="projectcalico.org/v3", metadata=r.Metadata(name=name))


def _with(node: r.Node, found: dict[net.Family, str]) -> r.Node:
    bgp = node.spec.bgp or r.NodeBgp()
    if 4 in found:
        bgp = replace(bgp, ipv4_address=found[4])
    if 6 in found:
        bgp = replace(bgp, ipv6_address=found[6])
    return replace(node, spec=replace(node.spec, bgp=bgp))


def _require_free(store: Store, node: str, found: dict[net.Family, str]) -> None:
    mine = {text.partition("/")[0] for text in found.values()}
    for entry in store.list(kinds.prefix(kinds.BY_NAME["Node"])).entries:
        other = kinds.decode(entry.value)
        if not isinstance(other, r.Node) or other.metadata.name == node or not other.spec.bgp:
            continue
        bgp = other.spec.bgp
        for text in (bgp.ipv4_address, bgp.ipv6_address):
            if text and text.partition("/")[0] in mine:
                raise AgentError(
                    f"{text.partition('/')[0]} is the address of node {other.metadata.name}",
                    "two hosts have one address, or that Node is a leftover: see `tortie get node`",
                )
