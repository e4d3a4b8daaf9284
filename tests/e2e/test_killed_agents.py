"""Agents die and come back under a storm of traffic: not one connection breaks, not one leaks."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager

import pytest
from e2e_rig import HOSTS, PROMPT, Site, manifest
from e2e_storm import Storm, storm
from lab_rig import tenants_verdict, until

from tortie.kernel import netns
from tortie.lab import control
from tortie.store.resources import apply, delete

pytestmark = pytest.mark.lab

LEDGER_SHUT = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: ledger-shut, namespace: bank}
spec: {selector: "who == 'ledger'", types: [Ingress]}
"""
FLOODS = [
    ("bank/teller-1", "shop/web-1"),  # on one host
    ("bank/teller-2", "shop/database"),  # across racks
    ("internet", "bank/ledger"),
    ("shut/none", "partner"),  # may not leave
]
FRESH = [
    "shop/api-2 shop/database tcp/5432",
    "bank/teller-1 bank/ledger tcp/5432",
    "shop/web-2 shop/web-1 tcp/81",
    "internet shop/web-1 tcp/80",
    "shop/database partner tcp/443",
]


def questions(site: Site, verdict: bool) -> list[str]:
    """All that a reader of the file expects to be connected, or not."""
    return [
        f"{pair.source} {pair.destination} {pair.service}"
        for pair in site.running.pairs()
        if verdict
        == tenants_verdict(pair.source, pair.destination, pair.service.protocol, pair.service.port)
    ]


def all_of_it(site: Site) -> AbstractContextManager[Storm]:
    lasting = [each for each in questions(site, True) if " tcp/" in each]
    return storm(site, lasting[::2], FRESH, questions(site, False), FLOODS)


def test_the_storm_sees_what_breaks_and_what_arrives(tenancy: Site) -> None:
    """So that the zeros of the other tests mean something."""
    allowed = "shop/web-2 shop/web-1 tcp/80"
    with storm(
        tenancy, [allowed], ["bank/teller-1 shop/web-1 tcp/81"], [allowed],
        [("shop/web-2", "shop/web-1")], patience=0.2,
    ) as seen:  # fmt: skip
        assert until(lambda: seen.traffic.count.leaked > 0 and len(seen.failures) > 0, PROMPT)
        control.kill(tenancy.running.lab, "server/shop/web-1")
        assert until(lambda: seen.traffic.count.broken == 1, PROMPT)
    assert seen.arrived != []
    assert until(lambda: tenancy.connects(allowed), PROMPT)


def test_agents_killed_again_and_again_break_and_leak_nothing(tenancy: Site) -> None:
    with all_of_it(tenancy) as seen:
        seen.goes_on()
        for _ in range(2):
            for host in HOSTS:
                tenancy.kill_agents([host])
            tenancy.kill_agents(HOSTS)
        seen.goes_on()
    seen.assert_clean(exchanges=4000, made=300, attempts=3000)


def test_hosts_without_an_agent_break_and_leak_nothing(tenancy: Site) -> None:
    with all_of_it(tenancy) as seen:
        for host in HOSTS:
            tenancy.running.tortie("lab", "agent", "stop", host)
        assert tenancy.all_are("away")
        seen.goes_on(exchanges=2000, made=100, attempts=1500)
        for host in HOSTS:
            tenancy.running.tortie("lab", "agent", "start", host)
        tenancy.ready()
        seen.goes_on()
    seen.assert_clean()


def test_agents_killed_amid_changes_break_and_leak_nothing(tenancy: Site) -> None:
    """Each change is written, and the agents die before, while or after they make it."""
    policies = [
        manifest(LEDGER_SHUT.replace("ledger-shut", f"shut-{n}").replace("'ledger'", f"'{n}'"))[0]
        for n in range(4)
    ]
    with all_of_it(tenancy) as seen, tenancy.running.store() as store:
        for policy in policies:
            apply(store, [policy])
            tenancy.kill_agents(HOSTS)
        for policy in policies:
            delete(store, policy)
        tenancy.barrier()
        seen.goes_on()
    seen.assert_clean()


def test_a_policy_applied_while_an_agent_is_dead_is_enforced_when_it_is_back(tenancy: Site) -> None:
    question = "bank/teller-2 bank/ledger tcp/5432"
    shut = manifest(LEDGER_SHUT.replace("who == 'ledger'", "all()"))
    host = tenancy.endpoint("bank/ledger").spec.node
    control.stop(tenancy.running.lab, f"agent/{host}")
    try:
        tenancy.apply(*shut, hosts=[each for each in HOSTS if each != host])
        assert tenancy.connects(question)  # its own host knows nothing of it yet
    finally:
        control.start(tenancy.running.lab, f"agent/{host}")
    try:
        tenancy.ready([host])
        tenancy.barrier()
        assert tenancy.refuses(question, "bank/teller-1 bank/ledger udp/53")
    finally:
        tenancy.remove(*shut)
    assert tenancy.connects(question)


# --- tracked connections --------------------------------------------------------------------------


def tracked(site: Site, host: str, address: str) -> list[str]:
    """The connections that a host tracks from or to an address."""
    return [
        line
        for option in ("--src", "--dst")
        for line in site.says(host, "conntrack", "-L", option, address).splitlines()
    ]


def held(site: Site, question: str) -> socket.socket:
    """A connection that was made and has said something."""
    pair = site.pair(question)
    with netns.entered(pair.space):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(5.0)
    sock.connect((pair.address, pair.service.port))
    assert sock.recv(512)
    return sock


def answers(sock: socket.socket, seconds: float = 0.7) -> bool:
    """Whether the other end still answers: TCP sends again after 0.2 and 0.6 s."""
    sock.settimeout(seconds)
    try:
        sock.send(b"?\n")
        return bool(sock.recv(512))
    except TimeoutError:
        return False


@pytest.mark.parametrize("agent", ["alive", "dead"])
def test_connections_go_with_the_address_that_leaves_its_endpoint(
    tenancy: Site, agent: str
) -> None:
    endpoint = tenancy.endpoint("bank/ledger")
    address, host = tenancy.addresses["bank/ledger"], endpoint.spec.node
    incoming = held(tenancy, "bank/teller-3 bank/ledger tcp/5432")
    outgoing = held(tenancy, "bank/ledger partner tcp/443")
    with incoming, outgoing:
        assert answers(incoming)
        assert answers(outgoing)
        assert len(tracked(tenancy, host, address)) >= 2
        if agent == "dead":
            control.stop(tenancy.running.lab, f"agent/{host}")
        tenancy.remove(endpoint, hosts=[h for h in HOSTS if agent == "alive" or h != host])
        try:
            if agent == "dead":
                control.start(tenancy.running.lab, f"agent/{host}")
                tenancy.ready([host])
                tenancy.barrier()
            assert not answers(incoming)
            assert not answers(outgoing)
            assert tracked(tenancy, host, address) == []
        finally:
            control.start(tenancy.running.lab, f"agent/{host}")
            tenancy.ready([host])
            tenancy.apply(endpoint)
    assert tenancy.connects("bank/teller-3 bank/ledger tcp/5432")
