"""The WorkloadEndpoint resource of a workload: written, then waited for until it is in force."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from tortie.errors import AgentError, Compacted, Conflict
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.model.validate import validate
from tortie.plugins.request import Identity, Request, require
from tortie.store.base import Put, Store

TRIES = 20
"""How often a resource is written again when somebody else was faster."""

SILENT = "the agent has not reported it"


def on_node(store: Store, node: str) -> Iterator[r.WorkloadEndpoint]:
    """The workload endpoints of a node, in order of key."""
    for entry in store.list(kinds.prefix(kinds.BY_NAME["WorkloadEndpoint"], node)).entries:
        found = kinds.decode(entry.value)
        if isinstance(found, r.WorkloadEndpoint):
            yield found


def status(value: bytes) -> kinds.EndpointStatus:
    """The status in a stored value; what cannot be read counts as nothing said."""
    try:
        return msgspec.json.decode(value, type=kinds.EndpointStatus)
    except msgspec.MsgspecError:
        return kinds.EndpointStatus("waiting", reason="its status cannot be read")


def publish(
    store: Store,
    who: Identity,
    request: Request,
    addresses: Sequence[str],
    interface: str,
    mac: str | None,
    fresh: bool,
) -> int:
    """Write the resource unless it says the same and nothing is `fresh`; its revision."""
    for _ in range(TRIES):
        entry = store.get(who.key)
        there = kinds.decode(entry.value) if entry else None
        kept = there if isinstance(there, r.WorkloadEndpoint) else None
        wanted = _resource(who, request, addresses, interface, mac, kept)
        if entry is not None and kept == wanted and not fresh:
            return entry.revision
        require(validate(wanted))
        value = kinds.encode(wanted)
        with contextlib.suppress(Conflict):
            return store.commit([Put(who.key, value, entry.revision if entry else 0)])
    raise AgentError(f"others keep changing {who.name}", "try again")


def _resource(
    who: Identity,
    request: Request,
    addresses: Sequence[str],
    interface: str,
    mac: str | None,
    kept: r.WorkloadEndpoint | None,
) -> r.WorkloadEndpoint:
    """The endpoint; of one that is there already, all is kept that the request does not name."""
    old = kept.spec if kept else who.spec
    metadata = kept.metadata if kept else r.Metadata(name=who.name, namespace=who.namespace)
    length = {4: 32, 6: 128}
    return r.WorkloadEndpoint(
        api_version="projectcalico.org/v3",
        metadata=replace(
            metadata,
            labels=request.labels | metadata.labels,
            annotations=request.annotations | metadata.annotations,
        ),
        spec=replace(
            old,
            interface_name=interface,
            ip_networks=[f"{text}/{length[net.parse_address(text).family]}" for text in addresses],
            profiles=request.profiles or old.profiles,
            mac=mac or old.mac,
            ports=request.ports or old.ports,
        ),
    )


def wait(store: Store, who: Identity, revision: int, seconds: float) -> None:
    """Wait until the agent says that the endpoint, as of `revision`, is up. Raises AgentError."""
    key = kinds.endpoint_status_key(who.node, who.namespace, who.name)
    deadline = time.monotonic() + seconds
    said = SILENT
    while True:
        listing = store.list(key)
        values = [entry.value for entry in listing.entries if entry.key == key]
        with contextlib.closing(store.watch(key, listing.revision)) as watch:
            while True:
                for value in values:
                    found = status(value)
                    if found.revision < revision:
                        continue
                    if found.state == "up":
                        return
                    said = found.reason or found.state
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AgentError(
                        f"the policy of {who.namespace}/{who.workload} is not in force on"
                        f" {who.node} after {seconds:g} s: {said}",
                        "see `tortie node status`",
                    )
                try:
                    changes = watch.next(left)
                except Compacted:
                    break  # what was missed is read anew
                events = changes.events if changes else ()
                values = [e.entry.value for e in events if e.entry and e.key == key]
