"""Attaching a workload by hand: an address, a cable, a resource, policy in force; or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tortie import desired
from tortie.errors import AgentError, InvalidInput, IpamError, KernelError
from tortie.ipam.allocator import Allocator
from tortie.kernel import netns, process
from tortie.kernel.veth import FakeCables, RealCables
from tortie.model import kinds
from tortie.model import resources as r
from tortie.plugins import workload
from tortie.plugins.request import interface_name
from tortie.plugins.workload import Request
from tortie.store.base import Delete, Put, Store
from tortie.store.memory import MemoryStore

NODE = "a1"
WEB = interface_name("shop", "web-1", "eth0")
KEY = f"{kinds.WORLD}workloadendpoints/a1/shop/a1-tortie-web--1-eth0"


def request(**fields: Any) -> Request:
    return Request(**{"name": "web-1", "namespace": "shop", "netns": "w1"} | fields)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    for name, cidr in [("main", "10.9.0.0/24"), ("six", "fd00:9::/64")]:
        pool = r.IPPool(
            api_version="projectcalico.org/v3",
            metadata=r.Metadata(name=name),
            spec=r.IPPoolSpec(cidr=cidr),
        )
        store.commit([Put(kinds.key(pool), kinds.encode(pool))])
    yield store
    store.close()


@pytest.fixture
def cables() -> FakeCables:
    return FakeCables(namespaces={"w1", "w2"}, taps={"tap0": "fe:00:00:00:00:01"})


def say(store: Store, key: str, status: kinds.EndpointStatus) -> None:
    path = key.removeprefix(kinds.prefix(kinds.BY_NAME["WorkloadEndpoint"], NODE))
    where = kinds.endpoint_status_key(NODE, *path.split("/"))
    store.commit([Put(where, msgspec.json.encode(status))])


@contextlib.contextmanager
def agent(
    store: Store, state: str = "up", reason: str = "", links: list[str] | None = None
) -> Iterator[None]:
    """Plays the agent: says of every endpoint that is written how it is. Notes the interfaces."""
    prefix = kinds.prefix(kinds.BY_NAME["WorkloadEndpoint"], NODE)
    watch = store.watch(prefix, store.list(prefix).revision)
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            changes = watch.next(5)
            for event in changes.events if changes else ():
                if event.entry is None:
                    continue
                endpoint = kinds.decode(event.entry.value)
                assert isinstance(endpoint, r.WorkloadEndpoint)
                if links is not None:
                    links.append(endpoint.spec.interface_name)
                status = kinds.EndpointStatus(
                    state,  # type: ignore[arg-type]
                    reason=reason,
                    revision=event.entry.revision,
                )
                say(store, event.key, status)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        watch.close()
        thread.join(10)
        assert not thread.is_alive()


def stored(store: Store, key: str = KEY) -> r.WorkloadEndpoint | None:
    entry = store.get(key)
    if entry is None:
        return None
    found = kinds.decode(entry.value)
    assert isinstance(found, r.WorkloadEndpoint)
    return found


def assert_nothing_left(store: Store, cables: FakeCables) -> None:
    allocator = Allocator(store)
    assert (stored(store), allocator.handles(), cables.cables) == (None, [], {})
    assert sum(len(block.allocations) for block in allocator.blocks()) == 0


def test_a_link_gets_the_mtu_that_it_is_given(store: MemoryStore, cables: FakeCables) -> None:
    with agent(store):
        workload.add(store, NODE, request(), cables=cables, mtu=1450)
    assert cables.cables[WEB].mtu == 1450


def test_a_workload_is_attached(store: MemoryStore, cables: FakeCables) -> None:
    port = r.EndpointPort(name="http", protocol="TCP", port=80)
    wanted = request(labels={"role": "web"}, annotations={"by": "hand"}, ports=[port])
    with agent(store):
        result = workload.add(store, NODE, wanted, cables=cables)
    (address,) = result.addresses
    assert (result.name, result.namespace) == ("a1-tortie-web--1-eth0", "shop")
    assert result.interface == WEB
    assert len(WEB) == 15 and WEB.startswith("tor")
    cable = cables.cables[WEB]
    assert (cable.namespace, cable.guest, cable.mtu) == ("w1", "eth0", 1500)
    assert (cable.host_mac, cable.guest_mac) == (desired.GATEWAY_MAC, result.mac)
    assert cable.addresses == (address,)
    endpoint = stored(store)
    assert endpoint is not None
    assert endpoint.metadata.labels == {"role": "web"}
    assert endpoint.metadata.annotations == {"by": "hand"}
    assert endpoint.spec == r.WorkloadEndpointSpec(
        node=NODE,
        orchestrator="tortie",
        workload="web-1",
        endpoint="eth0",
        interface_name=WEB,
        ip_networks=[f"{address}/32"],
        mac=result.mac,
        ports=[port],
    )
    (listed,) = workload.list_workloads(store, NODE)
    assert (listed.workload, listed.addresses, listed.state) == ("web-1", [address], "up")


def test_both_families_and_addresses_asked_for(store: MemoryStore, cables: FakeCables) -> None:
    with agent(store):
        both = workload.add(store, NODE, request(families=[4, 6]), cables=cables)
        asked = request(name="db", netns="w2", addresses=["10.9.0.77", "FD00:9::0077"])
        exact = workload.add(store, NODE, asked, cables=cables)
    assert [":" in address for address in both.addresses] == [False, True]
    assert exact.addresses == ["10.9.0.77", "fd00:9::77"]


def test_adding_again_gives_the_same_and_keeps_what_people_changed(
    store: MemoryStore, cables: FakeCables
) -> None:
    with agent(store):
        first = workload.add(store, NODE, request(labels={"role": "web"}), cables=cables)
        endpoint = stored(store)
        assert endpoint is not None
        metadata = msgspec.structs.replace(endpoint.metadata, labels={"role": "db"})
        relabelled = msgspec.structs.replace(endpoint, metadata=metadata)
        store.commit([Put(KEY, kinds.encode(relabelled))])
        before = store.get(KEY)
        again = workload.add(
            store, NODE, request(labels={"role": "web"}, families=[4, 6]), cables=cables
        )
        assert again.addresses[:1] == first.addresses
        endpoint = stored(store)
        assert endpoint is not None and endpoint.metadata.labels == {"role": "db"}
        before = store.get(KEY)
        assert workload.add(store, NODE, request(), cables=cables) == again
        assert store.get(KEY) == before  # nothing to change: nothing written

        cables.cables.clear()  # the link is gone: made anew, and the agent is told
        assert workload.add(store, NODE, request(), cables=cables) == again
    assert WEB in cables.cables
    after = store.get(KEY)
    assert before is not None and after is not None and after.revision > before.revision


def test_the_same_workload_added_by_many_at_once(store: MemoryStore, cables: FakeCables) -> None:
    with agent(store), ThreadPoolExecutor(4) as threads:
        adding = [
            threads.submit(workload.add, store, NODE, request(), cables=cables) for _ in range(4)
        ]
        results = [each.result(timeout=30) for each in adding]
    assert all(each == results[0] for each in results)
    assert len(Allocator(store).handles()) == 1


def test_policy_that_is_not_in_force_in_time_undoes_the_add(
    store: MemoryStore, cables: FakeCables
) -> None:
    with pytest.raises(AgentError, match=r"not in force on a1 after 0\.05 s: the agent has not"):
        workload.add(store, NODE, request(wait_seconds=0.05), cables=cables)
    assert_nothing_left(store, cables)
    with agent(store, "waiting", "no route yet"), pytest.raises(AgentError, match="no route yet"):
        workload.add(store, NODE, request(wait_seconds=0.3), cables=cables)
    assert_nothing_left(store, cables)


def test_an_old_status_is_not_taken_for_the_new_endpoints(
    store: MemoryStore, cables: FakeCables
) -> None:
    say(store, KEY, kinds.EndpointStatus("up", revision=1))
    with pytest.raises(AgentError, match="not in force"):
        workload.add(store, NODE, request(wait_seconds=0.05), cables=cables)


@pytest.mark.parametrize("fault", ["namespace", "cable", "address", "resource"])
def test_an_add_that_fails_leaves_nothing(
    store: MemoryStore, cables: FakeCables, fault: str
) -> None:
    asked = request()
    raised: type[Exception] = KernelError
    match fault:
        case "namespace":
            asked = request(netns="nowhere")
        case "cable":
            cables.fail = KernelError("no room")
        case "address":
            asked, raised = request(addresses=["10.9.0.1", "192.0.2.1"]), IpamError
        case _:
            asked, raised = request(labels={"a b": "c"}), InvalidInput
    with pytest.raises(raised):
        workload.add(store, NODE, asked, cables=cables)
    assert_nothing_left(store, cables)


def test_a_failed_repeat_takes_nothing_from_the_workload(
    store: MemoryStore, cables: FakeCables
) -> None:
    with agent(store):
        result = workload.add(store, NODE, request(), cables=cables)
    cables.fail = KernelError("no room")
    with pytest.raises(KernelError):
        workload.add(store, NODE, request(families=[6]), cables=cables)
    (handle,) = Allocator(store).handles()
    assert Allocator(store).held(handle) == result.addresses
    assert (stored(store) is not None, WEB in cables.cables) == (True, True)


def test_what_could_not_be_undone_is_told(
    store: MemoryStore, cables: FakeCables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(interface: str) -> None:
        raise KernelError("busy")

    monkeypatch.setattr(cables, "remove", refuse)
    with pytest.raises(AgentError) as caught:
        workload.add(store, NODE, request(wait_seconds=0.05), cables=cables)
    assert "clean up: tortie workload delete shop/web-1" in caught.value.cure
    assert (stored(store), Allocator(store).handles()) == (None, [])


def test_a_workload_is_detached_once(store: MemoryStore, cables: FakeCables) -> None:
    with agent(store):
        result = workload.add(store, NODE, request(), cables=cables)
        workload.add(store, NODE, request(name="web-10", netns="w2"), cables=cables)
    assert workload.remove(store, NODE, "shop", "web-1", cables=cables) == result.addresses
    assert workload.remove(store, NODE, "shop", "web-1", cables=cables) == []
    assert [each.workload for each in workload.list_workloads(store, NODE)] == ["web-10"]
    assert WEB not in cables.cables
    assert len(cables.cables) == 1


@pytest.mark.parametrize("lost", ["resource", "handle"])
def test_detaching_works_when_half_is_gone(
    store: MemoryStore, cables: FakeCables, lost: str
) -> None:
    with agent(store):
        workload.add(store, NODE, request(), cables=cables)
    if lost == "resource":
        store.commit([Delete(KEY)])
    else:
        Allocator(store).release(Allocator(store).handles()[0])
    workload.remove(store, NODE, "shop", "web-1", cables=cables)
    assert_nothing_left(store, cables)


def test_an_existing_interface_is_taken_over(store: MemoryStore, cables: FakeCables) -> None:
    tap = request(netns=None, interface="tap0", mac="02:00:00:00:00:AA")
    with agent(store):
        result = workload.add(store, NODE, tap, cables=cables)
        assert workload.add(store, NODE, tap, cables=cables) == result
        with pytest.raises(AgentError, match="tap0 belongs to a1-tortie-web--1-eth0"):
            workload.add(store, NODE, msgspec.structs.replace(tap, name="db"), cables=cables)
        with pytest.raises(AgentError, match="attached by tap0"):
            workload.add(store, NODE, request(), cables=cables)
    assert (result.interface, result.mac) == ("tap0", "02:00:00:00:00:aa")
    assert (cables.taps, cables.cables) == ({"tap0": desired.GATEWAY_MAC}, {})
    assert workload.remove(store, NODE, "shop", "web-1", cables=cables) == result.addresses


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "web;drop"}, "name"),
        ({"name": "../x"}, "name"),
        ({"namespace": "a.b"}, "namespace"),
        ({"guest_interface": "eth0\nlink"}, "guestInterface"),
        ({"guest_interface": "lo"}, "guestInterface"),
        ({"endpoint": "a/b"}, "endpoint"),
        ({"orchestrator": "k8s"}, "orchestrator"),
        ({"addresses": ["10.9.0.1/32"]}, "addresses[0]"),
        ({"addresses": ["10.9.0.1", "10.9.0.1"]}, "addresses[1]"),
        ({"mac": "02:00:00:00:00:00 up"}, "mac"),
        ({"netns": None}, "netns"),
        ({"netns": "x", "interface": "tap0"}, "netns"),
        ({"netns": "../etc"}, "netns"),
        ({"netns": "/run/../x"}, "netns"),
        ({"netns": "-all"}, "netns"),
        ({"interface": "tap 0", "netns": None}, "interface"),
        ({"families": []}, "families"),
        ({"wait_seconds": -1}, "waitSeconds"),
    ],
)
def test_a_request_that_is_wrong_is_refused_before_anything_is_done(
    store: MemoryStore, cables: FakeCables, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        workload.add(store, NODE, request(**fields), cables=cables)
    assert path in [problem.path for problem in caught.value.problems]
    assert_nothing_left(store, cables)


def test_a_request_is_json_with_calicos_kind_of_names() -> None:
    text = '{"name":"x","netns":"n","guestInterface":"eth1","ports":[],"waitSeconds":0}'
    assert msgspec.json.decode(text, type=Request).guest_interface == "eth1"
    with pytest.raises(msgspec.ValidationError, match="gest"):
        msgspec.json.decode('{"name":"x","gest":1}', type=Request)


# --- in real namespaces -----------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[str]:
    """A host's namespace with an interface like an uplink, and two workloads' namespaces."""
    names = [f"tw-{os.getpid()}-{part}" for part in ("host", "w1", "w2")]
    try:
        for name in names:
            netns.add(name)
        yield names[0]
    finally:
        for name in names:
            netns.delete(name)


def guest(host: str, which: str = "w1") -> str:
    return host.replace("host", which)


def ip(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    answer = process.run(["ip", "-n", namespace, "-d", "-j", *arguments]).stdout
    found: list[dict[str, Any]] = json.loads(answer or "[]")
    return found


def bring_up(host: str) -> None:
    """What the agent's link driver does for a workload, in short."""
    for command in (
        "addr add 192.0.2.9/32 dev lo",
        "addr add 169.254.1.1/32 dev lo scope link",
        f"link set {WEB} up",
        f"addr add fe80::1/64 dev {WEB} nodad",
        f"route add 10.9.0.7/32 dev {WEB} src 192.0.2.9",
        f"route add fd00:9::7/128 dev {WEB}",
    ):
        process.run(["ip", "-n", host, *command.split()])


