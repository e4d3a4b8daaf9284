"""What a lab must satisfy beyond its types. Pure; every fault is told with its field path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tortie.errors import Problem
from tortie.lab.document import Lab, LabSpec, Workload, outside_machines, router_name
from tortie.lab.numbers import (
    DEFAULT_POOLS,
    FIXED,
    MAX_OUTSIDE,
    MAX_RACKS,
    as_numbers,
    rack_subnets,
    room,
)
from tortie.model import checks, net
from tortie.model import resources as r
from tortie.model.decode import child
from tortie.model.words import did_you_mean, quote

Problems = Iterator[Problem]

MAX_LAB_NAME = 20
MAX_NAME = 40
"""Of hosts and racks: a host's control socket is a path of at most 107 bytes."""

_SERVE = re.compile(r"(tcp|udp)/([1-9][0-9]{0,4})")
_WORKLOADS = "spec.workloads"


def find(lab: Lab, resources: Sequence[r.Resource]) -> list[Problem]:
    """Everything wrong with a lab and the resources beside it."""
    spec = lab.spec
    return [
        *_label("metadata.name", lab.metadata.name, MAX_LAB_NAME),
        *_machines(spec),
        *_racks(spec),
        *_subnets(spec, resources),
        *_workloads(spec),
        *_nodes(spec, resources),
    ]


# --- names ------------------------------------------------------------------------------------


def _label(path: str, text: str, most: int) -> Problems:
    if len(text) > most:
        yield Problem(f"a name of {len(text)} characters", f"at most {most} are allowed", path)
    else:
        yield from checks.short_name(path, text)


def _names(spec: LabSpec) -> Iterator[tuple[str, str, str]]:
    """(path, name, what it is) of everything but workloads; all must differ."""
    if spec.store == "etcd":
        yield "spec.store", "store", "the store's machine"
    for index, rack in enumerate(spec.racks):
        place = child("spec.racks", index)
        yield f"{place}.name", rack.name, "a rack"
        yield f"{place}.name", router_name(rack.name), "a router"
        for number, host in enumerate(rack.hosts):
            yield child(f"{place}.hosts", number), host, "a host"
    for index, machine in enumerate(outside_machines(spec)):
        place = child("spec.outside", index)
        path = place if isinstance(spec.outside[index], str) else f"{place}.name"
        yield path, machine.name, "a machine outside"


def _machines(spec: LabSpec) -> Problems:
    seen: dict[str, str] = {}
    for path, name, what in _names(spec):
        if what != "a router":
            yield from _label(path, name, MAX_NAME)
        yield from _taken(path, name, seen)
        seen.setdefault(name, what)
    for index, workload in enumerate(spec.workloads):
        yield from _taken(f"{child(_WORKLOADS, index)}.name", workload.name, seen)


def _taken(path: str, name: str, seen: dict[str, str]) -> Problems:
    if name in seen:
        yield Problem(
            f"{quote(name)} is the name of {seen[name]} already", "names must differ", path
        )


# --- racks and machines outside -----------------------------------------------------------------


def _racks(spec: LabSpec) -> Problems:
    if not spec.racks:
        yield Problem("there is no rack", "a lab has one at least", "spec.racks")
    yield from checks.at_most("spec.racks", spec.racks, MAX_RACKS)
    yield from checks.at_most("spec.outside", spec.outside, MAX_OUTSIDE)
    numbers = as_numbers(spec)
    for index, number in enumerate(numbers):
        if number in numbers[:index]:
            yield Problem(
                f"AS {number} is another rack's", "each rack is an AS of its own",
                f"{child('spec.racks', index)}.asNumber",
            )  # fmt: skip
    yield from _topology(spec)
    yield from _speakers(spec)
    for index, machine in enumerate(outside_machines(spec)):
        yield from _serve(f"{child('spec.outside', index)}.serve", machine.serve)


def _topology(spec: LabSpec) -> Problems:
    if 4 not in spec.families:
        yield Problem("a lab without IPv4 is not to be had", "write [4] or [4, 6]", "spec.families")
    yield from checks.unique("spec.families", [str(each) for each in spec.families])
    if spec.bgp != "routers" and len(spec.racks) > 1:
        cure = "make one rack, or let hosts speak with their routers"
        yield Problem("hosts speak with each other within one rack only", cure, "spec.bgp")
    if spec.bgp == "reflectors" and not spec.reflectors:
        yield Problem("there is no reflector", "name hosts of the rack", "spec.reflectors")
    if spec.reflectors and spec.bgp != "reflectors":
        yield Problem("nobody would speak with them", "write bgp: reflectors", "spec.reflectors")
    hosts = [host for rack in spec.racks for host in rack.hosts]
    for index, name in enumerate(spec.reflectors):
        if name not in hosts:
            place = child("spec.reflectors", index)
            yield Problem(f"there is no host {quote(name)}", did_you_mean(name, hosts), place)
    yield from checks.unique("spec.reflectors", spec.reflectors)
    if spec.etcd_members != 1 and spec.store != "etcd":
        yield Problem("only etcd has members", "write store: etcd", "spec.etcdMembers")


def _speakers(spec: LabSpec) -> Problems:
    racks = [rack.name for rack in spec.racks]
    for index, speaker in enumerate(spec.speakers):
        place = child("spec.speakers", index)
        if speaker.rack not in racks:
            cure = did_you_mean(speaker.rack, racks)
            yield Problem(f"there is no rack {quote(speaker.rack)}", cure, f"{place}.rack")
        if speaker.reflector and (speaker.kind != "gobgp" or speaker.as_number is not None):
            cure = "write kind: gobgp, and no asNumber"
            yield Problem("a reflector is GoBGP in its rack's AS", cure, f"{place}.reflector")
        for number, text in enumerate(speaker.originate):
            path = child(f"{place}.originate", number)
            found = checks.attempt(text, net.parse_net)
            if found is None:
                yield from checks.parsed(path, text, net.parse_net)
            elif found.text != text:
                yield Problem(
                    f"{quote(text)} is not how it is written", f"write {found.text}", path
                )
            elif found.family not in spec.families:
                yield Problem(f"{text} is of no family of the lab", "see spec.families", path)


