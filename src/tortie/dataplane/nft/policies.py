"""Policies, tiers and profiles as chains.

A policy is one chain for each direction, shared by all endpoints that it guards. "Allowed" is the
kernel's accept for ingress, which is judged last; for egress it is a mark bit and a return, since
ingress comes after. "Pass" is a mark bit, used only where a policy of the tier passes.
"""

from __future__ import annotations

from enum import Enum

from tortie.dataplane.nft import words
from tortie.dataplane.nft.rules import Members, matches
from tortie.dataplane.nft.ruleset import Chain
from tortie.desired import MARK_MASK, Endpoint, Filter, Policy, Rule, TierStep

ALLOWED = MARK_MASK & -MARK_MASK
"""Mark bit: egress has allowed the packet."""

PASSED = ALLOWED << 1
"""Mark bit: a policy has passed the packet on to the next tier."""

LOG_GROUP = 84
LOG_LIMIT = "limit rate 10/second burst 20 packets"
LOG_PREFIX = "tortie "
"""Followed by the id of the policy."""

_ALL = 0xFFFFFFFF


def _set_mark(bits: int) -> str:
    return f"meta mark set meta mark | {bits:#010x}"


def _clear_mark(bits: int) -> str:
    return f"meta mark set meta mark & {_ALL ^ bits:#010x}"


def _return_if(bits: int) -> str:
    return f"meta mark & {bits:#010x} != 0x0 return"


class Half(Enum):
    """One direction as the endpoint sees it: how its policy chains begin, what allow says."""

    INGRESS = ("pi", "accept")
    EGRESS = ("pe", f"{_set_mark(ALLOWED)} return")


class PolicyChains:
    """Makes the chains of endpoints, and in `chains` those of the policies that they name; in
    `intervals` are the interval sets that these look into."""

    def __init__(self, wanted: Filter) -> None:
        self.chains: dict[str, Chain] = {}
        self._policies = {each.id: each for each in wanted.policies}
        self._members = Members.of(wanted.sets, wanted.port_sets)
        self.intervals = self._members.intervals

    def endpoint(self, endpoint: Endpoint, half: Half, name: str) -> dict[str, Chain]:
        """The chain `name` of an endpoint, and those of its tiers. Every way through it ends in
        a verdict, or for egress in a return with the mark that says allowed."""
        steps = endpoint.ingress if half is Half.INGRESS else endpoint.egress
        found: dict[str, Chain] = {}
        lines: list[str] = []
        for index, step in enumerate(steps):
            inside, passes, allows = self._tier(step, half)
            if passes:
                tier_chain = f"{name}/{index}"  # an interface has no "/"
                found[tier_chain] = Chain(inside)
                lines.append(f"jump {tier_chain}")
                if allows and half is Half.EGRESS:
                    lines.append(_return_if(ALLOWED))
            else:
                lines += inside
            if not passes and step.default == "deny":
                break  # nothing comes after
        else:
            for profile in endpoint.profiles:
                lines += self._jump(profile, half, profile=True)
            lines.append('counter drop comment "no profile allows it"')
        if half is Half.EGRESS:
            lines.insert(0, _clear_mark(MARK_MASK))
        found[name] = Chain(tuple(lines), comment=words.safe_id(endpoint.id))
        return found

    def _tier(self, step: TierStep, half: Half) -> tuple[tuple[str, ...], bool, bool]:
        """The lines of a tier, whether a policy in it may pass, whether one may allow."""
        actions = {rule.action for each in step.policies for rule in self._rules(each, half)}
        passes = "pass" in actions
        lines = [_clear_mark(PASSED)] if passes else []
        for each in step.policies:
            lines += self._jump(each, half)
        tier = words.safe_id(step.tier)
        if step.default == "deny":
            lines.append(f'counter drop comment "end of tier {tier}"')
        return tuple(lines), passes, "allow" in actions

    def _rules(self, policy: str, half: Half) -> tuple[Rule, ...]:
        found = self._policies[policy]
        return found.ingress if half is Half.INGRESS else found.egress

    def _jump(self, policy_id: str, half: Half, profile: bool = False) -> list[str]:
        """Into a policy's chain, and back to the caller's caller if the policy has decided."""
        rules = self._rules(policy_id, half)
        if not rules:
            return []
        start = f"pr{half.value[0]}" if profile else half.value[0]
        name = f"{start}_{words.digest(policy_id)}"
        if name not in self.chains:
            self._make(name, self._policies[policy_id], rules, half, profile)
        actions = {rule.action for rule in rules}
        bits = ALLOWED if half is Half.EGRESS and "allow" in actions else 0
        bits |= PASSED if "pass" in actions and not profile else 0
        return [f"jump {name}"] + ([_return_if(bits)] if bits else [])

    def _make(
        self, name: str, policy: Policy, rules: tuple[Rule, ...], half: Half, profile: bool
    ) -> None:
        label = words.safe_id(policy.id)
        verdicts = {
            "allow": half.value[1],
            "deny": "counter drop",
            # Calico v3: in a profile, pass leaves the profile undecided.
            "pass": "return" if profile else f"{_set_mark(PASSED)} return",
        }
        lines = []
        for index, rule in enumerate(rules):
            found = matches(rule, self._members)
            if rule.action != "log":
                lines += [f"{match} {verdicts[rule.action]}".strip() for match in found]
                continue
            log = f'{LOG_LIMIT} log prefix "{LOG_PREFIX}{label}" group {LOG_GROUP}'
            if len(found) > 1:
                # A packet that fits several of the matches is still logged once.
                once = f"lg_{words.digest(f'{name} {index}')}"
                body = tuple(f"{match} {log} return" for match in found)
                self.chains[once] = Chain(body, comment=label)
                lines.append(f"jump {once}")
            else:
                lines += [f"{match} {log}".strip() for match in found]
        self.chains[name] = Chain(tuple(lines), comment=label)
