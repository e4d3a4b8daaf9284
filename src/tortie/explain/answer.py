"""The answer to `may A talk to B, and why`, as plain data: what `tortie can -o json` prints.

Made from the oracle's judgements. Who is asked about is called by a short name here, everywhere.
No field has a default: each is always there.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Literal

from tortie.explain.entity import Flow, reply_of
from tortie.explain.judgement import REASONS, Judgement
from tortie.explain.judgement import Step as OracleStep
from tortie.explain.oracle import judge_in
from tortie.explain.places import Kind, Place
from tortie.explain.reading import Reading
from tortie.model.resources import GlobalNetworkPolicy, Plain

Verdict = Literal["ALLOWED", "DENIED"]
Action = Literal["allow", "deny", "pass", "log", "no match"]

_ACTIONS: Mapping[str, Action] = {
    "Allow": "allow", "ALLOWED": "allow", "Deny": "deny", "DENIED": "deny",
    "Pass": "pass", "Log": "log", "None": "no match",
}  # fmt: skip


class End(Plain, frozen=True):
    """One end of the question, with the addresses that were judged.

    `resource` is the full name of the resource that it is, or "".
    """

    kind: Kind
    name: str
    resource: str
    addresses: list[str]


class IcmpKind(Plain, frozen=True):
    """Type and code of an ICMP or ICMPv6 packet."""

    type: int
    code: int


class Step(Plain, frozen=True):
    """One step of the reading, on one end.

    `evaluation` is such as "ingress of shop/web-1". `policy` is KIND/NAME or KIND/NAMESPACE/NAME.
    `rule` counts from 0, as in spec.ingress[0]; `ruleName` is what its author calls it, or "".
    Where nothing matched, `rule` is the one that came nearest, `would` what it would have done, and
    `misses` each thing about it that did not match.
    """

    evaluation: str
    tier: str | None
    policy: str | None
    rule: int | None
    rule_name: str
    action: Action
    would: Action | None
    misses: list[str]
    says: str


class Judged(Plain, frozen=True):
    """The verdict on one packet, from one address to another.

    `reply`: it is the first packet back, which is judged too where untracked policies are, as they
    know no connections. `reason` is a stable code, `says` a sentence; `by` names what decided: a
    policy, a profile, a namespace, a tier, or the reason's code where it is a rule of the house.
    `protocol` is an IP protocol number. `decisive` is the number of the step that decided, from 0,
    `nearest` of the one whose rule would have allowed what is denied with the fewest misses.
    """

    verdict: Verdict
    reason: str
    says: str
    by: str
    reply: bool
    source: str
    destination: str
    protocol: int
    port: int | None
    source_port: int | None
    icmp: IcmpKind | None
    steps: list[Step]
    decisive: int
    nearest: int | None


class Answer(Plain, frozen=True):
    """The whole: ALLOWED if each packet that was asked about is. `what` is PROTO/PORT as asked."""

    verdict: Verdict
    source: End
    destination: End
    what: str
    judged: list[Judged]


Packets = Sequence[tuple[Flow, Judgement, bool]]
"""Packets, what the oracle says of them, and whether they are replies."""


def judge(world: Reading, flows: Sequence[Flow]) -> Packets:
    """What the oracle says of each flow, and of its replies where untracked policies judge them.

    Raises NotJudged.
    """
    untracked = any(
        isinstance(each, GlobalNetworkPolicy) and each.spec.do_not_track for each in world.resources
    )
    found = []
    for flow in flows:
        judgement = judge_in(world, flow)
        found.append((flow, judgement, False))
        if untracked and judgement.allowed:
            back = judge_in(world, reply_of(flow))
            if _is_untracked(judgement) or _is_untracked(back):
                found.append((reply_of(flow), back, True))
    return found


def _is_untracked(judgement: Judgement) -> bool:
    """Did an untracked policy decide somewhere on the way?"""
    said = (step for step in judgement.steps if step.action in ("Allow", "Deny"))
    return any(step.where.startswith("untracked ") for step in said)


def make(what: str, source: Place, destination: Place, packets: Packets) -> Answer:
    """The answer, from the packets that were asked about and what the oracle says of them."""
    names = {one.resource: one.name for one in (source, destination) if one.resource}
    flows = [flow for flow, _, reply in packets if not reply]
    return Answer(
        verdict="ALLOWED" if all(one.allowed for _, one, _ in packets) else "DENIED",
        source=_end(source, {flow.source for flow in flows}),
        destination=_end(destination, {flow.destination for flow in flows}),
        what=what,
        judged=[_judged(flow, judgement, reply, names) for flow, judgement, reply in packets],
    )


def _end(place: Place, asked: Container[str]) -> End:
    return End(
        kind=place.kind,
        name=place.name,
        resource=place.resource,
        addresses=[each for each in place.addresses if each in asked],
    )


def _judged(flow: Flow, judgement: Judgement, reply: bool, names: Mapping[str, str]) -> Judged:
    steps, near = judgement.steps, judgement.nearest()
    decisive = _index(steps, judgement.decisive())
    icmp = flow.icmp and IcmpKind(type=flow.icmp[0], code=flow.icmp[1])
    return Judged(
        verdict=judgement.verdict,
        reason=judgement.reason,
        says=REASONS[judgement.reason],
        by=_by(judgement),
        reply=reply,
        source=flow.source,
        destination=flow.destination,
        protocol=flow.protocol,
        port=flow.port,
        source_port=flow.source_port,
        icmp=icmp or None,
        steps=[_step(one, one is steps[-1] and not judgement.allowed, names) for one in steps],
        decisive=decisive,
        nearest=None if near is None else _index(steps, near),
    )


def _index(steps: Sequence[OracleStep], wanted: OracleStep) -> int:
    return next(number for number, step in enumerate(steps) if step is wanted)


def _by(judgement: Judgement) -> str:
    """What decided, by name."""
    step = judgement.decisive()
    if step.policy is not None:
        return step.policy
    return judgement.reason if step.tier is None else f"Tier/{step.tier}"


def _step(step: OracleStep, denies: bool, names: Mapping[str, str]) -> Step:
    """`denies`: it is the last of what was denied. The end of a tier denies then, or passes on."""
    action: Action = "deny" if denies else "pass"
    return Step(
        evaluation=_renamed(step.where, names),
        tier=step.tier,
        policy=step.policy,
        rule=step.rule,
        rule_name=step.rule_name,
        action=_ACTIONS.get(step.action, action),
        would=_ACTIONS[step.would] if step.would else None,
        misses=[_renamed(each, names) for each in step.misses],
        says=_renamed(step.text, names),
    )


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with the full names of endpoints made short."""
    for full, short in names.items():
        text = re.sub(rf"(?<![\w/.-]){re.escape(full)}(?![\w/-])", short, text)
    return text
