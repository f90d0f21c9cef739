"""Run the loaded pipeline for a generation: one suspended pipeline call per image."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import diffusers
import torch

from imageserver.capabilities import Needs, check_supported
from imageserver.engine.families.family import Family
from imageserver.engine.pipelines import init_image
from imageserver.engine.pipelines.decoding.finite_pixels import refuse_what_is_no_number, require_finite
from imageserver.engine.pipelines.decoding.previews import PreviewMap, Thumbnail, fit
from imageserver.engine.pipelines.decoding.single_frame_vae import stock_arithmetic
from imageserver.engine.pipelines.generated_size import generated_size
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulers
from imageserver.engine.pipelines.texts.emphasis import without_weights
from imageserver.engine.pipelines.texts.encoded_texts import recorded_texts
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.pipelines.types import Kind, Pipeline
from imageserver.engine.runner.controlnet import CONTROLLED, combined, kinds_of
from imageserver.engine.runner.finished_pixels import crop_to_centre, enlarged, on_white, scaled, to_bytes
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.upscaler import SEED_STRIDE, upscaled
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, Source, layer_size
from imageserver.schedulers import calls_factor

MAX_SEED = 2**64
GREY = 128
# A prompt of Qwen-Image takes up to 7 MiB as embeddings.
CACHED_PROMPTS = 64
EMPHASIS_UNREAD = "emphasis such as (word:1.2) has no effect: the model reads brackets and backslashes as plain text."
# The state of an offloading pipeline beside its components.
OFFLOADING = ("_all_hooks", "_offload_device", "_offload_gpu_id", "hf_device_map")

# Returns a preview of the unfinished image; called after a step, only where a preview was requested.
PreviewFn = Callable[[], Thumbnail]
OnStep = Callable[[PreviewFn], None]


class PipelineRunner:
    """Generates one image at a time; every call has its own noise scheduler and its own shallow copy of the pipeline.

    Two calls must not share a pipeline object: they would share the noise scheduler's state.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        family: Family,
        on_end: Callable[[], None] = lambda: None,
        adapters: LoraAdapters | None = None,
        controls: Sequence[torch.nn.Module] = (),
    ) -> None:
        """Call `on_end` after every pipeline call, however it ended.

        Without `adapters` LoRAs are refused, without the ControlNets `controls` control images.
        """
        options = {**family.loading, "controlnet": next(iter(controls), None)}
        self._pipelines = {
            kind: with_short_ends(as_class(pipeline, name, options))
            for kind, name in kinds_of(family, controlled=bool(controls)).items()
        }
        self._own = next(iter(self._pipelines.values()))
        refuse_what_is_no_number(pipeline.vae)
        self._family = family
        self._controls = controls
        self._on_end = on_end
        self._adapters = adapters
        self.noise_schedulers = NoiseSchedulers(pipeline.scheduler, family.noise_schedulers)
        self.embeddings = EmbeddingCache(CACHED_PROMPTS)

    @property
    def denoiser(self) -> torch.nn.Module:
        """The component whose calls are suspended."""
        module: torch.nn.Module = getattr(self._own, self._family.denoiser)
        return module

    @cached_property
    def preview_map(self) -> PreviewMap:
        """The map from the model's latents to colours; fitting it encodes two small images."""
        scale = self._family.preview_scale(self._own)
        return fit(lambda image: self._family.encode_for_preview(self._own, image), scale)

    def warmup_generation(self, generation: Generation) -> tuple[Generation, bytes]:
        """Return the generation with its pixels: a grey image to edit where the model cannot generate from text."""
        if "text" in self._pipelines:
            return generation, b""
        source = Source(strength=1.0, digest="")
        return replace(generation, source=source), bytes([GREY]) * (3 * generation.width * generation.height)

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        """Return image `index` as bytes in the host's memory, of shape (height, width, 3), of at least its own size.

        Layers have shape (layers, height, width, 4); the last channel is the opacity.
        `on_step` is called after every step; `source` holds the pixels that `generation.source` describes.
        """
        upscale = generation.upscale
        if upscale is None:
            return self._run_stage(generation, index, on_step, source)
        (first, _), (tile, _) = generation.stages
        if upscale.only:
            image = init_image.first_image(first, source)
        else:
            image = crop_to_centre(self._run_stage(first, index, on_step, source), first.width, first.height)

        def generate(number: int, pixels: bytes) -> torch.Tensor:
            seeded = replace(tile, seed=generation.seed + SEED_STRIDE * (number + 1))
            return crop_to_centre(self._run_stage(seeded, index, on_step, pixels), tile.width, tile.height)

        return upscaled(image, upscale, generate)

    def _run_stage(self, generation: Generation, index: int, on_step: OnStep, source: bytes) -> torch.Tensor:
        stock = self._pipeline_for(generation)
        pipeline = copy.copy(stock)
        config = self._adapt(generation)
        pipeline.scheduler = self.noise_schedulers.for_generation(stock.scheduler, generation, config)
        # Pipelines pass the tensors that this attribute names to their callback; only on this copy.
        pipeline._callback_tensor_inputs = [*stock._callback_tensor_inputs, *self._family.preview_tensors]
        if generation.deterministic:
            pipeline.vae = with_stock_vae(pipeline.vae)
        if generation.controls:
            pipeline.controlnet = combined(self._controls, self._family, generation.controls)
        width, height = self._generated_size(pipeline, generation)

        def step_ended(_pipeline: Any, call: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            def preview() -> Thumbnail:
                return self.preview_map.preview(self._family.preview_latents(pipeline, tensors, width, height))

            # Noise schedulers of the second order call back twice a step, PNDM once too often.
            step, half = divmod(call, pipeline.scheduler.order)
            if not half and step < generation.generated_steps:
                on_step(preview)
            return {}

        guided = self._family.calls_per_step(pipeline, generation) == 2
        try:
            with recorded_texts(pipeline, self._family.text_arguments if guided else ()):
                images = pipeline(
                    **self._family.arguments(pipeline, generation, self.embeddings),
                    **self._start(pipeline, generation, source, width, height),
                    **init_image.control_arguments(generation, source, width, height, guide_of(pipeline)),
                    **({"width": width, "height": height} if has_parameter(pipeline, "width") else {}),
                    # Generated on the CPU, a seed means the same noise on every device.
                    generator=torch.Generator("cpu").manual_seed((generation.seed + index) % MAX_SEED),
                    output_type="pt",
                    callback_on_step_end=step_ended,
                    callback_on_step_end_tensor_inputs=list(self._family.preview_tensors),
                ).images
        except BaseException:
            # A cancelled call would leave offloaded weights on the device.
            pipeline.maybe_free_model_hooks()
            raise
        finally:
            self._on_end()
        image = images[0] if self._family.layers or generation.transparent else on_white(images[0])
        require_finite(image)
        if not self._family.layers:
            image = enlarged(scaled(image, width, height), generation.width, generation.height)
        # Copied here and not in `postprocess`, which runs beside the next forward: the copy would wait for its end.
        return to_bytes(image).cpu()

    def _generated_size(self, pipeline: Pipeline, generation: Generation) -> tuple[int, int]:
        if self._family.layers:
            width, height = layer_size(generation.width, generation.height)
            if min(width, height) == 0:
                raise InvalidParameter("image is too long and narrow to be separated into layers.", param="image")
            return width, height
        multiple, max_tokens = self._family.size_multiple(pipeline), self._family.max_tokens(pipeline)
        return generated_size(generation.width, generation.height, multiple, max_tokens)

    def _pipeline_for(self, generation: Generation) -> Pipeline:
        kind = kind_of(generation)
        source, most = generation.source, self._family.max_images
        if source is not None and len(source.further) >= most:
            raise InvalidParameter(
                f"The model ({self._family.name}) reads at most {most} images at a time.", param="image"
            )
        needs = Needs(
            image="image" if source is not None else None,
            mask="mask" if source is not None and source.masked else None,
            control_image="control_image" if generation.controls else None,
            layers=generation.layers > 0,
        )
        check_supported(needs, f"The model ({self._family.name})", self._pipelines, layered=self._family.layers > 0)
        return self._pipelines["edit" if kind == "image" and "edit" in self._pipelines else kind]

    def _adapt(self, generation: Generation) -> Mapping[str, Any]:
        """Load the generation's LoRAs; return how they change the noise scheduler."""
        if self._adapters is None:
            if generation.loras:
                raise InvalidParameter("loras: this model cannot use LoRAs.", param="loras")
            return {}
        self._adapters.use_for_text(generation.loras)
        self.embeddings.scope = self._adapters.text_scope(generation.loras)
        return self._adapters.scheduler_config(generation.loras)

    def _start(
        self, pipeline: Pipeline, generation: Generation, source: bytes, width: int, height: int
    ) -> dict[str, Any]:
        if generation.source is None:
            return {}
        strength = self._family.strength_for(generation)
        if self._family.layers:
            # The pipeline scales the image itself.
            width, height = generation.width, generation.height
        given = init_image.arguments(generation, source, width, height, strength)
        if not has_parameter(pipeline, "strength"):
            del given["strength"]
        if self._family.layers:
            given["image"] = given["image"].convert("RGBA")
        return given

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        """Return a generated image as its `height * width * 3` bytes, 4 of a transparent one; safe on any thread.

        Layers stay as large as they were generated: `layers * height * width * 4` bytes.
        """
        if self._family.layers or generation.upscale is not None:
            return image.numpy().tobytes()
        pixels = crop_to_centre(image, generation.width, generation.height)
        return init_image.keep_unmasked(pixels, generation, source).numpy().tobytes()

    def calls_per_step(self, generation: Generation) -> int:
        return self._family.calls_per_step(self._own, generation) * calls_factor(generation.scheduler)

    def token_usage(self, generation: Generation) -> TokenUsage:
        if not generation.emphasis:
            return self._family.token_usage(self._own, generation)
        if not self._family.emphasis:
            usage = self._family.token_usage(self._own, generation)
            return replace(usage, warnings=(*usage.warnings, EMPHASIS_UNREAD))
        prompt, negative = (without_weights(text) for text in (generation.prompt, generation.negative_prompt))
        return self._family.token_usage(self._own, replace(generation, prompt=prompt, negative_prompt=negative))


def has_parameter(pipeline: Pipeline, name: str) -> bool:
    """Return whether a pipeline's call has a parameter: some have no size, those that edit have no strength."""
    return name in _parameters_of(type(pipeline).__call__)


@cache
def _parameters_of(call: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(call).parameters)


def kind_of(generation: Generation) -> Kind:
    kind: Kind = "text"
    if generation.source is not None:
        kind = "inpaint" if generation.source.masked else "image"
    return CONTROLLED[kind] if generation.controls else kind


def guide_of(pipeline: Pipeline) -> str:
    """Return the name of a pipeline's parameter for the control image: `image` where it starts from text."""
    return "control_image" if has_parameter(pipeline, "control_image") else "image"


def as_class(pipeline: Pipeline, name: str, options: Mapping[str, Any]) -> Pipeline:
    """Return a pipeline of another class of diffusers that shares every component and option of this one.

    `options` are passed to its constructor where it knows them, as at loading.
    """
    if type(pipeline).__name__ == name:
        return pipeline
    kind = getattr(diffusers, name)
    known = inspect.signature(kind.__init__).parameters
    given = {**pipeline.config, **pipeline.components, **options}
    relative = kind(**{name: value for name, value in given.items() if name in known})
    relative.set_progress_bar_config(disable=True)
    for attribute in OFFLOADING:
        if attribute in vars(pipeline):
            setattr(relative, attribute, vars(pipeline)[attribute])
    return relative


def with_short_ends(pipeline: Pipeline) -> Pipeline:
    """Return a copy that knows its device and has no hooks to look for where nothing is offloaded.

    The stock property and the stock end of a call visit every module, 8 and 2 ms an image on a CPU. The end resets the
    states of caches, which the engine keeps by image itself.
    """
    device, stock = pipeline._execution_device, type(pipeline)

    def maybe_free_model_hooks(self: Pipeline) -> None:
        if getattr(self, "_all_hooks", ()):
            stock.maybe_free_model_hooks(self)

    copied = copy.copy(pipeline)
    own = {"_execution_device": property(lambda self: device), "maybe_free_model_hooks": maybe_free_model_hooks}
    copied.__class__ = type(stock.__name__, (stock,), own)
    return copied


def with_stock_vae(vae: Any) -> Any:
    """Return a view of the VAE that is bit-identical to diffusers; the fast path differs in the last digit."""
    view = copy.copy(vae)

    def in_stock_arithmetic(compute: Callable[..., Any]) -> Callable[..., Any]:
        def computed(*arguments: Any, **options: Any) -> Any:
            with stock_arithmetic():
                return compute(*arguments, **options)

        return computed

    view.encode = in_stock_arithmetic(vae.encode)
    # In tiles the image would differ.
    view.decode = in_stock_arithmetic(getattr(vae.decode, "whole", vae.decode))
    return view
