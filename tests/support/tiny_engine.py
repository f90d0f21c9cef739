"""A tiny model that generates as in an engine, and the stock pipelines to compare its images with."""

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.caching import QualityTiers
from imageserver.engine.caching.backend import CacheBackend
from imageserver.engine.families import family_of
from imageserver.engine.language.image_captioner import ImageCaptioner
from imageserver.engine.language.prompt_writer import PromptWriter
from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.finished_pixels import on_white, to_bytes
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner, has_parameter
from imageserver.engine.runner.safety_checker import SafetyChecker
from imageserver.generation import Generation, Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, Finished, Message, Run
from tests.support.tiny_loras import save_lora

# What to generate, alone or with the pixels that it starts from.
Wanted = Generation | tuple[Generation, bytes]


class TinyEngine:
    """A model behind a gate, the rows of every forward, and every message sent.

    Engines over one pipeline share its gate, so a test can open one that has what another lacks.
    """

    def __init__(
        self, pipeline: Any, *, cap: int = 8, merging: bool = True, control: Any = None,
        adapters: LoraAdapters | None = None, cache: CacheBackend | None = None, safety: SafetyChecker | None = None,
        prompt_writer: PromptWriter | None = None, image_captioner: ImageCaptioner | None = None,
    ) -> None:  # fmt: skip
        torch.set_grad_enabled(False)
        found = family_of(type(pipeline).__name__)
        assert found is not None
        self.pipeline, self.family, self.control = pipeline, found, control
        controls = control if isinstance(control, list) else [] if control is None else [control]
        self.denoiser = getattr(pipeline, found.denoiser)
        if not isinstance(vars(self.denoiser).get("forward"), Gate):
            found.customize(pipeline)
            Gate(self.denoiser)
        self.gate: Gate = self.denoiser.forward
        self.sent: list[tuple[Message, bytes]] = []
        self.batches: list[int] = []
        self.trace: list[tuple[float, float, Sequence[tuple[int, int]]]] = []
        self.before_forward: Callable[[], None] = lambda: None
        self.in_background: Callable[[Callable[[], None]], object] = lambda work: work()
        self.released = 0
        self.runner = PipelineRunner(pipeline, found, self.gate.install, adapters, controls)
        self.adapters = adapters
        self.model = ServedModel(
            self.runner, self.forward, merger=found.merger if merging else None, cap_of=lambda pixels: cap,
            adapters=adapters, prompt_writer=prompt_writer, image_captioner=image_captioner,
            tiers=QualityTiers(self.denoiser, self.gate.set_context, self.forward, cache) if cache else None,
        )  # fmt: skip
        self.scheduler = StepScheduler(
            {"": self.model}, lambda *frame: self.sent.append(frame), safety=safety, release_memory=self.release,
            in_background=lambda work: self.in_background(work), trace=lambda *forward: self.trace.append(forward),
        )  # fmt: skip

    def forward(self, **arguments: Any) -> Any:
        """Count, then compute."""
        merger = self.family.merger
        self.batches.append(merger.batch_size(arguments) if merger else 1)
        self.before_forward()
        return self.gate.forward(**arguments)

    def release(self) -> None:
        self.released += 1

    def add(self, job: int, wanted: Wanted) -> None:
        one, source = wanted if isinstance(wanted, tuple) else (wanted, b"")
        self.scheduler.add(Run(job=job, generation=one), source)

    def step(self, times: int) -> None:
        for _ in range(times):
            self.scheduler.step()

    def run(self) -> None:
        """Step until nothing is left."""
        while self.scheduler.busy:
            self.scheduler.step()

    def generate(self, *wanted: Wanted, cancelled: int | None = None) -> list[Any]:
        """Generate at the same time, cancel one after the third forward, and return each one's `result`."""
        self.sent.clear()
        self.batches.clear()
        for job, one in enumerate(wanted):
            self.add(job, one)
        while self.scheduler.busy:
            self.scheduler.step()
            if len(self.batches) == 3 and cancelled is not None:
                self.scheduler.cancel(cancelled)
        return [self.result(job) for job in range(len(wanted))]

    def result(self, job: int) -> Any:
        """Return a job's image as (height, width, channels), several images or layers stacked, or its failure."""
        [(message, raw)] = [*self.of(Finished, job), *self.of(Failed, job)]
        if isinstance(message, Failed):
            return message
        outcome = message.outcome
        images = np.frombuffer(raw, np.uint8).reshape(-1, outcome.height, outcome.width, outcome.channels).astype(int)
        return images if len(images) > 1 or self.family.layers else images[0]

    def of(self, kind: type[Message], job: int = 0) -> list[tuple[Any, bytes]]:
        """Return the messages of one kind about one job."""
        return [(message, raw) for message, raw in self.sent if isinstance(message, kind) and message.job == job]  # type: ignore[attr-defined]

    def plain(self, wanted: Generation, kind: str = "", *, scheduler: Any = None, **arguments: Any) -> np.ndarray:
        """Return what a plain call of the stock pipeline for `kind` generates, told `arguments` beside the generation.

        The first kind of the family is the default.
        """
        classes: Any = self.family.pipeline_classes
        stock = getattr(diffusers, classes[kind or next(iter(classes))])
        parts = {
            **self.pipeline.config, **self.pipeline.components, "requires_safety_checker": False,
            "controlnet": self.control, "scheduler": copy.deepcopy(scheduler or self.pipeline.scheduler),
        }  # fmt: skip
        known = inspect.signature(stock.__init__).parameters
        pipeline = stock(**{name: value for name, value in parts.items() if name in known})
        pipeline.set_progress_bar_config(disable=True)
        # In latents: HiDream-I1 would generate at 1024 x 1024.
        pipeline.default_sample_size = wanted.width // pipeline.vae_scale_factor
        guided = wanted.true_cfg_scale > 1
        # Qwen-Image reads a blank negative prompt, and none without guidance; the others take it for none.
        negative: str | None = wanted.negative_prompt.strip() or None
        if self.family.name.startswith("qwen-image"):
            negative = wanted.negative_prompt if guided else None
        call = {
            "prompt": wanted.prompt, "negative_prompt": negative, "width": wanted.width, "height": wanted.height,
            "num_inference_steps": wanted.steps, self.family.guidance: wanted.true_cfg_scale,
            "generator": torch.Generator("cpu").manual_seed(wanted.seed),
        } | arguments  # fmt: skip
        with self._as_published():
            if guided and not has_parameter(pipeline, "negative_prompt"):
                # FLUX.2-klein takes it as embeddings alone.
                call["negative_prompt_embeds"] = pipeline.encode_prompt(negative or "")[0]
            known = {name: value for name, value in call.items() if has_parameter(pipeline, name)}
            images = pipeline(**known).images[0]
        if isinstance(images, torch.Tensor):
            images = to_bytes(on_white(images))
        stacked = np.stack(images) if isinstance(images, list) else np.asarray(images)
        return stacked.astype(int)

    @contextmanager
    def _as_published(self) -> Iterator[None]:
        """Take the gate and the fast VAE away meanwhile."""
        gated = {name: vars(self.denoiser).pop(name) for name in ("forward", "cache_context")}
        fast = single_frame_vae.active()
        single_frame_vae.uninstall()
        try:
            yield
        finally:
            vars(self.denoiser).update(gated)
            if fast:
                single_frame_vae.install()


