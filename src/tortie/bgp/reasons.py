"""Why a route of a peer is refused: BIRD keeps the number with the route, people get words."""

from __future__ import annotations

MARTIAN, HERE, OWN_BLOCK, DEFAULT_ROUTE, COVERING = 1, 2, 3, 4, 5
FIRST_FILTER = 100
"""the first of the peer's filters; the next one is one more"""

_UPSTREAM = "only from a peer that is an upstream (annotation tortie.dev/upstream)"
WORDS = {
    MARTIAN: "no such destination may be taught: this network, loopback, link-local, multicast or"
    " reserved",
    HERE: "it is this host's own address",
    OWN_BLOCK: "it is a block of this host, or a piece of one",
    DEFAULT_ROUTE: f"a default route is taken {_UPSTREAM}",
    COVERING: "it covers one of our pools or a BGP speaker's address: such a prefix is taken"
    f" {_UPSTREAM}",
}
