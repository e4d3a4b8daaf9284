"""Rules that name services: what their EndpointSlices come to."""

from __future__ import annotations

import msgspec
import pytest
from calc.calcrig import found, on_alpha, ports, web, who
from validation import make
from worlds import policy, rule

from tortie import desired as d
from tortie.calc import World, desired_for
from tortie.model import kinds
from tortie.model import resources as r

SERVICE = r.ServiceMatch(name="db", namespace="bank")
TCP80 = {"name": "web", "port": 80}
UDP53 = {"name": "dns", "protocol": "UDP", "port": 53}
ALL_TCP = {"name": "all"}


def piece(name, *addresses, port=(TCP80,), service="db", space="bank", kind="IPv4", **endpoint):
    """An EndpointSlice."""
    data = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": space,
            "labels": {"kubernetes.io/service-name": service} if service else {},
        },
        "addressType": kind,
        "endpoints": [{"addresses": [each], **endpoint} for each in addresses],
        "ports": list(port),
    }
    return msgspec.convert(data, r.EndpointSlice)


SLICES = {
    "none": ([], set(), set()),
    "one": ([piece("a", "10.0.0.1", "10.0.0.2")],
            {("10.0.0.1", 6, 80), ("10.0.0.2", 6, 80)}, {"10.0.0.1", "10.0.0.2"}),
    "several, both families": (
        [piece("a", "10.0.0.1"), piece("b", "fd00::1", port=(UDP53,), kind="IPv6")],
        {("10.0.0.1", 6, 80), ("fd00::1", 17, 53)}, {"10.0.0.1", "fd00::1"}),
    "several ports": ([piece("a", "10.0.0.1", port=(TCP80, UDP53))],
                      {("10.0.0.1", 6, 80), ("10.0.0.1", 17, 53)}, {"10.0.0.1"}),
    "no ports": ([piece("a", "10.0.0.1", port=())], set(), {"10.0.0.1"}),
    "not ready counts too": (
        [piece("a", "10.0.0.1", conditions={"ready": False, "terminating": True})],
        {("10.0.0.1", 6, 80)}, {"10.0.0.1"}),
    "another service's": ([piece("a", "10.0.0.1", service="web")], set(), set()),
    "nobody's": ([piece("a", "10.0.0.1", service="")], set(), set()),
    "another namespace's": ([piece("a", "10.0.0.1", space="shop")], set(), set()),
    "host names": ([piece("a", "db.example", kind="FQDN")], set(), set()),
}  # fmt: skip


@pytest.mark.parametrize(("slices", "targets", "sources"), SLICES.values(), ids=SLICES)
def test_a_service_is_what_its_slices_say(slices, targets, sources) -> None:
    given = policy(
        "p",
        ingress=[rule("Allow", src={"services": SERVICE})],
        egress=[rule("Allow", dst={"services": SERVICE}, protocol="TCP")],
    )
    firewall = on_alpha(web(), given, *slices)
    made = found(firewall, "GlobalNetworkPolicy/p")
    assert who(firewall, made.ingress[0].source) == sources
    assert ports(firewall, made.ingress[0].source) == set()
    (outward,) = made.egress
    assert (outward.protocol, outward.destination.sets) == (6, ())
    assert ports(firewall, outward.destination) == targets
    assert len(outward.destination.port_sets) == 1


PROTOCOLS = {
    "any": ({}, [(None, {("10.0.0.1", 17, 53)}, None), (6, set(), {"10.0.0.1"})]),
    "this": ({"protocol": "TCP"}, [(6, {("10.0.0.1", 17, 53)}, None), (6, set(), {"10.0.0.1"})]),
    "another": ({"protocol": "UDP"}, [(17, {("10.0.0.1", 17, 53)}, None)]),
    "not this": ({"not_protocol": "TCP"}, [(None, {("10.0.0.1", 17, 53)}, None)]),
    "not another": ({"not_protocol": "UDP"},
                    [(None, {("10.0.0.1", 17, 53)}, None), (6, set(), {"10.0.0.1"})]),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_port_without_number_is_every_port_of_its_protocol(fields, expected) -> None:
    given = policy("p", egress=[rule("Deny", dst={"services": SERVICE}, **fields)])
    firewall = on_alpha(web(), given, piece("a", "10.0.0.1", port=(ALL_TCP, UDP53)))
    seen = [
        (
            each.protocol,
            ports(firewall, each.destination),
            who(firewall, each.destination) if each.destination.sets else None,
        )
        for each in found(firewall, "GlobalNetworkPolicy/p").egress
    ]
    assert seen == expected


def test_in_a_namespaced_policy_a_service_is_of_its_namespace_unless_it_says() -> None:
    slices = [piece("a", "10.0.0.1"), piece("b", "10.0.0.2", space="shop")]
    for space, expected in ((None, "10.0.0.2"), ("bank", "10.0.0.1")):
        match = r.ServiceMatch(name="db", namespace=space)
        given = policy("shop/p", ingress=[rule("Allow", src={"services": match})])
        firewall = on_alpha(web(), given, *slices)
        (made,) = found(firewall, "NetworkPolicy/shop/p").ingress
        assert who(firewall, made.source) == {expected}


def test_slices_come_change_and_go() -> None:
    given = policy("p", ingress=[rule("Allow", src={"services": SERVICE})])
    world = World.of([web(), given])

    def sources() -> set[str]:
        firewall: d.Filter = desired_for(world, "alpha").filter
        return who(firewall, found(firewall, "GlobalNetworkPolicy/p").ingress[0].source)

    for change, expected in (
        (piece("a", "10.0.0.1"), {"10.0.0.1"}),
        (piece("a", "10.0.0.2"), {"10.0.0.2"}),
        (piece("a", "10.0.0.2", service="web"), set()),
        (piece("a", "10.0.0.3"), {"10.0.0.3"}),
    ):
        world.put(kinds.key(change), change)
        assert sources() == expected
    world.put(kinds.key(piece("a")), None)
    assert sources() == set()


def test_a_service_object_itself_means_nobody() -> None:
    given = policy("p", ingress=[rule("Allow", src={"services": SERVICE})])
    front = make("Service", {"clusterIP": "10.96.0.1"}, name="db", namespace="bank")
    assert on_alpha(web(), given, front) == on_alpha(web(), given)
