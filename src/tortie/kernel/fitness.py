"""Whether this machine has what an agent needs, and what on it would get in the way. Only looks.

No kernel module is loaded by looking: rules are not listed where nf_tables is not loaded yet.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tortie.errors import KernelError, Missing
from tortie.kernel import process

OURS = "tortie"
"""The name of the agent's own nftables tables."""

# What programs are for. Without those that are needed an agent does not start or does not work.
PROGRAMS = (
    ("bird", True, "BGP"),
    ("ip", True, "network namespaces"),
    ("nft", False, "looking at the rules by hand"),
    ("conntrack", False, "looking at connections by hand"),
    ("iptables-nft-restore", False, "the dataplane iptables-nft"),
    ("iptables-legacy-restore", False, "the dataplane iptables-legacy"),
    ("ipset", False, "the dataplanes iptables-nft and iptables-legacy"),
)
MODULES = (
    ("nf_tables", "NF_TABLES", True, "the firewall"),
    ("nf_conntrack", "NF_CONNTRACK", True, "connections"),
    ("nfnetlink_log", "NETFILTER_NETLINK_LOG", False, "rules of action Log"),
    ("veth", "VETH", True, "links into network namespaces"),
    ("vxlan", "VXLAN", False, "pools with VXLAN"),
)
"""(module, its option in the kernel's configuration, whether it is needed, what for)"""

LOADED, BUILT_IN, LOADABLE = "loaded", "built in", "can be loaded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `missing`: an agent cannot work; `warning`: less than well."""

    name: str
    state: Literal["ok", "warning", "missing"]
    said: str
    cure: str = ""


def look() -> list[Finding]:
    """Everything that was found, good and bad."""
    kernel = modules(Path("/"))
    return [
        _root(),
        *(_program(*row) for row in PROGRAMS),
        _library(),
        *kernel,
        _ipv6(Path("/")),
        *_drops(loaded=kernel[0].said != LOADABLE),
    ]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "ok", "yes")
    return Finding("root", "missing", "no", "run the agent as root; this command sees more as root")


def _program(name: str, needed: bool, purpose: str) -> Finding:
    try:
        return Finding(name, "ok", process.find(name))
    except Missing as error:
        return Finding(name, "missing" if needed else "warning", f"for {purpose}", error.cure)


def _library() -> Finding:
    import ctypes

    name = "libnftables.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        cure = "install it: apt-get install libnftables1"
        return Finding("libnftables", "missing", "for the firewall", cure)
    return Finding("libnftables", "ok", name)


def modules(root: Path) -> list[Finding]:
    """The kernel's modules: loaded, built in, or there to be loaded; by the files under `root`."""
    known = _known_modules(root)
    found = []
    for name, option, needed, purpose in MODULES:
        if (root / "sys/module" / name).is_dir():
            found.append(Finding(name, "ok", LOADED))
        elif name in known or option in known:
            found.append(Finding(name, "ok", known.get(name) or known[option]))
        elif known:
            cure = f"use a kernel with {name}"
            found.append(Finding(name, "missing" if needed else "warning", f"for {purpose}", cure))
        else:
            cure = f"see with `modprobe -n {name}` on the machine itself"
            found.append(Finding(name, "warning", "not to be seen from here", cure))
    return found


def _known_modules(root: Path) -> dict[str, str]:
    """How each module or option can be had; empty if the kernel does not tell."""
    known: dict[str, str] = {}
    try:
        lines = gzip.decompress((root / "proc/config.gz").read_bytes()).decode().splitlines()
    except (OSError, EOFError, ValueError):
        lines = []
    for line in lines:
        option, _, value = line.removeprefix("CONFIG_").partition("=")
        if value in ("y", "m"):
            known[option] = BUILT_IN if value == "y" else LOADABLE
    directory = root / "lib/modules" / platform.release()
    for file, how in (("modules.dep", LOADABLE), ("modules.builtin", BUILT_IN)):
        for line in _lines(directory / file):
            path = line.partition(":")[0]
            known[Path(path).name.partition(".")[0].replace("-", "_")] = how
    return known


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return ()


def _ipv6(root: Path) -> Finding:
    if (root / "proc/sys/net/ipv6").is_dir():
        return Finding("ipv6", "ok", "yes")
    return Finding(
        "ipv6", "warning", "no", "workloads get IPv4 only; see ipv6.disable of the kernel"
    )


def _drops(loaded: bool) -> list[Finding]:
    """Other firewalls of this host whose forward chains drop what no rule of theirs accepts."""
    found: list[str] = []
    try:
        if loaded:
            listing = process.run(["nft", "-j", "list", "chains"]).stdout
            found += nft_drops(listing)
        for version, command in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
            if "filter" in _lines(Path(f"/proc/net/{version}_tables_names")):
                text = process.run([command, "-S", "FORWARD"]).stdout
                found += legacy_drops(text, command)
    except (KernelError, Missing) as error:
        return [Finding("other firewalls", "warning", error.message, error.cure)]
    return [
        Finding(
            "other firewall",
            "warning",
            f"{chain} drops what is forwarded",
            "let it accept the interfaces tor*: our accept cannot override its drop",
        )
        for chain in found
    ] or [Finding("other firewalls", "ok", "none drops what is forwarded")]


def nft_drops(listing: str) -> Iterable[str]:
    """The foreign forward chains with policy drop in an answer of `nft -j list chains`."""
    try:
        objects = json.loads(listing)["nftables"]
        chains = [each["chain"] for each in objects if "chain" in each]
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError("the listing of nft cannot be read") from error
    return [
        f"nftables chain {chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["table"] != OURS
    ]


def legacy_drops(listing: str, command: str) -> Iterable[str]:
    """The same of an answer of `iptables-legacy -S FORWARD`."""
    return [f"{command} chain FORWARD"] if "-P FORWARD DROP" in listing.splitlines() else []
