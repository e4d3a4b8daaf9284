"""Where a store's servers are: addresses that no tenant should reach."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from tortie.store.url import endpoints


def server_addresses(url: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses of the servers that a store URL names, and the hosts that have none now.

    Addresses are canonical text, sorted; a store on this machine has none. Raises UsageError.
    """
    found: set[str] = set()
    lost = []
    for host in endpoints(url):
        try:
            found |= {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        except OSError:
            lost.append(host)
    return tuple(sorted(each for each in found if not ip_address(each).is_loopback)), tuple(lost)
