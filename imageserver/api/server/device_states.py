"""The state of each device for /health, and how it holds its model for /info."""

from typing import Any

from imageserver.protocol.messages import SeatStatus, Snapshot


def states(snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Return what monitors see of each device."""
    return [_state(seat) for seat in snapshot.seats] if snapshot else []


def details(snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Return each device that has an engine, and how the model was fitted to it."""
    seats = snapshot.seats if snapshot else ()
    return [
        {
            "name": seat.name,
            "device": seat.device.kind,
            "gpu": seat.device.gpu,
            "cuda_version": seat.device.cuda_version,
            "dtype": seat.device.dtype,
            "gpu_memory_mb": seat.device.memory_mb,
            "memory_plan": seat.device.memory_plan,
            "memory_reason": seat.device.memory_reason,
            "batch_caps": seat.device.batch_caps,
            "max_in_flight": seat.device.max_in_flight,
            "models": list(seat.loaded),
        }
        for seat in seats
        if seat.device
    ]


def _state(seat: SeatStatus) -> dict[str, Any]:
    return {
        "name": seat.name,
        "gpu": seat.device.gpu if seat.device else None,
        "status": seat.state,
        "reason": seat.reason,
        "phase": seat.phase,
        "load_fraction": seat.load_fraction,
        "models": list(seat.loaded),
        "active_tasks": seat.active,
        "queue_wait": seat.remaining,
        "engine_restarts": seat.engine_restarts,
        "engine_pid": seat.engine_pid,
    }
