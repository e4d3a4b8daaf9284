"""Which store this host believes.

An agent that obeyed an empty, restored or foreign store would wipe a host's policy in a second. So
a host keeps the GUID of the cluster whose resources it enforces, what tells that store from
another, and the revision it has seen; a store that does not go on from there is not believed until
the operator says so.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

CURE = "repair the store, or say `tortie node believe-store` if it is the right one"


class Kept(msgspec.Struct, frozen=True):
    """What a host remembers of its store."""

    guid: str
    identity: str
    revision: int


def doubt(kept: Kept | None, guid: str | None, identity: str, revision: int) -> str:
    """Why a store that was just read in full is not believed; empty if it is."""
    if guid is None:
        return "the store is empty: it has no ClusterInformation"
    if kept is None:
        return ""
    if guid != kept.guid:
        return f"the store is another cluster's: GUID {guid}, this host enforces {kept.guid}"
    if identity != kept.identity:
        return "the store was made anew: it is not the one that this host has followed"
    if revision < kept.revision:
        return (
            f"the store went back in time: revision {revision}, this host has seen {kept.revision}"
        )
    return ""


class Memory:
    """What a host keeps across restarts and reboots, in one small file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "store.json"

    def load(self) -> Kept | None:
        """What was kept; None if nothing was. An unreadable file raises msgspec.DecodeError."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None

    def save(self, kept: Kept) -> None:
        """Keep this, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(kept))
        draft.replace(self._path)
