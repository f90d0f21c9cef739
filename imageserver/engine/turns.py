"""The engine's loop: whose suspended denoiser call runs next, under the device lock.

Everything that touches the device happens on this one thread and under `device_lock`, with the request's id in the log.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from imageserver.engine.painter import MAX_SEED, Painter
from imageserver.engine.suspension import Gate, Track, TrackCancelled
from imageserver.errors import Cancelled, GenerationFailed, OutOfMemory, ServiceError
from imageserver.generation import Generation, Outcome
from imageserver.messages import Finished, Message, Progress, Run, Started, failed

logger = logging.getLogger(__name__)

Send = Callable[[Message, bytes], None]


@dataclass
class RunningJob:
    """A job in the engine: its pictures are drawn by tracks, one after the other."""

    id: int
    generation: Generation
    began: float = field(default_factory=time.monotonic)
    steps_done: int = 0
    pictures: list[np.ndarray[Any, Any]] = field(default_factory=list)
    track: Track | None = None

    @property
    def total_steps(self) -> int:
        """The steps of all pictures."""
        return self.generation.steps * self.generation.count


class Turns:
    """Runs the jobs it is given; jobs take turns at every denoiser call."""

    def __init__(self, painter: Painter, gate: Gate, send: Send) -> None:
        self._painter = painter
        self._gate = gate
        self._send = send
        self._jobs: dict[int, RunningJob] = {}
        self.device_lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether any job is left."""
        return bool(self._jobs)

    def add(self, request: Run) -> None:
        """Take a job; it starts at the next turn."""
        self._jobs[request.job] = RunningJob(request.job, request.generation)
        self._send(Started(job=request.job), b"")

    def cancel(self, job_id: int) -> None:
        """Stop a job where it is suspended; unknown jobs are ignored."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        if job.track is not None:
            job.track.abort(TrackCancelled())
        self._send(failed(job_id, Cancelled("The generation was cancelled.")), b"")

    def take_one(self) -> None:
        """Serve one suspended call, or begin the next picture, of the job whose turn it is."""
        job = self._jobs.pop(next(iter(self._jobs)))
        try:
            with self.device_lock:
                self._advance(job)
        except Exception as error:
            if job.track is not None:
                job.track.abort(TrackCancelled())
            self._send(failed(job.id, as_service_error(error, job)), b"")
        else:
            if len(job.pictures) == job.generation.count:
                self._finish(job)
            else:
                self._jobs[job.id] = job

    def _advance(self, job: RunningJob) -> None:
        track = job.track
        if track is None:
            track = job.track = self._new_track(job)
            track.begin()
        else:
            assert track.waiting is not None
            track.resume(self._gate.forward(**track.waiting.arguments))
        if track.dead:
            job.pictures.append(track.result)
            job.track = None

    def _new_track(self, job: RunningJob) -> Track:
        index = len(job.pictures)

        def step_ended() -> None:
            job.steps_done += 1
            self._send(Progress(job=job.id, step=job.steps_done, total=job.total_steps), b"")

        return Track(job.id, index, lambda: self._painter.draw(job.generation, index, step_ended))

    def _finish(self, job: RunningJob) -> None:
        generation = job.generation
        outcome = Outcome(
            width=generation.width,
            height=generation.height,
            seeds=tuple((generation.seed + index) % MAX_SEED for index in range(generation.count)),
            inference_time=time.monotonic() - job.began,
            queue_time=0.0,
            batch_size=1,
            warnings=tuple(self._painter.warnings(generation)),
        )
        self._send(Finished(job=job.id, outcome=outcome), b"".join(picture.tobytes() for picture in job.pictures))


def as_service_error(error: Exception, job: RunningJob) -> ServiceError:
    """Return what the client is told; ends the process when the device can never be used again."""
    if isinstance(error, ServiceError):
        return error
    logger.error("The generation failed.", exc_info=error, extra={"request_id": job.id})
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        size = f"{job.generation.width}x{job.generation.height}"
        return OutOfMemory(f"The device's memory cannot hold a {size} picture; ask for a smaller one.")
    if isinstance(error, torch.AcceleratorError):
        # A CUDA error is sticky: every later call of this process would fail too. The dispatcher starts a new engine.
        logger.critical("The device is lost; the engine ends.")
        os._exit(70)
    return GenerationFailed(f"The generation failed inside the pipeline ({type(error).__name__}).")
