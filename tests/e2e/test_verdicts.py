"""Who reaches whom: real connections get the verdicts that the resources say."""

from __future__ import annotations

import pytest
from e2e_rig import HOSTS, PROMPT, Site, manifest
from lab_rig import until
from msgspec.structs import replace

from tortie.explain.oracle import Flow, Reading, judge_in
from tortie.lab.probe import attempt
from tortie.model import kinds
from tortie.model import resources as r
from tortie.store.resources import read

pytestmark = pytest.mark.lab

# --- tenancy: nobody wrote a rule -----------------------------------------------------------------

TENANCY = {
    "inside a namespace everything, on one host and across racks": {
        "shop/web shop/db tcp/5432": True,
        "shop/db shop/web tcp/80": True,
        "shop/db shop/web udp/53": True,
        "bank/ledger bank/teller tcp/443": True,
        "bank/teller bank/ledger udp/53": True,
    },
    "between namespaces nothing, not even on one host": {
        "shop/web bank/ledger tcp/5432": False,
        "shop/web bank/ledger udp/53": False,
        "shop/web bank/teller tcp/443": False,
        "bank/ledger shop/web tcp/80": False,
        "bank/ledger shop/web udp/53": False,
        "bank/teller shop/db tcp/5432": False,
    },
    "out to the outside": {
        "shop/db internet tcp/443": True,
        "bank/ledger internet udp/53": True,
    },
    "in from the outside nothing": {
        "internet shop/web tcp/80": False,
        "internet shop/web udp/53": False,
        "internet bank/teller tcp/443": False,
    },
    "its own host may, another host may not": {
        "a1 shop/web tcp/80": True,
        "a2 shop/web tcp/80": False,
        "b1 shop/web tcp/80": False,
    },
    "open: everybody in, and out to whoever lets it": {
        "internet market/kiosk tcp/80": True,
        "shop/db market/kiosk tcp/80": True,
        "market/kiosk market/stall tcp/80": True,
        "market/kiosk internet tcp/443": True,
        "market/kiosk shop/web tcp/80": False,
    },
    "isolated: its own namespace only, both ways": {
        "shut/guard shut/vault tcp/80": True,
        "shut/guard internet tcp/443": False,
        "shut/guard market/kiosk tcp/80": False,
        "internet shut/vault tcp/80": False,
        "market/kiosk shut/vault tcp/80": False,
        "shop/web shut/guard tcp/80": False,
    },
}


@pytest.mark.parametrize("sentence", TENANCY)
def test_tenants_are_kept_apart_without_a_rule(site: Site, sentence: str) -> None:
    assert site.unlike(TENANCY[sentence]) == []


# --- policies -------------------------------------------------------------------------------------

RED, BLUE, GREEN = "rules/red", "rules/blue", "friends/green"

