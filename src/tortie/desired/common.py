"""Words and numbers that every part of the desired state shares."""

from __future__ import annotations

from typing import Literal

Family = Literal[4, 6]
Action = Literal["allow", "deny", "pass", "log"]
Dataplane = Literal["auto", "nft", "iptables", "iptables-nft", "iptables-legacy"]
"""`auto`: nft, or iptables where the kernel has no nft; `iptables`: the variant is found out."""

INTERFACE_PREFIX = "tor"
"""Every workload interface of ours begins so; what no endpoint speaks for is dropped."""

ROUTE_PROTOCOL = 84
"""The kernel's route protocol number of the routes that the agent owns."""

VXLAN_DEVICES: dict[Family, str] = {4: "vxlan.tortie", 6: "vxlan6.tortie"}
"""The interfaces of VXLAN, by the family of the packets within and without."""
VXLAN_OVERHEAD: dict[Family, int] = {4: 50, 6: 70}
"""Bytes around a packet within: the inner Ethernet header, VXLAN, UDP and the outer IP header."""

GATEWAY_V4 = "169.254.1.1"
GATEWAY_V6 = "fe80::1"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""The host's end of every workload link has this MAC, so a workload that moves notices nothing."""

MARK_MASK = 0x00F00000
"""The bits of the packet mark that are ours; all others are left as they are."""

REVOKED = 0x00800000
"""The bit of the connection mark that says: policy no longer allows this connection."""
