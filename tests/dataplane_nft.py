"""nftables of an empty network namespace, for tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import count

from tortie.kernel import netns
from tortie.kernel.nft import Nft

_number = count()


@contextlib.contextmanager
def fresh_kernel() -> Iterator[Nft]:
    """The calling thread is in the namespace meanwhile."""
    name, nft = f"tnft{os.getpid()}k{next(_number)}", Nft()
    netns.add(name)
    try:
        with netns.entered(name):
            yield nft
    finally:
        nft.close()
        netns.delete(name)
