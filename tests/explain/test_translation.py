"""Floating addresses and outgoing translation, as the oracle reads them: which address policy sees
at either end."""

from __future__ import annotations

import pytest
from explain.town import TOWN, WHO, felix, judged, said, with_floating
from worlds import CALICO, host, meta, policy, rule, workload

from tortie.cli.ask import answer
from tortie.cli.world import World
from tortie.explain import places, question
from tortie.model import resources as r

OUT, OUT6 = "203.0.113.50", "2001:db8:f::50"
WEB, DB = TOWN[6], TOWN[7]
FLOATING = with_floating(DB, OUT, OUT6)
ALLOW, DENY = rule("Allow"), rule("Deny")


def to(address: str) -> r.Rule:
    return rule("Deny", None, {"nets": [address]})


def into_db(source: str) -> r.NetworkPolicy:
    """Only this source may speak to the database."""
    return policy("shop/db", selector="role == 'db'", ingress=[rule("Allow", {"nets": [source]})])


def out_of_web(*rules: r.Rule) -> r.NetworkPolicy:
    return policy("shop/web", selector="role == 'web'", egress=[*rules, ALLOW], types=["Egress"])


def pool(cidr: str, **more: object) -> r.IPPool:
    spec = r.IPPoolSpec(cidr=cidr, **more)
    return r.IPPool(api_version=CALICO, metadata=meta(cidr.replace("/", "-")), spec=spec)


GATE = host("gate", WHO["beta"], on="beta", labels={"kind": "gate"})
POOL, NAT_POOL = pool("10.0.0.0/16"), pool("10.0.0.0/16", nat_outgoing=True)
NEIGHBOUR = with_floating(workload("shop/db", WHO["db"], on="alpha", labels={"role": "db"}), OUT)

