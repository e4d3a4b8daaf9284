"""The answer to `may A talk to B, and why`, as plain data: what `tortie can -o json` prints.

Made from the oracle's judgements. Who is asked about is called by a short name here, everywhere.
No field has a default: each is always there.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Literal

from tortie.explain.oracle import REASONS, Flow, Judgement
from tortie.explain.oracle import Step as OracleStep
from tortie.explain.places import Kind, Place
from tortie.model.resources import Plain

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
    Where there is no match, `rule` is the one that came nearest, and `misses` each thing about it
    that did not match.
    """

    evaluation: str
    tier: str | None
    policy: str | None
    rule: int | None
    rule_name: str
    action: Action
    says: str
    misses: list[str]


class Judged(Plain, frozen=True):
    """The verdict on one packet, from one address to another.

    `reason` is a stable code, `says` a sentence; `by` names what decided: a policy, a profile, a
    namespace, a tier, or the reason's code where it is a rule of the house. `protocol` is an IP
    protocol number.
    """

    verdict: Verdict
    reason: str
    says: str
    by: str
    source: str
    destination: str
    protocol: int
    port: int | None
    source_port: int | None
    icmp: IcmpKind | None
    steps: list[Step]


class Answer(Plain, frozen=True):
    """The whole: ALLOWED if each packet that was asked about is. `what` is PROTO/PORT as asked."""

    verdict: Verdict
    source: End
    destination: End
    what: str
    judged: list[Judged]


def make(
    what: str, source: Place, destination: Place, judged: Sequence[tuple[Flow, Judgement]]
) -> Answer:
    """The answer, from the flows that were asked about and the oracle's word on each."""
    names = {one.resource: one.name for one in (source, destination) if one.resource}
    allowed = all(judgement.allowed for _, judgement in judged)
    return Answer(
        verdict="ALLOWED" if allowed else "DENIED",
        source=_end(source, {flow.source for flow, _ in judged}),
        destination=_end(destination, {flow.destination for flow, _ in judged}),
        what=what,
        judged=[_judged(flow, judgement, names) for flow, judgement in judged],
    )


def _end(place: Place, asked: Container[str]) -> End:
    return End(
        kind=place.kind,
        name=place.name,
        resource=place.resource,
        addresses=[each for each in place.addresses if each in asked],
    )


def _judged(flow: Flow, judgement: Judgement, names: Mapping[str, str]) -> Judged:
    steps = [
        _step(step, judgement, number == len(judgement.steps), names)
        for number, step in enumerate(judgement.steps, start=1)
    ]
    icmp = flow.icmp and IcmpKind(type=flow.icmp[0], code=flow.icmp[1])
    return Judged(
        verdict=judgement.verdict,
        reason=judgement.reason,
        says=REASONS[judgement.reason],
        by=_by(judgement),
        source=flow.source,
        destination=flow.destination,
        protocol=flow.protocol,
        port=flow.port,
        source_port=flow.source_port,
        icmp=icmp or None,
        steps=steps,
    )


def _by(judgement: Judgement) -> str:
    """What decided, by name."""
    step = judgement.decisive()
    if step.policy is not None:
        return step.policy
    return judgement.reason if step.tier is None else f"Tier/{step.tier}"


def _step(step: OracleStep, judgement: Judgement, last: bool, names: Mapping[str, str]) -> Step:
    action = _ACTIONS.get(step.action)
    if action is None:  # the end of a tier: it decides, or leaves it to what comes next
        action = "deny" if last and not judgement.allowed else "pass"
    return Step(
        evaluation=_renamed(step.where, names),
        tier=step.tier,
        policy=step.policy,
        rule=step.rule,
        rule_name=step.rule_name,
        action=action,
        says=_renamed(step.text, names),
        misses=[_renamed(each, names) for each in step.misses],
    )


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with whole words that are full names of endpoints made short."""
    return " ".join(names.get(word, word) for word in text.split(" "))
