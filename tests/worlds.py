"""Small worlds for tests: the domain's nouns as short functions, and hypothesis strategies.

Two nodes, `alpha` and `beta`, with four slots for workloads each. A slot has its interface and its
addresses whatever world it is in, so that one set of network namespaces serves every world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tortie.explain.oracle import Flow
from tortie.model import resources as r

CALICO = "projectcalico.org/v3"
GATEWAY = {4: "169.254.1.1", 6: "fe80::1"}


# --- nouns ------------------------------------------------------------------------------------


def meta(name, labels=None, annotations=None):
    """Metadata of a "name" or "namespace/name"."""
    namespace, _, name = name.rpartition("/")
    return r.Metadata(
        name=name, namespace=namespace or None, labels=labels or {}, annotations=annotations or {}
    )


def namespace(name, default=None, **labels):
    annotations = {"tortie.dev/default": default} if default else {}
    return r.Namespace(api_version="v1", metadata=meta(name, labels, annotations))


def node(name, *addresses, more=()):
    """A node; its addresses are CIDRs, `more` are bare ones for spec.addresses."""
    four = next((one for one in addresses if ":" not in one), None)
    six = next((one for one in addresses if ":" in one), None)
    spec = r.NodeSpec(
        bgp=r.NodeBgp(ipv4_address=four, ipv6_address=six),
        addresses=[r.NodeAddress(address=one) for one in more],
    )
    return r.Node(api_version=CALICO, metadata=meta(name), spec=spec)


def workload(
    name, *addresses, on="alpha", labels=None, profiles=(), ports=(), account="", interface="tor9"
):
    """A workload endpoint; ports are (name, protocol, port)."""
    spec = r.WorkloadEndpointSpec(
        node=on,
        orchestrator="tortie",
        workload=name.rpartition("/")[2],
        endpoint="eth0",
        interface_name=interface,
        service_account_name=account,
        ip_networks=[f"{one}/{128 if ':' in one else 32}" for one in addresses],
        profiles=list(profiles),
        ports=[r.EndpointPort(name=n, protocol=p, port=q) for n, p, q in ports],
    )
    space, _, short = name.rpartition("/")
    full = f"{space}/{on}-tortie-{short.replace('-', '--')}-eth0"
    return r.WorkloadEndpoint(api_version=CALICO, metadata=meta(full, labels), spec=spec)


def host(name, *addresses, on="alpha", labels=None, ports=()):
    spec = r.HostEndpointSpec(
        node=on,
        expected_ips=list(addresses),
        ports=[r.EndpointPort(name=n, protocol=p, port=q) for n, p, q in ports],
    )
    return r.HostEndpoint(api_version=CALICO, metadata=meta(name, labels), spec=spec)


def netset(name, *nets, labels=None):
    """A NetworkSet for "namespace/name", a GlobalNetworkSet for "name"."""
    kind = r.NetworkSet if "/" in name else r.GlobalNetworkSet
    spec = r.NetworkSetSpec(nets=list(nets))
    return kind(api_version=CALICO, metadata=meta(name, labels), spec=spec)


def tier(name, order=None, default=None):
    spec = r.TierSpec(order=order, default_action=default)
    return r.Tier(api_version=CALICO, metadata=meta(name), spec=spec)


def profile(name, ingress=(), egress=(), **labels):
    spec = r.ProfileSpec(ingress=list(ingress), egress=list(egress), labels_to_apply=labels)
    return r.Profile(api_version=CALICO, metadata=meta(name), spec=spec)


def policy(name, **spec):
    """A NetworkPolicy for "namespace/name", a GlobalNetworkPolicy for "name"."""
    if "/" in name:
        return r.NetworkPolicy(
            api_version=CALICO, metadata=meta(name), spec=r.NetworkPolicySpec(**spec)
        )
    return r.GlobalNetworkPolicy(
        api_version=CALICO, metadata=meta(name), spec=r.GlobalNetworkPolicySpec(**spec)
    )


def rule(action, src=None, dst=None, **fields):
    """A rule; `src` and `dst` are a selector or a dict of entity fields."""

    def end(what):
        if what is None:
            return r.EntityRule()
        return r.EntityRule(selector=what) if isinstance(what, str) else r.EntityRule(**what)

    return r.Rule(action=action, source=end(src), destination=end(dst), **fields)


# --- generated worlds -------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """A place for a workload: the same interface and addresses in every world."""

    index: int
    node: str
    interface: str
    four: str
    six: str


SLOTS = tuple(
    Slot(i, "beta" if 4 < i <= 8 or i > 19 else "alpha", f"tor{i}", f"10.65.0.{i}", f"fd65::{i:x}")
    for i in range(1, 31)
)
NODE_ADDRESSES = {
    "alpha": {4: "192.168.50.1", 6: "fd50::1"},
    "beta": {4: "192.168.50.2", 6: "fd50::2"},
}
OUTSIDE = {4: "198.51.100.7", 6: "2001:db8:51::7"}

NAMESPACES = ("red", "blue", "green")
SELECTORS = (
    "",
    "all()",
    "role == 'web'",
    "role == 'db'",
    "role != 'web'",
    "role in {'web', 'db'}",
    "role not in {'db'}",
    "has(env)",
    "!has(env)",
    "env == 'prod' && role == 'web'",
    "env starts with 'p' || role ends with 'i'",
    "zone == 'corp'",
    "kiosk == 'yes'",
    "projectcalico.org/namespace == 'red'",
    "projectcalico.org/orchestrator == 'tortie'",
)
NAMESPACE_SELECTORS = (
    "all()",
    "global()",
    "tenant == 'shop'",
    "!has(tenant)",
    "projectcalico.org/name == 'blue'",
    "kubernetes.io/metadata.name in {'red', 'green'}",
)
NETS = {
    4: ("0.0.0.0/0", "10.65.0.0/30", "10.65.0.4/30", "10.65.0.5/32", "198.51.100.0/24",
        "192.168.50.0/24", "10.0.0.0/8"),
    6: ("::/0", "fd65::/126", "fd65::4/126", "fd65::5/128", "2001:db8:51::/48", "fd50::/64"),
}  # fmt: skip
PORTS: tuple[r.Port, ...] = (53, 80, 443, 8080, "80:443", "1:65535", "http", "dns")
NUMBERED = tuple(port for port in PORTS if isinstance(port, int) or ":" in port)
NAMED = ("http", "dns", "nothing")
ENDPOINT_PORTS = (
    ("http", "TCP", 80),
    ("http", "TCP", 8080),
    ("dns", "UDP", 53),
    ("dns", "TCP", 53),
)
FLOW_PORTS = (53, 80, 443, 8080, 5432)
SOURCE_PORTS = (53, 1024, 40000)
ICMP = {4: ((8, 0), (8, 1), (13, 0)), 6: ((128, 0), (128, 1), (139, 0))}

ACCOUNTS = (
    r.ServiceAccounts(),
    r.ServiceAccounts(names=["clerk"]),
    r.ServiceAccounts(selector="rank == 'high'"),
    r.ServiceAccounts(names=["clerk", "boss"], selector="!has(rank)"),
)

ACTIONS = ("Allow", "Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log")
rarely = st.sampled_from((False, False, False, True))
often = st.sampled_from((False, True, True))


HOW_MUCH = (0, 0, 0, 1, 1, 1, 2, 3)


def some(values, most=2):
    """A strategy: some of these values, at least one, none twice."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=most).map(
        lambda chosen: list(dict.fromkeys(chosen))
    )


