"""Worlds of everything that a resource can say, for properties: up to 30 workloads, 8 tiers and 40
policies of Calico's and Kubernetes' kinds, host endpoints, services, settings.

The nodes, their interfaces and the places for workloads are those of `worlds`, so that one set of
network namespaces serves every world.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from worlds import (
    CALICO,
    GATEWAY,
    ICMP,
    NAMESPACES,
    NODE_ADDRESSES,
    OUTSIDE,
    SELECTORS,
    SLOTS,
    SOURCE_PORTS,
    meta,
    namespace,
    netset,
    node,
    often,
    policies,
    profile,
    rarely,
    rules,
    some,
    tier,
    workloads,
)

from tortie.explain.oracle import Flow, Interface
from tortie.model import resources as r

INTERFACES = {name: {"core": tuple(by.values()), "wan": ()} for name, by in NODE_ADDRESSES.items()}
"""The nodes' own interfaces: `core` leads to the other node, `wan` to the outside."""
TOWARDS = {
    name: (
        Interface("core", tuple(by.values()), ("0.0.0.0/0", "::/0")),
        Interface("wan", (), tuple(OUTSIDE.values())),
    )
    for name, by in NODE_ADDRESSES.items()
}
"""The same as the oracle reads it."""
FLOW_PORTS = (22, 53, 80, 443, 8080, 5432, 4789)
OTHER_PROTOCOLS = (47, 132, 132)
TIERS = ("first", "second", "third", "fourth", "last")


def label_selectors():
    """Kubernetes' way to select, over the labels that workloads and namespaces have."""
    requirement = st.sampled_from(
        (
            r.LabelRequirement(key="role", operator="In", values=["web", "db"]),
            r.LabelRequirement(key="role", operator="NotIn", values=["web"]),
            r.LabelRequirement(key="env", operator="Exists"),
            r.LabelRequirement(key="env", operator="DoesNotExist"),
        )
    )
    return st.builds(
        r.LabelSelector,
        match_labels=st.sampled_from(({}, {}, {"role": "web"}, {"env": "prod"}, {"role": "db"})),
        match_expressions=st.lists(requirement, max_size=1),
    )


NAMESPACE_LABELS = st.sampled_from(
    (
        r.LabelSelector(),
        r.LabelSelector(match_labels={"tenant": "shop"}),
        r.LabelSelector(match_labels={"kubernetes.io/metadata.name": "red"}),
        r.LabelSelector(
            match_expressions=[r.LabelRequirement(key="tenant", operator="DoesNotExist")]
        ),
    )
)
BLOCKS = st.sampled_from(
    (
        r.IpBlock(cidr="10.65.0.0/24", except_=["10.65.0.4/30"]),
        r.IpBlock(cidr="0.0.0.0/0", except_=["10.0.0.0/8"]),
        r.IpBlock(cidr="198.51.100.7/32"),
        r.IpBlock(cidr="fd65::/64", except_=["fd65::4/126"]),
        r.IpBlock(cidr="::/0"),
    )
)
KUBERNETES_PORTS = st.sampled_from(
    (
        r.KubernetesPort(port=80),
        r.KubernetesPort(port="http"),
        r.KubernetesPort(port=80, end_port=443),
        r.KubernetesPort(protocol="UDP", port=53),
        r.KubernetesPort(protocol="UDP", port="dns"),
        r.KubernetesPort(protocol="SCTP"),
        r.KubernetesPort(),
    )
)
PEERS = st.one_of(
    st.builds(r.KubernetesPeer, pod_selector=label_selectors()),
    st.builds(r.KubernetesPeer, namespace_selector=NAMESPACE_LABELS),
    st.builds(
        r.KubernetesPeer, pod_selector=label_selectors(), namespace_selector=NAMESPACE_LABELS
    ),
    st.builds(r.KubernetesPeer, ip_block=BLOCKS),
)


