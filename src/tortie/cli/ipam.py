"""`tortie ipam`: pools, blocks, and who has which address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tortie.cli import ipam_upkeep
from tortie.cli.output import Column, Data, Form, form_option, show, slow
from tortie.cli.where import opened_store
from tortie.errors import UsageError

if TYPE_CHECKING:
    from tortie.ipam.report import AddressUse, BlockUse, PoolUse

_POOLS: Sequence[Column[PoolUse]] = (
    Column("POOL", lambda each: each.name),
    Column("CIDR", lambda each: each.cidr),
    Column("SIZE", lambda each: each.size),
    Column("USED", lambda each: each.used),
    Column("FREE", lambda each: each.free),
    Column("BLOCKS", lambda each: each.blocks),
    Column("BLOCK SIZE", lambda each: f"/{each.block_size}", wide=True),
    Column("DISABLED", lambda each: each.disabled, wide=True),
)
_BLOCKS: Sequence[Column[BlockUse]] = (
    Column("BLOCK", lambda each: each.cidr),
    Column("NODE", lambda each: each.node),
    Column("USED", lambda each: each.used),
    Column("FREE", lambda each: each.free),
    Column("COOLING", lambda each: each.cooling),
    Column("POOL", lambda each: each.pool, wide=True),
    Column("CLAIM", lambda each: each.state, wide=True),
)
_ADDRESSES: Sequence[Column[AddressUse]] = (
    Column("ADDRESS", lambda each: each.address),
    Column("NAMESPACE", lambda each: each.attributes.get("namespace")),
    Column("WORKLOAD", lambda each: each.attributes.get("workload")),
    Column("NODE", lambda each: each.node),
    Column("BORROWED", lambda each: each.borrowed),
    Column("HANDLE", lambda each: each.handle, wide=True),
)


@click.group()
def ipam() -> None:
    """Who has which address.

    \b
    tortie ipam show --addresses
    tortie ipam check
    """


for _command in (ipam_upkeep.check, ipam_upkeep.gc, ipam_upkeep.release):
    ipam.add_command(_command)


@ipam.command("show")
@click.option("--blocks", is_flag=True, help="The blocks, each of a node.")
@click.option("--addresses", is_flag=True, help="Every address in use, and who has it.")
@click.argument("address", required=False)
@form_option
def show_(blocks: bool, addresses: bool, address: str | None, form: Form) -> None:
    """Pools, and how many of their addresses are in use; or blocks, or single addresses.

    With ADDRESS: all about that one. As JSON or YAML: pools and blocks with their addresses,
    whatever is asked for.

    \b
    tortie ipam show --blocks
    tortie ipam show 10.65.0.7
    """
    if address is not None:
        ipam_upkeep.story(address, form)
        return
    if blocks and addresses:
        raise UsageError("--blocks and --addresses are two tables", "give one of them")
    from tortie.ipam.allocator import Allocator

    with opened_store() as store, slow("reading the store"):
        report = Allocator(store).show()

    def data() -> Data:
        import msgspec

        plain: dict[str, object] = msgspec.to_builtins(report)
        return plain

    if addresses:
        used = [each for block in report.blocks for each in block.addresses]
        show(
            form, used, _ADDRESSES, name=lambda each: each.address, data=data,
            none="no address is in use",
        )  # fmt: skip
    elif blocks:
        show(form, report.blocks, _BLOCKS, name=lambda each: each.cidr, data=data, none="no blocks")
    else:
        show(
            form, report.pools, _POOLS, name=lambda each: each.name, data=data,
            none="there is no IPPool",
        )  # fmt: skip
