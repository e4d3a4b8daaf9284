"""`tortie workload`: attach network namespaces and interfaces to this host by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from tortie.cli import statuses
from tortie.cli.output import Column, Form, form_option, say, show, slow
from tortie.cli.where import opened_store
from tortie.errors import UsageError
from tortie.model import checks, kinds
from tortie.model import resources as r

_MOST = 300.0  # seconds; what an agent accepts
_ROW: Sequence[Column[Mapping[str, object]]] = (
    Column("NAMESPACE", lambda each: each["namespace"]),
    Column("NAME", lambda each: each["workload"]),
    Column("NODE", lambda each: each["node"]),
    Column("ADDRESSES", lambda each: each["addresses"]),
    Column("INTERFACE", lambda each: each["interface"]),
    Column("STATE", lambda each: each["state"]),
    Column("ENDPOINT", lambda each: each["name"], wide=True),
    Column("ORCHESTRATOR", lambda each: each["orchestrator"], wide=True),
    Column("REASON", lambda each: each["reason"], wide=True),
)


@click.group()
def workload() -> None:
    """Attach workloads to this host, by hand.

    \b
    ip netns add web-1
    tortie workload add web-1 -n shop --netns web-1 --label role=web
    tortie workload list
    """


@workload.command()
@click.argument("name")
@click.option("-n", "--namespace", metavar="NAME", help="Its namespace; `default` if not given.")
@click.option("--netns", metavar="NAME|PATH", help="Its network namespace.")
@click.option("--interface", "--tap", metavar="IF", help="Or an interface of its own, as a tap.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option("--port", "ports", multiple=True, metavar="NAME:PROTO:PORT", help="A named port.")
@click.option("--address", "addresses", multiple=True, metavar="IP", help="Instead of a free one.")
@click.option(
    "--family", "families", multiple=True, type=click.Choice(["4", "6"]),
    help="Of which an address is assigned; 4 if not given.",
)  # fmt: skip
@click.option("--pool", "pools", multiple=True, metavar="POOL", help="Take the address from here.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="A Profile.")
@click.option("--mac", metavar="MAC", help="Its MAC address.")
@click.option(
    "--timeout", type=click.FloatRange(0, _MOST), default=10.0, show_default=True,
    metavar="SECONDS", help="How long to wait for its policy; 0: not at all.",
)  # fmt: skip
@form_option
def add(
    name: str,
    namespace: str | None,
    netns: str | None,
    interface: str | None,
    labels: Sequence[str],
    ports: Sequence[str],
    addresses: Sequence[str],
    families: Sequence[str],
    pools: Sequence[str],
    profiles: Sequence[str],
    mac: str | None,
    timeout: float,
    form: Form,
) -> None:
    """Attach a workload to this host, and wait until its policy is in force.

    It gets an address and a link into its network namespace, or an existing interface is taken
    over. A repeated add changes nothing. NAME may be NAMESPACE/NAME.

    \b
    tortie workload add web-1 -n shop --netns web-1 --label role=web --port http:tcp:80
    tortie workload add vm-7 -n shop --tap tap7 --address 10.65.0.9
    """
    from tortie import client

    space, own = _called(name, namespace)
    if (netns is None) == (interface is None):
        raise UsageError("say what to attach", "give one of --netns and --interface")
    wanted: dict[str, object] = {
        "name": own,
        "namespace": space,
        "netns": netns,
        "interface": interface,
        "labels": _labels(labels),
        "ports": [_port(text) for text in ports],
        "addresses": list(addresses),
        "families": [int(each) for each in families],
        "pools": list(pools),
        "profiles": list(profiles),
        "mac": mac,
    }
    body = {key: value for key, value in wanted.items() if value} | {"waitSeconds": timeout}
    with slow(f"attaching {space}/{own}"):
        done = client.call("POST", "/workloads", body, timeout=timeout + 60)
    row = {**done, "workload": own}
    columns = (_ROW[0], _ROW[1], _ROW[3], _ROW[4])
    show(form, [row], columns, name=lambda _: f"{space}/{own}", data=lambda: done)


@workload.command()
@click.argument("name")
@click.option("-n", "--namespace", metavar="NAME", help="Its namespace; `default` if not given.")
def delete(name: str, namespace: str | None) -> None:
    """Detach a workload from this host; one that is not there is no error.

    Its endpoint, its link and its addresses go. NAME may be NAMESPACE/NAME.

    \b
    tortie workload delete web-1 -n shop
    """
    from tortie import client

    space, own = _called(name, namespace)
    with slow(f"detaching {space}/{own}"):
        done = client.call("DELETE", f"/workloads/{space}/{own}")
    released = done.get("released") or []
    freed = f", released {', '.join(released)}" if released else ""
    say(f"detached {space}/{own}{freed}")


@workload.command("list")
@click.option("-n", "--namespace", metavar="NAME", help="Only of this namespace.")
@click.option("--node", metavar="NAME", help="Only on this host.")
@form_option
def list_(namespace: str | None, node: str | None, form: Form) -> None:
    """All workloads in the store, with what the agents say of them.

    \b
    tortie workload list -n shop -o wide
    """
    from tortie.store import resources

    with opened_store() as store, slow("reading the store"):
        stored = resources.read(store, kinds.BY_NAME["WorkloadEndpoint"])
        found = [each.resource for each in stored if isinstance(each.resource, r.WorkloadEndpoint)]
        found = [
            each
            for each in found
            if namespace in (None, each.metadata.namespace) and node in (None, each.spec.node)
        ]
        said = statuses.of_endpoints(store, found)
    rows = [_row(each, said[kinds.key(each)]) for each in found]
    rows.sort(key=lambda each: (str(each["namespace"]), str(each["workload"]), str(each["name"])))
    show(
        form,
        rows,
        _ROW,
        name=lambda each: f"{each['namespace']}/{each['workload']}",
        data=lambda: rows,
        none="no workloads found",
    )


def _row(endpoint: r.WorkloadEndpoint, said: statuses.Said) -> Mapping[str, object]:
    spec = endpoint.spec
    return {
        "name": endpoint.metadata.name,
        "namespace": endpoint.metadata.namespace or "default",
        "workload": spec.workload,
        "node": spec.node,
        "orchestrator": spec.orchestrator,
        "interface": spec.interface_name,
        "addresses": [text.partition("/")[0] for text in spec.ip_networks],
        "state": said.state,
        "reason": said.reason,
    }


# --- what was typed -------------------------------------------------------------------------------


def _called(name: str, namespace: str | None) -> tuple[str, str]:
    """(namespace, name), both valid. Raises UsageError."""
    before, slash, own = name.rpartition("/")
    if slash and namespace is not None and namespace != before:
        raise UsageError("NAME and -n say different namespaces", "give one of them")
    space = before if slash else (namespace or "default")
    for problem in (*checks.short_name("-n", space), *checks.name("NAME", own)):
        raise UsageError(f"{problem.path}: {problem.message}", problem.cure)
    return space, own


def _labels(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError("a label has a key and a value", "write --label role=web")
        found[key] = value
    for problem in checks.label_map("--label", found):
        raise UsageError(f"{problem.path}: {problem.message}", problem.cure)
    return found


def _port(text: str) -> dict[str, object]:
    name, *rest = text.split(":")
    if len(rest) != 2 or not rest[1].isdecimal() or not rest[1].isascii():
        raise UsageError("a port has a name, a protocol and a number", "write --port http:tcp:80")
    protocol = int(rest[0]) if rest[0].isdecimal() and rest[0].isascii() else rest[0]
    port = int(rest[1][:9])
    problems = (
        *checks.port_name("--port", name),
        *checks.protocol("--port", protocol),
        *checks.between("--port", port, 1, 65535),
    )
    for problem in problems:
        raise UsageError(f"{problem.path}: {problem.message}", problem.cure)
    return {"name": name, "protocol": checks.protocol_name(protocol), "port": port}
