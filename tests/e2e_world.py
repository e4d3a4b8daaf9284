"""The data centre that policies are tried in: tenants, and targets each behind a policy of its own.

Everything in the namespace `rules` is open but for its policy. The clients are red (a1), blue (b1)
and, in another namespace, green (a2).
"""

RED, BLUE, GREEN = "10.65.200.1", "10.65.201.1", "10.65.202.1"

_LAB = """\
apiVersion: tortie.dev/v1
kind: Lab
metadata: {name: world}
spec:
  store: STORE
  racks: [{name: rack-a, hosts: [a1, a2]}, {name: rack-b, hosts: [b1, b2]}]
  outside: [{name: internet, serve: [tcp/443, udp/53]}]
  workloads:
  - {name: web, namespace: shop, host: a1, labels: {role: web}, serve: [tcp/80, udp/53]}
  - {name: db, namespace: shop, host: b1, labels: {role: db}, serve: [tcp/5432]}
  - {name: ledger, namespace: bank, host: a1, labels: {role: db}, serve: [tcp/5432, udp/53]}
  - {name: teller, namespace: bank, host: b2, serve: [tcp/443]}
  - {name: kiosk, namespace: market, host: a2, serve: [tcp/80]}
  - {name: stall, namespace: market, host: b1, serve: [tcp/80]}
  - {name: vault, namespace: shut, host: b2, serve: [tcp/80]}
  - {name: guard, namespace: shut, host: a1, serve: [tcp/80]}
  - {name: red, namespace: rules, host: a1, labels: {colour: red}, addresses: [10.65.200.1],
     serve: [tcp/80]}
  - {name: blue, namespace: rules, host: b1, labels: {colour: blue}, addresses: [10.65.201.1],
     serve: [tcp/80, tcp/81]}
  - {name: green, namespace: friends, host: a2, labels: {colour: green}, addresses: [10.65.202.1],
     serve: [tcp/80]}
"""

_TARGET = """\
  - {name: NAME, namespace: rules, host: HOST, labels: {target: NAME}, serve: [SERVE]}
"""
_NAMED = """\
  - {name: named, namespace: rules, host: a2, labels: {target: named}, serve: [tcp/80, tcp/8080],
     ports: [{name: http, protocol: TCP, port: 8080}]}
"""
_NAMESPACES = """\
---
apiVersion: v1
kind: Namespace
metadata: {name: market, annotations: {tortie.dev/default: open}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shut, annotations: {tortie.dev/default: isolated}}
---
apiVersion: v1
kind: Namespace
metadata: {name: rules, annotations: {tortie.dev/default: open}}
---
apiVersion: v1
kind: Namespace
metadata: {name: friends, annotations: {tortie.dev/default: open}, labels: {team: friends}}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: partners, labels: {kind: partners}}
spec: {nets: [10.65.201.0/26]}
"""

# Target: what it serves, and the specs of its policies.
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "first": ("tcp/80", ("""{order: 10, ingress: [{action: Allow, source: {selector: RED}},
        {action: Deny}, {action: Allow, source: {selector: BLUE}}]}""",)),
    "denied": ("tcp/80", ("{order: 20, ingress: [{action: Allow}]}",
                          "{order: 10, ingress: [{action: Deny, source: {selector: RED}}]}")),
    "admitted": ("tcp/80", ("{order: 20, ingress: [{action: Deny, source: {selector: RED}}]}",
                            "{order: 10, ingress: [{action: Allow}]}")),
    "silent": ("tcp/80", ("{types: [Ingress]}",)),
    "logged": ("tcp/80", ("{ingress: [{action: Log}, {action: Allow, source: {selector: RED}}]}",)),
    "passed": ("tcp/80", ("{ingress: [{action: Pass, source: {selector: RED}}]}",)),
    "tiered": ("tcp/80", ("""{tier: security, ingress: [{action: Deny, source: {selector: RED}},
        {action: Pass}]}""", "{ingress: [{action: Allow}]}")),
    "ports": ("tcp/80, tcp/81, tcp/8001, tcp/8003, udp/80", ("""{ingress: [
        {action: Allow, protocol: TCP, destination: {ports: [80, '8000:8002']}}]}""",)),
    "other-ports": ("tcp/80, tcp/81, udp/81", ("""{ingress: [
        {action: Allow, protocol: TCP, destination: {notPorts: [81]}}]}""",)),
    "nets": ("tcp/80", ("{ingress: [{action: Allow, source: {nets: [10.65.200.0/26]}}]}",)),
    "other-nets": ("tcp/80", ("""{ingress: [
        {action: Allow, source: {notNets: [10.65.200.1/32]}}]}""",)),
    "friendly": ("tcp/80", ("""{ingress: [
        {action: Allow, source: {namespaceSelector: team == 'friends'}}]}""",)),
    "chosen": ("tcp/80", ("""{ingress: [{action: Allow, source:
        {selector: "colour in {'red', 'blue'} && !has(target)",
        notSelector: colour == 'blue'}}]}""",)),
    "partnered": ("tcp/80", ("""GLOBAL {ingress: [
        {action: Allow, source: {selector: kind == 'partners'}}]}""",)),
    "datagrams": ("udp/53, tcp/53", ("""{ingress: [
        {action: Allow, protocol: UDP, destination: {ports: [53]}}]}""",)),
    "echoing": ("tcp/80", ("{ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}]}",)),
    "mute": ("tcp/80", ("""{ingress: [{action: Deny, protocol: ICMP, icmp: {type: 8}},
        {action: Allow}]}""",)),
    "jailed": ("tcp/80", ("""{types: [Egress], egress: [{action: Allow, protocol: TCP,
        destination: {selector: colour == 'blue', ports: [80]}}]}""",)),
    "named": ("", ("{ingress: [{action: Allow, protocol: TCP, destination: {ports: [http]}}]}",)),
    "admin": ("tcp/80", ("{types: [Egress], egress: [{action: Allow}]}",)),
}  # fmt: skip


def world(store: str) -> str:
    """The lab's file."""
    lab = _LAB.replace("STORE", store)
    documents = []
    for index, (name, (serve, policies)) in enumerate(TARGETS.items()):
        if serve:
            target = _TARGET.replace("NAME", name).replace("SERVE", serve)
            lab += target.replace("HOST", ("b2", "a2", "a1")[index % 3])
        documents += [_policy(name, number, spec) for number, spec in enumerate(policies)]
    return lab + _NAMED + _NAMESPACES + "".join(documents)


def _policy(target: str, number: int, spec: str) -> str:
    kind, namespace = "NetworkPolicy", ", namespace: rules"
    if spec.startswith("GLOBAL "):
        kind, namespace, spec = "GlobalNetworkPolicy", "", spec.removeprefix("GLOBAL ")
    tier = "security." if "tier:" in spec else ""
    spec = spec.replace("RED", "colour == 'red'").replace("BLUE", "colour == 'blue'")
    return f"""\
---
apiVersion: projectcalico.org/v3
kind: {kind}
metadata: {{name: {tier}{target}-{number}{namespace}}}
spec: {{selector: "target == '{target}'", {spec[1:]}
"""
