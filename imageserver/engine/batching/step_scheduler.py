"""The step scheduler: many suspended pipelines share batched forwards of one denoiser.

Jobs join and leave at any step. At every step the first claim leads, compatible waiting calls join it up to the cap for
their size, one forward runs under the device lock, and every track continues with its part. Everything that touches the
device happens on this one thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imageserver.engine.batching.batch import BatchedCall, WaitingCall, arguments_of, compute, form_batch, tokens_of
from imageserver.engine.batching.failures import as_lora_error, as_service_error
from imageserver.engine.batching.lookahead import ForeseenCall
from imageserver.engine.batching.newcomers import newcomers
from imageserver.engine.batching.running_job import RunningJob
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.writing_share import WritingShare
from imageserver.engine.device_errors import drop_frames, end_if_lost, is_out_of_memory
from imageserver.engine.devices.devices import MIB
from imageserver.engine.devices.memory import PeakMemory
from imageserver.engine.pipelines.decoding.previews import Thumbnail
from imageserver.engine.pipelines.suspension import Track
from imageserver.engine.runner.pipeline_runner import MAX_SEED
from imageserver.engine.runner.safety_checker import SafetyChecker, blackened, sentence
from imageserver.errors import (
    Busy,
    Cancelled,
    EngineUnavailable,
    InvalidParameter,
    OutOfMemory,
    ServiceError,
)
from imageserver.generation import Lora, Outcome
from imageserver.protocol import messages
from imageserver.scheduling_policy import SchedulingPolicy

logger = logging.getLogger(__name__)

MODEL_UNLOADED = "The model has just been unloaded; send the request again."

Send = Callable[[messages.Message, bytes], None]
# Called after every forward: when it began and ended on the monotonic clock, and the (job, image) of each call in it.
Trace = Callable[[float, float, Sequence[tuple[int, int]]], None]


def no_trace(began: float, ended: float, calls: Sequence[tuple[int, int]]) -> None:
    """Record nothing."""


class StepScheduler:
    """Runs all jobs in turn, one denoiser forward at a time."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        send: Send,
        *,
        trace: Trace = no_trace,
        peak_memory: PeakMemory = lambda: 0,
        safety: SafetyChecker | None = None,
        release_memory: Callable[[], None] = lambda: None,
        in_background: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        """Serve `models`, keyed by name; the mapping may change at any time."""
        self._models = models
        self._send = send
        self._trace = trace
        self._peak_memory = peak_memory
        self._safety = safety
        self._release_memory = release_memory
        self._in_background = in_background
        self._jobs: dict[int, RunningJob] = {}
        self._policy = SchedulingPolicy()
        self._writing_share = WritingShare()
        self.busy_seconds = 0.0
        self.idle_seconds = 0.0
        self.forwards = 0
        self.calls = 0
        self.lookahead_hits = 0
        self.lookahead_misses = 0
        self.device_lock = threading.Lock()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def add(self, request: messages.Run, source: bytes = b"", lora_time: float = 0.0) -> None:
        """Add a job with the pixels of its source; it starts at the next step.

        In `lora_time` seconds, `change_loras` has loaded LoRAs for it.
        """
        model = self._models.get(request.generation.model)
        if model is None:
            self._send(messages.failed(request.job, EngineUnavailable(MODEL_UNLOADED, retry_after=1)), b"")
            return
        try:
            model.check_supported(request.generation)
        except ServiceError as error:
            self._send(messages.failed(request.job, error), b"")
            return
        self._record_memory_peak()  # so that the peaks before it are not counted as its own
        self._jobs[request.job] = RunningJob(request, model, self._report_step, self._send_preview, source, lora_time)

    def cancel(self, job_id: int) -> None:
        """Stop a job where it is suspended; unknown jobs are ignored."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._fail(job, Cancelled("The generation was cancelled."))

    def step(self) -> None:
        """Let one text be written for a while, begin a few new images, then serve one forward."""
        began, busy = time.monotonic(), self.busy_seconds
        with self.device_lock:
            self._write_text()
            for job, track in newcomers(self._ranked_jobs()):
                if job.id in self._jobs:
                    self._begin(job, track)
            self._serve_next(self._ranked())
        self.idle_seconds += max(0.0, time.monotonic() - began - (self.busy_seconds - busy))

    def uses(self, model: ServedModel) -> bool:
        return any(job.model is model for job in self._jobs.values())

    def change_loras(self, request: messages.LoraRequest) -> messages.LorasLoaded:
        """Load or unload a LoRA between two forwards; one that running generations use stays.

        The device is busy meanwhile. No error is raised; a lost device ends the process.
        """
        began = time.monotonic()
        model = self._models.get(request.model)
        adapters = model.adapters if model else None
        if adapters is None and request.load is None:
            return messages.LorasLoaded(job=request.job)  # a model that is not in memory has none
        try:
            if model is None:
                raise EngineUnavailable(MODEL_UNLOADED, retry_after=1)
            if adapters is None:
                raise InvalidParameter("loras: this model cannot use LoRAs.", param="loras")
            if request.load is not None:
                adapters.load(request.load)
            in_use = {lora.name for job in self._jobs.values() if job.model is model for lora in job.generation.loras}
            if request.unload in in_use:
                raise Busy("Running generations use this LoRA; unload it later.", param="name", retry_after=5)
            if request.unload is not None:
                adapters.unload(request.unload)
        except Exception as error:
            failure = as_lora_error(error)
            self._release_memory_after(failure)
            return messages.LorasLoaded(job=request.job, failure=messages.failed(request.job, failure))
        finally:
            self.busy_seconds += time.monotonic() - began
        return messages.LorasLoaded(job=request.job, names=adapters.names)

    def usage(self) -> messages.DeviceUsage:
        """Return the device's totals so far; idle is the time without work although jobs were waiting."""
        return messages.DeviceUsage(
            busy=self.busy_seconds,
            idle=self.idle_seconds,
            forwards=self.forwards,
            calls=self.calls,
            lookahead_hits=self.lookahead_hits,
            lookahead_misses=self.lookahead_misses,
        )

    def _ranked(self) -> list[WaitingCall]:
        """Return all suspended images, the one whose turn it is first."""
        return [(job, track) for job in self._ranked_jobs() for track in job.tracks if track.suspended]

    def _ranked_jobs(self) -> list[RunningJob]:
        claims = self._policy.sort([job.claim() for job in self._jobs.values()], time.monotonic())
        return [self._jobs[claim.owner] for claim in claims]

    def _write_text(self) -> None:
        """Let the first job whose prompt or caption is still to be written go on for its share of the time."""
        job = next((job for job in self._ranked_jobs() if job.is_writing), None)
        if job is None or job.text_track is None:
            return
        track, beside_images = job.text_track, bool(self._ranked())

        def write_token() -> None:
            before = job.device_time
            if track.begun:
                self._advance(job, track.resume, None)
            else:
                self._begin(job, track)
            job.writing_time += job.device_time - before

        self._writing_share.write(write_token, lambda: job.is_writing, beside_images=beside_images)

    def _serve_next(self, ranked: Sequence[WaitingCall]) -> None:
        """Serve one forward, or let the first image go on with what it was interrupted in."""
        if ranked and (interruption := ranked[0][1].interruption):
            track = interruption.before() or ranked[0][1]
            self._advance(self._jobs[track.job], track.resume, None)
        elif batch := form_batch([entry for entry in ranked if entry[1].waiting is not None]):
            self._serve(batch)

    def _serve(self, batch: Sequence[BatchedCall]) -> None:
        adapters = batch[0][0].model.adapters
        if adapters is not None and not self._use_loras(batch[0][0], adapters.use):
            return
        began = time.monotonic()
        outputs = self._compute_or_fail(batch)
        if outputs is None:
            return
        ended = time.monotonic()
        seconds = self._writing_share.last_forward = ended - began
        foreseen = [call for _, call in batch if isinstance(call, ForeseenCall)]
        self._trace(began, ended, [(job.id, track.index) for job, track in batch])
        self.busy_seconds += seconds
        self.forwards += 1
        if batch[0][0].generation.quality == "exact":
            # A tiered forward may be skipped, so its time says nothing about the cost of others.
            batch[0][0].model.costs.observe(batch[0][0].pixels, len(batch), seconds)
        for (job, track), output in zip(batch, outputs, strict=True):
            self._policy.charge(job.credential, seconds / len(batch))
            job.device_time += seconds / len(batch)
            job.record_forward(began, ended)
            job.largest_batch = max(job.largest_batch, len(batch) - len(foreseen))
            if job.id in self._jobs:
                self._advance(job, track.resume, output)
        hits = sum(call.hit for call in foreseen)
        self.calls += len(batch) - len(foreseen) + hits
        self.lookahead_hits += hits
        self.lookahead_misses += len(foreseen) - hits

    def _compute_or_fail(self, batch: Sequence[BatchedCall]) -> list[Any] | None:
        """Return each call's result; None after a failure, with the calls served one by one or the job ended."""
        failure: ServiceError | None = None
        try:
            return compute(batch)
        except Exception as error:
            if len(batch) == 1:
                failure = as_service_error(error, batch[0][0])
            else:
                self._observe_failed_batch(error, batch)
        # Outside the handler, whose error would keep the failed forward's tensors alive.
        if failure is not None:
            self._fail(batch[0][0], failure)
            return None
        self._release_memory()
        for job, call in batch:
            if isinstance(call, ForeseenCall):
                call.drop()
            elif job.id in self._jobs:
                self._serve([(job, call)])
        return None

    def _observe_failed_batch(self, error: Exception, batch: Sequence[BatchedCall]) -> None:
        """Learn from a shared forward that failed: one bad call must not harm its neighbours, so each runs alone."""
        end_if_lost(error)
        model = batch[0][0].model
        if is_out_of_memory(error) and model.merger is not None:
            # A forward of this size would fail every time; the next ones are smaller.
            model.memory_limit.observe_failure(sum(tokens_of(model.merger, arguments_of(track)) for _, track in batch))
        logger.warning("A forward of %d failed (%s); its calls run one by one.", len(batch), type(error).__name__)
        drop_frames(error)

    def _begin(self, job: RunningJob, track: Track) -> None:
        """Begin an image; with its first one the job has started."""
        if job.begin():
            self._send(messages.Started(job=job.id), b"")
            # Now its turns count; what it has had before counts too.
            self._policy.charge(job.credential, job.lora_time)
        adapters = job.model.adapters
        if adapters is None or job.is_writing or self._use_loras(job, adapters.use_for_text):
            self._advance(job, track.begin)

    def _use_loras(self, job: RunningJob, use: Callable[[tuple[Lora, ...]], None]) -> bool:
        """Let the model take a job's LoRAs, at the job's expense; return False where that has ended the job."""
        before = job.device_time
        self._advance(job, use, job.generation.loras)
        job.lora_time += job.device_time - before
        return job.id in self._jobs

    def _advance(self, job: RunningJob, go_on: Callable[..., None], *values: Any) -> None:
        """Let a track run to its next call; an error in its pipeline ends only its job."""
        began, failure = time.monotonic(), None
        try:
            go_on(*values)
        except Exception as error:
            failure = as_service_error(error, job)
        finally:
            seconds = time.monotonic() - began
            self.busy_seconds += seconds
            self._policy.charge(job.credential, seconds)
        if failure is not None:
            self._fail(job, failure)
            return
        job.device_time += seconds
        if job.finished:
            self._finish(job)

    def _report_step(self, job: RunningJob) -> None:
        self._send(messages.Progress(job=job.id, step=job.steps_done, total=job.total_steps), b"")

    def _send_preview(self, job: RunningJob, index: int, step: int, frame: Thumbnail) -> None:
        if self._safety is not None:
            return  # the safety checker has not checked it yet
        preview = messages.Preview(
            job=job.id,
            index=index,
            step=step,
            total=job.generation.generated_steps,
            width=frame.width,
            height=frame.height,
            scale=frame.scale,
        )
        self._send(preview, frame.pixels)

    def _fail(self, job: RunningJob, error: ServiceError) -> None:
        self._forget(job)
        job.abort()
        self._release_memory_after(error)
        self._send(messages.failed(job.id, error), b"")

    def _release_memory_after(self, error: ServiceError) -> None:
        if isinstance(error, OutOfMemory):
            self._release_memory()

    def _record_memory_peak(self) -> None:
        """Record the peak since the last call in all jobs."""
        peak = self._peak_memory()
        for job in self._jobs.values():
            job.memory_peak = max(job.memory_peak, peak)

    def _finish(self, job: RunningJob) -> None:
        job.observe_endings()
        self._record_memory_peak()
        self._forget(job)
        ended = time.monotonic()
        logger.debug("Generated, in batches of up to %d.", job.largest_batch, extra=job.log_fields)
        # The device continues with the next step while another thread converts the image to bytes.
        self._in_background(lambda: self._send_result(job, ended))

    def _send_result(self, job: RunningJob, ended: float) -> None:
        generation = job.generation
        try:
            pixels, warnings = job.images(), list(dict.fromkeys(job.warnings))
            usage = job.model.runner.token_usage(generation)
            layers, height, width, channels = job.shape
            unsafe = self._safety.unsafe(pixels, (height, width, channels)) if self._safety and job.tracks else ()
            if any(unsafe):
                pixels = blackened(pixels, unsafe)
                warnings.append(sentence(unsafe))
        except Exception as error:
            self._send(messages.failed(job.id, as_service_error(error, job)), b"")
            return
        outcome = Outcome(
            width=width,
            height=height,
            layers=layers,
            channels=channels,
            seeds=tuple((generation.seed + index // layers) % MAX_SEED for index in range(generation.count * layers)),
            inference_time=ended - job.began,
            stage_seconds=job.stage_seconds(ended),
            queue_time=0.0,
            batch_size=job.largest_batch,
            device_time=job.device_time,
            writing_time=job.writing_time,
            lora_time=job.lora_time,
            warnings=(*usage.warnings, *warnings),
            prompt_tokens=usage.prompt_tokens,
            image_tokens=usage.image_tokens,
            vram_peak_mb=round(job.memory_peak / MIB, 1),
            unsafe=unsafe,
            revised_prompt=job.revised_prompt,
            caption=job.caption,
        )
        if job.tracks:
            job.model.largest_generated = max(job.model.largest_generated, job.pixels)
        self._send(messages.Finished(job=job.id, outcome=outcome), pixels)

    def _forget(self, job: RunningJob) -> None:
        del self._jobs[job.id]
        if job.model.tiers is not None:
            job.model.tiers.forget(job.id)
