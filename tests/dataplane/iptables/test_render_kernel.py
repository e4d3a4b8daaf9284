"""Rendered rules in a real kernel, by both of its doors: taken as they are, and the same verdicts
on packets as the tracer gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random

import msgspec
import pytest
from filters import filters, guards
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from iptables_text import rule_lines, rules_text, sets_text
from iptables_tracer import IptablesTracer
from iptables_worlds import FULL, GUARDED
from namespaces import inside_fresh
from nft_rig import ROUTER, UP, WORKLOADS, Packet, Rig, rig

from tortie.dataplane import matching
from tortie.dataplane.iptables import Ruleset, render
from tortie.desired import Endpoint, Filter, Policy, PortSet, Rule, Side
from tortie.kernel import netns, process

pytestmark = pytest.mark.kernel

PROGRAMS = {4: "iptables", 6: "ip6tables"}
BACKENDS = ("nft", "legacy")
WORLDS = {
    "nothing yet": Filter(),
    "tiers, logs and names": FULL,
    "hosts and limits": GUARDED,
    "names of rules": msgspec.structs.replace(
        FULL,
        never_from_workloads=tuple(
            Rule("deny", protocol=at + 1, name=name)
            for at, name in enumerate(("-t nat", "x", "a b", "--table", "a-b_c", "1.2/3:4", "- -"))
        ),
    ),
    "a chain of every protocol": msgspec.structs.replace(
        FULL, never_from_workloads=tuple(Rule("deny", protocol=at) for at in range(1, 256))
    ),
}
W = {place: values[1:] for place, values in WORKLOADS.items()}
INTERFACES = {"w1": "tor1", "w2": "tor2", "w9": "tor9", "up": "up0"}


def program(backend: str, family: int, verb: str) -> str:
    return f"{PROGRAMS[family]}-{backend}{verb}"


def install(ruleset: Ruleset, backend: str) -> None:
    """In the calling thread's namespace, in place of what is there."""
    family = ruleset.family
    for table in ("filter", "mangle", "raw"):
        for verb in ("-F", "-X"):
            process.run([program(backend, family, ""), "-w", "-t", table, verb])
    listed = process.run(["ipset", "list", "-n"]).stdout.split()
    gone = [each for each in listed if each.startswith(f"tor{family}_")]
    script = "".join(f"destroy {each}\n" for each in gone) + sets_text(ruleset)
    process.run(["ipset", "restore"], stdin=script)
    command = [program(backend, family, "-restore"), "-w", "--noflush"]
    process.run(command, stdin=rules_text(ruleset))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", WORLDS)
def test_it_is_taken_and_read_back_as_it_was_written(name: str, family: int, backend: str) -> None:
    ruleset = render(WORLDS[name], family)
    with inside_fresh():
        install(ruleset, backend)
        for table in ("filter", "mangle", "raw"):
            saved = process.run([program(backend, family, "-save"), "-t", table]).stdout
            read = [line for line in saved.splitlines() if line.startswith("-A")]
            # Where /etc/protocols knows a number it is read back as a name.
            written = [line for line in rule_lines(ruleset, table) if not numbered(line)]
            assert sorted(line for line in read if line in set(written)) == sorted(written)
            assert len(read) == len(rule_lines(ruleset, table))


def numbered(line: str) -> bool:
    words = line.split()
    return "-p" in words and words[words.index("-p") + 1].isdigit()


@pytest.fixture(scope="module", params=BACKENDS)
def site(request: pytest.FixtureRequest) -> Iterator[tuple[Rig, str]]:
    with rig() as made:
        made.run("r", "nft", "flush", "ruleset")
        yield made, request.param


@st.composite
def guarded_routers(draw):
    """The rig's router: two workloads, and its uplink guarded by name or with all others."""
    firewall = draw(filters())
    name = draw(st.sampled_from((None, "up0", "*")))
    hosts = () if name is None else (draw(guards(name)),)
    return msgspec.structs.replace(
        firewall, hosts=hosts, to_host=draw(st.sampled_from(("drop", "policy")))
    )


