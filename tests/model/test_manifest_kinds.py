"""Manifests in the style of Kubernetes' and Calico's documentation: read, kept, written, read."""

import pytest
import yaml

from tortie.errors import InvalidInput
from tortie.model import kinds, manifest
from tortie.model import resources as r

KUBERNETES = "networking.k8s.io/v1"
WHOLE = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: test-network-policy
  namespace: default
spec:
  podSelector:
    matchLabels:
      role: db
  policyTypes:
  - Ingress
  - Egress
  ingress:
  - from:
    - ipBlock:
        cidr: 172.17.0.0/16
        except:
        - 172.17.1.0/24
    - namespaceSelector:
        matchLabels:
          project: myproject
    - podSelector:
        matchLabels:
          role: frontend
    ports:
    - protocol: TCP
      port: 6379
  egress:
  - to:
    - ipBlock:
        cidr: 10.0.0.0/24
    ports:
    - protocol: TCP
      port: 5978
"""
RANGE = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: multi-port-egress
  namespace: default
spec:
  podSelector:
    matchLabels:
      role: db
  policyTypes:
    - Egress
  egress:
    - to:
        - ipBlock:
            cidr: 10.0.0.0/24
      ports:
        - protocol: TCP
          port: 32000
          endPort: 32768
"""
BOTH_SELECTORS = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress-namespaces}
spec:
  podSelector:
    matchLabels: {app: myapp}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector:
        matchExpressions:
        - key: namespace
          operator: In
          values: ["frontend", "backend"]
      podSelector:
        matchLabels: {role: client}
"""
DENY_ALL = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny-ingress
spec:
  podSelector: {}
  policyTypes:
  - Ingress
"""
ALLOW_ALL = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-all-egress
spec:
  podSelector: {}
  egress:
  - {}
  policyTypes:
  - Egress
"""
FROM_SERVER = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy"}
  creationTimestamp: "2024-05-01T10:00:00Z"
  generation: 1
  name: web
  namespace: shop
  resourceVersion: "1234"
  uid: 0e6f8d3a-0000-4000-8000-000000000000
  managedFields:
  - manager: kubectl
    operation: Update
spec:
  ingress:
  - from:
    - podSelector: {}
    ports:
    - port: http
      protocol: TCP
  podSelector: {}
  policyTypes:
  - Ingress
status: {}
"""
ADMIN = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata:
  name: cluster-wide-deny-example
spec:
  priority: 10
  subject:
    namespaces:
      matchLabels:
        kubernetes.io/metadata.name: sensitive-ns
  tier: Admin
  ingress:
  - action: Deny
    from:
    - namespaces:
        matchLabels: {}
    name: select-all-deny-all
  egress:
  - action: Accept
    name: dns
    to:
    - pods:
        namespaceSelector:
          matchLabels: {kubernetes.io/metadata.name: kube-system}
        podSelector:
          matchLabels: {k8s-app: kube-dns}
    protocols:
    - udp: {destinationPort: {number: 53}}
    - tcp: {destinationPort: {range: {start: 8000, end: 8080}}}
    - destinationNamedPort: dns
  - action: Pass
    to:
    - networks: [10.0.0.0/8, "fd00::/8"]
    - nodes: {}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector:
    app.kubernetes.io/name: MyApp
  ports:
  - name: http
    protocol: TCP
    port: 80
    targetPort: 9376
    appProtocol: kubernetes.io/h2c
  - name: https
    port: 443
    targetPort: https
  clusterIP: 10.96.0.10
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
status: {loadBalancer: {}}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: example-abc
  labels:
    kubernetes.io/service-name: example
addressType: IPv4
ports:
- name: http
  protocol: TCP
  port: 80
endpoints:
- addresses:
  - "10.1.2.3"
  conditions:
    ready: true
  hostname: pod-1
  nodeName: node-1
  zone: us-west2-a
"""
SETTINGS = """\
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec:
  defaultEndpointToHostAction: Return
  failsafeInboundHostPorts:
  - {protocol: tcp, port: 22}
  - {protocol: udp, port: 68, net: 10.0.0.0/8}
  failsafeOutboundHostPorts: []