POLICIES: dict[str, dict[str, bool]] = {
    "within a policy the first rule that fits decides": {
        f"{RED} rules/first tcp/80": True,
        f"{BLUE} rules/first tcp/80": False,
    },
    "a deny of lower order comes before an allow": {
        f"{RED} rules/denied tcp/80": False,
        f"{BLUE} rules/denied tcp/80": True,
    },
    "an allow of lower order comes before a deny": {
        f"{RED} rules/admitted tcp/80": True,
        f"{BLUE} rules/admitted tcp/80": True,
    },
    "a policy with no rule lets nothing in and everything out": {
        f"{RED} rules/silent tcp/80": False,
        "internet rules/silent tcp/80": False,
        f"rules/silent {RED} tcp/80": True,
    },
    "log goes on with the next rule": {
        f"{RED} rules/logged tcp/80": True,
        f"{BLUE} rules/logged tcp/80": False,
    },
    "pass leaves the tier for the namespace's default": {
        f"{RED} rules/passed tcp/80": True,
        f"{BLUE} rules/passed tcp/80": False,
    },
    "an earlier tier denies what a later one allows, and passes the rest on": {
        f"{RED} rules/tiered tcp/80": False,
        f"{BLUE} rules/tiered tcp/80": True,
    },
    "ports and ranges of a protocol": {
        f"{RED} rules/ports tcp/80": True,
        f"{RED} rules/ports tcp/81": False,
        f"{RED} rules/ports tcp/8001": True,
        f"{RED} rules/ports tcp/8003": False,
        f"{RED} rules/ports udp/80": False,
    },
    "all ports but these": {
        f"{RED} rules/other-ports tcp/80": True,
        f"{RED} rules/other-ports tcp/81": False,
        f"{RED} rules/other-ports udp/81": False,
    },
    "sources in a net": {
        f"{RED} rules/nets tcp/80": True,
        f"{BLUE} rules/nets tcp/80": False,
    },
    "sources in none of these nets": {
        f"{RED} rules/other-nets tcp/80": False,
        f"{BLUE} rules/other-nets tcp/80": True,
        "internet rules/other-nets tcp/80": True,
    },
    "sources in namespaces that a selector chooses": {
        f"{GREEN} rules/friendly tcp/80": True,
        f"{RED} rules/friendly tcp/80": False,
        "internet rules/friendly tcp/80": False,
    },
    "sources that one selector chooses and another does not": {
        f"{RED} rules/chosen tcp/80": True,
        f"{BLUE} rules/chosen tcp/80": False,
        f"{GREEN} rules/chosen tcp/80": False,
    },
    "sources in a network set": {
        f"{BLUE} rules/partnered tcp/80": True,
        f"{RED} rules/partnered tcp/80": False,
    },
    "UDP only": {
        f"{RED} rules/datagrams udp/53": True,
        f"{RED} rules/datagrams tcp/53": False,
    },
    "what one may connect to": {
        f"rules/jailed {BLUE} tcp/80": True,
        f"rules/jailed {BLUE} tcp/81": False,
        f"rules/jailed {RED} tcp/80": False,
        "rules/jailed internet tcp/443": False,
        f"{RED} rules/jailed tcp/80": True,
    },
    "a port by its name": {
        f"{RED} rules/named tcp/8080": True,
        f"{RED} rules/named tcp/80": False,
    },
}


@pytest.mark.parametrize("sentence", POLICIES)
def test_policies_decide(site: Site, sentence: str) -> None:
    assert site.unlike(POLICIES[sentence]) == []


def test_icmp_is_allowed_and_denied_by_type(site: Site) -> None:
    pinged = {
        target: site.pings(RED, f"rules/{target}") for target in ("echoing", "mute", "jailed")
    }
    assert pinged == {"echoing": True, "mute": False, "jailed": True}
    assert (
        site.unlike({f"{RED} rules/mute tcp/80": True, f"{RED} rules/echoing tcp/80": False}) == []
    )


def test_a_logged_packet_is_a_line_of_the_agent_that_names_policy_and_addresses(site: Site) -> None:
    host = site.endpoint("rules/logged").spec.node
    before = len(site.agent_log(host))
    assert site.connects(f"{RED} rules/logged tcp/80")
    wanted = f"{site.addresses[RED]} -> {site.addresses['rules/logged']} protocol 6 port 80"

    def told() -> bool:
        lines = site.agent_log(host)[before:].splitlines()
        return any("NetworkPolicy/rules/logged-0" in each and wanted in each for each in lines)

    assert until(told, PROMPT)


def test_every_pair_of_the_lab_is_as_the_oracle_reads_the_resources(site: Site) -> None:
    with site.running.store() as store:
        resources = [each.resource for kind in kinds.KINDS for each in read(store, kind)]
    reading = Reading(tuple(resources), "tenant", ())
    pairs = site.running.pairs()
    assert len(pairs) > 1000
    wrong = []
    for pair, result in zip(pairs, attempt(pairs), strict=True):
        protocol = 6 if pair.service.protocol == "tcp" else 17
        source, target = site.addresses[pair.source], site.addresses[pair.destination]
        flow = Flow(source, target, protocol, pair.service.port, 40000)
        if judge_in(reading, flow).allowed != result.connected:
            wrong.append((pair.source, pair.destination, str(pair.service), result.connected))
    assert wrong == []


