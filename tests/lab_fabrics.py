"""The routers and speakers of a lab as the model of BGP sees them, and what kernels really have."""

from __future__ import annotations

import ipaddress
import json

from bgp_model import Neighbour, Speaker, Tables, expected
from lab_rig import RunningLab

from tortie.kernel import netns, process
from tortie.lab import speakers
from tortie.lab.plan import Plan, Router
from tortie.lab.routers import DEFAULTS
from tortie.model import kinds

DEFAULT = frozenset(DEFAULTS.values())


def wanted(lab: RunningLab) -> Tables:
    """What each node, router and speaker should know, by the resources in the lab's store."""
    with lab.store() as store:
        resources = [kinds.decode(entry.value) for entry in store.list(kinds.WORLD).entries]
    plan = lab.lab.plan
    others = [_router(plan, each) for each in plan.routers]
    others += [_speaker(plan, each) for each in plan.speakers]
    return expected(resources, others)


def _router(plan: Plan, router: Router) -> Speaker:
    speech = router.speech
    own = frozenset(speech.originate)
    clients = {each.address for each in speech.sessions if each.client}

    def takes(_: Neighbour, prefix: str) -> bool:
        return prefix not in own and prefix not in DEFAULT

    def tells(neighbour: Neighbour, prefix: str) -> bool:
        return prefix not in (own if neighbour.address in clients else DEFAULT)

    lengths = {router.address: router.subnet, router.address6: router.subnet6}
    addresses = [f"{a}/{subnet.partition('/')[2]}" for a, subnet in lengths.items() if a and subnet]
    links = {each.own for each in speech.sessions if not each.client}
    addresses += [f"{each}/{127 if ':' in each else 31}" for each in sorted(links)]
    return Speaker(
        name=router.name,
        as_number=speech.as_number,
        addresses=tuple(addresses),
        neighbours=tuple(
            Neighbour(each.address, each.as_number, each.client, "ebgp" if each.client else "auto")
            for each in speech.sessions
        ),
        announces=(*speech.originate, *(DEFAULTS[family] for family in speech.families)),
        cluster_id=speech.router_id,
        takes=takes,
        tells=tells,
    )


def _speaker(plan: Plan, speaker: speakers.Speaker) -> Speaker:
    router = next(each for each in plan.routers if each.rack == speaker.rack)
    subnets = {4: router.subnet, 6: router.subnet6 or ""}
    return Speaker(
        name=speaker.name,
        as_number=speaker.as_number,
        addresses=tuple(
            f"{address}/{subnets[family].partition('/')[2]}"
            for family, address in speaker.addresses.items()
        ),
        neighbours=tuple(
            Neighbour(address, speaker.rack_as, speaker.reflector)
            for hosts in speaker.hosts.values()
            for address in hosts
        ),
        announces=speaker.originate,
        cluster_id=speaker.addresses[4] if speaker.reflector else "",
    )


def differences(lab: RunningLab) -> dict[str, dict[str, object]]:
    """Where a kernel's table is not what it should be: (expected, found) by place and prefix."""
    should, has = wanted(lab), in_kernels(lab.lab.plan)
    found = {
        place: {
            prefix: (should[place].get(prefix), table.get(prefix))
            for prefix in should[place].keys() | table.keys()
            if not _same(should[place].get(prefix), table.get(prefix))
        }
        for place, table in has.items()
    }
    return {place: wrong for place, wrong in found.items() if wrong}


def gobgp_differences(lab: RunningLab) -> dict[str, object]:
    """Where GoBGP's own table is not what it should have learnt: (expected, found) by speaker."""
    should, found = wanted(lab), {}
    for each in lab.lab.plan.speakers:
        if each.kind == "gobgp":
            known = {prefix for family in lab.lab.plan.families for prefix in _rib(each, family)}
            meant = should[each.name].keys() | set(each.originate)
            if known != meant:
                found[each.name] = (meant - known, known - meant)
    return found


def _rib(speaker: speakers.Speaker, family: int) -> set[str]:
    port = str(speakers.GOBGP_PORT)
    command = ["gobgp", "-p", port, "-j", "global", "rib", "-a", f"ipv{family}"]
    with netns.entered(speaker.space):
        shown = process.run(command, check=False).stdout
    return set(json.loads(shown or "{}"))


def _same(wanted: set[str] | None, found: set[str] | None) -> bool:
    """FRR sets neighbours' link-local addresses where the model has their global ones."""
    if wanted and found and all(each.startswith("fe80:") for each in found):
        return len(wanted) == len(found)
    return wanted == found


def in_kernels(plan: Plan) -> Tables:
    """What BGP has put into the kernels of hosts and routers."""
    spaces = {each.name: each.space for each in (*plan.hosts, *plan.routers)}
    return {name: _of(space, plan) for name, space in spaces.items()}


def _of(space: str, plan: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in plan.families:
        for route in _routes(space, family):
            if route.get("protocol") not in ("bird", "bgp"):
                continue
            text = DEFAULTS[family] if route["dst"] == "default" else str(route["dst"])
            hops = route.get("nexthops") or [route]
            gateways = {str(hop.get("gateway", "")) for hop in hops}
            found[str(ipaddress.ip_network(text))] = gateways
    return found


def _routes(space: str, family: int) -> list[dict]:
    with netns.entered(space):
        shown = process.run(["ip", "-json", f"-{family}", "route", "show"]).stdout
    routes: list[dict] = json.loads(shown or "[]")
    return routes
