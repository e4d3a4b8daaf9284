"""The driver of iptables, of both variants: nothing for nothing, little for little, others' rules
left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from filters import guarded
from hypothesis import HealthCheck, Phase, given, settings
from namespaces import inside_fresh

from tortie.dataplane.iptables import render
from tortie.dataplane.iptables.driver import CLOSED, IptablesDriver
from tortie.dataplane.iptables.ruleset import TABLES, Ruleset, SetSpec, TableName
from tortie.desired import Desired, Endpoint, Family, Filter, Policy, Report, Rule
from tortie.errors import KernelError
from tortie.kernel import process
from tortie.kernel.ipset import FakeIpSet, IpSet, IpSetFound, IpSetPort
from tortie.kernel.iptables import Iptables, IptablesPort, Variant
from tortie.kernel.iptables_fake import FakeIptables

OTHERS = (
    "*filter\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\n-A DOCKER -d 172.17.0.2/32 -j ACCEPT\n"
    '-A FORWARD -m comment --comment "not -j tor-forward" -j DROP\nCOMMIT\n'
    "*nat\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2\nCOMMIT\n"
)
Chains = Mapping[TableName, Mapping[str, tuple[str, ...]]]
HOOKS: Chains = {
    "raw": {"PREROUTING": ("-j tor-pre",)},
    "mangle": {},
    "filter": {"FORWARD": ("-j tor-forward",), "OUTPUT": ("-j tor-output", "-o tor+ -j tor-a")},
}
CHAINS: Chains = {
    "raw": {"tor-pre": ("-i tor+ -p 47 -j DROP",)},
    "mangle": {},
    "filter": {
        "tor-a": ("-m set --match-set tor4_one src -j RETURN",),
        "tor-b": ("-j DROP",),
        "tor-forward": ("-i tor+ -g tor-b",),
        "tor-output": ("-j tor-a",),
    },
}
SETS = {"tor4_one": SetSpec("hash:ip", frozenset({"10.0.0.1", "10.0.0.2"}))}


def with_chain(name: str, *rules: str) -> Chains:
    """CHAINS, but for one of the table filter."""
    return {**CHAINS, "filter": {**CHAINS["filter"], name: rules}}


@dataclass
class Kernel:
    """One variant with a driver that makes of a filter what `chains`, `hooks` and `sets` say; of
    IPv6 it makes the same without sets."""

    iptables: IptablesPort
    ipset: IpSetPort
    chains: Chains = field(default_factory=lambda: CHAINS)
    hooks: Chains = field(default_factory=lambda: HOOKS)
    sets: Mapping[str, SetSpec] = field(default_factory=lambda: SETS)
    revision: int = 0

    def __post_init__(self) -> None:
        self.driver = self.fresh()

    def fresh(self) -> IptablesDriver:
        """A driver that remembers nothing."""
        return IptablesDriver(self.iptables, self.ipset, render=self._render)

    def _render(self, wanted: Filter, family: Family) -> Ruleset:
        if family == 4:
            return Ruleset(4, self.sets, self.chains, self.hooks)
        six = {
            table: {
                name: tuple(rule for rule in rules if "match-set" not in rule)
                for name, rules in chains.items()
            }
            for table, chains in self.chains.items()
        }
        return Ruleset(6, {}, six, self.hooks)

    def apply(self, **changed: object) -> Report:
        """Apply; what `changed` names is another now."""
        for name, value in changed.items():
            setattr(self, name, value)
        self.revision += bool(changed)
        return self.driver.apply(self.desired())

    def desired(self) -> Desired:
        return Desired("node", 1, Filter(policies=(Policy(f"Profile/{self.revision}"),)))

    def foreign(self, lines: str, table: str = "filter", family: Family = 4) -> None:
        """Somebody else changes a table."""
        self.iptables.restore(family, f"*{table}\n{lines}\nCOMMIT\n")

    def rules(self, chain: str, table: str = "filter", family: Family = 4) -> list[str]:
        """The rules of a chain; or KeyError."""
        parts = re.split(r"^\*", self.iptables.save(family), flags=re.MULTILINE)
        text = {part.split("\n")[0]: part for part in parts}[table]
        if f"\n:{chain} " not in text:
            raise KeyError(chain)
        return re.findall(rf"^-A {re.escape(chain)} (.*)$", text, re.MULTILINE)

    def text(self) -> str:
        """All of both families, but for comments, counters and names of protocols."""
        lines = (self.iptables.save(4) + self.iptables.save(6)).splitlines()
        kept = [line.partition(" [")[0] for line in lines if not line.startswith("#")]
        return "\n".join(kept).replace("-p gre ", "-p 47 ")


def fake(variant: Variant = "nft") -> Kernel:
    return Kernel(FakeIptables(variant), FakeIpSet())


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def where(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=["nft", "legacy"])
def kernel(request: pytest.FixtureRequest, where: str) -> Iterator[Kernel]:
    if where == "fake":
        yield fake(request.param)
        return
    with inside_fresh():
        made = Kernel(Iptables(request.param), IpSet())
        yield made
        made.driver.close()


def scripts(kernel: Kernel) -> list[str]:
    """What a fake was told since it was asked last."""
    assert isinstance(kernel.iptables, FakeIptables)
    found = [script for _, script in kernel.iptables.scripts]
    kernel.iptables.scripts.clear()
    return found


# --- before the store is read -----------------------------------------------------------------


def test_before_the_store_is_read_all_of_ours_is_dropped(kernel: Kernel) -> None:
    kernel.driver.prepare()
    for family in (4, 6):
        assert kernel.rules("tor-pre", "raw", family) == ["-i tor+ -j DROP"]
        assert kernel.rules("PREROUTING", "raw", family) == ["-j tor-pre"]
        assert kernel.rules("tor-forward", "filter", family) == [
            "-i tor+ -j DROP", "-o tor+ -j DROP",
        ]  # fmt: skip
        assert kernel.rules("FORWARD", "filter", family) == ["-j tor-forward"]


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_closed_first_is_what_every_rule_set_has(family: Family) -> None:
    made = render(Filter(), family)
    for table in TABLES:
        wanted = CLOSED[table].heads if table in CLOSED else {}
        assert made.hooks[table] == wanted
        assert made.chains[table].keys() >= {rule[0].removeprefix("-j ") for rule in
                                             wanted.values()}  # fmt: skip


def test_rules_of_an_earlier_run_are_left(kernel: Kernel) -> None:
    hooks = {**HOOKS, "filter": {**HOOKS["filter"], "INPUT": ("-j tor-input",)}}
    kernel.apply(chains=with_chain("tor-input"), hooks=hooks)
    before = kernel.text()
    kernel.fresh().prepare()
    assert kernel.text() == before


def test_a_hook_that_an_earlier_run_lost_is_put_back(kernel: Kernel) -> None:
    kernel.apply()
    kernel.foreign("-D FORWARD -j tor-forward")
    kernel.fresh().prepare()
    assert kernel.rules("FORWARD") == ["-j tor-forward"]
    assert kernel.rules("tor-forward") == ["-i tor+ -g tor-b"]


# --- apply ------------------------------------------------------------------------------------


def test_chains_hooks_and_sets_are_made(kernel: Kernel) -> None:
    kernel.driver.prepare()
    assert kernel.apply().changed > 0
    assert kernel.rules("tor-b") == kernel.rules("tor-b", family=6) == ["-j DROP"]
    assert kernel.rules("OUTPUT") == ["-j tor-output", "-o tor+ -j tor-a"]
    assert kernel.rules("INPUT") == []
    with pytest.raises(KeyError):
        kernel.rules("tor-input")
    members = frozenset({"10.0.0.1", "10.0.0.2"})
    assert kernel.ipset.save() == {"tor4_one": IpSetFound("hash:ip", "inet", members)}


def test_others_rules_stay_as_they_are(kernel: Kernel) -> None:
    kernel.iptables.restore(4, OTHERS)
    kernel.iptables.restore(6, OTHERS.replace("172.17.0.2/32", "fd00::2/128").replace(
        "172.17.0.2", "fd00::2"))  # fmt: skip
    kernel.ipset.restore("create others hash:ip family inet maxelem 5\n")
    before = kernel.text()
    kernel.driver.prepare()
    kernel.apply()
    kernel.apply(chains=with_chain("tor-b", "-j ACCEPT"))
    ours = re.compile(r"^(:tor-|-A tor-|-A [A-Z]+ (-o tor\+ )?-j tor-|(\*|COMMIT|:\S+ ACCEPT))")
    kept = [line for line in kernel.text().splitlines() if not ours.match(line)]
    assert kept == [line for line in before.splitlines() if not ours.match(line)]
    assert kernel.rules("FORWARD")[0] == "-j tor-forward"
    assert "others" in kernel.ipset.save()


def test_nothing_to_do_sends_nothing(kernel: Kernel) -> None:
    kernel.apply()
    before = kernel.iptables.stamp()
    assert [kernel.apply() for _ in range(3)] == [Report()] * 3
    assert not kernel.driver.drifted()
    assert kernel.iptables.stamp() == before


def test_only_what_changed_is_sent() -> None:
    kernel = fake()
    kernel.apply()
    scripts(kernel)
    report = kernel.apply(chains=with_chain("tor-b", "-j ACCEPT"))
    script = "*filter\n:tor-b - [0:0]\n-A tor-b -j ACCEPT\nCOMMIT\n"
    assert scripts(kernel) == [script, script] and report.changed == 2


def test_of_each_family_each_table_is_one_commit_and_what_is_judged_last_comes_first() -> None:
    kernel = fake()
    kernel.driver.prepare()
    scripts(kernel)
    kernel.apply()
    assert [script.partition("\n")[0] for script in scripts(kernel)] == ["*filter", "*raw"] * 2


def test_a_chain_that_goes_is_gone(kernel: Kernel) -> None:
    three = {**CHAINS["filter"], "tor-b": ("-j tor-c",), "tor-c": ("-j DROP",)}
    kernel.apply(chains={**CHAINS, "filter": three})
    assert kernel.rules("tor-c") == ["-j DROP"]
    kernel.apply(chains=CHAINS)
    with pytest.raises(KeyError):
        kernel.rules("tor-c")


def test_a_hook_comes_and_goes(kernel: Kernel) -> None:
    kernel.foreign("-A INPUT -j ACCEPT")
    hooks = {**HOOKS, "filter": {**HOOKS["filter"], "INPUT": ("-j tor-b",)}}
    kernel.apply(hooks=hooks)
    assert kernel.rules("INPUT") == ["-j tor-b", "-j ACCEPT"]
    kernel.apply(hooks=HOOKS)
    assert kernel.rules("INPUT") == ["-j ACCEPT"]


@pytest.mark.kernel
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_counters_of_what_did_not_change_go_on(variant: Variant) -> None:
    with inside_fresh():
        kernel = Kernel(Iptables(variant), IpSet())
        kernel.apply()
        process.run(["ping", "-c1", "-W1", "127.0.0.1"])

        def counted(rule: str) -> int:
            text = process.run([f"iptables-{variant}-save", "-c"]).stdout
            return int(re.findall(rf"^\[(\d+):\d+\] {re.escape(rule)}", text, re.MULTILINE)[0])

        before = counted("-A tor-output -j tor-a")
        assert before >= 2
        kernel.apply(chains=with_chain("tor-b", "-j ACCEPT"))
        assert counted("-A tor-output -j tor-a") == before
        kernel.fresh().apply(kernel.desired())  # also by an agent without memory
        assert counted("-A tor-output -j tor-a") == before
        kernel.driver.close()


# --- sets -------------------------------------------------------------------------------------


def test_another_set_takes_the_place_of_one_that_nobody_wants(kernel: Kernel) -> None:
    kernel.apply()
    other = {"tor4_two": SetSpec("hash:net", frozenset({"10.0.0.0/24"}))}
    rule = "-m set --match-set tor4_two src -j RETURN"
    kernel.apply(chains=with_chain("tor-a", rule), sets=other)
    kernel.apply()  # the kernel may let go of a set only after its rules
    assert list(kernel.ipset.save()) == ["tor4_two"]
    assert kernel.rules("tor-a") == [rule]


def test_a_set_with_wrong_members_is_put_right(kernel: Kernel) -> None:
    kernel.apply()
    right = kernel.ipset.save()
    kernel.ipset.restore("create x hash:ip family inet maxelem 2\nadd x 10.9.9.9\n")
    kernel.ipset.restore("swap x tor4_one\ndestroy x\n")
    assert kernel.apply().changed == 1
    assert kernel.ipset.save() == right


def test_a_set_that_is_looked_into_a_moment_longer_goes_with_the_next_apply() -> None:
    kernel = fake()
    assert isinstance(kernel.ipset, FakeIpSet)
    kernel.apply()
    kernel.ipset.held = {"tor4_one"}
    kernel.apply(chains=with_chain("tor-a"), sets={})
    assert list(kernel.ipset.sets) == ["tor4_one"]
    kernel.ipset.held = set()
    kernel.apply()
    assert kernel.ipset.sets == {}


def test_a_set_that_was_not_removed_yet_is_used_again() -> None:
    kernel = fake()
    assert isinstance(kernel.ipset, FakeIpSet)
    kernel.apply()
    kernel.ipset.held = {"tor4_one"}
    kernel.apply(chains=with_chain("tor-a"), sets={})
    kernel.apply(chains=CHAINS, sets=SETS)
    assert list(kernel.ipset.sets) == ["tor4_one"]


# --- drift ------------------------------------------------------------------------------------

DISTURBANCES = {
    "a rule before our hook": "-I FORWARD -j ACCEPT",
    "our hook is gone": "-D FORWARD -j tor-forward",
    "our hook is there twice": "-I FORWARD -j tor-forward",
    "our hook stands elsewhere too": "-A INPUT -j tor-b",
    "our chain is empty": ":tor-b - [0:0]",
    "our chain has a rule more": "-A tor-b -j ACCEPT",
    "a chain in our name": ":tor-x - [0:0]\n-A tor-x -j ACCEPT",
}


@pytest.mark.parametrize("looked", [True, False], ids=["looked at before", "never looked at"])
@pytest.mark.parametrize("what", DISTURBANCES)
def test_what_others_do_to_ours_is_repaired(kernel: Kernel, what: str, looked: bool) -> None:
    kernel.apply()
    right = kernel.text()
    if looked:
        assert not kernel.driver.drifted()
    kernel.foreign(DISTURBANCES[what])
    assert kernel.driver.drifted()
    kernel.apply()
    foreign = "-A FORWARD -j ACCEPT\n" if "before" in what else ""
    assert kernel.text().replace(foreign, "") == right
    assert kernel.rules("FORWARD")[0] == "-j tor-forward"
    assert not kernel.driver.drifted() and kernel.apply() == Report()


def test_what_others_do_to_ours_is_repaired_with_the_next_change(kernel: Kernel) -> None:
    kernel.apply()
    kernel.foreign("-I FORWARD -j ACCEPT")
    kernel.apply(chains=with_chain("tor-b", "-j ACCEPT"))
    assert kernel.rules("FORWARD") == ["-j tor-forward", "-j ACCEPT"]


def test_what_others_do_to_theirs_is_no_drift(kernel: Kernel) -> None:
    kernel.apply()
    assert not kernel.driver.drifted()
    kernel.iptables.restore(4, OTHERS)
    assert not kernel.driver.drifted()
    assert kernel.apply() == Report()


def test_a_rule_in_the_place_of_another_is_found_by_the_next_apply(kernel: Kernel) -> None:
    """Legacy counts rules only, so nothing cheaper than a listing tells."""
    kernel.apply()
    assert not kernel.driver.drifted()
    kernel.foreign(":tor-b - [0:0]\n-A tor-b -i eth0")
    kernel.apply()
    assert kernel.rules("tor-b") == ["-j DROP"]


# --- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["filter", "raw"])
@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_table_that_is_refused_is_tried_again(variant: Variant, table: str) -> None:
    kernel = fake(variant)
    assert isinstance(kernel.iptables, FakeIptables)
    kernel.driver.prepare()
    kernel.iptables.refuse = [table]
    with pytest.raises(KernelError, match=f"{table}, as told"):
        kernel.apply()
    # Closed is what was not reached.
    assert kernel.rules("tor-pre", "raw") == ["-i tor+ -j DROP"]
    kernel.apply()
    assert kernel.text() == settled(variant)


def settled(variant: Variant) -> str:
    kernel = fake(variant)
    kernel.driver.prepare()
    kernel.apply()
    return kernel.text()


def test_a_filter_that_cannot_be_written_down_leaves_the_last_one_in_force() -> None:
    kernel = fake()
    driver = IptablesDriver(kernel.iptables, kernel.ipset)
    driver.apply(Desired("node", 1))
    before = kernel.text()
    with pytest.raises(KernelError, match="cannot be written down"):
        unsafe = Filter((Endpoint("shop/one", 'tor"', ("10.65.0.1",)),))
        driver.apply(Desired("node", 2, unsafe))
    assert kernel.text() == before


# --- sweeping ---------------------------------------------------------------------------------


def test_a_sweep_removes_ours_and_nothing_else(kernel: Kernel) -> None:
    kernel.iptables.restore(4, OTHERS)
    kernel.foreign(":OTHERS - [0:0]")
    kernel.ipset.restore("create others hash:ip family inet maxelem 5\n")
    kernel.driver.prepare()
    kernel.driver.sweep()
    before = kernel.text()
    kernel.apply()
    assert kernel.driver.present() and kernel.driver.sweep()
    kernel.driver.sweep()  # the kernel may let go of a set only after its rules
    assert kernel.text() == before
    assert list(kernel.ipset.save()) == ["others"]
    stamp = kernel.iptables.stamp()
    assert not kernel.driver.sweep() and not kernel.driver.present()
    assert kernel.iptables.stamp() == stamp


def test_a_chain_that_others_hold_is_emptied(kernel: Kernel) -> None:
    kernel.apply()
    kernel.foreign(":OTHERS - [0:0]\n-A OTHERS -j tor-b")
    assert kernel.driver.sweep()
    assert kernel.rules("tor-b") == []
    assert not kernel.driver.sweep()
    kernel.apply()
    assert kernel.rules("tor-b") == ["-j DROP"]


def test_others_rules_are_counted(kernel: Kernel) -> None:
    kernel.iptables.restore(4, OTHERS)
    kernel.apply()
    assert kernel.driver.others() == 4


# --- the whole ----------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@settings(
    max_examples=5, deadline=None, phases=[Phase.generate], database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(guarded())
def test_whatever_a_filter_says_is_taken_and_stands(variant: Variant, wanted: Filter) -> None:
    with inside_fresh():
        iptables, ipset = Iptables(variant), IpSet()
        desired = Desired("node", 1, wanted)
        driver = IptablesDriver(iptables, ipset)
        driver.apply(desired)
        assert not driver.drifted() and driver.apply(desired) == Report()
        again = IptablesDriver(iptables, ipset)
        again.apply(desired)
        assert not again.drifted() and again.apply(desired) == Report()
        again.apply(Desired("node", 2, Filter((), (Policy("Profile/a", (Rule("deny"),)),))))
        assert again.sweep() and not again.present()
        again.close()
        driver.close()
