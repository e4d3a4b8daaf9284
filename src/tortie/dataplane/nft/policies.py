"""Policies, tiers and profiles as chains.

A policy is one chain for each direction, shared by all endpoints that it guards. "Allowed" is the
kernel's accept for a workload's ingress, which is judged last; elsewhere it is a mark bit and a
return, since more comes after. "Pass" is a mark bit, used only where a policy of the tier passes.
"""

from __future__ import annotations

from enum import Enum

from tortie.dataplane.nft import words
from tortie.dataplane.nft.rules import Members, matches
from tortie.dataplane.nft.ruleset import Chain
from tortie.desired import MARK_MASK, Filter, Policy, Rule, TierStep

ALLOWED = MARK_MASK & -MARK_MASK
"""Mark bit: a policy has allowed the packet."""

PASSED = ALLOWED << 1
"""Mark bit: a policy has passed the packet on to the next tier."""

HOST_OK = ALLOWED << 2
"""Mark bit: a host endpoint's untracked or pre-DNAT policy has allowed the packet."""

TRANSLATED = ALLOWED << 3
"""Mark bit: the host sends the packet to a translated destination."""

LOG_GROUP = 84
LOG_LIMIT = "limit rate 10/second burst 20 packets"
LOG_PREFIX = "tortie "
"""Followed by the id of the policy."""

_ALL = 0xFFFFFFFF


def set_mark(bits: int) -> str:
    """The statement that sets mark bits."""
    return f"meta mark set meta mark | {bits:#010x}"


def clear_mark(bits: int) -> str:
    """The statement that clears mark bits."""
    return f"meta mark set meta mark & {_ALL ^ bits:#010x}"


def marked(bits: int) -> str:
    """The match of a packet that has any of these mark bits."""
    return f"meta mark & {bits:#010x} != 0x0"


class Half(Enum):
    """One direction as the endpoint sees it: how its policy chains begin, what allow says.

    HOST_INGRESS is ingress that is not judged last.
    """

    INGRESS = ("pi", "accept")
    HOST_INGRESS = ("hi", f"{set_mark(ALLOWED)} return")
    EGRESS = ("pe", f"{set_mark(ALLOWED)} return")

    @property
    def marks(self) -> bool:
        """Whether allow is a mark bit and a return."""
        return self is not Half.INGRESS


class PolicyChains:
    """Makes the chains of endpoints, and in `chains` those of the policies that they name; in
    `intervals` are the interval sets that these look into."""

    def __init__(self, wanted: Filter) -> None:
        self.chains: dict[str, Chain] = {}
        self._policies = {each.id: each for each in wanted.policies}
        self._members = Members.of(wanted.sets, wanted.port_sets)
        self.intervals = self._members.intervals

    def judgement(
        self,
        name: str,
        label: str,
        half: Half,
        steps: tuple[TierStep, ...],
        profiles: tuple[str, ...] | None,
    ) -> dict[str, Chain]:
        """The chain `name` of an endpoint, and those of its tiers. Every way through it ends in
        a verdict, or (where `half` marks) in a return with the mark that says allowed.

        `profiles` None: what no tier decides returns, without the mark.
        """
        found: dict[str, Chain] = {}
        lines = [clear_mark(ALLOWED | PASSED)] if half.marks else []
        for index, step in enumerate(steps):
            inside, passes, allows = self._tier(step, half)
            if passes:
                tier_chain = f"{name}/{index}"  # an interface has no "/"
                found[tier_chain] = Chain(inside)
                lines.append(f"jump {tier_chain}")
                if allows and half.marks:
                    lines.append(f"{marked(ALLOWED)} return")
            else:
                lines += inside
            if not passes and step.default == "deny":
                break  # nothing comes after
        else:
            if profiles is not None:
                for profile in profiles:
                    lines += self._jump(profile, half, profile=True)
                lines.append('counter drop comment "no profile allows it"')
        found[name] = Chain(tuple(lines), comment=words.safe_id(label))
        return found

    def plain(self, rules: tuple[Rule, ...]) -> list[str]:
        """Rules that deny, on their own."""
        return [
            f"{match} counter drop{_comment(rule)}"
            for rule in rules
            if rule.action == "deny"
            for match in matches(rule, self._members)
        ]

    def _tier(self, step: TierStep, half: Half) -> tuple[tuple[str, ...], bool, bool]:
        """The lines of a tier, whether a policy in it may pass, whether one may allow."""
        actions = {rule.action for each in step.policies for rule in self._rules(each, half)}
        passes = "pass" in actions
        lines = [clear_mark(PASSED)] if passes else []
        for each in step.policies:
            lines += self._jump(each, half)
        tier = words.safe_id(step.tier)
        if step.default == "deny":
            lines.append(f'counter drop comment "end of tier {tier}"')
        return tuple(lines), passes, "allow" in actions

    def _rules(self, policy: str, half: Half) -> tuple[Rule, ...]:
        found = self._policies[policy]
        return found.egress if half is Half.EGRESS else found.ingress

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
        bits = ALLOWED if half.marks and "allow" in actions else 0
        bits |= PASSED if "pass" in actions and not profile else 0
        return [f"jump {name}"] + ([f"{marked(bits)} return"] if bits else [])

    def _make(
        self, name: str, policy: Policy, rules: tuple[Rule, ...], half: Half, profile: bool
    ) -> None:
        label = words.safe_id(policy.id)
        verdicts = {
            "allow": half.value[1],
            "deny": "counter drop",
            # Calico v3: in a profile, pass leaves the profile undecided.
            "pass": "return" if profile else f"{set_mark(PASSED)} return",
        }
        lines = []
        for index, rule in enumerate(rules):
            found = matches(rule, self._members)
            comment = _comment(rule)
            if rule.action != "log":
                verdict = verdicts[rule.action] + comment
                lines += [f"{match} {verdict}".strip() for match in found]
                continue
            log = f'{LOG_LIMIT} log prefix "{LOG_PREFIX}{label}" group {LOG_GROUP}'
            if len(found) > 1:
                # A packet that fits several of the matches is still logged once.
                once = f"lg_{words.digest(f'{name} {index}')}"
                body = tuple(f"{match} {log} return" for match in found)
                self.chains[once] = Chain(body, comment=label)
                lines.append(f"jump {once}{comment}")
            else:
                lines += [f"{match} {log}{comment}".strip() for match in found]
        self.chains[name] = Chain(tuple(lines), comment=label)


def _comment(rule: Rule) -> str:
    """What people call the rule. Raises ValueError."""
    return f' comment "{words.rule_name(rule.name)}"' if rule.name else ""
