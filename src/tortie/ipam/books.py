"""Everything about addresses in a store, as it was at one revision, and who uses which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from tortie.errors import TortieError
from tortie.ipam import block as blk
from tortie.ipam import pools as pl
from tortie.ipam.block import Allocation, Block
from tortie.ipam.draft import BLOCKS, HANDLES, Record, block_key, handle_key
from tortie.model import kinds, net
from tortie.model import resources as r
from tortie.store.base import Entry, Store

SEEN = {
    "IPPool", "IPReservation", "IPAMConfiguration", "BlockAffinity", "Node", "WorkloadEndpoint",
}  # fmt: skip
"""The kinds that have to do with addresses."""
USERS = ("Node", "WorkloadEndpoint")
"""The kinds whose resources have addresses."""

TUNNEL_TYPES = ("vxlanTunnelAddress", "ipipTunnelAddress", "wireguardTunnelAddress")
"""Attribute `type` of addresses that belong to a Node, not to a workload (Calico v3)."""


class Use(NamedTuple):
    """Somebody who has an address by its own word. `created`: the revision that made it."""

    how: Literal["endpoint", "floating", "tunnel"]
    node: str
    namespace: str
    workload: str
    key: str
    created: int

    @property
    def who(self) -> str:
        """For people."""
        if self.how == "tunnel":
            return f"the tunnel of node {self.node}"
        floating = "the floating address of " if self.how == "floating" else ""
        return f"{floating}{self.namespace}/{self.workload} on {self.node}"


class Held(NamedTuple):
    """An address that IPAM has assigned."""

    address: str
    block: Block
    ordinal: int
    allocation: Allocation

    @property
    def handle(self) -> str:
        return self.allocation.handle

    @property
    def node(self) -> str:
        """For which node it was assigned; empty: it does not say."""
        return self.allocation.attributes.get("node", "")

    @property
    def tunnel(self) -> bool:
        """It is for a node's tunnel."""
        return self.allocation.attributes.get("type") in TUNNEL_TYPES

    @property
    def workload(self) -> str:
        """NAMESPACE/WORKLOAD; empty: it does not say."""
        notes = self.allocation.attributes
        name = notes.get("workload") or notes.get("pod") or ""
        return f"{notes.get('namespace') or 'default'}/{name}" if name else ""


@dataclass(frozen=True)
class Books:
    """`unreadable` says why, by key; `revisions` and `created` are the store's, by key."""

    blocks: Mapping[str, Block] = field(default_factory=dict)
    """by key"""
    handles: Mapping[str, Record] = field(default_factory=dict)
    """by key"""
    claims: Mapping[str, r.BlockAffinity] = field(default_factory=dict)
    """by key"""
    pools: tuple[pl.Pool, ...] = ()
    reservations: tuple[r.IPReservation, ...] = ()
    settings: r.IPAMConfigurationSpec = field(default_factory=r.IPAMConfigurationSpec)
    nodes: Mapping[str, r.Node] = field(default_factory=dict)
    """by name"""
    endpoints: Mapping[str, r.WorkloadEndpoint] = field(default_factory=dict)
    """by key"""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    created: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def uses(self) -> Mapping[str, list[Use]]:
        """Who says of each address to have it, the first to say so first."""
        found: dict[str, list[Use]] = {}
        for address, use in _uses(self):
            found.setdefault(address, []).append(use)
        for users in found.values():
            users.sort(key=lambda use: (use.created, use.key))
        return found

    @cached_property
    def held(self) -> Mapping[str, Held]:
        """The addresses that IPAM has assigned, in order."""
        return {
            (address := blk.address_of(block, ordinal)): Held(address, block, ordinal, allocation)
            for block in sorted(self.blocks.values(), key=lambda each: order(each.cidr))
            for ordinal, allocation in sorted(block.allocations.items())
        }

    @cached_property
    def peopled(self) -> frozenset[str]:
        """The nodes that have endpoints, whether they are there or not."""
        return frozenset(each.spec.node for each in self.endpoints.values())

    @cached_property
    def reserved(self) -> tuple[tuple[net.Net, str], ...]:
        """(prefix, name of the reservation)."""
        return tuple(
            (net.parse_net(cidr), each.metadata.name)
            for each in self.reservations
            for cidr in each.spec.reserved_cidrs
        )

    @property
    def blind(self) -> list[str]:
        """Keys of resources that cannot be read and may have any address."""
        users = tuple(kinds.prefix(kinds.BY_NAME[name]) for name in USERS)
        return sorted(key for key in self.unreadable if key.startswith(users))

    def reservation_of(self, address: str) -> str | None:
        """The name of a reservation that an address lies in."""
        wanted = net.parse_net(address)
        return next((name for cidr, name in self.reserved if cidr.covers(wanted)), None)

    def pool_of(self, cidr: str) -> pl.Pool | None:
        """The pool that a block or an address lies in."""
        wanted = net.parse_net(cidr)
        return next((pool for pool in self.pools if pool.net.covers(wanted)), None)

    def absent(self, node: str) -> bool:
        """A node is not there, and nothing that is on it is either."""
        return bool(node) and node not in self.nodes and node not in self.peopled


