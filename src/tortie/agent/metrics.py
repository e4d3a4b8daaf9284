"""Metrics in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from tortie.agent.loop import Snapshot
    from tortie.agent.report import Outcome

STATES = ("starting", "ready", "holding", "error")


class Metrics:
    """What the loop counts; `text` is what a scrape gets."""

    def __init__(self, node: str) -> None:
        self._registry = CollectorRegistry()
        all_in = self._registry
        self._info = Gauge("tortie_agent_info", "The agent", ["node"], registry=all_in)
        self._info.labels(node).set(1)
        self._passes = Counter("tortie_passes", "Passes over all drivers", registry=all_in)
        self._seconds = Histogram("tortie_pass_seconds", "Time of a pass", registry=all_in)
        self._errors = Counter(
            "tortie_driver_errors", "Failed applies", ["driver"], registry=all_in
        )
        self._changes = Counter(
            "tortie_driver_changes", "Objects changed", ["driver"], registry=all_in
        )
        self._collected = Counter(
            "tortie_addresses_collected", "Leaked addresses freed", registry=all_in
        )
        self._lost = Counter("tortie_store_lost", "Times the store was lost", registry=all_in)
        self._connected = Gauge(
            "tortie_store_connected", "0 while the store is lost", registry=all_in
        )
        self._state = Gauge(
            "tortie_state", "1 for the state that holds", ["state"], registry=all_in
        )
        self._revision = Gauge("tortie_revision", "Store revision in force", registry=all_in)
        self._store = Gauge("tortie_store_revision", "Store revision read", registry=all_in)
        self._endpoints = Gauge("tortie_endpoints", "Endpoints served", registry=all_in)
        self._waiting = Gauge(
            "tortie_endpoints_waiting", "Endpoints without interface", registry=all_in
        )

    def passed(self, seconds: float, outcome: Outcome) -> None:
        """Count one pass."""
        self._passes.inc()
        self._seconds.observe(seconds)
        for name in outcome.errors:
            self._errors.labels(name).inc()
        for name, count in outcome.changed.items():
            self._changes.labels(name).inc(count)

    def collected(self, addresses: int) -> None:
        """Count leaked addresses that this agent has freed."""
        self._collected.inc(addresses)

    def lost(self) -> None:
        """Count that the store was lost."""
        self._lost.inc()

    def text(self, snapshot: Callable[[], Snapshot]) -> bytes:
        """The metrics as text, with gauges from the agent's snapshot."""
        now = snapshot()
        for state in STATES:
            self._state.labels(state).set(now.state == state)
        self._connected.set(not now.store_lost)
        self._revision.set(now.revision)
        self._store.set(now.store_revision)
        self._endpoints.set(len(now.outcome.endpoints))
        self._waiting.set(len(now.outcome.missing))
        return generate_latest(self._registry)
