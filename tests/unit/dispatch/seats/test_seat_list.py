"""What all seats have done is counted on, whichever engine or machine goes."""

from types import SimpleNamespace
from typing import Any

from imageserver.dispatch.seats.engines.usage_total import UsageTotal
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.protocol.messages import DeviceUsage


def seat(usage: DeviceUsage, restarts: int = 0) -> Any:
    return SimpleNamespace(engine=SimpleNamespace(usage=SimpleNamespace(total=usage), restarts=restarts))


def test_a_new_engine_adds_to_what_the_one_before_has_counted_and_keeps_no_memory_of_it():
    usage = UsageTotal()
    usage.begin_engine()
    usage.observe(DeviceUsage(busy=10.0, forwards=5, recompilations=1, allocated=7, reserved=9))
    assert usage.total == DeviceUsage(busy=10.0, forwards=5, recompilations=1, allocated=7, reserved=9)
    usage.begin_engine()
    assert usage.total == DeviceUsage(busy=10.0, forwards=5, recompilations=1)
    usage.observe(DeviceUsage(busy=2.0, forwards=1, allocated=3))
    usage.observe(DeviceUsage(busy=12.0, forwards=6, allocated=4))
    assert usage.total == DeviceUsage(busy=22.0, forwards=11, recompilations=1, allocated=4)


def test_no_count_falls_when_a_seat_goes():
    seats = SeatList()
    stays, goes = seat(DeviceUsage(busy=1.0, calls=3), 1), seat(DeviceUsage(busy=8.0, calls=4, reserved=5), 2)
    seats.add(stays)
    seats.add(goes)
    assert (seats.usage.reserved, seats.engine_restarts) == (5, 3)
    seats.remove(goes)
    assert seats.usage == DeviceUsage(busy=9.0, calls=7)
    assert seats.engine_restarts == 3
