"""A rendered rule set as text: for people, and for `ipset restore` and `iptables-restore`."""

from __future__ import annotations

from tortie.dataplane.iptables.ruleset import TABLES, Ruleset

FAMILY = {4: "inet", 6: "inet6"}


def sets_text(ruleset: Ruleset) -> str:
    lines = []
    for name, spec in sorted(ruleset.sets.items()):
        lines.append(f"create {name} {spec.type} family {FAMILY[ruleset.family]} maxelem 1048576")
        lines += [f"add {name} {each}" for each in sorted(spec.members)]
    return "".join(f"{line}\n" for line in lines)


def rules_text(ruleset: Ruleset) -> str:
    """Into tables in which nothing of ours is."""
    lines = []
    for table in TABLES:
        chains = ruleset.chains[table]
        if table == "nat" and not chains:
            continue  # one that is made stays
        lines.append(f"*{table}")
        lines += [f":{name} - [0:0]" for name in sorted(chains)]
        lines += rule_lines(ruleset, table)
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def rule_lines(ruleset: Ruleset, table: str) -> list[str]:
    """As `iptables-save` writes them."""
    return [
        f"-A {chain} {rule}"
        for held in (ruleset.hooks[table], ruleset.chains[table])
        for chain in sorted(held)
        for rule in held[chain]
    ]
