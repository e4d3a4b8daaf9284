"""What somebody removes by hand is put back within seconds; what somebody adds is of no use."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from e2e_rig import PROMPT, Site
from e2e_storm import storm
from lab_rig import until

from tortie.kernel import netns, process
from tortie.lab.probe import attempt

pytestmark = pytest.mark.lab

HOST = "b2"
SECONDS = 10.0
"""Within which everything is as it was."""
TABLE = "inet tortie"


def rules(site: Site) -> list[str]:
    """The rule set without counters and handles, whatever order its parts are listed in."""
    listed = json.loads(site.says(HOST, "nft", "--stateless", "-j", "list", "ruleset"))
    found, inside = [], Counter[str]()
    for item in listed["nftables"]:
        ((kind, thing),) = item.items()
        thing.pop("handle", None)
        if kind == "rule":
            chain = f"{thing['family']} {thing['table']} {thing['chain']}"
            inside[chain] += 1
            thing["number"] = inside[chain]
        elif thing.get("name", "").startswith("limit_"):
            thing.pop("elem", None)  # packets put them there
        elif "elem" in thing:
            thing["elem"] = sorted(json.dumps(each) for each in thing["elem"])
        found.append(f"{kind} {json.dumps(thing, sort_keys=True)}")
    return sorted(found)


def addresses(site: Site) -> str:
    return site.says(HOST, "ip", "-o", "address")


def routes(site: Site) -> str:
    return "\n".join(sorted(site.says(HOST, "ip", "route").splitlines()))


def sysctl(name: str) -> Callable[[Site], str]:
    return lambda site: site.says(HOST, "sysctl", "-n", name)


def links(site: Site) -> str:
    """Which interfaces of ours are up, and their MAC."""
    found = json.loads(site.says(HOST, "ip", "-j", "link"))
    return str(sorted(
        (each["ifname"], "UP" in each["flags"], each["address"])
        for each in found if each["ifname"].startswith("tor")
    ))  # fmt: skip


def interface(site: Site) -> str:
    return site.endpoint("bank/ledger").spec.interface_name


def ledger(site: Site) -> str:
    return site.addresses["bank/ledger"]


def block(site: Site) -> str:
    found = site.routes(HOST)
    return next(str(each["dst"]) for each in found if each.get("type") == "blackhole")


def chain(site: Site, hook: str) -> str:
    listed = json.loads(site.says(HOST, "nft", "-j", "list", "chains"))["nftables"]
    chains = [each["chain"] for each in listed if "chain" in each]
    return str(next(
        each["name"] for each in chains if each.get("hook") == hook and each["family"] == "inet"
    ))  # fmt: skip


def peers(site: Site) -> str:
    """A set of addresses that a policy looks into."""
    listed = json.loads(site.says(HOST, "nft", "-j", "list", "sets"))["nftables"]
    names = [each["set"]["name"] for each in listed if "set" in each]
    return next(name for name in names if re.match(r"a4_", name))


Damage = Callable[[Site], list[str]]
Look = Callable[[Site], object]

DAMAGES: dict[str, tuple[Look, Damage]] = {
    "a workload's route": (routes, lambda s: ["ip", "route", "del", ledger(s)]),
    "a block's blackhole": (routes, lambda s: ["ip", "route", "del", "blackhole", block(s)]),
    "all routes of the agent": (routes, lambda s: ["ip", "route", "flush", "proto", "84"]),
    "all routes of BIRD": (routes, lambda s: ["ip", "route", "flush", "proto", "bird"]),
    "the gateway's address": (
        addresses, lambda s: ["ip", "address", "del", "169.254.1.1/32", "dev", "lo"],
    ),
    "an interface's state": (links, lambda s: ["ip", "link", "set", interface(s), "down"]),
    "an interface's MAC": (
        links, lambda s: ["ip", "link", "set", interface(s), "address", "02:00:00:00:00:01"],
    ),
    "an element of a set": (
        rules,
        lambda s: ["nft", f"delete element {TABLE} live4 {{ {interface(s)} . {ledger(s)} }}"],
    ),
    "a foreign element": (
        rules, lambda s: ["nft", f"add element {TABLE} {peers(s)} {{ 192.0.2.9 }}"],
    ),
    "the rules of a chain": (
        rules, lambda s: ["nft", f"flush chain {TABLE} {chain(s, 'forward')}"],
    ),
    "all rules": (rules, lambda s: ["nft", f"flush table {TABLE}"]),
    "a foreign rule": (
        rules, lambda s: ["nft", f"insert rule {TABLE} {chain(s, 'forward')} accept"],
    ),
    "the whole table": (rules, lambda s: ["nft", f"delete table {TABLE}"]),
    "the ARP table": (rules, lambda s: ["nft", "delete table arp tortie"]),
    "the whole rule set": (rules, lambda s: ["nft", "flush ruleset"]),
    "forwarding": (
        sysctl("net.ipv4.ip_forward"), lambda s: ["sysctl", "-qw", "net.ipv4.ip_forward=0"],
    ),
    "forwarding of an interface": (
        lambda s: sysctl(f"net.ipv4.conf.{interface(s)}.forwarding")(s),
        lambda s: ["sysctl", "-qw", f"net.ipv4.conf.{interface(s)}.forwarding=0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_it_is_put_back_within_seconds(tenancy: Site, what: str) -> None:
    look, damage = DAMAGES[what]
    before = look(tenancy)
    tenancy.run(HOST, *damage(tenancy))
    assert look(tenancy) != before  # else nothing was removed
    assert until(lambda: look(tenancy) == before, SECONDS), look(tenancy)
    assert tenancy.unlike({
        "bank/teller-1 bank/ledger tcp/5432": True,
        "shop/api-2 bank/ledger tcp/5432": False,
    }) == []  # fmt: skip


def test_what_is_somebody_elses_is_left_alone(tenancy: Site) -> None:
    for command in (
        "nft add table inet theirs", "nft add chain inet theirs in",
        "ip route add blackhole 192.0.2.0/24", "ip link add theirs0 type bridge",
    ):  # fmt: skip
        tenancy.run(HOST, *command.split())
    try:
        tenancy.run(HOST, "nft", f"delete table {TABLE}")
        tenancy.kill_agents([HOST])
        tenancy.barrier()
        assert "chain in" in tenancy.says(HOST, "nft", "list table inet theirs")
        assert "192.0.2.0/24" in tenancy.says(HOST, "ip", "route")
        assert "theirs0" in tenancy.says(HOST, "ip", "link")
    finally:
        for command in (
            "nft delete table inet theirs",
            "ip route del blackhole 192.0.2.0/24", "ip link del theirs0",
        ):  # fmt: skip
            tenancy.run(HOST, *command.split())


def test_a_deleted_table_is_back_within_two_seconds(tenancy: Site) -> None:
    """Root on the host opens everything; nothing new passes once it is back."""
    before = rules(tenancy)
    tenancy.run(HOST, "nft", f"delete table {TABLE}")
    began = time.monotonic()
    assert until(lambda: rules(tenancy) == before, SECONDS)
    assert time.monotonic() - began < 2.0
    assert tenancy.refuses("internet bank/ledger tcp/5432", "shop/api-2 bank/ledger tcp/5432")


# --- BIRD -----------------------------------------------------------------------------------------


def test_a_killed_bird_is_back_within_seconds_and_nothing_breaks(tenancy: Site) -> None:
    file = tenancy.directory / "hosts" / HOST / "bird" / "bird.pid"
    before = routes(tenancy)
    with storm(
        tenancy,
        ["bank/teller-1 bank/ledger tcp/5432", "bank/ledger partner tcp/443"],
        ["bank/teller-2 bank/ledger tcp/5432"],
        ["shop/api-2 bank/ledger tcp/5432", "internet bank/ledger udp/53"],
        [("internet", "bank/ledger")],
    ) as seen:
        pid = file.read_text()
        os.kill(int(pid), signal.SIGKILL)
        assert until(lambda: file.read_text() not in ("", pid), SECONDS)
        assert until(lambda: "established" in sessions(tenancy), PROMPT)
        seen.goes_on(exchanges=60, made=20, attempts=30)
    seen.assert_clean(exchanges=100, made=30, attempts=30)
    assert routes(tenancy) == before


def sessions(site: Site) -> str:
    return site.running.tortie(
        "lab", "exec", HOST, "--", "tortie", "bgp", "status", check=False
    ).stdout.lower()


# --- interfaces that no resource speaks for -------------------------------------------------------


STRAY = "192.168.77.2"


@contextlib.contextmanager
def plugged(site: Site, host: str, name: str) -> Iterator[str]:
    """A cable from a host to a machine, addressed and routed by hand; gives the machine's space."""
    space = f"tortie-{site.running.name}-stray"
    process.run(["ip", "netns", "add", space])
    try:
        for line in (f"link add {name} type veth peer name eth0 netns {space}",
                     f"address add 192.168.77.1/24 dev {name}", f"link set {name} up"):  # fmt: skip
            site.run(host, "ip", *line.split())
        for line in (f"address add {STRAY}/24 dev eth0", "link set eth0 up", "link set lo up",
                     "route add default via 192.168.77.1"):  # fmt: skip
            process.run(["ip", "-n", space, *line.split()])
        yield space
    finally:
        process.run(["ip", "netns", "delete", space])
        assert until(lambda: name not in site.says(host, "ip", "link"), PROMPT)