def packets(random: Random, origin: str, amount: int) -> dict[tuple, Packet]:
    """Different packets from a place, by their ends, protocol and ports."""
    ends = {**W, "up": UP}
    found = {}
    for _ in range(amount):
        six = random.random() < 0.5
        source = ROUTER[six] if origin == "r" else ends[origin][six]
        if origin in W and random.random() < 0.1:
            source = ends[random.choice(["w1", "w2"])][six]
        place = random.choice([each for each in ends if each != origin])
        protocol = random.choice([6, 17, 17, 58 if six else 1, 47])
        sport, dport = 0, 0
        if protocol in (6, 17):
            sport, dport = random.choice((53, 80, 8080)), random.choice((53, 80, 81, 8080))
        icmp = None if protocol not in (1, 58) else (128, 0) if six else (random.choice((8, 13)), 0)
        made = Packet(source, ends[place][six], protocol, sport, dport, icmp)
        found[source, made.destination, protocol, sport, dport, icmp, place] = made
    return found


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(guarded_routers(), st.integers(0, 2**32))
def test_the_kernel_says_what_the_tracer_says(site, firewall: Filter, seed: int) -> None:
    net, backend = site
    rulesets = {family: render(firewall, family) for family in (4, 6)}
    tracer = IptablesTracer(rulesets)
    with netns.entered(net.ns("r")):
        for ruleset in rulesets.values():
            install(ruleset, backend)
    for origin in ("w1", "w2", "up", "r"):
        sent = packets(Random(seed), origin, 25)
        passes = {}
        for (source, destination, protocol, sport, dport, icmp, place), packet in sent.items():
            asked = matching.Packet(source, destination, protocol, dport, sport, icmp)
            passes[packet.token] = tracer.judge(asked, INTERFACES.get(origin), INTERFACES[place])
        net.forget_connections()
        expected = {token for token, passed in passes.items() if passed}
        arrived = net.arrivals(origin, list(sent.values()), expected)
        wrong = [each for each in sent.values() if (each.token in arrived) != passes[each.token]]
        assert not wrong, (backend, origin, wrong)


@pytest.mark.parametrize("negated", [False, True])
def test_what_has_no_ports_is_in_no_set_of_ports(site, negated: bool) -> None:
    """The kernel looks GRE up with port 0."""
    net, backend = site
    side = Side(not_port_sets=("p0",)) if negated else Side(port_sets=("p0",))
    ports = frozenset({(W["w2"][0], 6, 80), (W["w2"][0], 17, 80)})
    policy = Policy(
        "Profile/p",
        (Rule("allow", destination=side),),
        (
            Rule(
                "allow",
            ),
        ),
    )
    ends = tuple(
        Endpoint(f"shop/{place}", INTERFACES[place], W[place], profiles=(policy.id,))
        for place in ("w1", "w2")
    )
    firewall = Filter(ends, (policy,), port_sets=(PortSet("p0", ports),))
    with netns.entered(net.ns("r")):
        install(render(firewall, 4), backend)
    for packet, is_in in (
        (Packet(W["w1"][0], W["w2"][0], 47), False),
        (Packet(W["w1"][0], W["w2"][0], 17, 9, 81), False),
        (Packet(W["w1"][0], W["w2"][0], 17, 9, 80), True),
    ):
        net.forget_connections()
        assert net.passes("w1", packet) is (is_in is not negated)


def test_connections_over_the_limit_are_reset(site) -> None:
    net, backend = site
    policy = Policy("Profile/open", (Rule("allow"),), (Rule("allow"),))
    one = Endpoint("shop/one", "tor1", W["w1"], profiles=(policy.id,), max_egress=3)
    firewall = Filter((one,), (policy,))
    with netns.entered(net.ns("r")):
        for family in (4, 6):
            install(render(firewall, family), backend)
    net.forget_connections()
    with contextlib.ExitStack() as held:
        held.enter_context(net.listen("up", 7000))
        for address in UP:
            for _ in range(3):
                held.enter_context(net.connected("w1", address, 7000))
            with pytest.raises(ConnectionRefusedError):
                net.connected("w1", address, 7000)
