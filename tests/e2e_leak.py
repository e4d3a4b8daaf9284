"""Which connections no version of the resources allowed: the judge of changes under traffic.

Each host judges every packet by one version of all resources; two hosts may differ for a moment. A
host may be at any version from the last one that it had surely enforced when an attempt began up to
the last one whose commit had begun when the attempt ended. A *leak* is an attempt that was answered
though some host on its way forbade it under all of these. An attempt that was not answered though
every host on its way allowed it under all of these was *refused* wrongly.

All times are Unix seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tortie.calc import World, desired_for
from tortie.dataplane.interpreter import Interpreter, Packet, Verdict
from tortie.desired import Filter
from tortie.explain.oracle import Flow, Reading, judge_in
from tortie.model import resources as r

Delta = Mapping[str, r.Resource | None]
"""What a commit writes, by store key; None: removes."""


class Part(NamedTuple):
    """A host on a packet's way; None: it begins, or ends, on the host itself."""

    host: str
    incoming: str | None
    outgoing: str | None


class Attempt(NamedTuple):
    """One try at a connection. `way`: the hosts that judge it."""

    source: str
    destination: str
    packet: Packet
    way: tuple[Part, ...]
    began: float
    ended: float
    answered: bool


@dataclass
class Version:
    """A state of all resources. `enforced`: by host, when it had surely come into force there."""

    text: str
    delta: Delta
    began: float
    """when its commit began"""
    enforced: dict[str, float] = field(default_factory=dict)


class Timeline:
    """Which versions a host may have been at. The first one was in force before all attempts."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._began = [each.began for each in versions]
        self._hosts: dict[str, tuple[list[float], list[int]]] = {}
        for host in versions[0].enforced:
            # A host that has enforced a version has enforced all before it.
            known = sorted(
                (each.enforced[host], number)
                for number, each in enumerate(versions)
                if host in each.enforced
            )
            times, numbers = [], [0]
            for moment, number in known:
                times.append(moment)
                numbers.append(max(number, numbers[-1]))
            self._hosts[host] = times, numbers

    def candidates(self, host: str, began: float, ended: float) -> range:
        """The numbers of the versions that a host may have judged an attempt by."""
        times, numbers = self._hosts[host]
        first = numbers[bisect_right(times, began)]
        last = bisect_right(self._began, ended) - 1
        return range(first, max(first, last) + 1)


Judge = Callable[[int, Part, Packet], Verdict]
"""What a host says of a packet at a version."""


@dataclass
class Findings:
    """What became of all attempts."""

    leaks: list[Attempt] = field(default_factory=list)
    refused: list[Attempt] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """attempts that were `answered`, `unanswered`; `certain`: all candidates of all hosts said one
    thing; `allowed` or `denied` of these; `during`: those with more than one candidate"""


def examine(attempts: Iterable[Attempt], timeline: Timeline, judge: Judge) -> Findings:
    """Which attempts were answered, or not, though they should not have been."""
    found = Findings()
    for attempt in attempts:
        packet = attempt.packet
        said = []  # what each host said, under each of its candidates
        for part in attempt.way:
            numbers = timeline.candidates(part.host, attempt.began, attempt.ended)
            said.append([judge(number, part, packet).allowed for number in numbers])
        possible = all(any(each) for each in said)
        sure = all(all(each) for each in said)
        found.counts["answered" if attempt.answered else "unanswered"] += 1
        found.counts["allowed"] += sure
        found.counts["denied"] += not possible
        found.counts["during"] += any(len(each) > 1 for each in said)
        if attempt.answered and not possible:
            found.leaks.append(attempt)
        elif not attempt.answered and sure:
            found.refused.append(attempt)
    return found


class Lived:
    """All versions of a cluster's resources, as calc and the plain interpreter read them."""

    def __init__(
        self,
        versions: Sequence[Version],
        interfaces: Mapping[str, Mapping[str, tuple[str, ...]]],
        protected: tuple[str, ...] = (),
    ) -> None:
        """`interfaces` by host: its own, with their addresses."""
        self.versions = versions
        self.timeline = Timeline(versions)
        self._protected = protected
        self._at: dict[str, list[Interpreter]] = {host: [] for host in interfaces}
        self._verdicts: dict[tuple[int, Part, Packet], Verdict] = {}
        world, last = World(), dict[str, Filter]()
        for version in versions:
            for key, resource in version.delta.items():
                world.put(key, resource)
            for host, own in interfaces.items():
                wanted = desired_for(world, host, protected=protected, interfaces=own).filter
                same = last.get(host) == wanted
                self._at[host].append(self._at[host][-1] if same else Interpreter(wanted))
                last[host] = wanted

    def judge(self, number: int, part: Part, packet: Packet) -> Verdict:
        """What a host says of the first packet of a connection at a version."""
        reading = self._at[part.host][number]
        key = id(reading), part, packet
        found = self._verdicts.get(key)
        if found is None:
            found = reading.judge(packet, part.incoming, part.outgoing)
            self._verdicts[key] = found
        return found

    def examine(self, attempts: Iterable[Attempt]) -> Findings:
        """See `e2e_leak.examine`."""
        return examine(attempts, self.timeline, self.judge)

    def tell(self, attempts: Sequence[Attempt], at_most: int = 3) -> str:
        """Attempts in words: the versions that each host may have been at, what it says under
        each, what the version changed, and how the oracle reads it."""
        lines = [f"{len(attempts)} attempts, of these:"]
        for each in attempts[:at_most]:
            lines += self._tell(each)
        return "\n".join(lines)

    def _tell(self, attempt: Attempt) -> list[str]:
        word = "answered" if attempt.answered else "not answered"
        took = 1000 * (attempt.ended - attempt.began)
        lines = [
            f"{attempt.source} to {attempt.destination} {attempt.packet}: {word}, {took:.0f} ms"
        ]
        seen: set[int] = set()
        for part in attempt.way:
            for number in self.timeline.candidates(part.host, attempt.began, attempt.ended):
                seen.add(number)
                version, verdict = self.versions[number], self.judge(number, part, attempt.packet)
                since = version.enforced.get(part.host)
                lines.append(
                    f"  {part.host} at {number}: {'allows' if verdict.allowed else 'denies'}:"
                    f" {verdict.by}; committed {_ago(version.began, attempt)},"
                    f" in force {'?' if since is None else _ago(since, attempt)}"
                )
        for number in sorted(seen):
            lines.append(f"  version {number}: {self.versions[number].text}")
            lines += [f"    oracle: {text}" for text in self._oracle(number, attempt.packet)]
        return lines

    def _oracle(self, number: int, packet: Packet) -> list[str]:
        resources: dict[str, r.Resource | None] = {}
        for version in self.versions[: number + 1]:
            resources |= version.delta
        present = tuple(each for each in resources.values() if each is not None)
        flow = Flow(packet.source, packet.destination, packet.protocol, packet.port, 1024)
        judged = judge_in(Reading(present, protected=self._protected), flow)
        return [f"{judged.verdict}: {judged.reason}", *(step.text for step in judged.steps)]


def _ago(moment: float, attempt: Attempt) -> str:
    return f"{1000 * (moment - attempt.began):+.0f} ms"
