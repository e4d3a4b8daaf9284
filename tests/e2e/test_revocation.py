"""Connections that a new policy forbids: they stay, or are cut where that is asked for; no other
connection notices."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from e2e_leak import Delta
from e2e_rig import Site
from e2e_scenarios import NOT_SHOP, P1
from e2e_tenants import policy, put, settings
from e2e_versions import Changes, Stage
from lab_rig import until
from msgspec.structs import replace

from tortie.kernel import netns

pytestmark = [
    pytest.mark.lab,
    pytest.mark.parametrize("stage", ["nft", "iptables-nft"], indirect=True, scope="module"),
]

FROM_SHOP, FROM_BANK = "shop/s1 plaza/p1 tcp/80", "bank/k1 plaza/p1 tcp/80"
INSIDE, ELSEWHERE = "plaza/p2 plaza/p1 tcp/80", "plaza/p1 shop/s2 tcp/80"
OUT, HOSTWARD = "plaza/p1 internet tcp/443", "plaza/p3 shop/s3 tcp/80"
QUESTIONS = (FROM_SHOP, FROM_BANK, INSIDE, ELSEWHERE, OUT, HOSTWARD)

# It forbids one of them as it comes in, another one as it leaves.
IN_AND_OUT: dict[str, Any] = {
    "selector": P1,
    "types": ["Ingress", "Egress"],
    "ingress": [NOT_SHOP, {"action": "Allow"}],
    "egress": [
        {"action": "Deny", "protocol": "TCP", "destination": {"nets": ["203.0.113.0/24"]}},
        {"action": "Allow"},
    ],
}
FORBIDS = policy("plaza/no-shop", **IN_AND_OUT)
ALSO_FORBIDS = policy("shop/quiet", selector="role == 'db'", types=["Ingress"])
"""Nobody reaches s3."""


def revoking(delta: Delta) -> Delta:
    """The same policies; what they forbid is cut."""
    mark = {"tortie.dev/revoke": "true"}
    return put(*(
        replace(each, metadata=replace(each.metadata, annotations=mark))
        for each in delta.values() if each is not None
    ))  # fmt: skip


@contextlib.contextmanager
def held(site: Site) -> Iterator[Mapping[str, socket.socket]]:
    """A connection for each question."""
    with contextlib.ExitStack() as stack:
        found = {}
        for question in QUESTIONS:
            pair = site.pair(question)
            with netns.entered(pair.space):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.settimeout(5.0)
            sock.connect((pair.address, pair.service.port))
            assert sock.recv(512)
            found[question] = sock
        yield found


def silent(connections: Mapping[str, socket.socket], seconds: float = 1.0) -> set[str]:
    """Those that do not answer; TCP sends again after 0.2, 0.6 and 1.4 s."""
    for sock in connections.values():
        sock.send(b"?\n")
        sock.setblocking(False)
    waiting = dict(connections)
    ends = time.monotonic() + seconds
    while waiting and time.monotonic() < ends:
        for question, sock in list(waiting.items()):
            with contextlib.suppress(BlockingIOError):
                assert sock.recv(512), f"{question} was closed"
                del waiting[question]
        time.sleep(0.005)
    return set(waiting)


def enforce(changes: Changes, text: str, delta: Delta) -> None:
    changes.commit(text, delta)
    changes.settle()


def test_by_default_a_policy_judges_new_connections_only(stage: Stage, changes: Changes) -> None:
    with held(stage.site) as connections:
        enforce(changes, "forbids", {**FORBIDS, **ALSO_FORBIDS})
        assert stage.site.refuses(FROM_SHOP, OUT, HOSTWARD)
        assert silent(connections) == set()


def test_what_a_new_policy_forbids_is_cut_and_nothing_else(stage: Stage, changes: Changes) -> None:
    enforce(changes, "cut", settings(changes.world, connection_revocation="Enabled"))
    with held(stage.site) as connections:
        enforce(changes, "forbids", {**FORBIDS, **ALSO_FORBIDS})
        assert silent(connections) == {FROM_SHOP, OUT, HOSTWARD}


def test_a_policy_that_says_so_cuts_and_others_do_not(stage: Stage, changes: Changes) -> None:
    with held(stage.site) as connections:
        enforce(changes, "forbids", {**revoking(FORBIDS), **ALSO_FORBIDS})
        assert stage.site.refuses(FROM_SHOP, OUT, HOSTWARD)
        assert silent(connections) == {FROM_SHOP, OUT}


def test_what_was_cut_goes_on_if_policy_allows_it_again(stage: Stage, changes: Changes) -> None:
    with held(stage.site) as connections:
        enforce(changes, "cut", settings(changes.world, connection_revocation="Enabled"))
        enforce(changes, "forbids", FORBIDS)
        assert silent(connections, 0.3) == {FROM_SHOP, OUT}
        enforce(changes, "allows", dict.fromkeys(FORBIDS))
        assert until(lambda: silent(connections, 2.0) == set(), 10.0)
