"""Files of resources: every object of a file, or everything that is wrong with the file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from tortie.errors import InvalidInput, Problem
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.decode import child, decode, mended
from tortie.model.reader import Document, read, to_yaml
from tortie.model.validate import normalise, validate
from tortie.model.validate_secret import discreet, shown
from tortie.model.validate_settings import foreign, spelled
from tortie.model.words import did_you_mean, quote

__all__ = ["Document", "Loaded", "documents", "load", "load_documents", "plain", "to_yaml"]

# Kinds that Calico or Kubernetes has and this version has not: naming a near one would mislead.
NOT_YET = frozenset(
    (
        "CalicoNodeStatus", "KubeControllersConfiguration",
        "Pod", "Deployment", "ConfigMap", "ServiceAccount",
    )
)  # fmt: skip
# Kinds that another one has replaced.
INSTEAD = {
    "AdminNetworkPolicy": "write it as a ClusterNetworkPolicy of tier Admin",
    "BaselineAdminNetworkPolicy": "write it as a ClusterNetworkPolicy of tier Baseline",
    "Endpoints": "write it as an EndpointSlice",
    "Lab": "`tortie lab up` takes it",
}


# A rule; of Kubernetes' rules one peer, port or protocol.
_RULE = re.compile(
    r"(spec\.(?:ingress|egress|(?:im|ex)portV[46])\[[0-9]+\](?:\.(?:from|to|ports|protocols)\[[0-9]+\])?)(.*)"
)
# A fault in these parts of a rule says nothing of its other parts; one elsewhere (in the protocol,
# say) may make a false fault of what depends on it.
_ALONE = re.compile(r"\.(?:action$|metadata|source\.|destination\.)")
# Where a fault is told that may come from a fault elsewhere: by kind, the path, and where.
_DEPENDENT = {
    "HostEndpoint": (("spec.interfaceName", "spec.expectedIPs"),),
    "GlobalNetworkPolicy": (
        ("spec.doNotTrack", "spec"),
        ("spec.preDNAT", "spec"),
    ),
    "IPPool": (("spec.cidr", "spec.blockSize"), ("spec.cidr", "spec.disabled")),
    "WorkloadEndpoint": (("metadata.name", "spec"), ("spec.ipNATs", "spec.ipNetworks")),
    "BGPConfiguration": (
        ("spec", "metadata.name"),
        ("spec.prefixAdvertisements", "spec.communities"),
        ("spec.communities", "spec.prefixAdvertisements"),
    ),
    "BGPPeer": (("spec.reachableBy", "spec.peerIP"),),
    "IPAMConfiguration": (
        ("spec.maxBlocksPerHost", "spec.strictAffinity"),
        ("spec.autoAllocateBlocks", "spec.strictAffinity"),
    ),
    "FelixConfiguration": (("spec", "metadata.name"),),
    "Service": (("spec.ports", "spec.type"), ("spec.externalName", "spec.type")),
    "EndpointSlice": (("endpoints", "addressType"),),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid resource in its one spelling, and where it was read (`line` from 1)."""

    resource: r.Resource
    file: str
    line: int
    document: Document = field(compare=False, repr=False)
    """what it was made from: tells the line of a field"""


def load(text: str | bytes, file: str, extra: Collection[str] = ()) -> list[Loaded]:
    """Every resource of a file of YAML documents or JSON, lists of kind List taken apart.

    `extra` names kinds that only Tortie writes and that this caller may read too. Nothing in the
    file (or only comments): an empty list. Raises InvalidInput with every problem of the file.
    """
    found, problems = read(text, file)
    loaded, more = _load(found, extra)
    if problems or more:
        raise InvalidInput(sorted((*problems, *more), key=lambda problem: problem.line))
    return loaded


def documents(text: str | bytes, file: str) -> list[Document]:
    """The documents as plain data, for who takes some out before `load_documents`.

    Raises InvalidInput if the text is not YAML or JSON, or says a key twice.
    """
    found, problems = read(text, file)
    if problems:
        raise InvalidInput(problems)
    return found


