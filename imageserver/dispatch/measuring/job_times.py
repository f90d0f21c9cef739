"""Measures jobs while they run and when they end: their wait, their steps, their stages, their share of the device."""

from collections.abc import Callable
from dataclasses import dataclass

from imageserver.dispatch.jobs import Job, state_after
from imageserver.generation import Outcome
from imageserver.protocol.messages import Failed, Finished, Progress
from imageserver.telemetry.generation_labels import labels_of
from imageserver.telemetry.instruments import (
    BATCH_SIZE,
    KEY_DEVICE_SECONDS,
    QUEUE_SECONDS,
    STAGE_SECONDS,
    STEP_SECONDS,
)
from imageserver.telemetry.metric_registry import MetricRegistry

NO_KEY = "none"


@dataclass
class _Steps:
    """The first and the last step that were reported, and when."""

    first: int
    began: float
    last: int
    ended: float


class JobTimes:
    """The times of jobs, by model, kind, size and outcome."""

    def __init__(
        self, measurements: MetricRegistry, clock: Callable[[], float], default_model: Callable[[], str]
    ) -> None:
        """Use the clock of the jobs' own moments; `default_model` names that of jobs that name none."""
        self._measurements = measurements
        self._clock = clock
        self._default_model = default_model
        self._steps: dict[int, _Steps] = {}

    def record_progress(self, job: Job, message: Progress) -> None:
        now, steps = self._clock(), self._steps.get(job.id)
        if steps is None or message.step <= steps.last:  # it began again after its engine died
            self._steps[job.id] = _Steps(message.step, now, message.step, now)
        else:
            steps.last, steps.ended = message.step, now

    def record_end(self, job: Job, message: Finished | Failed) -> None:
        """Observe a job that has ended, before its state says so."""
        observe = self._measurements.observe
        kinds = labels_of(job.generation, job.generation.model or self._default_model())
        labels = (*kinds, state_after(message))
        started = self._clock() if job.started is None else job.started
        observe(QUEUE_SECONDS, max(0.0, started - job.arrived), *labels)
        steps = self._steps.pop(job.id, None)
        if steps is not None and steps.last > steps.first:
            observe(STEP_SECONDS, (steps.ended - steps.began) / (steps.last - steps.first), *labels)
        device_seconds = job.work * job.share_done
        if isinstance(message, Finished):
            device_seconds = message.outcome.device_time
            self._observe_outcome(message.outcome, kinds, labels)
        self._measurements.count(KEY_DEVICE_SECONDS, job.credential or NO_KEY, amount=device_seconds)

    def _observe_outcome(self, outcome: Outcome, kinds: tuple[str, str, str], labels: tuple[str, ...]) -> None:
        observe, spent = self._measurements.observe, outcome.stage_seconds
        observe(BATCH_SIZE, outcome.batch_size, *kinds)
        for stage, seconds in (("text", spent.text), ("denoise", spent.denoise), ("decode", spent.decode)):
            observe(STAGE_SECONDS, seconds, stage, *labels)
