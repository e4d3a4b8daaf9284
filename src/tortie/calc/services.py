"""Who is behind a Service: what its EndpointSlices say (`services` in a rule, Calico v3).

Conditions of endpoints are not looked at, as in Calico; slices of host names mean nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tortie.calc.members import protocol_number
from tortie.model import net
from tortie.model import resources as r

SERVICE_LABEL = "kubernetes.io/service-name"

Service = tuple[str, str]
"""(namespace, name)"""


@dataclass(frozen=True, slots=True)
class Backends:
    """`addresses` of all endpoints; `ports` are (address, protocol number, port); `all_ports` has,
    by protocol, the addresses of which every port is meant."""

    addresses: frozenset[str] = frozenset()
    ports: frozenset[tuple[str, int, int]] = frozenset()
    all_ports: tuple[tuple[int, frozenset[str]], ...] = ()


def by_service(slices: Iterable[r.EndpointSlice]) -> dict[Service, list[r.EndpointSlice]]:
    """The slices of each service."""
    found: dict[Service, list[r.EndpointSlice]] = {}
    for each in slices:
        name = each.metadata.labels.get(SERVICE_LABEL)
        if name is not None and each.address_type != "FQDN":
            found.setdefault((each.metadata.namespace or "default", name), []).append(each)
    return found


def backends(slices: Iterable[r.EndpointSlice]) -> Backends:
    """All that the slices of one service name."""
    addresses: set[str] = set()
    ports: set[tuple[str, int, int]] = set()
    every: dict[int, set[str]] = {}
    for each in slices:
        here = {net.parse_address(text).text for one in each.endpoints for text in one.addresses}
        addresses |= here
        for port in each.ports:
            protocol = protocol_number(port.protocol)
            if port.port is None:
                every.setdefault(protocol, set()).update(here)
            else:
                ports |= {(address, protocol, port.port) for address in here}
    return Backends(
        frozenset(addresses),
        frozenset(ports),
        tuple((protocol, frozenset(every[protocol])) for protocol in sorted(every)),
    )
