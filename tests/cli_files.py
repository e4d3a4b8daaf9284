"""Resources as files, for the tests of the command line."""

NODE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: %s, labels: {rack: r1}}
spec: {bgp: {ipv4Address: 172.16.1.%s/24, asNumber: 65001}}
---
"""

POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: %s, namespace: %s, labels: {team: %s}}
spec: {selector: role == 'web', ingress: [{action: Allow}]}
---
"""

POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.65.0.0/16}
---
"""

ENDPOINT = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: a1-lab-%s-eth0, namespace: shop, labels: {role: %s}}
spec:
  {node: a1, orchestrator: lab, workload: %s, endpoint: eth0, interfaceName: tor%s,
   ipNetworks: [10.65.0.%s/32]}
---
"""

TIER = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: security.block, namespace: shop}
spec: {tier: security, selector: all(), ingress: [{action: Deny}]}
---
"""

WORLD = (
    NODE % ("a1", 11)
    + NODE % ("a2", 12)
    + POOL
    + ENDPOINT % ("web", "web", "web", 1, 1)
    + ENDPOINT % ("api", "api", "api", 2, 2)
    + POLICY % ("open", "shop", "payments")
    + POLICY % ("open", "bank", "risk")
)