"""
STAGED = """\
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: default.allow-tcp-6379, namespace: production}
spec:
  stagedAction: Set
  tier: default
  selector: role == 'database'
  types: [Ingress, Egress]
  ingress:
  - action: Allow
    metadata: {annotations: {from: frontend}}
    protocol: TCP
    source: {selector: role == 'frontend'}
    destination: {ports: [6379]}
  egress:
  - action: Allow
"""
STAGED_GLOBAL = """\
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: drop}
spec: {stagedAction: Delete}
"""
STAGED_KUBERNETES = """\
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - from: [{podSelector: {}}]
"""
WITH_SERVICE = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: allow-frontend-service-access, annotations: {tortie.dev/revoke: "true"}}
spec:
  selector: all()
  egress:
  - action: Allow
    destination:
      services: {name: frontend-service, namespace: frontend-ns}
"""
LIMITED = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: a1-k8s-web-eth0
  namespace: shop
  labels:
    projectcalico.org/namespace: shop
    projectcalico.org/orchestrator: k8s
    projectcalico.org/serviceaccount: default
spec:
  node: a1
  orchestrator: k8s
  pod: web
  endpoint: eth0
  serviceAccountName: default
  interfaceName: tor1
  qosControls: {ingressMaxConnections: 100, egressMaxConnections: 4294967295}
"""

READ = {
    "the whole": (WHOLE, r.KubernetesNetworkPolicy),
    "a range": (RANGE, r.KubernetesNetworkPolicy),
    "both selectors": (BOTH_SELECTORS, r.KubernetesNetworkPolicy),
    "deny all": (DENY_ALL, r.KubernetesNetworkPolicy),
    "allow all": (ALLOW_ALL, r.KubernetesNetworkPolicy),
    "from a server": (FROM_SERVER, r.KubernetesNetworkPolicy),
    "admin": (ADMIN, r.ClusterNetworkPolicy),
    "service": (SERVICE, r.Service),
    "slice": (SLICE, r.EndpointSlice),
    "settings": (SETTINGS, r.FelixConfiguration),
    "staged": (STAGED, r.StagedNetworkPolicy),
    "staged for the cluster": (STAGED_GLOBAL, r.StagedGlobalNetworkPolicy),
    "staged as Kubernetes has it": (STAGED_KUBERNETES, r.StagedKubernetesNetworkPolicy),
    "a rule with a service": (WITH_SERVICE, r.NetworkPolicy),
    "limited connections": (LIMITED, r.WorkloadEndpoint),
}


def one(text: str) -> r.Resource:
    (loaded,) = manifest.load(text, "f.yaml")
    return loaded.resource


@pytest.mark.parametrize(("text", "type_"), READ.values(), ids=READ)
def test_what_the_documentation_teaches_is_read_kept_and_written_again(
    text: str, type_: type[r.Resource]
) -> None:
    found = one(text)
    assert isinstance(found, type_)
    written = manifest.to_yaml([manifest.plain(found)])
    assert one(written) == found
    assert kinds.decode(kinds.encode(found)) == found
    said, given = yaml.safe_load(written), yaml.safe_load(text)
    assert [said["apiVersion"], said["kind"]] == [given["apiVersion"], given["kind"]]


@pytest.mark.parametrize("text", [WHOLE, RANGE, DENY_ALL, ALLOW_ALL])
def test_a_policy_of_kubernetes_is_written_as_it_was(text: str) -> None:
    said, given = manifest.plain(one(text)), yaml.safe_load(text)
    given["metadata"]["namespace"] = "default"
    for rule in (*given["spec"].get("ingress", ()), *given["spec"].get("egress", ())):
        for port in rule.get("ports", ()):
            del port["protocol"]  # TCP is what a port is of if nothing is said
    assert said == given


def test_what_a_server_wrote_is_left_out() -> None:
    assert manifest.plain(one(FROM_SERVER)) == {
        "apiVersion": KUBERNETES,
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "annotations": yaml.safe_load(FROM_SERVER)["metadata"]["annotations"],
        },
        "spec": {
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": "http"}]}],
            "podSelector": {},
            "policyTypes": ["Ingress"],
        },
    }


def test_a_policy_that_says_nothing_selects_all_pods_and_says_so() -> None:
    text = f"apiVersion: {KUBERNETES}\nkind: NetworkPolicy\nmetadata: {{name: x}}\n"
    assert manifest.plain(one(text))["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


# --- one name, two kinds -----------------------------------------------------------------------

CALICOS = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web}\n"
THEIRS = f"apiVersion: {KUBERNETES}\nkind: NetworkPolicy\nmetadata: {{name: web}}\n"


def test_two_kinds_of_one_name_live_side_by_side() -> None:
    ours, theirs = (each.resource for each in manifest.load(f"{CALICOS}---\n{THEIRS}", "f.yaml"))
    assert isinstance(ours, r.NetworkPolicy)
    assert isinstance(theirs, r.KubernetesNetworkPolicy)
    assert kinds.key(ours) == "/tortie/v1/world/networkpolicies/default/web"
    assert kinds.key(theirs) == "/tortie/v1/world/kubernetesnetworkpolicies/default/web"


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        manifest.load(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


SAID = [
    (f"{THEIRS}---\n{THEIRS}", 'NetworkPolicy "web" is there twice, first at f.yaml:1'),
    (THEIRS.replace("{name: web}", "{namespace: a}"), "metadata.name: this field is missing"),
    (f"{THEIRS}spec: {{selector: all()}}\n", "did you mean podSelector?"),
    (f"{CALICOS}spec: {{podSelector: {{}}}}\n", 'there is no field "podSelector" here'),
]


@pytest.mark.parametrize(("text", "says"), SAID)
def test_messages_call_it_what_people_call_it(text: str, says: str) -> None:
    (said,) = problems(text)
    assert says in said
    assert "KubernetesNetworkPolicy" not in said


def test_lists_of_both_are_taken_apart() -> None:
    for version in ("projectcalico.org/v3", KUBERNETES):
        text = (
            f"apiVersion: {version}\nkind: NetworkPolicyList\nitems:\n"
            f"- apiVersion: {version}\n  kind: NetworkPolicy\n  metadata: {{name: web}}\n"
        )
        assert manifest.plain(one(text))["apiVersion"] == version


ALL_WRONG = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: Web}
spec:
  podSelector: {matchLabels: {a: "b c"}}
  policyTypes: [ingress]
  ingress:
  - from:
    - {podSelector: 7}
    - {ipBlock: {cidr: 10.0.0.1}}
  - ports:
    - {port: 80, endPort: 79}
    - {protocol: tcp}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: x}
spec:
  tier: admin
  priority: 2000
  subject: {}
  ingress:
  - {action: Allow, from: []}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: x}
addressType: IPv5
endpoints:
- {addresses: [fd00::1]}
ports: [{port: 0}]
---
apiVersion: v1
kind: Service
metadata: {name: x}
spec: {type: Loadbalancer, externalName: a.b, selector: {a: "b c"}}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: a1}
spec:
  bpfEnabled: false
  vxlanPort: 0
"""


