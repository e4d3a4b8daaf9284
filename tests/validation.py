"""Resources from short data, and what validation says of them."""

from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.decode import decode
from tortie.model.validate import validate

Data = dict[str, object]


def make(
    kind: str,
    spec: Data | None = None,
    name: str = "x",
    top: Data | None = None,
    **metadata: object,
) -> r.Resource:
    """A resource; `top` are its fields beside metadata and spec."""
    row = kinds.BY_NAME[kind]
    data: Data = {
        "kind": kind,
        "apiVersion": row.api_version,
        "metadata": {"name": name, **metadata},
        **(top or {}),
    }
    if spec is not None:
        data["spec"] = spec
    value, problems = decode(data, row.type)
    assert value is not None, problems
    return value


def faults(resource: r.Resource) -> list[tuple[str, str]]:
    return [(problem.path, str(problem)) for problem in validate(resource)]


def expect(resource: r.Resource, path: str, says: str) -> None:
    found = faults(resource)
    assert [place for place, _ in found] == [path], found
    assert says in found[0][1]


def rule(**fields: object) -> Data:
    """The spec of a policy or profile with one ingress rule."""
    return {"ingress": [{"action": "Allow", **fields}]}


PORT: Data = {"name": "http", "protocol": "TCP", "port": 80}
PEER: Data = {"peerIP": "10.0.0.1", "asNumber": 65001}


def workload(**fields: object) -> r.Resource:
    """A workload endpoint with these fields besides the necessary ones."""
    spec = {"node": "a1", "orchestrator": "lab", "workload": "web", "endpoint": "eth0",
            "interfaceName": "tor1", **fields}  # fmt: skip
    return make("WorkloadEndpoint", spec, name="a1-lab-web-eth0")