def difference(one: np.ndarray, other: np.ndarray) -> int:
    """Return the largest difference between two images.

    A batched forward differs from a solo one by 1e-6; a value on a rounding edge may so fall one level apart.
    """
    return int(np.abs(one - other).max())


def assert_alike(engine: TinyEngine, wanted: list[Wanted], together: list[Any]) -> None:
    """Fail unless images that were generated together are nearly those that are generated alone."""
    for one, image in zip(wanted, together, strict=True):
        assert difference(image, engine.generate(one)[0]) <= 1


def assert_a_lora_leaves_no_trace(
    engine: TinyEngine, folder: Path, wanted: Callable[..., Generation], source: bytes = b""
) -> None:
    """Fail unless a LoRA changes what is generated, and unloading it gives back the base model's image."""
    save_lora(folder, "red", engine.pipeline)
    loras = LoraFolder(folder)
    adapters = LoraAdapters(engine.pipeline, engine.family.denoiser, loras)
    lora = Lora(name="red", digest=loras.find("red").digest)
    [before] = engine.generate((wanted(), source))
    adapted = TinyEngine(engine.pipeline, control=engine.control, adapters=adapters)
    [changed] = adapted.generate((wanted(loras=(lora,)), source))
    assert (changed != before).any()
    adapters.unload("red")
    assert (engine.generate((wanted(), source))[0] == before).all()