def load_documents(found: Iterable[Document], extra: Collection[str] = ()) -> list[Loaded]:
    """As `load`, from documents. Raises InvalidInput with every problem of all of them."""
    loaded, problems = _load(found, extra)
    if problems:
        raise InvalidInput(problems)
    return loaded


def plain(resource: r.Resource) -> dict[str, object]:
    """The resource as people write it: apiVersion, kind, metadata, spec; defaults left out.

    What a Secret holds is never in it: only its keys are.
    """
    data: dict[str, object] = msgspec.to_builtins(resource)
    if isinstance(resource, r.Secret):
        data = shown(data)
    spec = data.get("spec")
    if isinstance(spec, dict) and isinstance(order := spec.get("order"), float):
        spec["order"] = int(order) if order.is_integer() and abs(order) < 2**63 else order
    if isinstance(resource, r.KubernetesNetworkPolicy):
        # Kubernetes asks for it even if it is empty.
        data["spec"] = {"podSelector": {}, **(spec if isinstance(spec, dict) else {})}
    version, kind = data.pop("apiVersion"), kinds.kind_of(resource).word
    return {"apiVersion": version, **data, "kind": kind}


# --- one document -----------------------------------------------------------------------------


def _load(found: Iterable[Document], extra: Collection[str]) -> tuple[list[Loaded], list[Problem]]:
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    seen: dict[str, Loaded] = {}
    for document in _items(found, problems):
        resource, wrong = _resource(document.data, extra)
        problems.extend(document.problem(problem) for problem in wrong)
        if resource is None:
            continue
        one = Loaded(resource, document.file, document.line, document)
        before = seen.setdefault(kinds.key(resource), one)
        if before is not one:
            where = f"{before.file}:{before.line}"
            twice = Problem(
                f"{kinds.kind_of(resource).word} {quote(resource.metadata.name)} is there twice,"
                f" first at {where}",
                "keep one of them",
                "metadata.name",
            )
            problems.append(document.problem(twice))
        loaded.append(one)
    return loaded, problems


def _items(found: Iterable[Document], problems: list[Problem]) -> Iterable[Document]:
    """The documents, each list replaced by its items."""
    for document in found:
        data = document.data
        versions = _list_versions(data)
        if not isinstance(data, dict) or not versions:
            yield document
            continue
        items = data.get("items")
        wrong = _list_problems(data, versions)
        problems.extend(document.problem(problem) for problem in wrong)
        if not isinstance(items, list):
            continue
        lines = document.lines.parts["items"]
        for index, item in enumerate(items):
            place = lines.parts[index]
            path = child(child(document.path, "items"), index)
            yield replace(document, data=item, line=place.line, lines=place, path=path)


def _list_versions(data: object) -> Sequence[str]:
    """The apiVersions that a list of objects may have (List, or such as TierList); none: it is no
    list."""
    name = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(name, str) or not name.endswith("List"):
        return ()
    if name == "List":
        return ("v1",)
    return [kind.api_version for kind in kinds.KINDS if kind.word == name.removesuffix("List")]


def _list_problems(data: dict[str, object], versions: Sequence[str]) -> Iterable[Problem]:
    if data.get("apiVersion") not in versions:
        known = " or ".join(versions)
        yield Problem(f"this list has apiVersion {known}", f"write {known}", "apiVersion")
    if not isinstance(data.get("items"), list):
        yield Problem("a List has items", "write items as a list of objects", "items")
    for key in data.keys() - {"apiVersion", "kind", "metadata", "items"}:
        yield Problem(f"there is no field {quote(key)} here", "leave it out", child("", key))


def _resource(data: object, extra: Collection[str]) -> tuple[r.Resource | None, Sequence[Problem]]:
    if not isinstance(data, dict):
        return None, [Problem("this is no object", "begin with apiVersion and kind")]
    kind, problems = _kind(data, extra)
    if kind is None:
        return None, problems
    data = {**data, "kind": kind.name}
    if kind.type is r.FelixConfiguration:
        data = spelled(data)
    found, wrong = decode(data, kind.type)
    if found is None:
        wrong = [_about_setting(kind, problem) for problem in wrong]
        if kind.type is r.Secret:
            wrong = [discreet(problem) for problem in wrong]
        return None, [*wrong, *_further(data, kind, wrong)]
    wrong = validate(found)
    return (None, wrong) if wrong else (normalise(found), ())


