"""Which store this host believes.

An agent that obeyed an empty, restored or foreign store would wipe a host's policy in a second. So
a host keeps the GUID of the cluster whose resources it enforces, what tells that store from
another, and the revision it has seen; a store that does not go on from there is not believed until
the operator says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

CURE = "repair the store, or say `tortie node believe-store` if it is the right one"


class Kept(msgspec.Struct, frozen=True):
    """What a host remembers of its store."""

    guid: str
    identity: str
    revision: int
    doubt: str = ""
    """why no store is believed until the operator says so, however it goes on"""


FORGOTTEN = Kept("", "", 0, "what this host has kept of its store cannot be read")


def doubt(kept: Kept | None, guid: str | None, identity: str, revision: int) -> str:
    """Why a store that was just read in full is not believed; empty if it is."""
    if guid is None:
        return "the store is empty: it has no ClusterInformation"
    if kept is None:
        return ""
    if kept.doubt:
        return kept.doubt
    if guid != kept.guid:
        return f"the store is another cluster's: GUID {guid}, this host enforces {kept.guid}"
    if identity != kept.identity:
        return "the store was made anew: it is not the one that this host has followed"
    return back_in_time(kept, identity, revision)


def back_in_time(kept: Kept, identity: str, revision: int) -> str:
    """What to say of a store that is older than what was seen of it; empty if it is not.

    To be kept as `doubt`: with each new commit, a restored store looks more like one that went on.
    """
    if identity != kept.identity or revision >= kept.revision:
        return ""
    return f"the store went back in time: revision {revision}, this host has seen {kept.revision}"


class Memory:
    """What a host keeps across restarts and reboots, in one small file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "store.json"

    def load(self) -> Kept | None:
        """What was kept; None if nothing was, FORGOTTEN if it cannot be read any more."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError):
            return FORGOTTEN

    def save(self, kept: Kept) -> None:
        """Keep this, whole or not at all, even if the power fails. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
