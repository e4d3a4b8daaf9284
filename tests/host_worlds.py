"""Firewalls of the host of `host_rig`: its workloads open, its uplinks guarded as is said."""

from __future__ import annotations

from host_rig import LINKS, PLACES

from tortie.desired import (
    Endpoint,
    Filter,
    HostEndpoint,
    Policy,
    PortRange,
    Rule,
    Side,
    TierStep,
)

TCP, UDP = 6, 17
ALLOW = (Rule("allow"),)
POLICIES = (
    Policy("P/open", ALLOW, ALLOW),
    Policy("P/shut", (Rule("deny"),), (Rule("deny"),)),
    Policy("P/none"),
    *(
        Policy(f"P/{action}-{port}", (rule,), (rule,))
        for action in ("allow", "deny")
        for port in (80, 81)
        for rule in (Rule(action, protocol=UDP, destination=Side(ports=(PortRange(port, port),))),)
    ),
)
TENANTS = tuple(
    Endpoint(f"shop/{place}", LINKS[place], PLACES[place], profiles=("P/open",))
    for place in ("w1", "w2")
)


def steps(*policies: str, default: str = "deny") -> tuple[TierStep, ...]:
    return (TierStep("t", tuple(f"P/{each}" for each in policies), default),)


def guard(interface: str = "up0", **parts) -> HostEndpoint:
    """Open, but for what is said."""
    return HostEndpoint("guard", interface, **{"profiles": ("P/open",), **parts})


def guarded(*hosts: HostEndpoint, **more) -> Filter:
    return Filter(**{"endpoints": TENANTS, "policies": POLICIES, "hosts": hosts, **more})


SHUT = {"ingress": steps("shut"), "egress": steps("shut")}
FORWARD_SHUT = {"forward_ingress": steps("shut"), "forward_egress": steps("shut")}
