"""What a seat has learnt of one machine does not hold on another one."""

from unittest.mock import Mock

import pytest

from imageserver.dispatch.seats.seat import REQUESTED, Seat, SeatReports
from imageserver.generation import ModelInfo
from tests.support.dispatch_harness import ScriptedEngine
from tests.support.factories import generation


@pytest.mark.parametrize(("machine", "is_known"), [("10.0.0.7 cuda:0", True), ("10.0.0.8 cuda:0", False)])
async def test_costs_and_memory_hold_for_the_machine_where_they_were_learnt(machine, is_known):
    engine, info = ScriptedEngine(room=1), ModelInfo(name="scripted")
    seat = Seat("machine 1", engine, REQUESTED)  # type: ignore[arg-type]
    reports = SeatReports(seat, Mock())
    engine.machine = "10.0.0.7 cuda:0"
    reports.engine_changed()
    wanted = generation(model="scripted")
    seat.costs.observe(wanted, 2.0)
    seat.memory.observe(info, wanted, 900.0)
    for where in ("", machine):  # it rests, and is woken
        engine.machine = where
        reports.engine_changed()
    assert seat.costs.knows("scripted") == is_known
    assert (seat.memory.expected(info, wanted) is not None) == is_known
