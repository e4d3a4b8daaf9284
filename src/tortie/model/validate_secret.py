"""What Secrets, and the fields that name them, must satisfy.

Nothing that a Secret holds is ever part of a message: the keys are, the values never.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace

from tortie.errors import Problem
from tortie.model import checks
from tortie.model import resources as r
from tortie.model.checks import Problems
from tortie.model.decode import child
from tortie.model.words import quote

HIDDEN = "(hidden)"
"""What is shown in place of every value."""
PASSWORDS_IN = ("tortie-system", "calico-system", "kube-system")
"""The namespaces in which a Secret with a password is looked for, in order."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl keeps the whole Secret in this annotation, in the clear."""
MAX_SIZE = 1024 * 1024
"""bytes of all values together (Kubernetes' limit)"""
MAX_TYPE = 317
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_FILE = re.compile(r"[-._a-zA-Z0-9]{1,255}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_HELD = re.compile(r"(data|stringData)(?=$|[.\[])(.*)", re.DOTALL)


def secret(resource: r.Secret) -> Problems:
    """Values by key."""
    size = 0
    if len(resource.type) > MAX_TYPE:
        yield Problem(f"a type of {len(resource.type)} characters", "give a shorter one", "type")
    else:
        yield from checks.label_key("type", resource.type)
    for key, text in resource.data.items():
        place = child("data", key)
        yield from _key(place, key)
        held = _decoded(text)
        if text == HIDDEN:
            yield _shown_only(place)
        elif held is None:
            cure = "write it in base64 on one line, or as it is under stringData"
            yield Problem("the value is not base64 (it is not shown here)", cure, place)
        size += len(held or b"")
    for key, text in resource.string_data.items():
        place = child("stringData", key)
        yield from _key(place, key)
        if text == HIDDEN:
            yield _shown_only(place)
        size += len(text.encode(errors="replace"))
    if size > MAX_SIZE:
        yield Problem(f"{size} bytes of values", f"at most {MAX_SIZE} fit", "data")


def kept(resource: r.Secret) -> r.Secret:
    """A valid Secret as it is kept: all of it in `data`, and nothing of it in annotations."""
    data = {key: _encoded(_decoded(text) or b"") for key, text in resource.data.items()}
    data |= {key: _encoded(text.encode()) for key, text in resource.string_data.items()}
    metadata = resource.metadata
    notes = {key: text for key, text in metadata.annotations.items() if key != LAST_APPLIED}
    return r.Secret(
        api_version=resource.api_version,
        metadata=r.Metadata(
            name=metadata.name,
            namespace=metadata.namespace,
            labels=metadata.labels,
            annotations=notes,
            finalizers=metadata.finalizers,
        ),
        type=resource.type,
        data=data,
        immutable=resource.immutable,
    )


def shown(data: dict[str, object]) -> dict[str, object]:
    """A Secret's plain data as it may be shown: the keys, with HIDDEN for each value."""
    result = dict(data)
    for field in ("data", "stringData"):
        values = data.get(field)
        if isinstance(values, dict):
            result[field] = dict.fromkeys(values, HIDDEN)
    metadata = data.get("metadata")
    if isinstance(metadata, dict) and isinstance(notes := metadata.get("annotations"), dict):
        notes = {key: HIDDEN if key == LAST_APPLIED else text for key, text in notes.items()}
        result["metadata"] = {**metadata, "annotations": notes}
    return result


def discreet(problem: Problem) -> Problem:
    """What is wrong with the data of a Secret, said without repeating any of it."""
    found = _HELD.fullmatch(problem.path)
    if found:
        what = "a string" if found[2] else "a mapping of keys to strings"
        return replace(
            problem,
            message=f"this is not {what} (what it is, is not shown)",
            cure="put the value in quotes" if found[2] else "write each as KEY: VALUE",
        )
    if LAST_APPLIED in problem.path:
        return replace(problem, message="this is no string", cure="leave it out")
    return problem


def password(path: str, given: r.Password) -> Problems:
    """Where a password is: in a Secret or in a file."""
    reference = given.secret_key_ref
    if reference is None and given.file is None:
        yield Problem("which password, is not said", "give secretKeyRef, or file", path)
    if reference is not None and given.file is not None:
        yield Problem("secretKeyRef and file exclude each other", "keep one of them", path)
    if reference is not None:
        yield from checks.name(f"{path}.secretKeyRef.name", reference.name)
        yield from _key(f"{path}.secretKeyRef.key", reference.key)
    if given.file is not None and (not _FILE.fullmatch(given.file) or given.file in (".", "..")):
        cure = "name a file in the agent's directory of secrets: letters, digits and . _ -"
        yield Problem(f"{quote(given.file)} is no file name", cure, f"{path}.file")


def _key(path: str, key: str) -> Problems:
    if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
        cure = "use 1 to 253 letters, digits and - _ ., not beginning with .."
        yield Problem(f"the key {quote(key)} is not valid", cure, path)


def _shown_only(path: str) -> Problem:
    cure = "give the value itself; `tortie get` shows this in its place"
    return Problem(f"{HIDDEN} is not the value", cure, path)


def _decoded(text: str) -> bytes | None:
    """The bytes of base64 (RFC 4648 section 4, with padding, nothing else between)."""
    return base64.b64decode(text) if _BASE64.fullmatch(text) else None


def _encoded(held: bytes) -> str:
    return base64.b64encode(held).decode("ascii")