# --- changes while it runs ------------------------------------------------------------------------

ONLY_WEB = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: only-web, namespace: bank}
spec:
  selector: role == 'db'
  ingress: [{action: Allow, source: {selector: role == 'auditor'}}]
"""
SHOP_OPENS = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: shop-opens, namespace: shop}
spec:
  selector: role == 'web'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]
"""


def test_a_policy_closes_while_it_is_there(site: Site) -> None:
    question = "bank/teller bank/ledger tcp/5432"
    assert site.connects(question)
    with site.with_(ONLY_WEB):
        assert site.refuses(question)
    assert site.connects(question)


def test_a_policy_opens_while_it_is_there(site: Site) -> None:
    open_, shut = "internet shop/web tcp/80", "internet shop/web udp/53"
    assert site.refuses(open_)
    with site.with_(SHOP_OPENS):
        assert site.unlike({open_: True, shut: False}) == []
    assert site.refuses(open_)


def test_a_relabelled_endpoint_gets_other_verdicts(site: Site) -> None:
    question = "bank/teller bank/ledger tcp/5432"
    before = site.endpoint("bank/teller")
    with site.with_(ONLY_WEB):
        assert site.refuses(question)
        site.apply(with_labels(before, role="auditor"))
        assert site.connects(question)
        site.apply(before)
        assert site.refuses(question)


def test_relabelling_the_target_takes_it_out_of_the_policy(site: Site) -> None:
    question = "bank/teller bank/ledger tcp/5432"
    before = site.endpoint("bank/ledger")
    with site.with_(ONLY_WEB):
        site.apply(with_labels(before, role="archive"))
        assert site.connects(question)
        site.apply(before)
        assert site.refuses(question)


def test_a_deleted_endpoint_is_reached_by_nobody_until_it_is_applied_again(site: Site) -> None:
    before = site.endpoint("shop/db")
    inward, outward = "shop/web shop/db tcp/5432", "shop/db shop/web tcp/80"
    site.remove(before)
    try:
        assert site.refuses(inward, outward, "shop/db internet tcp/443")
        assert not site.pings("shop/web", "shop/db")
        assert not site.pings("shop/db", "169.254.1.1")
    finally:
        site.apply(before)
    assert site.unlike({inward: True, outward: True}) == []


def test_a_namespace_changes_its_default_while_it_runs(site: Site) -> None:
    shut = manifest("{apiVersion: v1, kind: Namespace, metadata: {name: market,"
                    " annotations: {tortie.dev/default: isolated}}}")  # fmt: skip
    with site.running.store() as store:
        before = [
            each.resource
            for each in read(store, kinds.BY_NAME["Namespace"])
            if each.resource.metadata.name == "market"
        ]
    site.apply(*shut)
    try:
        assert site.unlike({
            "internet market/kiosk tcp/80": False,
            "market/kiosk internet tcp/443": False,
            "market/kiosk market/stall tcp/80": True,
        }) == []  # fmt: skip
    finally:
        site.apply(*before)
    assert site.connects("internet market/kiosk tcp/80")


def test_apply_with_wait_tells_when_every_host_enforces_it(site: Site) -> None:
    done = site.running.tortie("apply", "-f", "-", "--wait", stdin=ONLY_WEB)
    try:
        assert f"enforced on {len(HOSTS)}/{len(HOSTS)} hosts" in done.stdout
        assert site.refuses("bank/teller bank/ledger tcp/5432")
    finally:
        site.remove(*manifest(ONLY_WEB))


def with_labels(endpoint: r.WorkloadEndpoint, **labels: str) -> r.WorkloadEndpoint:
    return replace(endpoint, metadata=replace(endpoint.metadata, labels=labels))
