"""The rival: iptables (legacy) and ipset in the shape that Calico's Felix gives them.

Rule for rule what Felix renders for a host with one workload, in raw and filter: the dispatch, the
chains of the endpoint, a group of policies that select the same endpoints (with its return after
every fifth), one chain for each policy and direction, accept by mark. Left out, in its favour: its
mangle and nat tables, host endpoints with rules, rule comments.
"""

from __future__ import annotations

from bench.policies import PORTS, Team, last, teams
from tortie.kernel import process

INTERFACE = "calibench"
ACCEPT, PASS, FROM_WORKLOAD = "0x10000", "0x20000", "0x40000"
BOTH = "0x30000"
_PORTS = ",".join(map(str, PORTS))
_CLEAR_ACCEPT = f"-j MARK --set-xmark 0x0/{ACCEPT}"

RAW = f"""\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -j MARK --set-xmark {FROM_WORKLOAD}/{FROM_WORKLOAD}
-A cali-PREROUTING -m mark --mark {FROM_WORKLOAD}/{FROM_WORKLOAD} -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m mark --mark 0x0/{FROM_WORKLOAD} -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark {ACCEPT}/{ACCEPT} -j ACCEPT
COMMIT
"""  # noqa: E501

FORWARD = (
    "-A FORWARD -j cali-FORWARD",
    f"-A FORWARD -m mark --mark {ACCEPT}/{ACCEPT} -j ACCEPT",
    "-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000",
    f"-A cali-FORWARD -m mark --mark 0x0/{ACCEPT} -j cali-from-hep-forward",
    "-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch",
    "-A cali-FORWARD -o cali+ -j cali-to-wl-dispatch",
    "-A cali-FORWARD -j cali-to-hep-forward",
    "-A cali-FORWARD -j cali-cidr-block",
    f"-A cali-from-wl-dispatch -i {INTERFACE} -g cali-fw-{INTERFACE}",
    "-A cali-from-wl-dispatch -j DROP",
    f"-A cali-to-wl-dispatch -o {INTERFACE} -g cali-tw-{INTERFACE}",
    "-A cali-to-wl-dispatch -j DROP",
)
EMPTY = ("cali-from-hep-forward", "cali-to-hep-forward", "cali-cidr-block")


def install(amount: int, allowed: bool = True) -> None:
    """Load sets and rules for so many policies into the calling thread's namespace."""
    others = teams(amount)
    source, target = last(allowed)
    incoming, outgoing = [*others, source], [*others, target]
    process.run(["ipset", "restore"], stdin=sets([*others, source, target]))
    text = RAW + filter_table(incoming, outgoing)
    process.run(["iptables-legacy-restore", "-w"], stdin=text)


def sets(wanted: list[Team]) -> str:
    """Input of `ipset restore`: one set for each selector, of the type that Felix uses."""
    lines = []
    for each in wanted:
        lines.append(f"create {_set(each)} hash:net family inet maxelem 1048576")
        lines += [f"add {_set(each)} {member}" for member in each.members]
    return "\n".join(lines) + "\n"


def filter_table(incoming: list[Team], outgoing: list[Team]) -> str:
    """Input of `iptables-restore`: policies in order, for each direction."""
    rules = [
        *FORWARD,
        *_endpoint(f"cali-tw-{INTERFACE}", "cali-gi-bench", "cali-pri-bench", ()),
        *_endpoint(
            f"cali-fw-{INTERFACE}",
            "cali-go-bench",
            "cali-pro-bench",
            ("-p udp -m multiport --dports 4789 -j DROP", "-p 4 -j DROP"),
        ),
    ]
    for way, word, members in (("i", "src", incoming), ("o", "dst", outgoing)):
        names = [f"cali-p{way}-p{index:04d}" for index in range(len(members))]
        rules += _group(f"cali-g{way}-bench", names)
        for name, team in zip(names, members, strict=True):
            rules += _policy(name, team, word)
    made = sorted({rule.split()[1] for rule in rules} - {"FORWARD"})
    chains = [f":{name} - [0:0]" for name in (*made, *EMPTY, "cali-pri-bench", "cali-pro-bench")]
    heads = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    return "\n".join([*heads, *chains, *rules, "COMMIT\n"])


def _set(team: Team) -> str:
    return f"cali40s-{team.label}-{team.value}"


def _endpoint(name: str, group: str, profile: str, more: tuple[str, ...]) -> list[str]:
    return [
        f"-A {name} {rest}"
        for rest in (
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m conntrack --ctstate INVALID -j DROP",
            _CLEAR_ACCEPT,
            *more,
            f"-j MARK --set-xmark 0x0/{PASS}",
            f"-m mark --mark 0x0/{PASS} -j {group}",
            f"-m mark --mark {ACCEPT}/{ACCEPT} -j RETURN",
            f"-m mark --mark 0x0/{PASS} -j DROP",
            f"-j {profile}",
            f"-m mark --mark {ACCEPT}/{ACCEPT} -j RETURN",
            "-j DROP",
        )
    ]


def _group(name: str, policies: list[str]) -> list[str]:
    """Felix's group chain: a return every five jumps instead of one after each."""
    lines = []
    for index, policy in enumerate(policies):
        if index % 5 == 0:
            if index:
                lines.append(f"-A {name} -m mark ! --mark 0x0/{BOTH} -j RETURN")
            lines.append(f"-A {name} -j {policy}")
        else:
            lines.append(f"-A {name} -m mark --mark 0x0/{BOTH} -j {policy}")
    return lines


def _policy(name: str, team: Team, word: str) -> list[str]:
    match = f"-p tcp -m set --match-set {_set(team)} {word} -m multiport --dports {_PORTS}"
    return [
        f"-A {name} {match} -j MARK --set-xmark {ACCEPT}/{ACCEPT}",
        f"-A {name} -m mark --mark {ACCEPT}/{ACCEPT} -j RETURN",
    ]
