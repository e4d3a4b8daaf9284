"""`tortie ipam check`, `gc`, `release`, `show ADDRESS`: what is wrong, and one address's story."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tortie.cli.output import Column, Form, form_option, say, show, show_data, slow, text_of
from tortie.cli.where import opened_store
from tortie.errors import IpamError, UsageError
from tortie.model import net
from tortie.model.words import quote

if TYPE_CHECKING:
    from tortie.ipam.books import Books
    from tortie.ipam.check import Finding
    from tortie.ipam.collector import Leak

_FINDINGS: Sequence[Column[Finding]] = (
    Column("WHAT", lambda each: f"{each.kind}{' (note)' if each.note else ''}"),
    Column("ADDRESS", lambda each: each.what),
    Column("NODE", lambda each: each.node),
    Column("WORKLOAD", lambda each: each.workload),
    Column("PROBLEM", lambda each: each.problem),
    Column("HANDLE", lambda each: each.handle, wide=True),
    Column("CURE", lambda each: each.cure, wide=True),
)
_LEAKS: Sequence[Column[Leak]] = (
    Column("ADDRESS", lambda each: ", ".join(each.addresses)),
    Column("NODE", lambda each: each.node),
    Column("WORKLOAD", lambda each: each.workload),
    Column("WHY", lambda each: each.why),
    Column("HANDLE", lambda each: each.handle, wide=True),
)


@click.command()
@form_option
@click.pass_context
def check(ctx: click.Context, form: Form) -> None:
    """Are the books of addresses right? Exits 1 if anything is wrong; notes do not count.

    Finds addresses that are assigned and nobody has, that two have, or that somebody has and IPAM
    has not assigned; handles, blocks and claims that disagree. Changes nothing.

    \b
    tortie ipam check -o wide
    """
    import msgspec

    from tortie.ipam import books
    from tortie.ipam.check import confirmed, wrong

    with opened_store() as store, slow("checking addresses"):
        found = confirmed(lambda: books.read(store), time.time, time.sleep)
    show(
        form, found, _FINDINGS, name=lambda each: each.what,
        data=lambda: msgspec.to_builtins(found), none="all addresses are in order",
    )  # fmt: skip
    if wrong(found):
        ctx.exit(1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option(
    "--grace", type=click.FloatRange(0, 3600), default=10.0, show_default=True, metavar="SECONDS",
    help="Free only what still belongs to nobody after so long: an attachment may be under way.",
)  # fmt: skip
@form_option
def gc(dry_run: bool, grace: float, form: Form) -> None:
    """Free addresses that belong to nobody, and give back blocks that are empty.

    Agents do this by themselves (IPAMConfiguration leakGracePeriod, 15m).

    \b
    tortie ipam gc --dry-run
    """
    from tortie.ipam import books
    from tortie.ipam.allocator import Allocator
    from tortie.ipam.collector import free, leaking

    with opened_store() as store:
        now = books.read(store)
        if now.blind:
            raise IpamError(
                f"nothing can be freed while {quote(now.blind[0])} cannot be read",
                "repair or delete it: see `tortie ipam check`",
            )
        found = leaking(now)
        if not dry_run:
            if found and grace:
                with slow("waiting"):
                    time.sleep(grace)
            allocator = Allocator(store)
            found = free(store, allocator, found)
            removed = allocator.give_back_empty()
    show(
        form, found, _LEAKS, name=lambda each: each.handle,
        data=lambda: [
            {
                "handle": each.handle, "addresses": list(each.addresses), "node": each.node,
                "workload": each.workload, "why": each.why,
            }
            for each in found
        ],
        none="nothing leaks",
    )  # fmt: skip
    if form == "table" and not dry_run and removed:
        say(f"gave back {len(removed)} empty blocks: {', '.join(removed)}")


@click.command()
@click.argument("address", required=False)
@click.option("--handle", metavar="HANDLE", help="Of this handle; without ADDRESS: all it has.")
@click.option("--sequence", type=click.IntRange(min=0), help="Only if it was assigned with this.")
@click.option("--force", is_flag=True, help="Even if an endpoint has it.")
def release(address: str | None, handle: str | None, sequence: int | None, force: bool) -> None:
    """Take back an address, or all that a handle has.

    One that an endpoint or a tunnel uses is refused: detach the workload instead.

    \b
    tortie ipam release 10.65.0.7
    tortie ipam release --handle tortie.a1.shop.web.eth0
    """
    from tortie.ipam import books
    from tortie.ipam.allocator import Allocator
    from tortie.ipam.block import Claimed

    if address is None and handle is None:
        raise UsageError("say what to release", "give ADDRESS, or --handle HANDLE")
    if sequence is not None and address is None:
        raise UsageError("a sequence number is one address's", "give ADDRESS too")
    with opened_store() as store:
        allocator = Allocator(store)
        claims = (
            [Claimed(net.parse_address(address).text, handle, sequence)]
            if address is not None
            else allocator.claimed(handle or "")
        )
        if not force:
            _require_unused(books.read(store), [each.address for each in claims])
        done = allocator.release_all(claims)
    if done.refused:
        raise IpamError(done.refused[0], "see `tortie ipam show ADDRESS`")
    for each in done.released:
        say(f"released {each}")
    if not done.released:
        say(f"nobody has {address or f'an address by the handle {text_of(handle)}'}")


def _require_unused(books: Books, addresses: Sequence[str]) -> None:
    for address in addresses:
        uses = books.uses.get(address)
        if uses:
            raise IpamError(
                f"{address} is in use: {uses[0].who} has it",
                "detach that first (tortie workload delete), or say --force",
            )


def story(address: str, form: Form) -> None:
    """Everything about one address."""
    from tortie.ipam import block as blk
    from tortie.ipam import books
    from tortie.ipam.settings import of

    wanted = net.parse_address(address).text
    with opened_store() as store, slow("reading the store"):
        found = books.read(store)
    lines: dict[str, object] = {"address": wanted}
    pool = found.pool_of(wanted)
    lines["pool"] = f"{pool.name} ({pool.spec.cidr})" if pool else "in no pool"
    reservation = found.reservation_of(wanted)
    if reservation:
        lines["reserved"] = f"by {reservation}"
    inside = net.parse_net(wanted)
    block = next((b for b in found.blocks.values() if net.parse_net(b.cidr).covers(inside)), None)
    if block is not None:
        lines["block"] = f"{block.cidr} of {block.node or 'nobody'}"
        ordinal = blk.ordinal_of(block, wanted)
        if ordinal in block.released:
            left = block.released[ordinal] + of(found.settings).cool_down - time.time()
            lines["cooling"] = f"for {max(0.0, left):.0f} s more"
            if ordinal in block.owners:
                lines["last owner"] = block.owners[ordinal]
    held = found.held.get(wanted)
    lines["state"] = "assigned" if held else "not assigned"
    if held is not None:
        lines |= {"handle": held.handle, "sequence": held.allocation.sequence, "node": held.node}
        lines["borrowed"] = bool(held.node and block and held.node != block.node)
        lines |= {f"note {key}": text for key, text in sorted(held.allocation.attributes.items())}
    lines["used by"] = "; ".join(use.who for use in found.uses.get(wanted, ())) or "nobody"
    if form in ("json", "yaml"):
        show_data("json" if form == "json" else "yaml", lines)
        return
    for key, value in lines.items():
        say(f"{key + ':':12} {text_of(value)}")