def _subnets(spec: LabSpec, resources: Iterable[r.Resource]) -> Problems:
    """Prefixes of racks and pools: right, large enough, and apart from each other."""
    used: list[tuple[net.Net, str]] = [(net.parse_net(each), what) for each, what in FIXED]
    for index, (rack, subnet) in enumerate(zip(spec.racks, rack_subnets(spec), strict=True)):
        path = f"{child('spec.racks', index)}.subnet"
        found = checks.attempt(subnet, net.parse_net)
        if found is None or found.family != 4 or found.length > 29:
            cure = "give an IPv4 prefix of /29 or shorter, such as 172.16.1.0/24"
            yield Problem(f"{quote(subnet)} is no subnet for a rack", cure, path)
            continue
        speakers = [each for each in spec.speakers if each.rack == rack.name]
        if len(rack.hosts) + len(speakers) > room(found):
            cure = "give a larger subnet, or make two racks of it"
            yield Problem(f"{len(rack.hosts)} hosts do not fit into {found.text}", cure, path)
        yield from _apart(path, found, f"the subnet of rack {rack.name}", used)
    for path, text in _pools(spec, resources):
        found = checks.attempt(text, net.parse_net)
        if found is None:
            yield from checks.parsed(path, text, net.parse_net)
        else:
            yield from _apart(path, found, "a pool", used)


def _pools(spec: LabSpec, resources: Iterable[r.Resource]) -> Iterator[tuple[str, str]]:
    """(path, CIDR) of all pools; one that stands in a resource has the Lab's own path."""
    written = [each.spec.cidr for each in resources if isinstance(each, r.IPPool)]
    yield from ((child("spec.pools", index), cidr) for index, cidr in enumerate(spec.pools))
    yield from (("spec.pools", cidr) for cidr in written)
    if not spec.pools and not written:
        for family in (4, 6) if 6 in spec.families else (4,):
            yield "spec.pools", DEFAULT_POOLS[family]


def _apart(path: str, found: net.Net, what: str, used: list[tuple[net.Net, str]]) -> Problems:
    for other, meaning in used:
        if other.overlaps(found):
            cure = "give prefixes that have no address in common"
            yield Problem(f"{found.text} overlaps {other.text}, {meaning}", cure, path)
    used.append((found, what))


# --- workloads --------------------------------------------------------------------------------


def _workloads(spec: LabSpec) -> Problems:
    hosts = [host for rack in spec.racks for host in rack.hosts]
    seen: set[tuple[str, str]] = set()
    addresses: set[str] = set()
    for index, workload in enumerate(spec.workloads):
        place = child(_WORKLOADS, index)
        yield from _workload(place, workload)
        if workload.host not in hosts:
            cure = did_you_mean(workload.host, hosts)
            yield Problem(f"there is no host {quote(workload.host)}", cure, f"{place}.host")
        if (workload.namespace, workload.name) in seen:
            what = f"{workload.namespace}/{workload.name}"
            yield Problem(f"{quote(what)} is there twice", "names must differ", f"{place}.name")
        seen.add((workload.namespace, workload.name))
        for number, text in enumerate(workload.addresses):
            path = child(f"{place}.addresses", number)
            found = checks.attempt(text, net.parse_address)
            if found is None:
                yield from checks.address(path, text)
            elif found.text in addresses:
                yield Problem(f"{found.text} is another workload's", "give another", path)
            else:
                addresses.add(found.text)


def _workload(place: str, workload: Workload) -> Problems:
    yield from checks.short_name(f"{place}.name", workload.name)
    yield from checks.short_name(f"{place}.namespace", workload.namespace)
    yield from checks.label_map(f"{place}.labels", workload.labels)
    yield from checks.annotation_map(f"{place}.annotations", workload.annotations)
    yield from _serve(f"{place}.serve", workload.serve)
    for index, port in enumerate(workload.ports):
        path = child(f"{place}.ports", index)
        yield from checks.port_name(f"{path}.name", port.name)
        yield from checks.between(f"{path}.port", port.port, 1, 65535)
        if checks.protocol_name(port.protocol) not in checks.WITH_PORTS:
            cure = "use TCP, UDP or SCTP"
            said = quote(str(port.protocol))
            yield Problem(f"{said} has no ports", cure, f"{path}.protocol")


def _serve(path: str, items: list[str]) -> Problems:
    for index, text in enumerate(items):
        found = _SERVE.fullmatch(text)
        if found is None or int(found[2]) > 65535:
            cure = "write tcp/PORT or udp/PORT, such as tcp/80"
            yield Problem(f"{quote(text)} cannot be served", cure, child(path, index))
    yield from checks.unique(path, items)


# --- resources of the same file -----------------------------------------------------------------


def _nodes(spec: LabSpec, resources: Iterable[r.Resource]) -> Problems:
    """A Node of the file may label a host; its addresses are the lab's to give."""
    hosts = {host for rack in spec.racks for host in rack.hosts}
    for resource in resources:
        if not isinstance(resource, r.Node) or resource.metadata.name not in hosts:
            continue
        if resource.spec != r.NodeSpec():
            yield Problem(
                f"the file has a spec for Node {resource.metadata.name}, which the lab gives",
                "leave the Node's spec out; its labels and annotations are kept",
                "spec.racks",
            )
