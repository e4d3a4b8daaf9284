"""Resources written whole or not at all, and only if they make sense together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from validation import Data, make, workload

from tortie.calc.policy import BUILT_IN_TIERS as TIERS_OF_CALC
from tortie.errors import Conflict, InvalidInput, StoreError, StoreUnavailable
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.validate_rules import BUILT_IN_TIERS
from tortie.store import resources
from tortie.store.base import MAX_OPS, Op, Put
from tortie.store.memory import MemoryStore


class Between(MemoryStore):
    """A store in which something happens just before a commit; `commits` are those that held."""

    def __init__(self, *steps: Callable[[MemoryStore], object]) -> None:
        super().__init__()
        self.steps = list(steps)
        self.commits: list[list[Op]] = []

    def commit(self, ops: Sequence[Op]) -> int:
        if self.steps:
            self.steps.pop(0)(self)
        revision = super().commit(ops)
        self.commits.append(list(ops))
        return revision


def node(name: str = "a1", **spec: object) -> r.Resource:
    return make("Node", {"bgp": {"ipv4Address": "172.16.0.1/24"}, **spec}, name=name)


def pool(cidr: str = "10.0.0.0/16", name: str = "x", **spec: object) -> r.Resource:
    return make("IPPool", {"cidr": cidr, **spec}, name=name)


def policy(tier: str | None = None, name: str = "p", **spec: object) -> r.Resource:
    data: Data = {"selector": "all()", **spec}
    if tier is not None:
        data["tier"] = tier
    return make("NetworkPolicy", data, name=name, namespace="shop")


def endpoint(address: str, namespace: str = "shop") -> r.Resource:
    made = workload(ipNetworks=[address])
    return replaced(made, namespace=namespace)


def staged(kind: str, tier: str) -> r.Resource:
    where = {"namespace": "shop"} if kind == "NetworkPolicy" else {}
    return make(f"Staged{kind}", {"tier": tier, "selector": "all()"}, name="p", **where)


def host(on: str = "a1") -> r.Resource:
    return make("HostEndpoint", {"node": on, "interfaceName": "eth0"}, name=f"{on}-eth0")


def settings(name: str) -> r.Resource:
    return make("FelixConfiguration", {"namespaceDefault": "open"}, name=name)


def replaced(resource: r.Resource, **metadata: object) -> r.Resource:
    from msgspec.structs import replace as new

    return new(resource, metadata=new(resource.metadata, **metadata))


def actions(done: resources.Applied) -> list[str]:
    return [f"{action} {each.metadata.name}" for action, each in done.actions]


def names(store: MemoryStore, kind: str) -> list[str]:
    return [each.resource.metadata.name for each in resources.read(store, kinds.BY_NAME[kind])]


def refused(store: MemoryStore, *wanted: r.Resource) -> list[tuple[str, str]]:
    """(path, text) of each problem; and that nothing was written."""
    before = store.list("/")
    with pytest.raises(InvalidInput) as told:
        resources.apply(store, wanted, barrier=True)
    assert store.list("/") == before
    with pytest.raises(InvalidInput) as again:
        resources.check(store, wanted)
    assert again.value.problems == told.value.problems
    return [(problem.path, str(problem)) for problem in told.value.problems]


# --- what an apply does ---------------------------------------------------------------------------


def test_what_is_new_is_created_what_differs_is_configured_the_rest_is_left_alone() -> None:
    store = MemoryStore()
    first = resources.apply(store, [node("a1"), node("a2")])
    assert actions(first) == ["created a1", "created a2"]
    second = resources.apply(store, [node("a1"), node("a2", bgp={"ipv4Address": "172.16.0.9/24"})])
    assert actions(second) == ["unchanged a1", "configured a2"]
    assert second.revision == first.revision + 1
    third = resources.apply(store, [node("a1")])
    assert (actions(third), third.revision) == (["unchanged a1"], second.revision)


def test_other_spellings_of_the_same_change_nothing() -> None:
    store = MemoryStore()
    resources.apply(store, [pool("fd00:0::/64", blockSize=122)])
    assert actions(resources.apply(store, [pool("fd00::/64")])) == ["configured x"]
    assert actions(resources.apply(store, [pool("FD00::0/64")])) == ["unchanged x"]


def test_what_is_referred_to_comes_before_what_refers_to_it() -> None:
    wanted = [
        endpoint("10.0.0.1/32"),
        policy("first"),
        make("Tier", {"order": 1}, name="first"),
        node("a1"),
        make("Namespace", name="shop"),
    ]
    store = Between()
    done = resources.apply(store, wanted, barrier=True)
    kinds_in_order = [type(each).__name__ for _, each in done.actions]
    assert kinds_in_order == ["Namespace", "Node", "Tier", "NetworkPolicy", "WorkloadEndpoint"]
    (written,) = [ops for ops in store.commits if len(ops) > 1]
    assert [op.key for op in written][:-1] == [kinds.key(each) for _, each in done.actions]
    assert written[-1].key == f"{kinds.WORLD}barriers/{done.barrier}"


def test_the_first_apply_gives_the_store_its_guid_and_no_later_one_changes_it() -> None:
    store = MemoryStore()
    resources.apply(store, [node("a1")])
    (information,) = resources.read(store, kinds.BY_NAME["ClusterInformation"])
    resources.apply(store, [node("a2")])
    assert resources.read(store, kinds.BY_NAME["ClusterInformation"]) == [information]
    assert isinstance(information.resource, r.ClusterInformation)
    assert resources.initialise(store) == information.resource.spec.cluster_guid


@pytest.mark.parametrize("there_already", [False, True])
def test_many_resources_take_several_transactions_and_the_barrier_is_in_the_last(
    there_already: bool,
) -> None:
    wanted = [replaced(workload(ipNetworks=[f"10.0.1.{i}/32"]), namespace=f"n{i}")
              for i in range(MAX_OPS)]  # fmt: skip
    wanted += [make("Namespace", name=f"n{i}") for i in range(MAX_OPS)]
    store = Between()
    resources.apply(store, [node("a1"), *(wanted if there_already else ())])
    store.commits.clear()
    done = resources.apply(store, wanted, barrier=True)
    if there_already:
        assert {action for action, _ in done.actions} == {"unchanged"}
        assert [len(ops) for ops in store.commits] == [1] == [done.transactions]
    else:
        assert [len(ops) for ops in store.commits] == [MAX_OPS, MAX_OPS, 1]
        assert done.transactions == 3
        assert all("/namespaces/" in op.key for op in store.commits[0])
    assert store.commits[-1][-1].key.endswith(done.barrier)


def test_exactly_one_transaction_is_one() -> None:
    wanted = [make("Namespace", name=f"n{i}") for i in range(MAX_OPS)]
    assert resources.apply(MemoryStore(), wanted).transactions == 1
    assert resources.apply(MemoryStore(), wanted, barrier=True).transactions == 2


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("apply_before", [True, False], ids=["a store in use", "an empty store"])
def test_one_that_is_not_valid_keeps_all_out(apply_before: bool) -> None:
    store = MemoryStore()
    if apply_before:
        resources.apply(store, [node("a9")])
    found = refused(store, node("a1"), pool("10.0.0.0/16", blockSize=4), policy(selector="a =="))
    assert [path for path, _ in found] == ["spec.blockSize", "spec.selector"]


BAD: list[tuple[str, list[r.Resource], list[r.Resource], str, str]] = [
    ("a tier that is not there", [], [policy("security")], "spec.tier", "there is no Tier"),
    ("a tier misspelt", [make("Tier", {"order": 1}, name="security")], [policy("securty")],
     "spec.tier", 'did you mean "security"?'),
    ("a pool within another", [pool("10.0.0.0/16")], [pool("10.0.7.0/24", "y")],
     "spec.cidr", "10.0.7.0/24 overlaps with pool x (10.0.0.0/16)"),
    ("a pool around another", [pool("10.0.0.0/16")], [pool("10.0.0.0/8", "y")],
     "spec.cidr", "overlaps with pool x"),
    ("a pool's cidr changed", [pool("10.0.0.0/16")], [pool("10.1.0.0/16")],
     "spec.cidr", "never changes; it is 10.0.0.0/16"),
    ("a pool's block size changed", [pool()], [pool(blockSize=28)],
     "spec.blockSize", "never changes; it is 26"),
    ("an endpoint on no node", [node("a2")], [endpoint("10.0.0.1/32")],
     "spec.node", 'there is no Node "a1"; apply a Node of that name first'),
    ("a tier of a staged policy", [], [staged("NetworkPolicy", "security")],
     "spec.tier", "there is no Tier"),
    ("a tier of a staged policy of the cluster", [], [staged("GlobalNetworkPolicy", "security")],
     "spec.tier", "there is no Tier"),
    ("a host endpoint of no node", [node("a2")], [host()],
     "spec.node", 'there is no Node "a1"'),
    ("settings of no node", [node("a2")], [settings("node.a1")],
     "metadata.name", 'there is no Node "a1"'),
    ("an address of another", [node(), endpoint("10.0.0.1/32")],
     [endpoint("10.0.0.1/32", "bank")], "spec.ipNetworks", "belongs to shop/a1-lab-web-eth0"),
    ("the address of a node", [node()], [endpoint("172.16.0.1/32")],
     "spec.ipNetworks", "is the address of node a1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "wanted", "path", "says"),
    [row[1:] for row in BAD],
    ids=[row[0] for row in BAD],
)
def test_what_makes_no_sense_beside_what_is_there_is_refused(
    there: list[r.Resource], wanted: list[r.Resource], path: str, says: str
) -> None:
    store = MemoryStore()
    resources.apply(store, there)
    ((where, text),) = refused(store, *wanted)
    assert where == path
    assert says in text


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ([pool("10.0.0.0/16"), pool("10.0.0.0/24", "y")], "overlaps with pool"),
        ([node(), endpoint("10.0.0.1/32"), endpoint("10.0.0.1/32", "bank")], "belongs to"),
        ([node("a1"), node("a1", bgp={"ipv4Address": "172.16.0.9/24"})], "is there twice"),
    ],
    ids=["two pools", "two endpoints", "one node twice"],
)
def test_what_makes_no_sense_within_one_file_is_refused(
    wanted: list[r.Resource], says: str
) -> None:
    found = refused(MemoryStore(), *wanted)
    assert found and all(says in text for _, text in found)


def test_an_address_may_move_from_one_endpoint_to_another_in_one_file() -> None:
    store = MemoryStore()
    resources.apply(store, [node(), endpoint("10.0.0.1/32")])
    resources.apply(store, [endpoint("10.0.0.2/32"), endpoint("10.0.0.1/32", "bank")])
    assert len(names(store, "WorkloadEndpoint")) == 2


def test_what_belongs_to_a_node_may_come_with_it() -> None:
    store = MemoryStore()
    done = resources.apply(store, [host(), settings("node.a1"), settings("default"), node()])
    assert [each.metadata.name for _, each in done.actions] == [
        "a1",
        "node.a1",
        "default",
        "a1-eth0",
    ]


def test_policies_of_one_name_and_two_projects_are_two() -> None:
    store = MemoryStore()
    theirs = make("KubernetesNetworkPolicy", {"podSelector": {}}, name="p", namespace="shop")
    resources.apply(store, [policy(), theirs])
    assert names(store, "NetworkPolicy") == names(store, "KubernetesNetworkPolicy") == ["p"]
    with pytest.raises(InvalidInput, match=r'^NetworkPolicy "p" is there twice$'):
        resources.check(None, [theirs, theirs])
    assert resources.delete(store, theirs)
    assert names(store, "NetworkPolicy") == ["p"]


def test_without_a_store_only_what_files_tell_is_checked() -> None:
    resources.check(None, [policy("elsewhere"), endpoint("10.0.0.1/32"), host("elsewhere")])
    resources.check(None, [settings("node.elsewhere"), staged("NetworkPolicy", "elsewhere")])
    with pytest.raises(InvalidInput, match="overlaps"):
        resources.check(None, [pool("10.0.0.0/16"), pool("10.0.0.0/24", "y")])


def test_built_in_tiers_are_there_and_are_the_same_for_all_rooms() -> None:
    assert set(BUILT_IN_TIERS) == set(TIERS_OF_CALC)
    for tier in BUILT_IN_TIERS:
        resources.apply(MemoryStore(), [policy(tier, name=f"{tier}.p")])


def test_problems_get_file_and_line_from_whoever_knows_them() -> None:
    with pytest.raises(InvalidInput) as told:
        resources.apply(
            MemoryStore(),
            [policy("security")],
            problem=lambda each, fault: replace(fault, file="f.yaml", line=7),
        )
    assert str(told.value).startswith("f.yaml:7: spec.tier: ")


# --- others who write at the same time ------------------------------------------------------------


def put_node(name: str, address: str) -> Callable[[MemoryStore], object]:
    other = node(name, bgp={"ipv4Address": address})

    def write(store: MemoryStore) -> object:
        return MemoryStore.commit(store, [Put(kinds.key(other), kinds.encode(other))])

    return write


def test_a_conflict_is_read_anew_and_what_was_checked_is_checked_again() -> None:
    store = Between()
    resources.initialise(store)
    store.steps = [put_node("a1", "172.16.0.7/24"), put_node("a1", "172.16.0.8/24")]
    done = resources.apply(store, [node("a1")])
    assert actions(done) == ["configured a1"]
    (stored,) = resources.read(store, kinds.BY_NAME["Node"])
    assert isinstance(stored.resource, r.Node) and stored.resource.spec.bgp is not None
    assert stored.resource.spec.bgp.ipv4_address == "172.16.0.1/24"

    def overlap(store: MemoryStore) -> None:
        for each in (pool("10.0.0.0/8", "z"), node("a1", bgp={"ipv4Address": "172.16.0.9/24"})):
            MemoryStore.commit(store, [Put(kinds.key(each), kinds.encode(each))])

    store.steps = [overlap]
    with pytest.raises(InvalidInput, match="overlaps with pool z"):
        resources.apply(
            store, [node("a1", bgp={"ipv4Address": "172.16.0.3/24"}), pool("10.1.0.0/16")]
        )
    assert names(store, "IPPool") == ["z"]


def test_what_an_earlier_try_has_written_is_told_as_written() -> None:
    store = Between()
    resources.initialise(store)
    wanted = [make("Namespace", name=f"n{i}") for i in range(MAX_OPS)]
    store.steps = [lambda store: None, put_node("a1", "172.16.0.7/24")]
    done = resources.apply(store, [*wanted, node("a1")])
    told = dict(action.split()[::-1] for action in actions(done))
    assert told.pop("a1") == "configured"
    assert set(told.values()) == {"created"}


def test_a_writer_who_never_rests_ends_in_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.time, "sleep", lambda seconds: None)
    store = Between()
    resources.initialise(store)
    store.steps = [put_node("a1", f"172.16.0.{i + 2}/24") for i in range(resources.ATTEMPTS)]
    with pytest.raises(Conflict):
        resources.apply(store, [node("a1")])


def test_an_interrupted_apply_is_finished_by_repeating_it() -> None:
    def gone(store: MemoryStore) -> None:
        raise StoreUnavailable("no answer")

    store = Between()
    resources.initialise(store)
    wanted = [make("Namespace", name=f"n{i}") for i in range(MAX_OPS)]
    wanted += [node(f"a{i}") for i in range(3)]
    store.steps = [lambda store: None, gone]
    with pytest.raises(StoreUnavailable):
        resources.apply(store, wanted, barrier=True)
    assert names(store, "Node") == [] == names(store, "Barrier")
    done = resources.apply(store, wanted, barrier=True)
    assert [action for action, _ in done.actions] == ["unchanged"] * MAX_OPS + ["created"] * 3
    assert names(store, "Barrier") == [done.barrier]


def test_many_who_initialise_at_once_agree_on_one_guid() -> None:
    store = MemoryStore()
    start = threading.Barrier(8)
    found: list[str] = []

    def one() -> None:
        start.wait()
        found.append(resources.initialise(store))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_who_loses_the_race_to_initialise_takes_the_winners_guid() -> None:
    won: list[str] = []
    store = Between(lambda store: won.append(resources.initialise(store)))
    assert resources.initialise(store) == won[0]


def test_something_else_in_the_place_of_the_guid_is_an_error() -> None:
    store = MemoryStore()
    store.commit([Put(resources.CLUSTER, kinds.encode(node()))])
    with pytest.raises(StoreError, match="no ClusterInformation"):
        resources.initialise(store)


# --- what nobody can read -------------------------------------------------------------------------


def test_a_broken_object_is_named_and_can_be_written_over_and_deleted() -> None:
    store = MemoryStore()
    broken = policy()
    store.commit([Put(kinds.key(broken), b"{"), Put(kinds.WORLD + "tiers/x", b"junk")])
    with pytest.raises(kinds.Undecodable, match="networkpolicies/shop/p"):
        resources.read(store, kinds.BY_NAME["NetworkPolicy"])
    assert actions(resources.apply(store, [broken])) == ["configured p"]
    assert names(store, "NetworkPolicy") == ["p"]
    assert resources.delete(store, make("Tier", {"order": 1}))


def test_a_stored_pool_without_sense_is_nobody_elses_fault() -> None:
    store = MemoryStore()
    other = pool("10.0.0.0/16", "y")
    store.commit([Put(kinds.key(other), kinds.encode(other).replace(b"10.0.0.0/16", b"bogus"))])
    assert actions(resources.apply(store, [pool("10.0.0.0/16")])) == ["created x"]


# --- deleting -------------------------------------------------------------------------------------


def test_deleting_says_whether_it_was_there() -> None:
    store = MemoryStore()
    resources.apply(store, [node()])
    assert resources.delete(store, node())
    assert not resources.delete(store, node())


@pytest.mark.parametrize(
    "kind",
    ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"],
)
def test_a_tier_in_use_stays(kind: str) -> None:
    store = MemoryStore()
    tier = make("Tier", {"order": 1}, name="first")
    where = {"namespace": "shop"} if kinds.BY_NAME[kind].namespaced else {}
    user = make(kind, {"tier": "first", "selector": "all()"}, name="p", **where)
    resources.apply(store, [tier, user])
    with pytest.raises(InvalidInput, match=f"Tier first is in use by {kind} p"):
        resources.delete(store, tier)
    assert names(store, "Tier") == ["first"]
    resources.delete(store, user)
    assert resources.delete(store, tier)


def test_what_overrides_a_built_in_tier_may_go() -> None:
    store = MemoryStore()
    tier = make("Tier", {}, name="default")
    resources.apply(store, [tier, policy()])
    assert resources.delete(store, tier)


def test_what_is_of_tortie_itself_stays() -> None:
    store = MemoryStore()
    resources.initialise(store)
    (information,) = resources.read(store, kinds.BY_NAME["ClusterInformation"])
    with pytest.raises(InvalidInput, match="in use by Tortie itself"):
        resources.delete(store, information.resource)


def test_what_changes_while_it_is_deleted_is_deleted_as_it_is_then() -> None:
    store = Between()
    resources.apply(store, [node()])
    store.steps = [put_node("a1", "172.16.0.7/24")]
    assert resources.delete(store, node())
    assert names(store, "Node") == []


# --- receipts -------------------------------------------------------------------------------------


def receipt(store: MemoryStore, barrier: str, host: str) -> None:
    value = b'{"node": "%s", "revision": 9, "time": 1.5}' % host.encode()
    MemoryStore.commit(store, [Put(kinds.receipt_key(barrier, host), value)])


def test_receipts_are_awaited_as_long_as_they_may_take_and_then_forgotten() -> None:
    store = MemoryStore()
    done = resources.apply(store, [node()], barrier=True)
    receipt(store, done.barrier, "a1")
    later = threading.Timer(0.05, receipt, (store, done.barrier, "a2"))
    later.start()
    found = resources.wait_for_receipts(store, done.barrier, ["a1", "a2"], 5)
    later.join()
    assert {name: each.revision for name, each in found.items()} == {"a1": 9, "a2": 9}
    assert set(resources.wait_for_receipts(store, done.barrier, ["a1", "a3"], 0.02)) == {"a1", "a2"}
    resources.forget_barrier(store, done.barrier)
    assert names(store, "Barrier") == []
    assert store.list(kinds.RECEIPTS).entries == ()


def test_no_endpoint_takes_a_nodes_address() -> None:
    store = MemoryStore()
    resources.apply(store, [node()])
    with pytest.raises(InvalidInput, match="the address of node a1"):
        resources.apply(store, [endpoint("172.16.0.1/32")])
