"""The same N policies for everybody: as resources for Tortie, as data for the iptables rival.

Both workloads are selected by all N. Policy i allows its own team's machines (a network set) on
the port that is measured; no team is client or server, so the packet that begins a connection is
tried against all of them, and the last policy allows it: egress on the first host, ingress on the
second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.addresses import CLIENT, PORT, SERVER
from tortie.model import resources as r

NAMESPACE = "bench"
INTERFACE = "torbench"
PORTS: list[r.Port] = [80, 443, PORT]
CALICO: Final = "projectcalico.org/v3"


@dataclass(frozen=True, slots=True)
class Team:
    """Whom one policy allows: a label, and the addresses behind it."""

    label: str
    value: str
    members: tuple[str, ...]

    @property
    def selector(self) -> str:
        return f"{self.label} == '{self.value}'"


def teams(amount: int) -> list[Team]:
    """Those of the policies that do not match, in order: one fewer than there are policies."""
    return [
        Team(
            "team",
            f"t{index:04d}",
            tuple(f"10.{66 + index // 250}.{index % 250}.{host}" for host in (10, 20, 30)),
        )
        for index in range(amount - 1)
    ]


def last(allowed: bool) -> tuple[Team, Team]:
    """Whom the last policy allows, as source and as target. Not `allowed`: the client has another
    label than the one it should have."""
    return (
        Team("role", "client", (CLIENT,) if allowed else ()),
        Team("role", "server", (SERVER,)),
    )


def world(amount: int, allowed: bool = True) -> list[r.Resource]:
    """Two endpoints on two nodes, the teams, and the policies."""
    found: list[r.Resource] = [
        _endpoint("client", "host1", CLIENT, "client" if allowed else "stranger"),
        _endpoint("server", "host2", SERVER, "server"),
    ]
    others = teams(amount)
    for index, team in enumerate(others):
        found += [_network_set(team), _policy(index, team, team)]
    return [*found, _policy(len(others), *last(allowed))]


def _metadata(name: str, **labels: str) -> r.Metadata:
    return r.Metadata(name=name, namespace=NAMESPACE, labels=labels)


def _endpoint(name: str, node: str, address: str, role: str) -> r.WorkloadEndpoint:
    return r.WorkloadEndpoint(
        api_version=CALICO,
        metadata=_metadata(name, role=role),
        spec=r.WorkloadEndpointSpec(
            node=node,
            orchestrator="bench",
            interface_name=INTERFACE,
            ip_networks=[f"{address}/32"],
        ),
    )


def _network_set(team: Team) -> r.NetworkSet:
    return r.NetworkSet(
        api_version=CALICO,
        metadata=_metadata(team.value, **{team.label: team.value}),
        spec=r.NetworkSetSpec(nets=[f"{each}/32" for each in team.members]),
    )


def _policy(index: int, source: Team, target: Team) -> r.NetworkPolicy:
    ports = r.EntityRule(ports=PORTS)
    return r.NetworkPolicy(
        api_version=CALICO,
        metadata=_metadata(f"p{index:04d}"),
        spec=r.NetworkPolicySpec(
            order=float(index),
            selector="all()",
            types=["Ingress", "Egress"],
            ingress=[
                r.Rule(
                    action="Allow",
                    protocol="TCP",
                    source=r.EntityRule(selector=source.selector),
                    destination=ports,
                )
            ],
            egress=[
                r.Rule(
                    action="Allow",
                    protocol="TCP",
                    destination=r.EntityRule(selector=target.selector, ports=PORTS),
                )
            ],
        ),
    )
