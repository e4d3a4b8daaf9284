"""What is asked of the host, and which endpoint of which workload it is about. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Literal, NamedTuple

from msgspec import Struct, field

from tortie import desired
from tortie.errors import InvalidInput, Problem
from tortie.model import checks, kinds, net
from tortie.model import resources as r
from tortie.model.validate import endpoint_name

_NAMED_OTHERWISE = ("k8s", "cni", "libnetwork")
"""Orchestrators whose endpoints are not named by the workload: their own plugins attach them."""


class Request(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What to attach: a network namespace (`netns`), or an existing `interface` such as a tap."""

    name: str
    namespace: str = "default"
    netns: str | None = None
    """name or path of the workload's network namespace"""
    interface: str | None = None
    """taken over instead of making a veth; nothing is set up behind it"""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ports: list[r.EndpointPort] = []
    addresses: list[str] = []
    """these, instead of one of each family"""
    families: list[Literal[4, 6]] = field(default_factory=lambda: [4])
    pools: list[str] = []
    """names or CIDRs; empty: those that select the node and the namespace"""
    profiles: list[str] = []
    mac: str | None = None
    guest_interface: str = "eth0"
    orchestrator: str = "tortie"
    endpoint: str = "eth0"
    wait_seconds: float = 10.0
    """how long to wait for the policy; 0: not at all"""


class Result(Struct, frozen=True, rename="camel"):
    """What was attached. `name` is the resource's, `interface` the host's end."""

    name: str
    namespace: str
    interface: str
    addresses: list[str]
    mac: str | None


class Listed(Struct, frozen=True, rename="camel"):
    """A workload on the host; `state` and `reason` are what the agent says of it."""

    name: str
    namespace: str
    workload: str
    orchestrator: str
    interface: str
    addresses: list[str]
    state: str
    reason: str


class Identity(NamedTuple):
    """Which endpoint of which workload: what is derived from it never changes."""

    node: str
    namespace: str
    workload: str
    orchestrator: str
    endpoint: str

    @property
    def handle(self) -> str:
        """Holds its addresses. No part has a slash, so no two are the same."""
        return handles(self.node, self.namespace, self.workload) + "/".join(self[3:])

    @property
    def interface(self) -> str:
        """The host's end of its veth."""
        return interface_name(self.namespace, self.workload, self.endpoint)

    @property
    def mac(self) -> str:
        """The workload's own MAC: locally administered, the same wherever it is attached."""
        digits = sha1("/".join(self[1:]).encode()).hexdigest()
        return ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])

    @property
    def spec(self) -> r.WorkloadEndpointSpec:
        """The endpoint of a veth, without what is assigned."""
        return r.WorkloadEndpointSpec(
            node=self.node,
            orchestrator=self.orchestrator,
            workload=self.workload,
            endpoint=self.endpoint,
            interface_name=self.interface,
        )

    @property
    def name(self) -> str:
        """The resource's name, in Calico's format."""
        return endpoint_name(self.spec)

    @property
    def key(self) -> str:
        """Where the resource is stored."""
        metadata = r.Metadata(name=self.name, namespace=self.namespace)
        return kinds.key(
            r.WorkloadEndpoint(
                api_version="projectcalico.org/v3", metadata=metadata, spec=self.spec
            )
        )


def interface_name(namespace: str, workload: str, endpoint: str) -> str:
    """The host's end of a workload's cable: our prefix and 12 digits of a hash."""
    text = f"{namespace}/{workload}/{endpoint}"
    return desired.INTERFACE_PREFIX + sha1(text.encode()).hexdigest()[:12]


def handles(node: str, namespace: str, workload: str) -> str:
    """How the handles of a workload's endpoints begin."""
    return f"workload/{node}/{namespace}/{workload}/"


def require(problems: Sequence[Problem]) -> None:
    """Raise InvalidInput if there is a problem."""
    if problems:
        raise InvalidInput(problems)


def name_problems(node: str, namespace: str, workload: str) -> list[Problem]:
    """What is wrong with the names of a workload and of its node."""
    return [
        *checks.name("node", node),
        *checks.short_name("namespace", namespace),
        *checks.name("name", workload),
    ]


def request_problems(node: str, request: Request) -> list[Problem]:
    """All that is wrong with a request; what goes into the resource is validated with it."""
    problems = name_problems(node, request.namespace, request.name)
    problems += checks.name("endpoint", request.endpoint)
    problems += checks.name("orchestrator", request.orchestrator)
    problems += checks.interface("guestInterface", request.guest_interface)
    problems += checks.between("waitSeconds", request.wait_seconds, 0, 300)
    problems += checks.unique("addresses", request.addresses)
    for index, address in enumerate(request.addresses):
        problems += checks.address(f"addresses[{index}]", address)
    if request.mac is not None:
        problems += checks.parsed("mac", request.mac, net.parse_mac)
    if request.interface is not None:
        problems += checks.interface("interface", request.interface)
    if request.netns is not None and not _is_namespace_text(request.netns):
        cure = "give a name as in `ip netns list`, or an absolute path"
        problems.append(Problem("this names no network namespace", cure, "netns"))
    if (request.netns is None) == (request.interface is None):
        problems.append(Problem("give one of netns and interface", "", "netns"))
    if not request.families and not request.addresses:
        problems.append(Problem("no family", "give 4, 6 or both", "families"))
    if request.orchestrator in _NAMED_OTHERWISE:
        cure = "leave it out; that orchestrator's plugin attaches its own workloads"
        problems.append(Problem(f"{request.orchestrator} is not by hand", cure, "orchestrator"))
    return problems


def _is_namespace_text(text: str) -> bool:
    """A file name, or an absolute path without odd characters."""
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= 4096
    is_path = text.startswith("/") and ".." not in text.split("/")
    return bool(text) and plain and (is_path or ("/" not in text and text[0] not in ".-"))