# what, question, what is there besides the town, verdict and reason
ROWS = [
    ("its policy judges it", f"internet > {OUT} tcp/80", [FLOATING],
     "DENIED namespace-default"),
    ("its policy allows it", f"internet > {OUT} tcp/80", [FLOATING, into_db("0.0.0.0/0")],
     "ALLOWED policy"),
    ("IPv6", f"internet6 > {OUT6} tcp/80", [FLOATING, into_db("::/0")], "ALLOWED policy"),
    ("that sees the internal address", f"internet > {OUT} tcp/80",
     [FLOATING, policy("shop/db", selector="role == 'db'", ingress=[to(f"{OUT}/32"), ALLOW])],
     "ALLOWED policy"),
    ("and denies by it", f"internet > {OUT} tcp/80",
     [FLOATING, policy("shop/db", selector="role == 'db'",
                       ingress=[to(f"{WHO['db']}/32"), ALLOW])],
     "DENIED policy"),
    ("who sends from another host is judged by the floating address", f"web > {OUT} tcp/80",
     [FLOATING, out_of_web(to(f"{OUT}/32"))], "DENIED policy"),
    ("and not by the internal one", f"web > {OUT} tcp/80",
     [FLOATING, out_of_web(to(f"{WHO['db']}/32"))], "ALLOWED namespace-default"),
    ("who sends from the same host by the internal one", f"web > {OUT} tcp/80",
     [NEIGHBOUR, out_of_web(to(f"{WHO['db']}/32"))], "DENIED policy"),
    ("and not by the floating one", f"web > {OUT} tcp/80",
     [NEIGHBOUR, out_of_web(to(f"{OUT}/32"))], "ALLOWED namespace-default"),
    ("to itself it is judged, too", f"db > {OUT} tcp/80",
     [FLOATING, policy("shop/db", selector="role == 'db'", ingress=[])],
     "DENIED tier-default"),
    ("the host itself reaches it", f"beta > {OUT} tcp/80", [FLOATING],
     "ALLOWED from-own-host"),
    ("switched off, it is nobody's", f"internet > {OUT} tcp/80",
     [FLOATING, felix("{floatingIPs: Disabled}")], "ALLOWED not-policed"),
    ("a node's own is nobody's", "internet > beta tcp/80",
     [with_floating(DB, WHO["beta"])], "ALLOWED not-policed"),
    ("claimed twice", f"internet > {OUT} tcp/80", [FLOATING, with_floating(WEB, OUT)],
     "DENIED duplicate-address"),
    ("early policies of a host see the floating address", f"internet > {OUT} tcp/80",
     [FLOATING, GATE, into_db("0.0.0.0/0"), r.GlobalNetworkPolicy(
         api_version=CALICO, metadata=meta("early"), spec=r.GlobalNetworkPolicySpec(
             selector="kind == 'gate'", pre_dnat=True, apply_on_forward=True,
             ingress=[to(f"{OUT}/32")]))],
     "DENIED pre-dnat"),
    # -- who leaves
    ("as its host if the pool says so", f"web > {OUT} tcp/80",
     [FLOATING, NAT_POOL, into_db(f"{WHO['alpha']}/32")], "ALLOWED policy"),
    ("as itself if it does not", f"web > {OUT} tcp/80",
     [FLOATING, POOL, into_db(f"{WHO['web']}/32")], "ALLOWED policy"),
    ("as itself to a pool", "web > db tcp/80", [NAT_POOL, into_db(f"{WHO['web']}/32")],
     "ALLOWED policy"),
    ("as a chosen address", f"web > {OUT} tcp/80",
     [FLOATING, NAT_POOL, felix("{natOutgoingAddress: 192.168.50.77-192.168.50.79}"),
      into_db("192.168.50.77/32")], "ALLOWED policy"),
    ("as its floating address", f"web > {OUT} tcp/80",
     [FLOATING, NAT_POOL, with_floating(WEB, "203.0.113.51"), into_db("203.0.113.51/32")],
     "ALLOWED policy"),
    ("to another host as its own", "web > beta tcp/80",
     [NAT_POOL, GATE, policy("gate", selector="kind == 'gate'",
                             ingress=[rule("Allow", {"nets": [f"{WHO['alpha']}/32"]})]),
      out_of_web()],
     "ALLOWED policy"),
    ("but for hosts that are excluded", "web > beta tcp/80",
     [NAT_POOL, GATE, felix("{natOutgoingExclusions: IPPoolsAndHostIPs}"),
      policy("gate", selector="kind == 'gate'",
             ingress=[rule("Allow", {"nets": [f"{WHO['alpha']}/32"]})]),
      policy("shop/web", selector="role == 'web'", egress=[ALLOW], types=["Egress"])],
     "DENIED tier-default"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "more", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_which_address_policy_sees(asked: str, more: list[r.Resource], expected: str) -> None:
    assert said(asked, *more) == expected, judged(asked, *more).steps


def test_the_steps_say_whose_it_is() -> None:
    texts = [
        (one.where, one.action, one.text)
        for one in judged(f"web > {OUT} tcp/80", FLOATING, NAT_POOL).steps
    ]
    assert ("host alpha", "Pass", "shop/alpha-tortie-web-eth0 leaves as 192.168.50.1, natOutgoing"
            " of pool 10.0.0.0-16") in texts  # fmt: skip
    assert ("host beta", "Pass", f"{OUT} is the floating address of shop/beta-tortie-db-eth0,"
            f" {WHO['db']} from here on") in texts  # fmt: skip


def asked(source: str, destination: str):
    world = World((*(one for one in TOWN if one is not DB), FLOATING))
    return answer(world, source, destination, question.parse("tcp/80"))


def test_the_answer_says_which_endpoint_it_belongs_to() -> None:
    end = asked("198.51.100.7", OUT).destination
    assert (end.kind, end.name, end.resource, end.addresses) == (
        "floating address", "shop/db", "shop/beta-tortie-db-eth0", [OUT],
    )  # fmt: skip


def test_who_speaks_is_the_workload_behind_it() -> None:
    end = asked(OUT, WHO["web"]).source
    assert (end.kind, end.name, end.addresses) == ("workload", "shop/db", [WHO["db"]])


def test_outside_is_no_floating_address() -> None:
    taken = with_floating(DB, "198.51.100.9")
    assert "198.51.100.9" not in places.outside([*TOWN, taken]).addresses
