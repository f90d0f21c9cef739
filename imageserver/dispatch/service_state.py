"""The state of the service, as the dispatcher sends it to the workers."""

import os

from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.models.model_loading import ModelLoading
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.idle_unload import IdleUnload
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList, state_of
from imageserver.protocol import messages


def snapshot(
    seats: SeatList, jobs: JobTable, models: ModelLoading, estimator: Estimator, idle: IdleUnload
) -> messages.Snapshot:
    """Return the state of all engines together, or of a model that is loading beside them, and counts."""
    leading, tally = seats.leading, jobs.tally
    engine = leading.engine if leading else None
    beside = next((seat.engine.load_progress for seat in seats if seat.engine.load_progress), models.download)
    return messages.Snapshot(
        state=seats.state,
        reason=beside.sentence if beside else seats.reason,
        phase=beside.phase if beside else engine.phase if engine else "starting",
        load_fraction=beside.fraction if beside else engine.fraction if engine else None,
        info=models.info if seats.is_known else None,
        default=models.default,
        models=tuple(models.known.values()),
        loaded=models.loaded,
        retry_after=seats.retry_after,
        queue_length=len(jobs.queue) + models.requests_waiting,
        active=len(jobs.running),
        total=tally.total,
        completed=tally.completed,
        failed=tally.failed,
        cancelled=tally.cancelled,
        engine_restarts=seats.engine_restarts,
        idle_unloads=idle.count,
        queue_wait=round(jobs.remaining / max(1, len(seats.ready)), 3),
        estimate_error=estimator.costs.median_error,
        usage=seats.usage,
        dispatcher_pid=os.getpid(),
        engine_pid=next((seat.engine.pid for seat in seats if seat.engine.pid), None),
        seats=tuple(_status_of(seat) for seat in seats),
    )


def _status_of(seat: Seat) -> messages.SeatStatus:
    engine = seat.engine
    beside = engine.load_progress
    return messages.SeatStatus(
        name=seat.name,
        state=state_of(seat),
        reason=beside.sentence if beside else engine.reason,
        phase=beside.phase if beside else engine.phase,
        load_fraction=beside.fraction if beside else engine.fraction,
        device=engine.ready.info.device if engine.ready else None,
        loaded=seat.models.loaded,
        active=len(seat.running),
        remaining=round(seat.remaining, 3),
        engine_restarts=engine.restarts,
        engine_pid=engine.pid,
        usage=engine.usage.total,
    )