@st.composite
def kubernetes_policies(draw, index):
    """A NetworkPolicy of Kubernetes."""
    peers, ports = st.lists(PEERS, max_size=2), st.lists(KUBERNETES_PORTS, max_size=2)
    inward = st.builds(r.KubernetesIngressRule, from_=peers, ports=ports)
    outward = st.builds(r.KubernetesEgressRule, to=peers, ports=ports)
    spec = r.KubernetesNetworkPolicySpec(
        pod_selector=draw(label_selectors()),
        ingress=draw(st.lists(inward, max_size=2)),
        egress=draw(st.lists(outward, max_size=2)),
        policy_types=draw(st.sampled_from(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"]))),
    )
    name = f"{draw(st.sampled_from(NAMESPACES))}/k{index // 2}"
    return r.KubernetesNetworkPolicy(
        api_version="networking.k8s.io/v1", metadata=meta(name), spec=spec
    )


PODS = st.builds(
    r.NamespacedPod, namespace_selector=NAMESPACE_LABELS, pod_selector=label_selectors()
)
CLUSTER_PORTS = st.sampled_from(
    (
        None,
        r.ClusterTransport(),
        r.ClusterTransport(destination_port=r.ClusterPort(number=80)),
        r.ClusterTransport(
            destination_port=r.ClusterPort(range=r.ClusterPortRange(start=53, end=443))
        ),
    )
)


@st.composite
def cluster_protocols(draw):
    """Nothing, or protocols of a rule of a ClusterNetworkPolicy."""
    chosen = draw(st.sampled_from(("", "", "tcp", "udp", "sctp", "named")))
    if chosen == "named":
        return [r.ClusterProtocol(destination_named_port=draw(st.sampled_from(("http", "dns"))))]
    transport = draw(CLUSTER_PORTS)
    if not chosen or transport is None:
        return []
    return [r.ClusterProtocol(**{chosen: transport})]


@st.composite
def cluster_policies(draw, index):
    """A ClusterNetworkPolicy: admin or baseline."""
    actions = st.sampled_from(("Accept", "Accept", "Deny", "Deny", "Pass"))
    sources = st.one_of(
        st.builds(r.ClusterIngressPeer, namespaces=NAMESPACE_LABELS),
        st.builds(r.ClusterIngressPeer, pods=PODS),
    )
    networks = some(("10.65.0.0/28", "0.0.0.0/0", "fd65::/125", "198.51.100.0/24"))
    pods = st.one_of(
        st.builds(r.ClusterEgressPeer, namespaces=NAMESPACE_LABELS),
        st.builds(r.ClusterEgressPeer, pods=PODS),
    )
    others = st.one_of(
        st.builds(r.ClusterEgressPeer, networks=networks),
        st.builds(
            r.ClusterEgressPeer,
            nodes=st.sampled_from(
                (r.LabelSelector(), r.LabelSelector(match_labels={"rack": "north"}))
            ),
        ),
    )

    def outward():
        protocols = draw(cluster_protocols())
        named = any(one.destination_named_port for one in protocols)
        return r.ClusterEgressRule(
            action=draw(actions),
            to=draw(st.lists(pods if named else st.one_of(pods, others), min_size=1, max_size=2)),
            protocols=protocols,
        )

    inward = st.builds(
        r.ClusterIngressRule,
        action=actions,
        from_=st.lists(sources, min_size=1, max_size=2),
        protocols=cluster_protocols(),
    )
    spec = r.ClusterNetworkPolicySpec(
        tier=draw(st.sampled_from(("Admin", "Baseline"))),
        priority=draw(st.sampled_from((0, 10, 10, 1000))),
        subject=draw(
            st.one_of(
                st.builds(r.ClusterSubject, namespaces=NAMESPACE_LABELS),
                st.builds(r.ClusterSubject, pods=PODS),
            )
        ),
        ingress=draw(st.lists(inward, max_size=2)),
        egress=[outward() for _ in range(draw(st.sampled_from((0, 1, 2))))],
    )
    return r.ClusterNetworkPolicy(
        api_version="policy.networking.k8s.io/v1alpha2", metadata=meta(f"c{index}"), spec=spec
    )


# --- services ---------------------------------------------------------------------------------

SERVICES = ("green/shopfront", "red/vault")


@st.composite
def slices(draw, index):
    """Who is behind a service: some of the places for workloads."""
    behind = draw(st.lists(st.sampled_from(SLOTS), min_size=1, max_size=3, unique=True))
    four = draw(often)
    ports = draw(
        st.lists(
            st.sampled_from(
                (
                    r.SlicePort(name="web", port=80),
                    r.SlicePort(name="dns", protocol="UDP", port=53),
                    r.SlicePort(name="all"),
                )
            ),
            max_size=2,
        )
    )
    space, _, service = draw(st.sampled_from(SERVICES)).partition("/")
    return r.EndpointSlice(
        api_version="discovery.k8s.io/v1",
        metadata=meta(f"{space}/s{index}", {"kubernetes.io/service-name": service}),
        address_type="IPv4" if four else "IPv6",
        endpoints=[r.SliceEndpoint(addresses=[one.four if four else one.six]) for one in behind],
        ports=ports,
    )


@st.composite
def service_policies(draw, index):
    """A policy with rules that name services, as Calico's do."""
    space = draw(st.sampled_from(("", "green", "red")))
    target = draw(st.sampled_from(SERVICES))
    own, _, service = target.partition("/")
    match = r.ServiceMatch(name=service, namespace=None if own == space else own)
    action = draw(st.sampled_from(("Allow", "Allow", "Deny")))
    end = r.EntityRule(services=match)
    fields = {"selector": draw(st.sampled_from(SELECTORS))}
    if draw(st.booleans()):
        fields |= {"types": ["Egress"], "egress": [r.Rule(action=action, destination=end)]}
    else:
        fields |= {"types": ["Ingress"], "ingress": [r.Rule(action=action, source=end)]}
    if space:
        return r.NetworkPolicy(
            api_version=CALICO,
            metadata=meta(f"{space}/sv{index}"),
            spec=r.NetworkPolicySpec(**fields),
        )
    return r.GlobalNetworkPolicy(
        api_version=CALICO, metadata=meta(f"sv{index}"), spec=r.GlobalNetworkPolicySpec(**fields)
    )


# --- hosts ------------------------------------------------------------------------------------

HOST_SELECTORS = ("", "all()", "role == 'edge'", "!has(role)", "has(rack)")


@st.composite
def host_endpoints(draw):
    """A host endpoint of a node: of one interface by name or address, or of all."""
    on = draw(st.sampled_from(tuple(NODE_ADDRESSES)))
    interface = draw(st.sampled_from(("core", "wan", "*", "")))
    addresses = list(NODE_ADDRESSES[on].values())
    spec = r.HostEndpointSpec(
        node=on,
        interface_name=interface,
        expected_ips=addresses if not interface or (interface == "core" and draw(often)) else [],
        profiles=draw(
            st.sampled_from(
                ([], ["projectcalico-default-allow"], ["projectcalico-default-allow"], ["kiosk"])
            )
        ),
        ports=[r.EndpointPort(name="http", protocol="TCP", port=8080)] if draw(rarely) else [],
    )
    labels = draw(st.sampled_from(({}, {"role": "edge"}, {"role": "web"})))
    name = f"{on}-{ {'*': 'all', '': 'addressed'}.get(interface, interface) }"
    return r.HostEndpoint(api_version=CALICO, metadata=meta(name, labels), spec=spec)


@st.composite
def host_policies(draw, index, tiers):
    """A policy that is meant for host endpoints, though it may select workloads too."""
    how = draw(
        st.sampled_from(({}, {"apply_on_forward": True}, {"apply_on_forward": True}, "dnt", "pre"))
    )
    before = how == "pre"
    if how == "dnt":
        how = {"do_not_track": True, "apply_on_forward": True}
    elif before:
        how = {"pre_dnat": True, "apply_on_forward": True}
    in_tier = draw(st.sampled_from(tiers))
    inward = draw(st.lists(rules(), min_size=1 if before else 0, max_size=2))
    outward = [] if before else draw(st.lists(rules(), max_size=2))
    spec = r.GlobalNetworkPolicySpec(
        tier=in_tier,
        order=draw(st.sampled_from((None, 5, 20))),
        selector=draw(st.sampled_from(HOST_SELECTORS)),
        ingress=inward,
        egress=outward,
        **how,
    )
    label = f"h{index}"
    name = label if in_tier == "default" else f"{in_tier}.{label}"
    return r.GlobalNetworkPolicy(api_version=CALICO, metadata=meta(name), spec=spec)


@st.composite
def settings_of(draw, name):
    """A FelixConfiguration."""
    fields = {
        "default_endpoint_to_host_action": st.sampled_from(("Drop", "Return", "Accept")),
        "endpoint_to_host_ports": st.just([r.ProtoPort(port=53, protocol="UDP")]),
        "failsafe_inbound_host_ports": st.sampled_from(
            ([], [r.ProtoPort(port=22), r.ProtoPort(port=443, net="198.51.100.0/24")])
        ),
        "failsafe_outbound_host_ports": st.sampled_from(
            ([], [r.ProtoPort(port=53, protocol="UDP")])
        ),
        "automatic_host_endpoints": st.just("Enabled"),
        "allow_vxlan_packets_from_workloads": st.booleans(),
        "namespace_default": st.sampled_from(("tenant", "open", "isolated")),
        "protected_nets": st.just(["198.51.100.0/24", "2001:db8:51::/64"]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    spec = r.FelixConfigurationSpec(**{one: draw(fields[one]) for one in chosen})
    return r.FelixConfiguration(api_version=CALICO, metadata=meta(name), spec=spec)


# --- worlds -----------------------------------------------------------------------------------


@st.composite
def anyworlds(draw, workloads_at_most=30, policies_at_most=40):
    """A valid world, as a tuple of resources."""
    made: list[r.Resource] = [
        node(name, f"{by[4]}/24", f"{by[6]}/64") for name, by in NODE_ADDRESSES.items()
    ]
    made[0] = r.Node(
        api_version=CALICO, metadata=meta("alpha", {"rack": "north"}), spec=made[0].spec
    )
    for name in NAMESPACES:
        labels = {"tenant": draw(st.sampled_from(("shop", "bank")))} if draw(often) else {}
        made.append(
            namespace(name, draw(st.sampled_from((None, "tenant", "open", "isolated"))), **labels)
        )
    tiers = ["default", "default", "default"]
    for name in TIERS[: draw(st.sampled_from((0, 1, 2, 5)))]:
        order = draw(st.sampled_from((None, 50, 50, 2e6)))
        made.append(tier(name, order, draw(st.sampled_from((None, "Deny", "Pass")))))
        tiers.append(name)
    made += draw(surroundings())
    profiles = ["kiosk", "second"]
    for name in profiles:
        inward, outward = (draw(st.lists(rules(), max_size=2)) for _ in range(2))
        made.append(profile(name, inward, outward, kiosk="yes", env="dev"))
    slots = draw(
        st.lists(st.sampled_from(SLOTS), min_size=3, max_size=workloads_at_most, unique=True)
    )
    made += [draw(workloads(slot, profiles)) for slot in slots]
    made += draw(all_policies(tiers, policies_at_most))
    unique = {(type(one), one.metadata.namespace, one.metadata.name): one for one in made}
    return tuple(unique.values())


@st.composite
def surroundings(draw):
    """Network sets, host endpoints, services, settings."""
    made: list[r.Resource] = []
    if draw(rarely):
        made.append(netset("corp", "198.51.100.0/24", "10.65.0.6/32", labels={"zone": "corp"}))
        nets = ("198.51.100.7/32", "2001:db8:51::/48")
        made.append(netset("red/partners", *nets, labels={"zone": "corp", "role": "web"}))
    if draw(often):
        made += draw(st.lists(host_endpoints(), min_size=1, max_size=3))
    if draw(rarely):
        made += [draw(slices(index)) for index in range(3)]
    if draw(rarely):
        made.append(draw(settings_of("default")))
    if draw(rarely):
        made.append(draw(settings_of("node.alpha")))
    return made


@st.composite
def all_policies(draw, tiers, at_most):
    """Policies of every kind; few more often than many."""
    count = draw(st.sampled_from((0, 1, 2, 4, 4, 8, 8, 16, 40)))
    made = []
    for index in range(min(count, at_most)):
        kind = draw(st.sampled_from((policies, policies, policies, "k", "c", "s", "h", "h")))
        match kind:
            case "k":
                made.append(draw(kubernetes_policies(index)))
            case "c":
                made.append(draw(cluster_policies(index)))
            case "s":
                made.append(draw(service_policies(index)))
            case "h":
                made.append(draw(host_policies(index, tiers)))
            case _:
                made.append(draw(kind(index, tiers)))
    return made


@st.composite
def anyflows(draw, world: Sequence[r.Resource]):
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
    source = draw(st.sampled_from([*inside * 2, *nodes * 2, OUTSIDE[family]]))
    targets = [one for one in (*inside * 2, *nodes * 2, OUTSIDE[family]) if one != source]
    gateways = [GATEWAY[family]] if source in inside else []
    destination = draw(st.sampled_from([*targets, *gateways]))
    icmp = 1 if family == 4 else 58
    protocol = draw(st.sampled_from((6, 6, 6, 17, 17, icmp, *OTHER_PROTOCOLS)))
    if protocol == icmp:
        return Flow(source, destination, icmp, icmp=draw(st.sampled_from(ICMP[family])))
    if protocol == 47:
        return Flow(source, destination, protocol)
    return Flow(
        source,
        destination,
        protocol,
        draw(st.sampled_from(FLOW_PORTS)),
        draw(st.sampled_from(SOURCE_PORTS)),
    )
