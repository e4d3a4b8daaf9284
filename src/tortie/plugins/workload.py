"""Attaching workloads by hand: an address, a cable, a WorkloadEndpoint, and policy in force.

Runs in the agent of a host, on any thread that is in the host's network namespace. A workload is
not attached until the agent has said, in the endpoint's status, that its policy is in the kernel.

    add      address -> cable (host's end down) -> resource -> wait for the status
    remove   resource -> cable -> address
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tortie import desired
from tortie.errors import AgentError, TortieError
from tortie.ipam.allocator import Allocator
from tortie.ipam.behind import Hold
from tortie.kernel.veth import Cable, Cables, Gateway, RealCables
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.plugins import endpoint
from tortie.plugins.request import (
    Identity,
    Listed,
    Request,
    Result,
    handles,
    name_problems,
    request_problems,
    require,
)
from tortie.store.base import Delete, Store

__all__ = ["Listed", "Request", "Result", "add", "list_workloads", "remove"]

MTU = 1500
"""Bytes; that of an uplink without encapsulation."""

GATEWAYS = (
    Gateway(4, desired.GATEWAY_V4, desired.GATEWAY_MAC),
    Gateway(6, desired.GATEWAY_V6, desired.GATEWAY_MAC),
)


def add(
    store: Store,
    node: str,
    request: Request,
    *,
    cables: Cables | None = None,
    clock: Callable[[], float] = time.time,
    mtu: int = MTU,
) -> Result:
    """Attach a workload, and wait until its policy is in force; harmless when repeated.

    A repeated add gives the same addresses, repairs the cable, and keeps what people have changed
    in the resource (labels win over the request's). A first add that fails is undone.
    Raises InvalidInput, IpamError, KernelError, StoreError; AgentError if the policy is not in
    force in time.
    """
    require(request_problems(node, request))
    cables = cables or RealCables()
    who = Identity(node, request.namespace, request.name, request.orchestrator, request.endpoint)
    with _alone(node, request.namespace, request.name):
        undo: list[Callable[[], object]] = []
        try:
            return _attach(store, who, request, cables, clock, mtu, undo)
        except BaseException as error:
            _undo(undo, who, error)
            raise


def remove(
    store: Store,
    node: str,
    namespace: str,
    workload: str,
    *,
    cables: Cables | None = None,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Detach all endpoints of a workload on a node that `add` made; the addresses released.

    Nothing there is no error: the list is empty. Raises InvalidInput, KernelError, StoreError.
    """
    require(name_problems(node, namespace, workload))
    cables = cables or RealCables()
    allocator = Allocator(store, clock=clock, hold=Hold(store, clock))
    released = []
    with _alone(node, namespace, workload):
        for who in sorted(_attached(store, allocator, node, namespace, workload)):
            entry = store.get(who.key)
            there = kinds.decode(entry.value) if entry else None
            store.commit([Delete(who.key)])
            cables.remove(who.interface)
            if isinstance(there, r.WorkloadEndpoint) and there.spec.interface_name != who.interface:
                cables.lower(there.spec.interface_name)
            released += allocator.release(who.handle)
    return released


def list_workloads(store: Store, node: str) -> list[Listed]:
    """The workloads on a node, in order of namespace and name. Raises StoreError."""
    stored = store.list(f"{kinds.STATUS}{node}/endpoints/").entries
    states = {entry.key: endpoint.status(entry.value) for entry in stored}
    unknown = kinds.EndpointStatus("waiting", reason=endpoint.SILENT)
    found = []
    for resource in endpoint.on_node(store, node):
        metadata, spec = resource.metadata, resource.spec
        namespace = metadata.namespace or "default"
        key = kinds.endpoint_status_key(node, namespace, metadata.name)
        said = states.get(key, unknown)
        found.append(
            Listed(
                name=metadata.name,
                namespace=namespace,
                workload=spec.workload,
                orchestrator=spec.orchestrator,
                interface=spec.interface_name,
                addresses=[text.partition("/")[0] for text in spec.ip_networks],
                state=said.state,
                reason=said.reason,
            )
        )
    return sorted(found, key=lambda each: (each.namespace, each.workload, each.name))


# --- add, step by step ------------------------------------------------------------------------


def _attach(
    store: Store,
    who: Identity,
    request: Request,
    cables: Cables,
    clock: Callable[[], float],
    mtu: int,
    undo: list[Callable[[], object]],
) -> Result:
    """The steps of add; each puts what takes it back at the end of `undo`."""
    allocator = Allocator(store, clock=clock, hold=Hold(store, clock))
    interface = request.interface or who.interface
    mac = net.parse_mac(request.mac) if request.mac else None
    if request.netns is not None:
        cables.check(request.netns)
        mac = mac or who.mac
    before = _require_own(store, who, interface)

    addresses = _assign(allocator, who, request, undo)
    made = _connect(cables, who, request, addresses, mac, mtu, before, undo)
    if before is None:
        undo.append(lambda: store.commit([Delete(who.key)]))
    revision = endpoint.publish(store, who, request, addresses, interface, mac, made)
    if before is not None:
        undo.clear()  # it was attached before: another add may finish this one
    if request.wait_seconds > 0:
        endpoint.wait(store, who, revision, request.wait_seconds)
    return Result(who.name, who.namespace, interface, addresses, mac)


def _require_own(store: Store, who: Identity, interface: str) -> r.WorkloadEndpoint | None:
    """The endpoint as it is stored. Raises AgentError if the interface is not to be had."""
    own = None
    for resource in endpoint.on_node(store, who.node):
        same = kinds.key(resource) == who.key
        if same:
            own = resource
        if same and resource.spec.interface_name != interface:
            raise AgentError(
                f"{who.namespace}/{who.workload} is attached by {resource.spec.interface_name}",
                f"detach it first: tortie workload delete {who.namespace}/{who.workload}",
            )
        if not same and resource.spec.interface_name == interface:
            raise AgentError(
                f"the interface {interface} belongs to {resource.metadata.name}",
                "detach that workload first, or name another interface",
            )
    return own


def _assign(
    allocator: Allocator, who: Identity, request: Request, undo: list[Callable[[], object]]
) -> list[str]:
    """The workload's addresses: those that it has, or new ones. Raises IpamError."""
    handle = who.handle
    have = allocator.held(handle)
    undo.append(
        lambda: [
            allocator.release_address(address, handle)
            for address in allocator.held(handle)
            if address not in have
        ]
    )
    notes = {
        "namespace": who.namespace,
        "workload": who.workload,
        "endpoint": who.endpoint,
        "orchestrator": who.orchestrator,
    }
    if request.addresses:
        wanted = [net.parse_address(text).text for text in request.addresses]
        others = [address for address in have if address not in wanted]
        if others:
            raise AgentError(
                f"{who.namespace}/{who.workload} has the address {', '.join(others)} already",
                f"detach it first: tortie workload delete {who.namespace}/{who.workload}",
            )
        return [allocator.assign_address(text, who.node, handle, notes) for text in wanted]
    addresses: list[str] = []
    families: tuple[net.Family, ...] = (4, 6)
    for family in families:
        if family in request.families or any(net.parse_net(a).family == family for a in have):
            addresses += allocator.assign(
                who.node,
                handle,
                family=family,
                pools=request.pools or None,
                attributes=notes,
                namespace=who.namespace,
                reuse=True,
            )
    return addresses


def _connect(
    cables: Cables,
    who: Identity,
    request: Request,
    addresses: Sequence[str],
    mac: str | None,
    mtu: int,
    before: r.WorkloadEndpoint | None,
    undo: list[Callable[[], object]],
) -> bool:
    """Make, repair or take over the interface; True if the agent has not seen it yet."""
    if request.netns is None:
        interface = request.interface or ""
        if before is not None and cables.exists(interface):
            return False
        cables.claim(interface, desired.GATEWAY_MAC)
        return True
    cable = Cable(
        interface=who.interface,
        host_mac=desired.GATEWAY_MAC,
        namespace=request.netns,
        guest=request.guest_interface,
        guest_mac=mac or who.mac,
        addresses=tuple(addresses),
        gateways=GATEWAYS,
        mtu=mtu,
    )
    made = cables.attach(cable)
    if made and before is None:
        undo.append(lambda: cables.remove(who.interface))
    return made


def _undo(undo: list[Callable[[], object]], who: Identity, error: BaseException) -> None:
    """Take back the steps, the last one first; tell in the error's cure if one could not be."""
    for step in reversed(undo):
        try:
            step()
        except TortieError as failure:
            left = f"then clean up: tortie workload delete {who.namespace}/{who.workload}"
            if isinstance(error, TortieError):
                error.cure = "; ".join(part for part in (error.cure, left) if part)
            error.add_note(f"not undone: {failure}")


# --- who and what -----------------------------------------------------------------------------

_BUSY: set[tuple[str, ...]] = set()
_TURN = threading.Condition()


@contextlib.contextmanager
def _alone(*workload: str) -> Iterator[None]:
    """One thread at a time for each workload: one's undo must not meet another's add."""
    with _TURN:
        _TURN.wait_for(lambda: workload not in _BUSY)
        _BUSY.add(workload)
    try:
        yield
    finally:
        with _TURN:
            _BUSY.discard(workload)
            _TURN.notify_all()


def _attached(
    store: Store, allocator: Allocator, node: str, namespace: str, workload: str
) -> set[Identity]:
    """What add made of a workload, by the handles and by the resources: either may be gone."""
    start = handles(node, namespace, workload)
    found = set()
    for handle in allocator.handles(start):
        orchestrator, _, name = handle.removeprefix(start).partition("/")
        found.add(Identity(node, namespace, workload, orchestrator, name))
    for resource in endpoint.on_node(store, node):
        spec = resource.spec
        who = Identity(node, namespace, workload, spec.orchestrator, spec.endpoint)
        if kinds.key(resource) == who.key and spec.interface_name == who.interface:
            found.add(who)
    return found
