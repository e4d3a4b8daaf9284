"""The words that iptables rules are made of, spelt and ordered as `iptables-save` writes them.

Whatever reaches a rule passes through here, through `safe` or through `ipaddress`; anything outside
a safe alphabet raises ValueError.
"""

from __future__ import annotations

import re

from tortie.dataplane.safe import safe_id
from tortie.desired import MARK_MASK, REVOKED, Family

ALLOWED = MARK_MASK & -MARK_MASK
"""Mark bit: the judgement that was asked last said yes."""

PASSED = ALLOWED << 1
"""Mark bit: a policy has passed the packet on to the next tier."""

HOST_OK = ALLOWED << 2
"""Mark bit: the host endpoint it came in by, or leaves by, asks no more."""

TRANSLATED = ALLOWED << 3
"""Mark bit: the host sends it to a translated destination, so it is judged in postrouting."""

LOG_GROUP = 84
LOG_PREFIX = "tortie "
"""Followed by the id of the policy."""

_LONGEST_PREFIX = 63
_NAME = re.compile(r"[A-Za-z0-9 _./:-]{1,100}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
ICMP_MATCH = {4: "-m icmp{} --icmp-type", 6: "-m icmp6{} --icmpv6-type"}
"""With a place for " !"."""

KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED"
INVALID = "-m conntrack --ctstate INVALID"
DNAT = "-m conntrack --ctstate DNAT"
CUT = f"-m connmark --mark {REVOKED:#x}/{REVOKED:#x} -j DROP"
"""What policy has revoked."""


def join(*parts: str) -> str:
    """Those that are not empty, as one rule."""
    return " ".join(part for part in parts if part)


def set_mark(bits: int) -> str:
    return f"-j MARK --set-xmark {bits:#x}/{bits:#x}"


def clear_mark(bits: int) -> str:
    return f"-j MARK --set-xmark 0x0/{bits:#x}"


def if_all(bits: int) -> str:
    """All of these bits are set in the mark."""
    return f"-m mark --mark {bits:#x}/{bits:#x}"


def if_any(bits: int) -> str:
    """One of these bits is set in the mark."""
    return f"-m mark ! --mark 0x0/{bits:#x}"


def comment(text: str) -> str:
    """For people; "" for none. Raises ValueError.

    Never with a dash in front: `iptables-restore` would take some for an option.
    """
    if not text:
        return ""
    if not _NAME.fullmatch(text):
        raise ValueError(f"a comment must be of letters, digits and ' -_./:': {text!r}")
    text = text.strip(" -")
    return f"-m comment --comment {_quoted(text)}" if text else ""


def log(policy_id: str) -> str:
    """Hands the packet to the agent, ten a second at most. Raises ValueError."""
    label = safe_id(policy_id, _LONGEST_PREFIX - len(LOG_PREFIX))
    return (
        f'-m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-prefix "{LOG_PREFIX}{label}" '
        f"--nflog-group {LOG_GROUP}"
    )


def _quoted(text: str) -> str:
    return text if _BARE.fullmatch(text) else f'"{text}"'


def protocol(number: int) -> str:
    """A protocol as it stands after -p. Raises ValueError: 0 would mean any."""
    if not 1 <= number <= 255:
        raise ValueError(f"not an IP protocol: {number}")
    return PROTOCOLS.get(number, str(number))


def icmp(family: Family, kind: int, code: int | None, negated: bool = False) -> str:
    """A match of an ICMP type and code, both or the type alone. Raises ValueError: 255 would mean
    any."""
    if not (0 <= kind <= 254 and 0 <= (code or 0) <= 255):
        raise ValueError(f"not an ICMP type and code: {kind}/{code}")
    word = ICMP_MATCH[family].format(" !" if negated else "")
    return f"{word} {kind}" if code is None else f"{word} {kind}/{code}"


def masked(prefix: str) -> str:
    """A prefix with its length, though it be a host's."""
    if "/" in prefix:
        return prefix
    return f"{prefix}/{128 if ':' in prefix else 32}"


def in_set(name: str, where: str, negated: bool = False) -> str:
    """A look-up in an IP set; `where`: src, dst, or two of them."""
    return f"-m set {'! ' if negated else ''}--match-set {name} {where}"
