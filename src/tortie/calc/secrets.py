"""Passwords of BGP sessions: where they are kept, and why one is not to be had."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from tortie import desired as d
from tortie.calc.world import World
from tortie.model import kinds
from tortie.model import resources as r

NAMESPACES = ("tortie-system", "calico-system", "kube-system")
"""Where a Secret is looked for, in this order: those of whoever runs the network."""

# RFC 2385 lets a TCP MD5 key have 80 bytes at most on Linux; these pass through BIRD's quotes.
_PASSWORD = re.compile(r"[ -!#-\[\]-~]{1,80}", re.ASCII)


class Withheld(Exception):
    """A password is not to be had; says why, and nothing of what it is."""


def password(world: World, given: r.Password | None, files: Mapping[str, str]) -> d.Hidden | None:
    """The password of a session; None: it has none. `files` are the host's own, by name.

    Raises Withheld.
    """
    if given is None or (given.file is None and given.secret_key_ref is None):
        return None
    if given.file is not None:
        if given.file not in files:
            raise Withheld(f"its password's file {given.file} is not in this host's secrets")
        return _checked(files[given.file], f"the file {given.file}")
    assert given.secret_key_ref is not None
    found = _of_secret(world, given.secret_key_ref)
    if found is None:
        if given.secret_key_ref.optional:
            return None
        name, key = given.secret_key_ref.name, given.secret_key_ref.key
        where = ", ".join(NAMESPACES)
        raise Withheld(f"there is no Secret {name} with a key {key} in any namespace of {where}")
    return _checked(found, f"the Secret {given.secret_key_ref.name}")


def _of_secret(world: World, wanted: r.SecretKeyRef) -> str | None:
    secrets = world.all(r.Secret)
    for namespace in NAMESPACES:
        secret = secrets.get(f"{kinds.WORLD}secrets/{namespace}/{wanted.name}")
        if secret is not None and wanted.key in secret.data:
            return _decoded(secret.data[wanted.key], wanted)
    return None


def _decoded(text: str, wanted: r.SecretKeyRef) -> str:
    try:
        return base64.b64decode(text, validate=True).decode().rstrip("\r\n")
    except ValueError:
        raise Withheld(f"the key {wanted.key} of Secret {wanted.name} is no text") from None


def _checked(text: str, where: str) -> d.Hidden:
    if not _PASSWORD.fullmatch(text):
        raise Withheld(
            f"the password in {where} is empty, longer than 80 bytes, or has characters that are"
            " not printable ASCII, a quote or a backslash"
        )
    return d.Hidden(text)