@pytest.mark.kernel
@pytest.mark.parametrize("by", ["name", "path"])
def test_the_kernel_has_both_ends_and_the_hosts_is_down(
    host: str, store: MemoryStore, by: str
) -> None:
    inner = guest(host)
    asked = request(
        netns=inner if by == "name" else f"/run/netns/{inner}", addresses=["10.9.0.7", "fd00:9::7"]
    )

    def add() -> workload.Result:
        return workload.add(store, NODE, asked)

    with agent(store):
        result = netns.call(host, add)
        assert netns.call(host, add) == result
    (near,) = ip(host, "link", "show", "dev", WEB)
    assert (near["operstate"], near["address"]) == ("DOWN", desired.GATEWAY_MAC)
    assert "UP" not in near["flags"]
    (far,) = ip(inner, "addr", "show", "dev", "eth0")
    assert (far["address"], far["mtu"], "UP" in far["flags"]) == (result.mac, 1500, True)
    found = {(a["local"], a["prefixlen"]) for a in far["addr_info"] if a["scope"] == "global"}
    assert found == {("10.9.0.7", 32), ("fd00:9::7", 128)}
    assert {(route["dst"], route.get("gateway")) for route in ip(inner, "-4", "route")} == {
        ("default", "169.254.1.1"),
        ("169.254.1.1", None),
    }
    six = [each for each in ip(inner, "-6", "route") if each["dst"] == "default"]
    assert [each["gateway"] for each in six] == ["fe80::1"]
    neighbours = ip(inner, "neigh")
    assert {(n["dst"], n["lladdr"], *n["state"]) for n in neighbours} == {
        ("169.254.1.1", desired.GATEWAY_MAC, "PERMANENT"),
        ("fe80::1", desired.GATEWAY_MAC, "PERMANENT"),
    }
    assert "UP" in ip(inner, "link", "show", "dev", "lo")[0]["flags"]

    bring_up(host)
    for address in ("10.9.0.7", "fd00:9::7"):
        process.run(["ip", "netns", "exec", host, "ping", "-c1", "-W2", address])

    removed = netns.call(host, lambda: workload.remove(store, NODE, "shop", "web-1"))
    assert sorted(removed) == sorted(result.addresses)
    assert netns.call(host, lambda: workload.remove(store, NODE, "shop", "web-1")) == []
    for namespace in (host, inner):
        assert [link["ifname"] for link in ip(namespace, "link")] == ["lo"]


