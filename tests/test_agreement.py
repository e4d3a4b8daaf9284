"""Any world, any flow: the oracle, the plain interpreter of what calc makes, and the chains of
both dataplanes, traced in Python, give one verdict."""

from __future__ import annotations

from anyworld import INTERFACES, TOWARDS, anyflows, anyworlds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from iptables_tracer import IptablesTracer
from nft_tracer import NftTracer
from paths import path
from worlds import NODE_ADDRESSES

from tortie.calc import World, desired_for
from tortie.dataplane.interpreter import Interpreter, Packet
from tortie.dataplane.iptables.render import render as render_iptables
from tortie.dataplane.nft.render import render as render_nft
from tortie.explain.oracle import Reading, judge_in
from tortie.model.validate import validate


@st.composite
def cases(draw):
    world = draw(anyworlds())
    return world, draw(st.lists(anyflows(world), min_size=40, max_size=40))


@given(case=cases())
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_all_readings_agree(case):
    resources, flows = case
    assert [problem for one in resources for problem in validate(one)] == []
    world = World.of(resources)
    filters = {
        name: desired_for(world, name, interfaces=INTERFACES[name]).filter
        for name in NODE_ADDRESSES
    }
    readings = {
        "interpreter": {name: Interpreter(one) for name, one in filters.items()},
        "nft": {name: NftTracer(render_nft(one)) for name, one in filters.items()},
        "iptables": {
            name: IptablesTracer({family: render_iptables(one, family) for family in (4, 6)})
            for name, one in filters.items()
        },
    }
    oracle = Reading(resources, interfaces=TOWARDS)
    for flow in flows:
        judged = judge_in(oracle, flow)
        for name, hosts in readings.items():
            said = all(allows(hosts[hop.node], flow, hop) for hop in path(flow))
            assert said == judged.allowed, (name, flow, judged)


def allows(reading, flow, hop) -> bool:
    packet = Packet(
        flow.source, flow.destination, flow.protocol, flow.port, flow.source_port, flow.icmp
    )
    verdict = reading.judge(packet, hop.incoming, hop.outgoing)
    return verdict if isinstance(verdict, bool) else verdict.allowed
