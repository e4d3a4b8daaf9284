"""The network namespaces, cables and addresses of a lab. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tortie.lab import numbers
from tortie.lab.document import Family
from tortie.lab.plan import Cable, Plan, Space, store_address
from tortie.lab.routers import DEFAULTS

Link = tuple[int, int, int]
"""A link between two routers: its number, and theirs."""

_FORWARDS = (("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1"))
# A bridge would else hand its packets to whatever rules the namespace has.
_NO_BRIDGE_FILTER = tuple(
    (f"bridge.bridge-nf-call-{tables}", "0") for tables in ("iptables", "ip6tables", "arptables")
)
# Packets are taken only from where the answer would go: nobody outside can claim a workload's
# address at a router, and only who is on the management network gets an answer there.
_STRICT = (("ipv4.conf.all.rp_filter", "1"),)
# IPv6 has no such setting: the firewall asks the routing table instead.
_STRICT_RULES = """\
table ip6 lab {
  chain strict {
    type filter hook prerouting priority -300; policy accept;
    ip6 saddr fe80::/10 accept
    ip6 saddr :: accept
    fib saddr . iif oif missing drop
  }
}
"""
# Nothing in a lab has an address twice, and nobody should wait a second to be sure of it; and an
# address stays with a link that is taken down and up again, as IPv4 addresses do.
_SIX = tuple(
    (f"ipv6.conf.{which}.{name}", value)
    for which in ("all", "default")
    for name, value in (("accept_dad", "0"), ("keep_addr_on_down", "1"))
)


class _Wiring:
    """Collects cables and what each namespace does with its ends."""

    def __init__(self) -> None:
        self.cables: list[Cable] = []
        self.scripts: dict[str, list[str]] = {}
        self.sysctls: dict[str, tuple[tuple[str, str], ...]] = {}

    def space(self, name: str, *sysctls: tuple[str, str]) -> None:
        self.scripts[name] = ["link set lo up"]
        self.sysctls[name] = (*sysctls, *_SIX)

    def bridge(self, space: str, name: str, addresses: Sequence[str]) -> None:
        self.scripts[space] += [
            f"link add {name} type bridge mcast_snooping 0",
            *(add(each, name) for each in addresses),
            f"link set {name} up",
        ]

    def connect(
        self, near: tuple[str, str], near_does: Sequence[str], far: tuple[str, str],
        far_does: Sequence[str],
    ) -> None:  # fmt: skip
        """A cable; each end is brought up after its lines."""
        self.cables.append(Cable(near, far))
        for (space, interface), lines in ((near, near_does), (far, far_does)):
            self.scripts[space] += [*lines, f"link set {interface} up"]


def add(interface: str, device: str) -> str:
    """The line for `ip` that gives a device an ADDRESS/LENGTH."""
    return f"addr add {interface} dev {device}" + (" nodad" if ":" in interface else "")


def wire(plan: Plan, links: Sequence[Link]) -> Plan:
    """The plan with its namespaces and cables."""
    wiring = _Wiring()
    for router in plan.routers:
        wiring.space(router.space, *_FORWARDS, *_STRICT, *_NO_BRIDGE_FILTER)
        pairs = ((router.address, router.subnet), (router.address6, router.subnet6))
        own = [f"{address}/{net.partition('/')[2]}" for address, net in pairs if address and net]
        wiring.bridge(router.space, "rack", own)
    for host in plan.hosts:
        wiring.space(host.space)
    _wire_racks(plan, wiring)
    for index, left, right in links:
        ends = plan.routers[left], plan.routers[right]
        near, far = f"link{right}", f"link{left}"
        addresses = [_link_ends(family, index) for family in plan.families]
        wiring.connect(
            (ends[0].space, near), [add(here, near) for here, _ in addresses],
            (ends[1].space, far), [add(there, far) for _, there in addresses],
        )  # fmt: skip
    _wire_outside(plan, wiring)
    _wire_store(plan, wiring)
    for workload in plan.workloads:
        wiring.space(workload.space)
    rules = {router.space: _STRICT_RULES for router in plan.routers if router.address6}
    spaces = tuple(
        Space(name, tuple(script), wiring.sysctls[name], rules.get(name, ""))
        for name, script in wiring.scripts.items()
    )
    return replace(plan, spaces=spaces, cables=tuple(wiring.cables))


def _link_ends(family: Family, index: int) -> tuple[str, str]:
    left, right = numbers.link(family, index)
    length = left.max_prefixlen - 1
    return f"{left}/{length}", f"{right}/{length}"


def _wire_racks(plan: Plan, wiring: _Wiring) -> None:
    """Hosts and speakers on their router's bridge."""
    routers = {router.rack: router for router in plan.routers}
    for index, host in enumerate(plan.hosts):
        port = f"host{index}"
        own = [each for each in (host.address, host.address6) if each]
        wiring.connect(
            (host.space, "eth0"), [add(each, "eth0") for each in own],
            (routers[host.rack].space, port), [f"link set {port} master rack"],
        )  # fmt: skip
        if plan.bgp != "routers":
            gateways = routers[host.rack].addresses
            wiring.scripts[host.space] += _defaults(gateways)
    for index, speaker in enumerate(plan.speakers):
        port = f"speaker{index}"
        router = routers[speaker.rack]
        subnets: dict[Family, str] = {4: router.subnet, 6: router.subnet6 or ""}
        wiring.space(speaker.space)
        wiring.connect(
            (speaker.space, "eth0"),
            [
                add(f"{address}/{subnets[family].partition('/')[2]}", "eth0")
                for family, address in speaker.addresses.items()
            ],
            (router.space, port), [f"link set {port} master rack"],
        )  # fmt: skip
        wiring.scripts[speaker.space] += _defaults(router.addresses)


def _defaults(gateways: dict[Family, str]) -> list[str]:
    return [f"route add {DEFAULTS[family]} via {gateway}" for family, gateway in gateways.items()]


def _wire_outside(plan: Plan, wiring: _Wiring) -> None:
    for index, machine in enumerate(plan.outside):
        port = f"out{index}"
        wiring.space(machine.space)
        here, there, gateways = [], [], dict[Family, str]()
        for family, address in machine.addresses.items():
            subnet = numbers.outside_subnet(family, index)
            gateways[family] = str(numbers.router_address(subnet))
            here.append(add(f"{gateways[family]}/{subnet.prefixlen}", port))
            there.append(add(f"{address}/{subnet.prefixlen}", "eth0"))
        wiring.connect(
            (plan.routers[0].space, port), here, (machine.space, "eth0"), there,
        )  # fmt: skip
        wiring.scripts[machine.space] += _defaults(gateways)


def _wire_store(plan: Plan, wiring: _Wiring) -> None:
    """The management network: etcd's machine holds the bridge that all hosts are on."""
    space = plan.store_space
    if space is None:
        return
    wiring.space(space, *_STRICT, *_NO_BRIDGE_FILTER)
    wiring.bridge(space, "mgmt", [f"{store_address()}/16"])
    for index, host in enumerate(plan.hosts):
        port = f"host{index}"
        wiring.connect(
            (host.space, "mgmt0"), [f"addr add {host.management}/16 dev mgmt0"],
            (space, port), [f"link set {port} master mgmt"],
        )  # fmt: skip
