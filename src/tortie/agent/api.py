"""What the agent answers on its doors: its own state here, everything else is handed to it."""

from __future__ import annotations

from tortie.agent.events import BelieveStore
from tortie.agent.loop import Agent
from tortie.agent.metrics import Metrics
from tortie.agent.report import endpoint_states
from tortie.agent.server import Handler, Routes, Unhealthy
from tortie.errors import TortieError


def routes(agent: Agent, metrics: Metrics, more: dict[tuple[str, str], Handler]) -> Routes:
    """All routes of the Unix socket; `more` are those of the parts that `__main__` wires in."""

    def believe(rest: str, body: object) -> object:
        cluster = agent.snapshot.cluster
        if not cluster:
            raise TortieError(
                "the store holds no cluster to believe in", "repair it, or apply its resources"
            )
        agent.queue.put(BelieveStore())
        return {"believed": cluster}

    return {
        **monitoring(agent, metrics),
        ("GET", "status"): lambda rest, body: status(agent),
        ("POST", "believe-store"): believe,
        **more,
    }


def monitoring(agent: Agent, metrics: Metrics) -> Routes:
    """What changes nothing and names no tenant: also on the TCP port."""
    return {
        ("GET", "metrics"): lambda rest, body: metrics.text(lambda: agent.snapshot),
        ("GET", "healthz"): lambda rest, body: _health(agent),
    }


def status(agent: Agent) -> object:
    """The agent's state as plain data: see `client`."""
    now = agent.snapshot
    names = sorted(now.outcome.changed.keys() | now.outcome.errors.keys())
    return {
        "node": agent.node,
        "state": now.state,
        "reason": now.reason,
        "revision": now.revision,
        "storeRevision": now.store_revision,
        "storeLost": now.store_lost,
        "cluster": now.cluster,
        "dataplane": now.outcome.dataplane,
        "drivers": {
            name: {
                "changed": now.outcome.changed.get(name, 0),
                "error": now.outcome.errors.get(name, ""),
            }
            for name in names
        },
        "idleHostEndpoints": dict(now.outcome.idle),
        "notes": list(now.outcome.notes),
        "endpoints": [
            {"id": name, "state": state, "reason": reason, "interface": interface}
            for name, (state, reason, interface) in sorted(endpoint_states(now.outcome).items())
        ],
    }


def _health(agent: Agent) -> object:
    now = agent.snapshot
    if now.state != "ready":
        raise Unhealthy(f"{now.state}: {now.reason}")
    return {"state": now.state, "revision": now.revision, "storeLost": now.store_lost}
