"""What the oracle says: the verdict, why, and the steps that led there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ALLOWED", "DENIED"]

REASONS = {
    "mixed-families": "source and destination are not of one address family",
    "duplicate-address": "several endpoints claim one of the addresses",
    "not-served": "an endpoint that claims an address of the fabric is not served",
    "same-endpoint": "both addresses are of one endpoint; the packet never leaves it",
    "not-policed": "no workload and no host endpoint judges it",
    "gateway-echo": "a workload may ping its gateway",
    "neighbour-discovery": "a workload and its host find each other",
    "to-host-port": "a port of the host that is open to its workloads",
    "own-host": "workloads do not reach their own host",
    "from-own-host": "a host's traffic to its own workloads is not policed",
    "never-from-workloads": "no workload may send this",
    "failsafe": "host endpoints never close a failsafe port",
    "untracked": "a rule of an untracked policy decided",
    "not-translated": "what is not tracked is not translated, and reaches no floating address",
    "pre-dnat": "a rule of a pre-DNAT policy decided",
    "policy": "a rule of a policy decided",
    "tier-default": "policies of a tier apply and none of them decided",
    "profile": "a rule of a profile decided",
    "profile-missing": "a listed profile does not exist",
    "no-profile": "no policy decided and no profile allows it",
    "host-endpoint-default": "no policy decided and no profile of the host endpoint allows it",
    "namespace-default": "the namespace's default decided",
    "node-address": "no namespace default reaches a node's address",
}
"""Every reason code, and what it says. Codes are stable."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reading.

    `where` is such as "egress of shop/web-1" or "forward egress of host alpha (HostEndpoint core)".
    `policy` is an id such as "NetworkPolicy/shop/db-only" or "Profile/kiosk"; `rule` counts from 0,
    `rule_name` is what its author calls it. `action` is the rule's, "Default" for the end of a
    tier, or ALLOWED or DENIED by a rule of the house.

    "None": the policy says nothing here, or nothing before a rule that denies. Then `rule` is the
    one that came nearest (to allowing, if any would), `would` its action, and `misses` each thing
    about it that did not match, such as "destination port 81 is not 80, 443".
    """

    where: str
    tier: str | None
    policy: str | None
    rule: int | None
    action: str
    text: str
    rule_name: str = ""
    misses: tuple[str, ...] = ()
    would: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a new connection, why (a key of REASONS), and the steps in order."""

    verdict: Verdict
    reason: str
    steps: tuple[Step, ...] = ()

    @property
    def allowed(self) -> bool:
        """Is the connection allowed?"""
        return self.verdict == "ALLOWED"

    def decisive(self) -> Step:
        """The step that gave the verdict: the last, but for what says nothing after an Allow."""
        spoken = [one for one in self.steps if one.action in ("Allow", "ALLOWED")]
        return spoken[-1] if self.allowed and spoken else self.steps[-1]

    def nearest(self) -> Step | None:
        """Of what is denied: the step whose rule would have allowed it with the fewest misses.

        The first of several, in the evaluation that denied. None: no rule there allows anything
        like it, or it is allowed.
        """
        if self.allowed:
            return None
        where = self.steps[-1].where
        near = [one for one in self.steps if one.where == where and one.would == "Allow"]
        return min(near, key=lambda one: len(one.misses), default=None)
