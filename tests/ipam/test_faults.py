"""Addresses under fault, the short run; `ipam_faults` says how to have the long one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ipam_faults import Run

pytestmark = pytest.mark.lab


def test_no_address_is_had_twice_and_none_is_lost_whatever_fails(tmp_path: Path) -> None:
    run = Run(tmp_path, workers=16, operations=4000, seconds=20, seed=random.randrange(1 << 30))
    run.run()
    assert not run.wrong, f"seed {run.seed}, {run.faults}\n" + "\n".join(run.wrong)
    assert run.replay.assigned > 50 and run.replay.released > 50
    assert run.faults["a worker killed"] > 0