def of(entries: Iterable[Entry]) -> Books:
    """The books that stored entries are; other entries are passed over."""
    blocks, handles, claims, endpoints, nodes = {}, {}, {}, {}, {}
    pools, reservations, settings = [], [], r.IPAMConfigurationSpec()
    unreadable, revisions, created = {}, {}, {}
    prefixes = tuple(kinds.prefix(kinds.BY_NAME[name]) for name in sorted(SEEN))
    for entry in entries:
        key = entry.key
        if not key.startswith((BLOCKS, HANDLES, *prefixes)):
            continue
        revisions[key], created[key] = entry.revision, entry.created
        try:
            if key.startswith(BLOCKS):
                blocks[key] = _block(entry)
            elif key.startswith(HANDLES):
                handles[key] = _record(entry)
            else:
                match _resource(entry):
                    case r.BlockAffinity() as found:
                        net.parse_net(found.spec.cidr)
                        claims[key] = found
                    case r.Node() as found:
                        nodes[found.metadata.name] = found
                    case r.WorkloadEndpoint() as found:
                        endpoints[key] = found
                    case r.IPPool() as found:
                        net.parse_net(found.spec.cidr)
                        pools.append(pl.Pool(key, entry.revision, found.metadata.name, found.spec))
                    case r.IPReservation() as found:
                        for cidr in found.spec.reserved_cidrs:
                            net.parse_net(cidr)
                        reservations.append(found)
                    case r.IPAMConfiguration() as found:
                        settings = found.spec
                    case _:
                        pass
        except TortieError as error:
            unreadable[key] = error.message
    return Books(
        blocks, handles, claims, tuple(pools), tuple(reservations), settings, nodes, endpoints,
        unreadable, revisions, created,
    )  # fmt: skip


def read(store: Store) -> Books:
    """The books of a store, all of one revision. Raises StoreUnavailable."""
    return of(store.list(kinds.ROOT).entries)


def order(cidr: str) -> tuple[int, int, int]:
    """What CIDRs and addresses are sorted by."""
    found = net.parse_net(cidr)
    return found.family, found.first, found.length


# --- reading ----------------------------------------------------------------------------------


def _block(entry: Entry) -> Block:
    found = blk.decode(entry.value)
    if block_key(found.cidr) != entry.key:
        raise TortieError(f"it is the block {found.cidr}, under another's key")
    return found


def _record(entry: Entry) -> Record:
    try:
        found = msgspec.json.decode(entry.value, type=Record)
        for cidr in found.blocks:
            net.parse_net(cidr)
    except msgspec.MsgspecError as error:
        raise TortieError(f"stored handle cannot be read: {error}") from error
    if handle_key(found.handle) != entry.key:
        raise TortieError("it is the record of a handle under another's key")
    return found


def _resource(entry: Entry) -> r.Resource:
    found = kinds.decode(entry.value)
    if kinds.key(found) != entry.key:
        raise TortieError("it is stored under a key that is not its own")
    return found


def _uses(books: Books) -> Iterator[tuple[str, Use]]:
    """By canonical address; what is no address is nobody's."""
    for text, use in _claims(books):
        with suppress(net.NetError):
            yield net.parse_interface(text).address.text, use


def _claims(books: Books) -> Iterator[tuple[str, Use]]:
    for key, endpoint in books.endpoints.items():
        spec, created = endpoint.spec, books.created.get(key, 0)
        space = endpoint.metadata.namespace or "default"
        name = spec.workload or spec.pod or endpoint.metadata.name
        for cidr in spec.ip_networks:
            yield cidr, Use("endpoint", spec.node, space, name, key, created)
        for each in spec.ip_nats:
            use = Use("floating", spec.node, space, name, key, created)
            yield each.external_ip, use
    for name, node in books.nodes.items():
        key = kinds.key(node)
        bgp, wireguard = node.spec.bgp or r.NodeBgp(), node.spec.wireguard or r.NodeWireguard()
        for text in (
            node.spec.ipv4_vxlan_tunnel_addr,
            node.spec.ipv6_vxlan_tunnel_addr,
            bgp.ipv4_ipip_tunnel_addr,
            wireguard.interface_ipv4_address,
            wireguard.interface_ipv6_address,
        ):
            if text:
                yield text, Use("tunnel", name, "", "", key, books.created.get(key, 0))