def reached_over(site: Site, space: str, host: str) -> dict[str, bool]:
    """Who reaches whom over the cable; `open/alone` lets everybody in and may go anywhere."""

    def pings(address: str) -> bool:
        command = ["ping", "-c1", "-W0.5", "-n", address]
        with netns.entered(space):
            return process.run(command, check=False).returncode == 0

    to_workload = dataclasses.replace(site.pair("open/alone open/alone tcp/22"), space=space)
    return {
        "it a workload": attempt([to_workload], 1.0)[0].connected,
        "it the host": pings("192.168.77.1"),
        "it the gateway": pings("169.254.1.1"),
        "it a host outside": pings(site.addresses["tor-rack-a"]),
        "a workload it": site.pings("open/alone", STRAY),
        "the host it": site.pings(host, STRAY),
    }


@pytest.mark.parametrize(("name", "reached"), [("cable0", True), ("tor0stray", False)])
def test_an_interface_of_ours_that_no_resource_speaks_for_is_dropped_both_ways(
    tenancy: Site, name: str, reached: bool
) -> None:
    """The same cable under another name works, but for what lies behind routers."""
    with plugged(tenancy, "a2", name) as space:
        found = reached_over(tenancy, space, "a2")
    # The router knows no way back to the cable.
    assert found == dict.fromkeys(found, reached) | {"it a host outside": False}