def _further(data: object, kind: kinds.Kind, wrong: Sequence[Problem]) -> Iterable[Problem]:
    """What `validate` says of the parts of an object that are not touched by what is wrong."""
    rest = mended(data, kind.type)
    if rest is None:
        return
    faulty = {problem.path for problem in wrong}
    inside = [found for path in faulty if (found := _RULE.fullmatch(path))]
    tied = {found[1] for found in inside if not _ALONE.match(found[2])}
    hasty = {
        told
        for told, where in _DEPENDENT.get(kind.name, ())
        if any(_inside(path, where) for path in faulty)
    }
    for problem in validate(rest):
        rule = _RULE.fullmatch(problem.path)
        # What is wrong with one item of a list is wrong whatever stands beside it.
        depends = rule is not None and rule[1] in tied and not problem.path.endswith("]")
        touched = any(_inside(problem.path, path) or _inside(path, problem.path) for path in faulty)
        early = any(_inside(problem.path, path) for path in hasty)
        if not touched and not depends and not early:
            yield problem


def _inside(path: str, outer: str) -> bool:
    return path.startswith(outer) and path[len(outer) :][:1] in ("", ".", "[")


def _kind(
    data: dict[str, object], extra: Collection[str]
) -> tuple[kinds.Kind | None, list[Problem]]:
    """The row of the object's kind, or why it has none."""
    if "kind" not in data:
        return None, [Problem("this field is missing", "say what it is: kind: ...", "kind")]
    name = data["kind"]
    if not isinstance(name, str):
        return None, [Problem("the kind is no string", "write a name", "kind")]
    known = [kind for kind in kinds.KINDS if not kind.internal or kind.name in extra]
    found = [kind for kind in known if kind.word == name]
    if len(found) == 1:
        return found[0], []
    if found:
        return _by_version(found, data)
    if name in INSTEAD:
        return None, [Problem(f"{name} is not known here", INSTEAD[name], "kind")]
    if name in NOT_YET:
        return None, [Problem(f"{name} is not available yet", "leave it out", "kind")]
    ours = kinds.BY_NAME.get(name)
    if ours and ours.internal:
        return None, [Problem(f"{name} is written by Tortie itself", "leave it out", "kind")]
    cure = did_you_mean(name, dict.fromkeys(kind.word for kind in known))
    if ours:
        cure = f"write kind: {ours.word} with apiVersion: {ours.api_version}"
    return None, [Problem(f"{quote(name)} is no known kind", cure, "kind")]


def _by_version(
    found: Sequence[kinds.Kind], data: dict[str, object]
) -> tuple[kinds.Kind | None, list[Problem]]:
    """Which of the kinds of one name is meant: the apiVersion says it."""
    given = data.get("apiVersion")
    for kind in found:
        if kind.api_version == given:
            return kind, []
    cure = "write " + " or ".join(f"{kind.api_version} ({_whose(kind)})" for kind in found)
    if given is None:
        return None, [Problem("this field is missing", cure, "apiVersion")]
    said = quote(given) if isinstance(given, str) else "this"
    return None, [Problem(f"{said} has no {found[0].word}", cure, "apiVersion")]


def _whose(kind: kinds.Kind) -> str:
    return "Calico's" if kind.api_version == kinds.CALICO else "Kubernetes'"


def _about_setting(kind: kinds.Kind, problem: Problem) -> Problem:
    """Says of a setting of Calico's why there is no such field here."""
    field = problem.path.removeprefix("spec.")
    why = foreign(field) if kind.type is r.FelixConfiguration else None
    if why is None:
        return problem
    return replace(problem, message=f"{field} means nothing here: {why}", cure="leave it out")