@pytest.mark.kernel
def test_a_workload_restarted_in_another_namespace_keeps_its_address(
    host: str, store: MemoryStore
) -> None:
    def add(which: str) -> workload.Result:
        return netns.call(
            host, lambda: workload.add(store, NODE, request(netns=guest(host, which)))
        )

    with agent(store):
        first = add("w1")
        assert add("w2") == first  # the old cable still hangs in w1: it is pulled
        assert [link["ifname"] for link in ip(guest(host), "link")] == ["lo"]
        netns.delete(guest(host, "w2"))
        assert add("w1") == first
    assert len(ip(guest(host), "addr", "show", "dev", "eth0")) == 1


@pytest.mark.kernel
def test_the_kernel_refuses_and_nothing_is_left(host: str, store: MemoryStore) -> None:
    inner = guest(host)
    process.run(["ip", "-n", inner, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"])
    for where, said in [
        (inner, "has an interface eth0 already"),
        ("nowhere", "no network namespace"),
        (host, "the host's own"),
        ("/etc/hostname", "cannot enter"),
    ]:
        asked = request(netns=where, wait_seconds=0.05)
        with pytest.raises(KernelError, match=said):
            netns.call(host, lambda asked=asked: workload.add(store, NODE, asked))  # type: ignore[misc]
        assert Allocator(store).handles() == []
    with pytest.raises(AgentError, match="not in force"):
        asked = request(netns=guest(host, "w2"), wait_seconds=0.05)
        netns.call(host, lambda: workload.add(store, NODE, asked))
    assert [link["ifname"] for link in ip(host, "link")] == ["lo"]
    assert stored(store) is None


@pytest.mark.kernel
def test_an_interface_is_taken_over_unless_the_host_uses_it(host: str, store: MemoryStore) -> None:
    cables = RealCables()
    pair = ["link", "add", "tap0", "type", "veth", "peer", "name", "up0"]
    process.run(["ip", "-n", host, *pair])
    process.run(["ip", "-n", host, "link", "set", "tap0", "up"])
    process.run(["ip", "-n", host, "addr", "add", "192.0.2.1/24", "dev", "up0"])
    with agent(store):
        tap = request(netns=None, interface="tap0")
        netns.call(host, lambda: workload.add(store, NODE, tap, cables=cables))
        (link,) = ip(host, "link", "show", "dev", "tap0")
        assert (link["address"], "UP" in link["flags"]) == (desired.GATEWAY_MAC, False)
        for name, said in [("up0", "the host itself uses up0"), ("tap9", "tap9")]:
            other = request(name="db", netns=None, interface=name)
            with pytest.raises(KernelError, match=said):
                netns.call(host, lambda other=other: workload.add(store, NODE, other))  # type: ignore[misc]
    process.run(["ip", "-n", host, "link", "set", "tap0", "up"])
    netns.call(host, lambda: workload.remove(store, NODE, "shop", "web-1"))
    assert "UP" not in ip(host, "link", "show", "dev", "tap0")[0]["flags"]


def test_while_a_host_is_behind_only_its_last_owner_gets_an_address(
    store: MemoryStore, cables: FakeCables
) -> None:
    now = [1000.0]
    other = r.Node(api_version="projectcalico.org/v3", metadata=r.Metadata(name="b1"))
    status = msgspec.json.encode(kinds.NodeStatus("holding", 1, 1080.0))
    store.commit(
        [
            Put(kinds.key(other), kinds.encode(other)),
            Put(kinds.node_status_key("b1"), status),
        ]
    )

    def add(name: str, address: str) -> list[str]:
        wanted = request(name=name, addresses=(address,), wait_seconds=0)
        return workload.add(store, NODE, wanted, cables=cables, clock=lambda: now[0]).addresses

    add("web-1", "10.9.0.5")
    workload.remove(store, NODE, "shop", "web-1", cables=cables, clock=lambda: now[0])
    now[0] = 1090.0
    with pytest.raises(IpamError, match="a moment ago"):
        add("db-1", "10.9.0.5")
    assert add("web-1", "10.9.0.5") == ["10.9.0.5"]
