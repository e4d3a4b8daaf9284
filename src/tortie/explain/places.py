"""Who is meant in a question: the name, the address or `outside` that somebody typed, as a place.

Pure: resources and text in, places out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

from tortie.errors import UsageError
from tortie.explain.entity import named_ports
from tortie.model import resources as r
from tortie.model.words import nearest, quote

Kind = Literal[
    "workload", "floating address", "host", "host endpoint", "machine", "address", "outside"
]

OUTSIDE = "outside"
SPARE = ("198.51.100.9", "192.0.2.9", "203.0.113.249", "8.8.4.4"), ("2001:db8:ffff::9", "2600::9")
"""What `outside` is taken to be, by family, if nothing names it: documentation's addresses first"""

LIKE_ADDRESS = re.compile(r"[0-9.]*[0-9]\.[0-9.]*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a question.

    `name` is for people; `resource` is what the oracle calls it ("" if no resource is it).
    Addresses are canonical text, IPv4 first; `ports` are (name, protocol number, port).
    A floating address has the name of the workload that it leads to, and is `internal` there.
    """

    kind: Kind
    name: str
    addresses: tuple[str, ...]
    resource: str = ""
    ports: tuple[tuple[str, int, int], ...] = ()
    internal: str = ""


def speaking(place: Place) -> Place:
    """A place as one that begins: nobody sends by a floating address but the workload behind."""
    if not place.internal:
        return place
    return replace(place, kind="workload", addresses=(place.internal,), internal="")


def resolve(
    text: str, resources: Sequence[r.Resource], machines: Mapping[str, str] | None = None
) -> Place:
    """The place that somebody means. `machines` are names and addresses of what is no resource.

    A name is a workload's (NAMESPACE/NAME, or NAME if only one is called so; its endpoint's full
    name too), a node's, a host endpoint's or a machine's. Raises UsageError: nothing is called so
    (with the nearest name), or several are.
    """
    if text == OUTSIDE:
        return outside(resources)
    address = _address(text)
    if address is not None:
        return _at(address, resources, machines or {})
    spelled = _spellings(resources, machines or {})
    found = spelled.get(text, [])
    if not found:
        if LIKE_ADDRESS.fullmatch(text):
            cure = "give four numbers from 0 to 255, or one of IPv6"
            raise UsageError(f"{quote(text)} is no address", cure)
        near = _nearest(text, spelled)
        cure = f"did you mean {near}?" if near else "give NAMESPACE/NAME, a host, an address"
        raise UsageError(f"nothing is called {quote(text)}", cure)
    if len(found) > 1:
        names = ", ".join(f"{place.kind} {place.resource or place.name}" for place in found)
        raise UsageError(f"{quote(text)} may mean {names}", "write it out, or give the address")
    if not found[0].addresses:
        raise UsageError(f"{found[0].kind} {found[0].name} has no address", "give an address")
    return found[0]


def outside(resources: Iterable[r.Resource]) -> Place:
    """Somebody that no resource speaks of: an address of each family that no prefix has.

    The prefix of all addresses is not counted. Raises UsageError if nothing is left.
    """
    nets = _all_nets(resources)
    addresses = []
    for version, spare in ((4, SPARE[0]), (6, SPARE[1])):
        own = [net for net in nets if net.version == version]
        after = (str(net[-1] + 1) for net in own if int(net[-1]) + 1 < 2**net.max_prefixlen)
        found = next((one for one in (*spare, *after) if _is_free(one, own)), None)
        if found is not None:
            addresses.append(found)
    if not addresses:
        raise UsageError("resources name every address, so none is outside", "give an address")
    return Place("outside", OUTSIDE, tuple(addresses))


def concerning(resources: Iterable[r.Resource], places: Sequence[Place]) -> list[r.Resource]:
    """The resources without those endpoints of workloads that have no address of these places.

    Nothing that the oracle is asked about these places depends on them; there may be many.
    """
    wanted = {text for place in places for text in place.addresses}
    return [
        each
        for each in resources
        if not isinstance(each, r.WorkloadEndpoint)
        or not wanted.isdisjoint((*_workload(each).addresses, *_floating(each)))
    ]


# --- names ------------------------------------------------------------------------------------


def _spellings(
    resources: Sequence[r.Resource], machines: Mapping[str, str]
) -> dict[str, list[Place]]:
    """Everything that can be named, by each of its names. A node stands for a host endpoint of
    its own that has the same name."""
    spelled: dict[str, list[Place]] = {}
    for place, names in _named(resources, machines):
        for name in dict.fromkeys(names):
            others = spelled.setdefault(name, [])
            if place.kind != "host endpoint" or not any(one.kind == "host" for one in others):
                others.append(place)
    return spelled


def _nearest(text: str, spelled: Iterable[str]) -> str | None:
    """The nearest name. That two are in one namespace does not make them alike."""
    space, slash, name = text.partition("/")
    if slash:
        inside = [one.removeprefix(f"{space}/") for one in spelled if one.startswith(f"{space}/")]
        if inside:
            near = nearest(name, inside)
            return near and f"{space}/{near}"
    return nearest(text, [*spelled, OUTSIDE])


def _named(
    resources: Sequence[r.Resource], machines: Mapping[str, str]
) -> Iterator[tuple[Place, list[str]]]:
    """Places with all their names; hosts come before host endpoints."""
    nodes = {one.metadata.name: one for one in resources if isinstance(one, r.Node)}
    hosts = [one for one in resources if isinstance(one, r.HostEndpoint)]
    for each in resources:
        if isinstance(each, r.WorkloadEndpoint):
            namespace = each.metadata.namespace or "default"
            own = (each.spec.workload, each.spec.pod, each.metadata.name)
            short = [name for name in own if name]
            yield _workload(each), [*short, *(f"{namespace}/{name}" for name in short)]
    for name, node in nodes.items():
        ports = [port for host in hosts if host.spec.node == name for port in host.spec.ports]
        yield Place("host", name, _node_addresses(node), name, named_ports(ports)), [name]
    for host in hosts:
        name, spec = host.metadata.name, host.spec
        addresses = _ordered(spec.expected_ips)
        if not addresses and spec.node in nodes:
            addresses = _node_addresses(nodes[spec.node])
        yield Place("host endpoint", name, addresses, name, named_ports(spec.ports)), [name]
    for name, address in machines.items():
        yield Place("machine", name, (address,)), [name]


def _workload(endpoint: r.WorkloadEndpoint) -> Place:
    namespace, spec = endpoint.metadata.namespace or "default", endpoint.spec
    full = f"{namespace}/{endpoint.metadata.name}"
    name = spec.workload or spec.pod or endpoint.metadata.name
    addresses = _ordered(net.partition("/")[0] for net in spec.ip_networks)
    return Place("workload", f"{namespace}/{name}", addresses, full, named_ports(spec.ports))


def _floating(endpoint: r.WorkloadEndpoint) -> dict[str, str]:
    """Its floating addresses: internal by external, canonical."""
    return {
        str(ip_address(each.external_ip)): str(ip_address(each.internal_ip))
        for each in endpoint.spec.ip_nats
    }


def _node_addresses(node: r.Node) -> tuple[str, ...]:
    """One of each family: what it is reached by, or else the first other that it has."""
    bgp = node.spec.bgp
    written = [bgp.ipv4_address, bgp.ipv6_address] if bgp else []
    written += [one.address for one in node.spec.addresses]
    every = _ordered(text.partition("/")[0] for text in written if text)
    first = {ip_address(text).version: text for text in reversed(every)}
    return tuple(first[version] for version in sorted(first))


def _ordered(texts: Iterable[str]) -> tuple[str, ...]:
    """Canonical addresses, IPv4 first, else as they come."""
    found = dict.fromkeys(ip_address(text) for text in texts)
    return tuple(str(one) for one in sorted(found, key=lambda one: one.version))


# --- addresses --------------------------------------------------------------------------------


def _address(text: str) -> str | None:
    """The canonical address of a text; None if it is none. Raises UsageError for a prefix."""
    if "%" in text:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        net = ip_network(text, strict=False)
    except ValueError:
        return None
    raise UsageError(f"{quote(text)} is a prefix", f"give one address, such as {net[-1]}")


def _at(address: str, resources: Sequence[r.Resource], machines: Mapping[str, str]) -> Place:
    """An address, under the name of whoever alone has it."""
    found = [place for place, _ in _named(resources, machines) if address in place.addresses]
    for kind in ("workload", "host", "host endpoint", "machine"):
        alike = [place for place in found if place.kind == kind]
        if len(alike) == 1:
            return replace(alike[0], addresses=(address,))
        if alike:
            break
    else:
        floating = [(e, _floating(e)) for e in resources if isinstance(e, r.WorkloadEndpoint)]
        behind = [(_workload(e), outer[address]) for e, outer in floating if address in outer]
        if len(behind) == 1:
            place, internal = behind[0]
            addresses = (address,)
            return replace(place, kind="floating address", addresses=addresses, internal=internal)
    return Place("address", address, (address,))


def _is_free(text: str, nets: Iterable[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(text)
    special = address.is_multicast or address.is_loopback or address.is_link_local
    return not special and not any(address in net for net in nets)


def _all_nets(resources: Iterable[r.Resource]) -> list[IPv4Network | IPv6Network]:
    """Every address and prefix that stands anywhere in the resources, but for that of all."""
    texts: set[str] = set()
    for each in resources:
        if isinstance(each, r.WorkloadEndpoint):  # they may be many
            texts.update(each.spec.ip_networks)
            texts.update(_floating(each))
        else:
            texts.update(_strings(msgspec.to_builtins(each)))
    nets = []
    for text in texts:
        try:
            net = ip_network(text, strict=False)
        except ValueError:
            continue
        if net.prefixlen:
            nets.append(net)
    return nets


def _strings(data: object) -> Iterator[str]:
    """The strings of plain data that might be an address."""
    if isinstance(data, str):
        if "." in data or ":" in data:
            yield data.partition("%")[0]
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, Sequence):
        for item in data:
            yield from _strings(item)
