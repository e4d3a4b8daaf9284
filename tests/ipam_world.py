"""What tests of addresses are made of: resources in a store, and a clock that is set by hand."""

from __future__ import annotations

from typing import Final

from tortie.ipam import block as blk
from tortie.ipam.draft import block_key
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.base import Put, Store
from tortie.store.memory import MemoryStore

V3: Final = "projectcalico.org/v3"


def pool(name: str, cidr: str, **spec: object) -> r.IPPool:
    return r.IPPool(
        api_version=V3,
        metadata=r.Metadata(name=name),
        spec=r.IPPoolSpec(cidr=cidr, **spec),  # type: ignore[arg-type]
    )


def node(name: str, **labels: str) -> r.Node:
    return r.Node(api_version=V3, metadata=r.Metadata(name=name, labels=labels))


def namespace(name: str, **labels: str) -> r.Namespace:
    return r.Namespace(api_version="v1", metadata=r.Metadata(name=name, labels=labels))


def claim(cidr: str, host: str, state: str, deleted: bool = False) -> r.BlockAffinity:
    name = f"{host}-{cidr.replace('.', '-').replace('/', '-')}"
    return r.BlockAffinity(
        api_version=V3,
        metadata=r.Metadata(name=name),
        spec=r.BlockAffinitySpec(
            cidr=cidr,
            node=host,
            state=state,  # type: ignore[arg-type]
            deleted=deleted,
        ),
    )


def settings(**spec: object) -> r.IPAMConfiguration:
    return r.IPAMConfiguration(
        api_version=V3,
        metadata=r.Metadata(name="default"),
        spec=r.IPAMConfigurationSpec(**spec),  # type: ignore[arg-type]
    )


def reservation(name: str, *cidrs: str) -> r.IPReservation:
    return r.IPReservation(
        api_version=V3,
        metadata=r.Metadata(name=name),
        spec=r.IPReservationSpec(reserved_cidrs=list(cidrs)),
    )


def world(*resources: r.Resource) -> MemoryStore:
    store = MemoryStore()
    put(store, *resources)
    return store


def put(store: Store, *resources: r.Resource) -> None:
    store.commit([Put(kinds.key(each), kinds.encode(each)) for each in resources])


def put_block(store: Store, block: blk.Block) -> None:
    store.commit([Put(block_key(block.cidr), blk.encode(block))])


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def claims(store: Store) -> set[tuple[str, str, str]]:
    """(node, block, state) of all claims."""
    entries = store.list(kinds.prefix(kinds.BY_NAME["BlockAffinity"])).entries
    found = [kinds.decode(entry.value) for entry in entries]
    return {
        (each.spec.node, each.spec.cidr, each.spec.state)
        for each in found
        if isinstance(each, r.BlockAffinity)
    }
