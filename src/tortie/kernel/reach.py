"""From which address the kernel would send."""

from __future__ import annotations

import json

from tortie.errors import KernelError
from tortie.kernel import process


def source_towards(address: str) -> str:
    """The address from which this host would send to another; "" if it has no way there.

    Raises KernelError, Missing.
    """
    done = process.run(["ip", "-json", "route", "get", address], check=False)
    if done.returncode != 0:
        return ""
    try:
        return str(json.loads(done.stdout)[0].get("prefsrc", ""))
    except (ValueError, LookupError) as error:
        raise KernelError("the answer of `ip route get` cannot be read") from error