def test_all_faults_are_told_at_once_and_none_that_comes_from_another() -> None:
    with pytest.raises(InvalidInput) as caught:
        manifest.load(ALL_WRONG, "f.yaml")
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (3, "metadata.name"),
        (5, "spec.podSelector.matchLabels.a"),
        (6, "spec.policyTypes[0]"),
        (9, "spec.ingress[0].from[0].podSelector"),
        (10, "spec.ingress[0].from[1].ipBlock.cidr"),
        (12, "spec.ingress[1].ports[0].endPort"),
        (13, "spec.ingress[1].ports[1].protocol"),
        (19, "spec.tier"),
        (20, "spec.priority"),
        (21, "spec.subject"),
        (23, "spec.ingress[0].action"),
        (23, "spec.ingress[0].from"),
        (28, "addressType"),
        (31, "ports[0].port"),
        (36, "spec.type"),
        (36, "spec.selector.a"),
        (40, "metadata.name"),
        (42, "spec.bpfEnabled"),
        (43, "spec.vxlanPort"),
    ]


def test_calicos_settings_take_their_words_in_any_case():
    text = """\
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {iptablesBackend: nft, nftablesMode: disabled, defaultEndpointToHostAction: ACCEPT,
  floatingIPs: disabled, natOutgoingExclusions: ippoolsandhostips}
"""
    (loaded,) = manifest.load(text, "felix.yaml")
    spec = loaded.resource.spec
    words = (spec.iptables_backend, spec.nftables_mode, spec.default_endpoint_to_host_action)
    assert words == ("NFT", "Disabled", "Accept")
    assert (spec.floating_ips, spec.nat_outgoing_exclusions) == ("Disabled", "IPPoolsAndHostIPs")
