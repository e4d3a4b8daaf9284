"""What rtnetlink(7) speaks of, as frozen values: links, addresses, routes, and their changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["global", "link", "host", "other"]


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The parameters of a VXLAN interface (RFC 7348): UDP to `port`, sent from `local`.

    `learning`: addresses from what comes in. `zero_sums`: UDP over IPv6 without checksums, sent and
    taken (RFC 6935). `lower` (index of an interface that it is bound to, 0: none) and `remote`
    (where unknown addresses are sent, "": nowhere) are only read.
    """

    vni: int
    port: int
    local: str
    learning: bool = False
    zero_sums: bool = False
    lower: int = 0
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `mac` is "" where it has none; `mtu` in bytes; `up` as set by the operator."""

    index: int
    name: str
    up: bool
    mac: str
    mtu: int
    vxlan: Vxlan | None = None


@dataclass(frozen=True, slots=True)
class NewVxlan:
    """A VXLAN interface to be made, down."""

    name: str
    vxlan: Vxlan
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class LinkState:
    """What to make of an interface; None leaves as it is."""

    index: int
    up: bool | None = None
    mac: str | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this host, as ADDRESS/LENGTH, on an interface.

    IPv6 scopes follow from the address. `nodad`: without duplicate address detection (IPv6).
    """

    index: int
    prefix: str
    scope: Scope = "global"
    nodad: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry."""

    index: int
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A permanent entry of a VXLAN interface: frames to `mac` are sent to the host `underlay`.

    To delete one deletes all of its MAC. `plain` False: to another port or network than the
    interface's own; only read.
    """

    index: int
    mac: str
    underlay: str
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the main table.

    `unicast` goes to interface `index`, straight (IPv4: scope link) or by `gateway`; if that is
    given the index may be 0, and the kernel finds the interface. `onlink`: the gateway is behind
    the interface whatever other routes say. `blackhole` goes nowhere (index 0);
    `other` is any other form, only read or deleted: `index` is its interface, or 0 and `hops` those
    of several next hops. `source`: the preferred source address, or "".
    In the kernel prefix and metric are the key, whoever's protocol number the route has.
    """

    prefix: str
    kind: Literal["unicast", "blackhole", "other"]
    protocol: int
    metric: int
    index: int = 0
    source: str = ""
    hops: tuple[int, ...] = ()
    gateway: str = ""
    onlink: bool = False


Thing = LinkState | NewVxlan | Address | Neighbour | Forward | Route
Verb = Literal["add", "replace", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """`add` is refused if the key is taken; `replace` takes its place without a gap."""

    verb: Verb
    thing: Thing


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that the kernel did not make, and why: an errno, and the reason in words."""

    change: Change
    error: int
    reason: str

    def __str__(self) -> str:
        return f"cannot {self.change.verb} {words(self.change.thing)}: {self.reason}"


def words(thing: Thing) -> str:
    """A thing as an operator would name it."""
    match thing:
        case Route():
            return f"the route {thing.prefix}"
        case Address():
            return f"the address {thing.prefix}"
        case Neighbour():
            return f"the neighbour {thing.address}"
        case Forward():
            return f"the forwarding entry {thing.mac}"
        case LinkState():
            return f"interface {thing.index}"
        case NewVxlan():
            return f"the interface {thing.name}"
