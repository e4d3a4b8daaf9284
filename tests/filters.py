"""Generated firewalls: hypothesis strategies of desired.Filter, well formed and small.

Interfaces tor1, tor2 carry 10.65.0.1, fd65::1 and 10.65.0.2, fd65::2.
"""

from __future__ import annotations

from hypothesis import strategies as st

from tortie import desired as d

ADDRESSES = {1: ("10.65.0.1", "fd65::1"), 2: ("10.65.0.2", "fd65::2")}
OUTSIDE = ("192.0.2.2", "2001:db8::2")
EXTERNAL = ("203.0.113.5", "2001:db8:f::5")
"""Floating addresses."""
HOSTS = (*ADDRESSES[1], *ADDRESSES[2], *OUTSIDE)
NETS = ("10.65.0.0/24", "10.65.0.2/32", "192.0.2.0/30", "fd65::/64", "2001:db8::/126", "0.0.0.0/0")
PORTS = (53, 80, 81, 8080)
PROTOCOLS = (6, 17, 1, 58, 47)
SETS = ("s0", "s1", "s2", "s3")
POLICIES = ("NetworkPolicy/shop/a", "GlobalNetworkPolicy/b", "NetworkPolicy/shop/c", "Profile/d")


def some(values, most=2, least=0):
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True).map(tuple)


def maybe(strategy):
    return st.one_of(st.none(), st.none(), strategy)


port_ranges = st.builds(
    lambda first, more: d.PortRange(first, first + more),
    st.sampled_from(PORTS),
    st.sampled_from((0, 0, 1, 500)),
)
icmps = st.sampled_from((d.Icmp(8), d.Icmp(8, 0), d.Icmp(128, 0), d.Icmp(13), d.Icmp(128)))


@st.composite
def sides(draw):
    """Most sides ask for little: else nothing ever matches."""
    side = d.Side()
    for part in draw(some(["nets", "sets", "ports", "not_nets", "not_sets", "not_ports"], 2)):
        if part.endswith("nets"):
            values = {part: draw(some(NETS, least=1))}
        elif part.endswith("sets"):
            values = {part: draw(some(SETS, least=1))}
        else:
            ports = tuple(draw(st.lists(port_ranges, max_size=2)))
            values = {part: ports, part.replace("ports", "port_sets"): draw(some(("p0", "p1")))}
        side = d.Side(
            **{**{name: getattr(side, name) for name in side.__struct_fields__}, **values}
        )
    return side


@st.composite
def rules(draw):
    return d.Rule(
        action=draw(st.sampled_from(("allow", "allow", "deny", "pass", "log"))),
        family=draw(maybe(st.sampled_from((4, 6)))),
        protocol=draw(maybe(st.sampled_from(PROTOCOLS))),
        not_protocol=draw(maybe(st.sampled_from(PROTOCOLS))),
        icmp=draw(maybe(icmps)),
        not_icmp=draw(maybe(icmps)),
        source=draw(sides()),
        destination=draw(sides()),
    )


rule_lists = st.builds(
    lambda first, last: (*first, *last),
    st.lists(rules(), max_size=4),
    st.sampled_from(((), (d.Rule("allow"),))),  # else next to nothing is allowed
)
tiers = st.builds(
    d.TierStep,
    st.sampled_from(("default", "admin")),
    some(POLICIES[:3], least=1),
    st.sampled_from(("deny", "deny", "pass")),
)


@st.composite
def filters(draw, interfaces=(1, 2)):
    """A filter for some of the interfaces, with every policy and set that may be named."""
    endpoints = tuple(
        d.Endpoint(
            id=f"shop/w{number}",
            interface=f"tor{number}",
            addresses=ADDRESSES[number],
            mac=draw(st.sampled_from((None, f"02:00:00:00:00:0{number}"))),
            allowed_sources=draw(some(("10.66.0.0/24", "fd66::/64"), 1)),
            ingress=tuple(draw(st.lists(tiers, max_size=2))),
            egress=tuple(draw(st.lists(tiers, max_size=2))),
            profiles=draw(some(POLICIES[3:], 1)),
        )
        for number in interfaces
    )
    return d.Filter(
        endpoints=endpoints,
        policies=tuple(d.Policy(each, draw(rule_lists), draw(rule_lists)) for each in POLICIES),
        sets=tuple(
            d.AddressSet(
                each, frozenset(draw(some(HOSTS, 4))), frozenset(draw(some(NETS[::2] + NETS[3:4])))
            )
            for each in SETS
        ),
        port_sets=tuple(
            d.PortSet(
                each,
                frozenset(
                    draw(
                        st.lists(
                            st.tuples(
                                st.sampled_from(HOSTS),
                                st.sampled_from((6, 17)),
                                st.sampled_from(PORTS),
                            ),
                            max_size=4,
                        )
                    )
                ),
            )
            for each in ("p0", "p1")
        ),
    )


INTERFACES = ("tor1", "tor2", "tor3", "ens5", "eth0", "eth1", "lo")
"""Of a `guarded` firewall: tor3 is nobody's, ens5 may be a workload's; eth0 and eth1 the host's."""

undecided = st.builds(
    d.TierStep, st.just("default"), some(POLICIES[:3], least=1), st.sampled_from(("pass", "deny"))
)
open_ports = st.lists(
    st.builds(
        d.OpenPort,
        st.sampled_from((6, 17)),
        st.sampled_from(PORTS),
        maybe(st.sampled_from(NETS)),
    ),
    max_size=3,
).map(tuple)
tunnels = st.builds(d.Encapsulated, st.sampled_from(PORTS), some(HOSTS, 3))
floating = st.lists(
    st.sampled_from(
        [d.Floating(e, i[v6]) for v6, e in enumerate(EXTERNAL) for i in ADDRESSES.values()]
    ),
    min_size=1,
    unique_by=lambda each: each.external,
).map(tuple)


@st.composite
def guards(draw, interface):
    """A host endpoint; most evaluations have no policy."""

    def steps(strategy=undecided):
        return draw(st.one_of(st.just(()), st.just(()), st.lists(strategy, max_size=2).map(tuple)))

    return d.HostEndpoint(
        f"guard-of-{interface}".replace("*", "all"),
        interface,
        ingress=steps(tiers),
        egress=steps(tiers),
        profiles=draw(some(POLICIES[3:], 1)),
        forward_ingress=steps(),
        forward_egress=steps(),
        untracked_ingress=steps(),
        untracked_egress=steps(),
        pre_dnat=steps(),
    )


@st.composite
def guarded(draw):
    """A filter with all that one can have: host endpoints, failsafe ports, settings."""
    firewall = draw(filters())
    metal = d.Endpoint(
        "lab/metal", "ens5", ("10.65.0.9", "fd65::9"), profiles=draw(some(POLICIES[3:], 1))
    )
    hosts = draw(some(("eth0", "eth1", "*"), 3))
    values = {name: getattr(firewall, name) for name in firewall.__struct_fields__}
    return d.Filter(
        **{
            **values,
            "endpoints": (*firewall.endpoints, *((metal,) if draw(st.booleans()) else ())),
            "hosts": tuple(draw(guards(each)) for each in hosts),
            "failsafe_inbound": draw(open_ports),
            "failsafe_outbound": draw(open_ports),
            "to_host": draw(st.sampled_from(("drop", "policy"))),
            "to_host_ports": draw(open_ports),
            "never_from_workloads": draw(st.sampled_from(((), (d.Rule("deny", protocol=47),)))),
            "drop_invalid": draw(st.booleans()),
            "encapsulated": draw(maybe(tunnels)),
        }
    )