@st.composite
def entity_rules(draw, family, ports, names):
    """One end of a rule. `ports`: numbers are fit here; `names`: names are."""
    fitting = (NUMBERED if ports else ()) + (NAMED if names else ())
    parts = {
        "selector": st.sampled_from(SELECTORS),
        "namespace_selector": st.sampled_from(NAMESPACE_SELECTORS),
        "not_selector": st.sampled_from(SELECTORS[2:]),
        "service_accounts": st.sampled_from(ACCOUNTS),
        "nets": some(NETS[family]),
        "not_nets": some(NETS[family][1:]),
    }
    if fitting:
        parts |= {"ports": some(fitting, 3), "not_ports": some(fitting)}
    asked = draw(st.sampled_from(HOW_MUCH))
    # What is written most often in life comes twice here.
    chosen = draw(some(("selector", "selector", "ports", *parts), asked)) if asked else ()
    return r.EntityRule(**{part: draw(parts[part]) for part in chosen if part in parts})


@st.composite
def rules(draw):
    """A rule of the whole vocabulary, valid: families, protocols and ports fit each other."""
    version = draw(st.sampled_from((None, None, None, None, 4, 6)))
    family = version or draw(st.sampled_from((4, 6)))
    icmp_name = "ICMP" if family == 4 else "ICMPv6"
    protocol = draw(
        st.sampled_from((None, None, None, "TCP", "TCP", "UDP", "SCTP", 6, 17, icmp_name))
    )
    fields = {"action": draw(st.sampled_from(ACTIONS)), "ip_version": version}
    if protocol == icmp_name and draw(often):
        kind, code = draw(st.sampled_from(ICMP[family]))
        fields[draw(st.sampled_from(("icmp", "not_icmp")))] = r.Icmp(
            type=kind, code=code if draw(often) else None
        )
    if protocol is None and draw(rarely):
        fields["not_protocol"] = draw(st.sampled_from(("TCP", "UDP", 6, icmp_name)))
    ports = protocol in ("TCP", "UDP", "SCTP", 6, 17)
    names = ports or (protocol is None and "not_protocol" not in fields)
    return r.Rule(
        protocol=protocol,
        source=draw(entity_rules(family, ports, False)),
        destination=draw(entity_rules(family, ports, names)),
        **fields,
    )


