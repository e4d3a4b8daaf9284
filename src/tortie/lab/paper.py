"""A lab on paper: the resources that it would have if it were built, workloads included. Pure.

Addresses that the file does not give are not those that a built lab assigns, but as good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from tortie.errors import LabError
from tortie.lab import objects
from tortie.lab.plan import LabWorkload, Plan, make
from tortie.lab.spec import LabFile
from tortie.model import resources as r
from tortie.model.validate_endpoints import endpoint_name

ORCHESTRATOR = "tortie"
ENDPOINT = "eth0"
LENGTH = {4: 32, 6: 128}


def draw(file: LabFile) -> tuple[Plan, list[r.Resource]]:
    """The plan of a lab file, and all of its resources. Raises LabError if the pools are full."""
    written = file.resources
    pools = [each.spec.cidr for each in written if isinstance(each, r.IPPool)]
    plan = make(file.lab, bool(pools))
    free = _free([*plan.pools, *pools], plan.workloads)
    endpoints = [_endpoint(each, number, free) for number, each in enumerate(plan.workloads)]
    return plan, [*objects.resources(plan, written), *endpoints]


def _free(pools: Sequence[str], workloads: Iterable[LabWorkload]) -> Iterator[str]:
    """The IPv4 addresses of the pools that no workload of the file has."""
    given = {text for each in workloads for text in each.wanted.addresses}
    for pool in pools:
        net = ip_network(pool, strict=False)
        if net.version == 4:
            yield from (str(each) for each in net if str(each) not in given)


def _endpoint(workload: LabWorkload, number: int, free: Iterator[str]) -> r.WorkloadEndpoint:
    """As the host's agent would write it."""
    wanted = workload.wanted
    addresses = wanted.addresses or [next(free, "")]
    if not addresses[0]:
        raise LabError(f"the pools have no address for {workload.name}", "give a larger pool")
    spec = r.WorkloadEndpointSpec(
        node=wanted.host,
        orchestrator=ORCHESTRATOR,
        workload=wanted.name,
        endpoint=ENDPOINT,
        interface_name=f"tor{number}",
        ip_networks=[f"{each}/{LENGTH[6 if ':' in each else 4]}" for each in addresses],
        ports=wanted.ports,
    )
    metadata = r.Metadata(
        name=endpoint_name(spec),
        namespace=wanted.namespace,
        labels=wanted.labels,
        annotations=wanted.annotations,
    )
    return r.WorkloadEndpoint(api_version="projectcalico.org/v3", metadata=metadata, spec=spec)
