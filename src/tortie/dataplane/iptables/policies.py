"""Policies, tiers and profiles as chains of one table.

A policy is one chain for each direction, shared by all endpoints that it guards. What it decides
is a verdict (deny) or a mark bit and a return (allow, pass), for an allow may not be the last word:
the other end of the packet is judged after.

Chains of tiers, exceptions and logs are named by what is in them, so that equal ones are one.
"""

from __future__ import annotations

from enum import Enum

from tortie.dataplane.iptables import words
from tortie.dataplane.iptables.lookups import Lookups
from tortie.dataplane.iptables.rules import matches, negate
from tortie.dataplane.safe import digest, safe_id
from tortie.desired import Filter, Rule, TierStep

_DECIDED = words.ALLOWED | words.PASSED
_MARKS = {"allow": (words.ALLOWED, "tor-allow"), "pass": (words.PASSED, "tor-pass")}
"""By action: the bit that says so, and the chain that sets it."""


class Half(Enum):
    """One direction as the endpoint sees it: how its policy chains begin."""

    INGRESS = "tor-pi-"
    EGRESS = "tor-pe-"


class PolicyChains:
    """Makes chains that judge, with those of the policies that they name, in `chains`."""

    def __init__(self, wanted: Filter, lookups: Lookups) -> None:
        self.chains: dict[str, tuple[str, ...]] = {}
        self._policies = {each.id: each for each in wanted.policies}
        self._lookups = lookups
        self._bits: dict[str, int] = {}
        """by policy chain: what marks it may set"""

    def judgement(
        self,
        half: Half,
        steps: tuple[TierStep, ...],
        profiles: tuple[str, ...] | None,
        label: str,
    ) -> tuple[str, ...]:
        """Rules that drop the packet or return, with the mark ALLOWED if it is.

        `profiles` None: what no tier decides returns without the mark; else it is dropped.
        Raises ValueError for an unsafe id.
        """
        clear = words.clear_mark(_DECIDED)
        lines, passed = [words.join(words.comment(label), clear)], False
        for step in steps:
            inside, bits = self._tier(step, half)
            if passed:
                lines.append(words.clear_mark(words.PASSED))
                passed = False
            if bits & words.PASSED:
                lines.append(f"-j {self._by_content('tor-t-', inside)}")
                passed = True
                if bits & words.ALLOWED:
                    lines.append(f"{words.if_all(words.ALLOWED)} -j RETURN")
            else:
                lines += inside
                if step.default == "deny":
                    return tuple(lines)
        if profiles is None:
            return tuple(lines)
        for profile in profiles:
            if passed:
                lines.append(words.clear_mark(words.PASSED))
                passed = False
            bits = self._into(profile, half, lines)
            passed = bool(bits & words.PASSED)  # which means nothing more here (Calico v3)
            if bits & words.ALLOWED:
                lines.append(f"{words.if_all(words.ALLOWED)} -j RETURN")
        return (*lines, words.join(words.comment("no profile allows it"), "-j DROP"))

    def rules(self, rules: tuple[Rule, ...], policy_id: str) -> tuple[str, ...]:
        """Rules in order; those of a policy `policy_id`. Raises ValueError."""
        lines: list[str] = []
        for rule in rules:
            if rule.action == "log":
                lines += self._log(rule, policy_id)
            else:
                lines += self._decide(rule)
        return tuple(lines)

    def _tier(self, step: TierStep, half: Half) -> tuple[tuple[str, ...], int]:
        """The rules of a tier, and what marks it may set."""
        lines: list[str] = []
        found = 0
        for each in step.policies:
            bits = self._into(each, half, lines)
            if bits:
                lines.append(f"{words.if_any(bits)} -j RETURN")
            found |= bits
        end = words.comment(f"end of tier {safe_id(step.tier, 80)}")
        if step.default == "deny":
            lines.append(f"{end} -j DROP")
        return tuple(lines), found

    def _into(self, policy_id: str, half: Half, lines: list[str]) -> int:
        """Adds the jump into a policy's chain if it has rules; gives what marks it may set."""
        policy = self._policies[policy_id]
        name = half.value + digest(policy_id)
        if name not in self._bits:
            rules = policy.ingress if half is Half.INGRESS else policy.egress
            self._bits[name] = self._may_set(rules)
            made = self.rules(rules, policy_id)
            if made:
                self.chains[name] = made
        if name not in self.chains:
            return 0
        lines.append(f"{words.comment(safe_id(policy_id))} -j {name}")
        return self._bits[name]

    def _may_set(self, rules: tuple[Rule, ...]) -> int:
        found = 0
        for rule in rules:
            if rule.action in _MARKS and matches(rule, self._lookups).any_of:
                found |= _MARKS[rule.action][0]
        return found

    def _decide(self, rule: Rule) -> list[str]:
        found, name = matches(rule, self._lookups), words.comment(rule.name)
        if not found.but:
            target = f"-g {self._marking(rule.action)}" if rule.action in _MARKS else "-j DROP"
            return [words.join(each, name, target) for each in found.any_of]
        bits = _MARKS[rule.action][0] if rule.action in _MARKS else 0
        body = (*negate(found.but), words.set_mark(bits) if bits else "-j DROP")
        chain = self._by_content("tor-x-", body)
        lines = [words.join(each, name, f"-j {chain}") for each in found.any_of]
        # Neither bit was set when this policy was asked, so now it is this rule's.
        return [*lines, f"{words.if_any(_DECIDED)} -j RETURN"] if bits else lines

    def _log(self, rule: Rule, policy_id: str) -> list[str]:
        found, name = matches(rule, self._lookups), words.comment(rule.name)
        log = words.log(policy_id)
        if not found.but and len(found.any_of) < 2:
            return [words.join(each, name, log) for each in found.any_of]
        chain = self._by_content("tor-x-", (*negate(found.but), words.join(name, log)))
        # A packet that fits several of the matches is still logged once: the first goes there, and
        # from there behind this chain.
        once = tuple(words.join(each, f"-g {chain}") for each in found.any_of)
        return [f"-j {self._by_content('tor-l-', once)}"]

    def _marking(self, action: str) -> str:
        bits, name = _MARKS[action]
        self.chains[name] = (words.set_mark(bits),)
        return name

    def _by_content(self, start: str, lines: tuple[str, ...]) -> str:
        name = start + digest("\n".join(lines))
        self.chains[name] = lines
        return name
