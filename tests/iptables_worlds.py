"""Firewalls in which everything occurs that iptables rules are made for."""

from __future__ import annotations

import msgspec

from tortie.desired import (
    AddressSet,
    Endpoint,
    Filter,
    HostEndpoint,
    Icmp,
    OpenPort,
    Policy,
    PortRange,
    PortSet,
    Rule,
    Side,
    TierStep,
)

WEB = Endpoint("shop/web-1", "tor1web", ("10.65.0.1", "fd65::1"), profiles=("Default/tenant/shop",))
MATES = AddressSet("mates", frozenset({"10.65.0.1", "10.65.0.2", "fd65::1"}))
TENANT = Policy(
    "Default/tenant/shop",
    ingress=(Rule("allow", source=Side(sets=("mates",))),),
    egress=(Rule("deny", destination=Side(nets=("172.16.0.0/24",))), Rule("allow")),
)
LOGGED = Policy(
    "NetworkPolicy/shop/db-only",
    ingress=(
        Rule("log", source=Side(sets=("corp",))),
        Rule("allow", protocol=6, source=Side(sets=("corp",)), destination=Side(port_sets=("db",))),
        Rule("deny", protocol=1, icmp=Icmp(8)),
    ),
)
ADMIN = Policy(
    "GlobalNetworkPolicy/admin.first",
    ingress=(
        Rule("pass", protocol=6, destination=Side(ports=(PortRange(5432, 5433),)), name="the db"),
        Rule("deny", not_protocol=17, name="nothing-else"),
    ),
    egress=(Rule("pass", destination=Side(not_nets=("10.0.0.0/8",))), Rule("allow", protocol=6)),
)
DB = Endpoint(
    "shop/db-1",
    "tor2db",
    ("10.65.0.2",),
    allowed_sources=("10.66.0.0/24", "fd66::/64"),
    ingress=(
        TierStep("admin", ("GlobalNetworkPolicy/admin.first",), "deny"),
        TierStep("default", ("NetworkPolicy/shop/db-only",), "deny"),
    ),
    egress=(TierStep("admin", ("GlobalNetworkPolicy/admin.first",), "pass"),),
    profiles=("Default/tenant/shop",),
)
CORP = AddressSet("corp", frozenset({"192.0.2.1"}), frozenset({"198.51.100.0/24"}))
FULL = Filter(
    endpoints=(WEB, DB),
    policies=(ADMIN, TENANT, LOGGED),
    sets=(CORP, MATES),
    port_sets=(PortSet("db", frozenset({("10.65.0.2", 6, 5432), ("fd65::1", 132, 9)})),),
)

MANY = tuple(PortRange(at, at + at % 2) for at in range(1000, 1090, 3))
ODD = Policy(
    "GlobalNetworkPolicy/odd",
    ingress=(
        Rule("log", protocol=17, destination=Side(ports=MANY)),
        Rule("log", destination=Side(not_ports=MANY), name="odd one"),
        Rule("allow", protocol=132, source=Side(ports=MANY), destination=Side(not_ports=MANY)),
        Rule("deny", not_icmp=Icmp(3, 4), destination=Side(not_ports=MANY, nets=("10.1.0.0/16",))),
        Rule("pass", protocol=1, icmp=Icmp(8), not_icmp=Icmp(8, 1)),
        Rule("pass", protocol=58, icmp=Icmp(128), not_icmp=Icmp(128, 1)),
        Rule("pass", source=Side(not_ports=(PortRange(7, 7),)), not_protocol=6),
        Rule("allow", destination=Side(ports=MANY, port_sets=("db",)), source=Side(ports=MANY[:2])),
        Rule("deny", destination=Side(not_port_sets=("db",)), protocol=47),
        Rule(
            "allow",
            source=Side(
                nets=("10.0.0.0/8", "fd00::/8"),
                not_nets=("10.9.0.0/16", "10.7.0.0/16", "fd09::/16"),
                sets=("corp", "mates"),
                not_sets=("world",),
            ),
            destination=Side(
                nets=("10.2.0.0/16", "10.4.0.0/16", "fd02::/16", "fd04::/16"),
                not_nets=("10.2.3.4/32", "fd02::4/128"),
            ),
        ),
    ),
    egress=(Rule("allow", protocol=6, destination=Side(ports=(PortRange(443, 443),))),),
)
WORLD = AddressSet("world", nets=frozenset({"0.0.0.0/0", "::/0"}))
METAL = Endpoint("lab/metal", "ens5", ("10.65.0.9", "fd65::9"), profiles=("Default/tenant/shop",))
ODD_STEP = (TierStep("security", (ODD.id,), "pass"),)
UPLINK = HostEndpoint(
    "rack-uplink",
    "eth0",
    ingress=(TierStep("security", (ODD.id, ADMIN.id), "deny"),),
    egress=ODD_STEP,
    profiles=(TENANT.id,),
    forward_ingress=ODD_STEP,
    forward_egress=ODD_STEP,
    untracked_ingress=ODD_STEP,
    untracked_egress=ODD_STEP,
    pre_dnat=ODD_STEP,
)
OTHERS = HostEndpoint("all-others", "*", profiles=(TENANT.id,), untracked_egress=ODD_STEP)
GUARDED = msgspec.structs.replace(
    FULL,
    endpoints=(
        msgspec.structs.replace(WEB, max_ingress=100, max_egress=50, ingress=ODD_STEP),
        DB,
        METAL,
    ),
    policies=(*FULL.policies, ODD),
    sets=(*FULL.sets, WORLD),
    hosts=(UPLINK, OTHERS),
    failsafe_inbound=(OpenPort(6, 22), OpenPort(6, 179, "192.0.2.0/24"), OpenPort(17, 68)),
    failsafe_outbound=(OpenPort(17, 53), OpenPort(6, 2379, "2001:db8::/32")),
    to_host="policy",
    to_host_ports=(OpenPort(17, 53), OpenPort(6, 80, "10.65.0.0/24")),
    never_from_workloads=(
        Rule("deny", protocol=17, destination=Side(ports=(PortRange(4789, 4789),))),
        Rule("deny", protocol=4),
    ),
)
"""Every kind of match, in every table."""
