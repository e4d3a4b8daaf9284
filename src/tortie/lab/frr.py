"""The configuration of a top-of-rack router's FRR as text: the same role as BIRD's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tortie.lab.routers import BFD_INTERVAL, BFD_MULTIPLIER, DEFAULTS, Router, Session

DAEMONS = ("zebra", "bgpd")
"""In the order to start them; `bfdd` with BFD."""
_WORD = {4: "ip", 6: "ipv6"}


def daemons(router: Router) -> tuple[str, ...]:
    """The programs that the router needs."""
    return (*DAEMONS, "bfdd") if router.bfd else DAEMONS


def render(router: Router) -> dict[str, str]:
    """The text of each daemon's configuration; they log to standard output."""
    found = {"zebra": "log stdout\nip forwarding\nipv6 forwarding\n", "bgpd": _bgpd(router)}
    if router.bfd:
        found["bfdd"] = (
            "log stdout\nbfd\n profile lab\n"
            f"  receive-interval {BFD_INTERVAL}\n  transmit-interval {BFD_INTERVAL}\n"
            f"  detect-multiplier {BFD_MULTIPLIER}\n exit\nexit\n"
        )
    return found


def _bgpd(router: Router) -> str:
    lines = ["log stdout", "frr defaults datacenter"]
    for family in router.families:
        lines += _filters(router, family)
    lines += [
        f"router bgp {router.as_number}",
        f" bgp router-id {router.router_id}",
        " bgp graceful-restart",
        " no bgp ebgp-requires-policy",
        " no bgp default ipv4-unicast",
        " no bgp network import-check",
    ]
    for session in router.sessions:
        lines += _neighbour(router, session)
    for family in router.families:
        mine = [each for each in router.sessions if each.family == family]
        lines += _family(router, family, mine)
    return "\n".join([*lines, "exit", ""])


def _filters(router: Router, family: int) -> Iterator[str]:
    """What is taken from nobody: a default route and our own subnets; what hosts are not told."""
    word = _WORD[family]
    yield f"{word} prefix-list OWN{family} permit {DEFAULTS[family]}"
    for each in router.own(family):
        yield f"{word} prefix-list OWN{family} permit {each}"
        yield f"{word} prefix-list SUBNETS{family} permit {each}"
    for name, refused in (("IN", "OWN"), ("HOSTS", "SUBNETS")):
        yield f"route-map {name}{family} deny 10"
        yield f" match {word} address prefix-list {refused}{family}"
        yield "exit"
        yield f"route-map {name}{family} permit 20"
        yield "exit"


def _neighbour(router: Router, session: Session) -> Iterator[str]:
    start = f" neighbor {session.address}"
    yield f"{start} remote-as {session.as_number}"
    yield f"{start} update-source {session.own}"
    yield f"{start} timers connect 2"
    if router.bfd:
        yield f"{start} bfd profile lab"


def _family(router: Router, family: int, sessions: Sequence[Session]) -> Iterator[str]:
    yield f" address-family ipv{family} unicast"
    for subnet in router.own(family):
        yield f"  network {subnet}"
    for session in sessions:
        start = f"  neighbor {session.address}"
        yield f"{start} activate"
        yield f"{start} route-map IN{family} in"
        if session.client:
            yield f"{start} route-reflector-client"
            # Of what other routers told only: what is reflected keeps its next hop.
            yield f"{start} next-hop-self"
            yield f"{start} default-originate"
            yield f"{start} route-map HOSTS{family} out"
    yield " exit-address-family"
