"""A job inside the engine: its images, each on its own track, and its claim on the device."""

import itertools
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from imageserver.engine.batching.lookahead import Lookahead
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.language.language_model import Pause
from imageserver.engine.language.prompt_writer import enhanced
from imageserver.engine.pipelines import init_image
from imageserver.engine.pipelines.decoding.previews import Thumbnail
from imageserver.engine.pipelines.decoding.tiles import current_warnings
from imageserver.engine.pipelines.suspension import Track, TrackCancelled
from imageserver.engine.runner.pipeline_runner import PreviewFn
from imageserver.generation import Generation, StageSeconds
from imageserver.protocol.messages import Run
from imageserver.schedulers import calls_factor
from imageserver.scheduling_policy import Claim
from imageserver.telemetry.logs import current_request, current_trace, log_fields_of


class RunningJob:
    """A job and the tracks of its images; times in seconds, memory in bytes. `source` are the source's pixels.

    `lora_time` is what the model took to load its LoRAs before it came.
    """

    def __init__(
        self,
        request: Run,
        model: ServedModel,
        step_done: Callable[["RunningJob"], None],
        # Receives the image's index and its step beside the preview.
        preview_generated: Callable[["RunningJob", int, int, Thumbnail], None],
        source: bytes = b"",
        lora_time: float = 0.0,
    ) -> None:
        self.id = request.job
        self.model = model
        self.generation = request.generation
        # When its first image began; until then it waits for its turn among the others.
        self.began = time.monotonic()
        self._has_begun = False
        self.steps_done = 0
        self.largest_batch = 1
        self.device_time = lora_time
        # Of the device time, what its prompt took, and what its LoRAs took.
        self.writing_time = 0.0
        self.lora_time = lora_time
        self._first_forward: float | None = None
        self._last_forward = self.began
        self.memory_peak = 0
        self.warnings: list[str] = []
        self.revised_prompt = ""
        self.caption = ""
        self.calls_per_step = model.runner.calls_per_step(request.generation)
        self.credential = request.credential
        self.trace_id = request.trace_id
        self._arrived = time.monotonic() - request.waited
        self._step_done = step_done
        self._preview_generated = preview_generated
        self._source = source
        self._preview_steps = preview_steps(request.generation)
        self.tracks = [self._track(index) for index in range(request.generation.count)]
        # Writes its prompt or its caption; images begin once this has ended.
        self.text_track = self._text_track()
        self.lookaheads = [Lookahead(track) for track in self.tracks] if self._foreseeable else []

    @property
    def total_steps(self) -> int:
        return self.generation.generated_steps * self.generation.count

    @property
    def shares_forwards(self) -> bool:
        """Whether its calls may be merged with others'; the cache tiers would couple neighbours."""
        return not self.generation.deterministic and self.generation.quality == "exact"

    @property
    def _foreseeable(self) -> bool:
        """Whether a step's calls come in pairs that may share a forward.

        Their texts differ in length, so they need a mask, and a masked forward can't be captured.
        """
        if self.model.captured is not None:
            return False
        in_pairs = self.calls_per_step == 2 * calls_factor(self.generation.scheduler)
        return in_pairs and self.shares_forwards and self.model.merger is not None

    def shares_forwards_with(self, leader: "RunningJob") -> bool:
        """Whether its calls may join the leader's: all calls of a forward have the same model and the same LoRAs."""
        same = self.model is leader.model and self.generation.loras == leader.generation.loras
        return same and self.shares_forwards

    @property
    def pixels(self) -> int:
        return self.generation.forward_pixels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Layers, height, width and channels of each finished image as it is sent; of a caption those of its source."""
        if not self.tracks:
            return 1, self.generation.height, self.generation.width, 3
        generated = self.tracks[0].result
        if generated.ndim == 4:
            layers, height, width, channels = generated.shape
            return layers, height, width, channels
        width, height = self.generation.answer_size
        return 1, height, width, generated.shape[-1]

    @property
    def is_writing(self) -> bool:
        """Whether its prompt or its caption is still to be written."""
        return self.text_track is not None and not self.text_track.dead

    @property
    def finished(self) -> bool:
        return not self.is_writing and all(track.dead for track in self.tracks)

    def claim(self) -> Claim:
        step = self._step_seconds()
        ending = self.model.ending_costs.seconds(self.pixels)
        unfinished = sum(not track.dead for track in self.tracks)
        return Claim(
            owner=self.id,
            credential=self.credential,
            priority=self.generation.priority,
            arrived=self._arrived,
            work=self.total_steps * step + len(self.tracks) * ending,
            remaining=(self.total_steps - self.steps_done) * step + unfinished * ending,
        )

    def _step_seconds(self) -> float:
        pairs = self.model.spreads or self.model.mixes_lengths(self.pixels)
        paired = pairs and self.model.cap_of(self.pixels) > 1
        if self.lookaheads and paired:
            return self.model.costs.seconds(self.pixels, 2) * self.calls_per_step / 2
        return self.model.costs.seconds(self.pixels) * self.calls_per_step

    def observe_endings(self) -> None:
        """Learn what the finished images cost after their last call, which is mostly their decoding."""
        for track in self.tracks:
            self.model.ending_costs.observe(self.pixels, 1, track.seconds_since_call)

    def record_forward(self, began: float, ended: float) -> None:
        """Record when a forward that served it ran, on the monotonic clock."""
        if self._first_forward is None:
            self._first_forward = began
        self._last_forward = ended

    def stage_seconds(self, ended: float) -> StageSeconds:
        """Return how the time until `ended` was spent; without any forward it is all before the first."""
        first = ended if self._first_forward is None else self._first_forward
        last = max(first, self._last_forward)
        return StageSeconds(text=first - self.began, denoise=last - first, decode=ended - last)

    def begin(self) -> bool:
        """Record that an image begins; return whether it is the first one."""
        if self._has_begun:
            return False
        self._has_begun, self.began = True, time.monotonic()
        return True

    def abort(self) -> None:
        """Unwind every image."""
        for track in (*self.tracks, *([self.text_track] if self.text_track else ())):
            track.abort(TrackCancelled())

    def images(self) -> bytes:
        runner = self.model.runner
        return b"".join(runner.postprocess(track.result, self.generation, self._source) for track in self.tracks)

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line about it says of its request."""
        return log_fields_of(self.id, self.trace_id)

    def _be_current(self) -> None:
        """Let every line that is logged on the way carry its request and its trace."""
        current_request.set(self.id)
        current_trace.set(self.trace_id)

    def _text_track(self) -> Track | None:
        if not (self.generation.caption or self.generation.enhancement):
            return None

        def write() -> None:
            self._be_current()
            (self._describe if self.generation.caption else self._enhance)(track.let_others_go_first)

        track = Track(self.id, 0, write)
        return track

    def _describe(self, pause: Pause) -> None:
        captioner, form = self.model.image_captioner, self.generation.caption
        assert captioner is not None
        assert form is not None
        image = init_image.first_image(self.generation, self._source)
        self.caption = captioner.write(form, Image.fromarray(image.numpy()), pause)

    def _enhance(self, pause: Pause) -> None:
        found = enhanced(self.generation, self.credential, self.model.prompt_writer, pause)
        self.generation, self.revised_prompt = found.generation, found.revised
        self.warnings += [found.warning] if found.warning else []

    def _track(self, index: int) -> Track:
        steps = itertools.count(1)

        def step_ended(preview: PreviewFn) -> None:
            self.steps_done += 1
            step = next(steps)
            self._step_done(self)
            if step in self._preview_steps:
                self._preview_generated(self, index, step, preview())

        def generate() -> Any:
            self._be_current()
            current_warnings.set(self.warnings)
            return self.model.runner.run(self.generation, index, step_ended, self._source)

        return Track(self.id, index, generate)


def preview_steps(generation: Generation) -> frozenset[int]:
    """Return the steps that each image is previewed after: evenly spread over its first stage, without the last."""
    (first, times), wanted = generation.stages[0], generation.previews
    steps = times * first.generated_steps
    return frozenset(round(k * steps / (wanted + 1)) for k in range(1, wanted + 1)) - {0, steps}
