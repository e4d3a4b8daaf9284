"""The settings of one agent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

Dataplane = Literal["auto", "nft", "iptables-nft", "iptables-legacy"]
DATAPLANES: tuple[Dataplane, ...] = get_args(Dataplane)
"""What may guard a host; `auto`: nft, or iptables where the kernel has no nft."""


class Settings(Struct, frozen=True):
    """Everything that `tortie node run` can be told."""

    node: str
    """name of this host's Node resource"""
    store: str
    """store URL"""
    run_dir: Path = Path("/run/tortie")
    """sockets, pid files and generated configuration; lost at reboot"""
    state_dir: Path = Path("/var/lib/tortie")
    """what must survive a reboot: which store this host believes"""
    secrets_dir: Path = Path("/etc/tortie/secrets")
    """passwords that stay on the host, one to a file; only their owner may read them"""
    metrics_address: str = "127.0.0.1"
    metrics_port: int = 9091
    """0: no TCP port for metrics and health"""
    dataplane: Dataplane | None = None
    """the firewall's, whatever the store says; None: what the store says"""
    ip: str = ""
    """how this host's IPv4 address is found out and written into its Node; "": as the Node says"""
    ip6: str = ""
    resync_seconds: float = 30.0
    """how often everything is compared with the kernel even if nothing seems to have changed"""