@st.composite
def policies(draw, index, tiers):
    """A policy of either kind. Some names are used in several namespaces, to have ties."""
    space = draw(st.sampled_from(("", "", *NAMESPACES)))
    in_tier = draw(st.sampled_from(tiers))
    types = draw(st.sampled_from(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    fields = {}
    for direction in ("Ingress", "Egress"):
        if not types or direction in types:
            fields[direction.lower()] = draw(
                st.lists(rules(), min_size=draw(st.integers(0, 3)), max_size=3)
            )
    if not space and draw(rarely):
        fields["namespace_selector"] = draw(
            st.sampled_from([one for one in NAMESPACE_SELECTORS if one != "global()"])
        )
    label = f"p{index // 2}"
    name = label if in_tier == "default" else f"{in_tier}.{label}"
    return policy(
        f"{space}/{name}" if space else name,
        tier=in_tier,
        order=draw(st.sampled_from((None, None, 10, 20, 20.5))),
        selector=draw(st.sampled_from(SELECTORS)),
        types=types,
        **fields,
    )


PROFILES = (
    *([],) * 4,
    ["projectcalico-default-allow"],
    ["kiosk"],
    ["kiosk", "second"],
    ["second", "kiosk"],
    ["missing", "second"],
)


@st.composite
def workloads(draw, slot, profiles):
    """A workload in a slot, of one family or both."""
    addresses = draw(st.sampled_from(([slot.four, slot.six], [slot.four], [slot.six])))
    labels = {
        key: draw(st.sampled_from(values))
        for key, values in (("role", ("web", "db", "api")), ("env", ("prod", "dev")))
        if draw(often)
    }
    listed = draw(st.sampled_from(PROFILES if profiles else PROFILES[:5]))
    space = draw(st.sampled_from(NAMESPACES))
    return workload(
        f"{space}/w{slot.index}",
        *addresses,
        on=slot.node,
        labels=labels,
        profiles=listed,
        ports=draw(st.sampled_from(((), ENDPOINT_PORTS[:1], ENDPOINT_PORTS[1:], ENDPOINT_PORTS))),
        account=draw(st.sampled_from(("", "clerk", "boss"))),
        interface=slot.interface,
    )


@st.composite
def worlds(draw):
    """A small valid world, as a tuple of resources."""
    made: list[r.Resource] = [
        node(name, f"{by[4]}/24", f"{by[6]}/64") for name, by in NODE_ADDRESSES.items()
    ]
    for name in NAMESPACES[: draw(st.sampled_from((2, 3)))]:
        labels = {"tenant": draw(st.sampled_from(("shop", "bank")))} if draw(often) else {}
        default = draw(st.sampled_from((None, None, "tenant", "open", "isolated")))
        made.append(namespace(name, default, **labels))
    tiers = ["default", "default"]
    for name in draw(st.sampled_from(((), ("first",), ("first", "last")))):
        order = draw(st.sampled_from((None, 50, 2e6)))
        made.append(tier(name, order, draw(st.sampled_from((None, "Deny", "Pass")))))
        tiers.append(name)
    if draw(rarely):
        tiers += ["kube-admin", "ghost"]  # built in; and one that does not exist
    if draw(rarely):
        made.append(netset("corp", "198.51.100.0/24", "10.65.0.6/32", labels={"zone": "corp"}))
    if draw(rarely):
        nets = ("198.51.100.7/32", "2001:db8:51::/48")
        made.append(netset("red/partners", *nets, labels={"zone": "corp", "role": "web"}))
    if draw(rarely):
        made.append(host("alpha-eth0", "192.168.50.1", "fd50::1", labels={"role": "web"}))
    profiles = ["kiosk", "second"] if draw(often) else []
    for name in profiles:
        extra = (
            {"kiosk": "yes", "env": "dev", "pcsa.rank": "high"}
            if name == "kiosk"
            else {"env": "prod"}
        )
        made.append(
            profile(
                name,
                draw(st.lists(rules(), min_size=draw(st.integers(0, 2)), max_size=2)),
                draw(st.lists(rules(), min_size=draw(st.integers(0, 2)), max_size=2)),
                **extra,
            )
        )
    slots = draw(st.lists(st.sampled_from(SLOTS), min_size=4, max_size=8, unique=True))
    made += [draw(workloads(slot, profiles)) for slot in slots]
    seen: dict[tuple[str | None, str], r.Resource] = {}
    for index in range(draw(st.sampled_from((0, 1, 2, 4, 6, 8)))):
        one = draw(policies(index, tiers))
        seen[(one.metadata.namespace, one.metadata.name)] = one
    return (*made, *seen.values())


@st.composite
def flows(draw, world: Sequence[r.Resource]):
    """A flow between what is in a world, its nodes and the outside."""
    family = draw(st.sampled_from((4, 6)))
    inside = [
        address
        for one in world
        if isinstance(one, r.WorkloadEndpoint)
        for address in (text.split("/")[0] for text in one.spec.ip_networks)
        if (":" in address) == (family == 6)
    ]
    nodes = [by[family] for by in NODE_ADDRESSES.values()]
    others = [*nodes, OUTSIDE[family]]
    source = draw(st.sampled_from(inside * 3 + others))
    targets = [one for one in inside if one != source] * 4
    destination = draw(st.sampled_from([*targets, *inside, *others, GATEWAY[family]]))
    icmp = 1 if family == 4 else 58
    protocol = draw(st.sampled_from((6, 6, 17, icmp, 132)))
    if protocol == icmp:
        return Flow(source, destination, icmp, icmp=draw(st.sampled_from(ICMP[family])))
    return Flow(
        source,
        destination,
        protocol,
        draw(st.sampled_from(FLOW_PORTS)),
        draw(st.sampled_from(SOURCE_PORTS)),
    )
