"""One file per model family: what its pipeline needs to be told, and how its denoiser calls merge."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from imageserver.engine.families.cogview4 import CogView4
from imageserver.engine.families.flux import Flux
from imageserver.engine.families.hidream_image import HiDreamImage
from imageserver.engine.families.qwen_image import QwenImage
from imageserver.engine.families.qwen_image_21 import QwenImage21
from imageserver.engine.families.qwen_image_edit import QwenImageEdit, QwenImageEditPlus
from imageserver.engine.families.qwen_image_layered import QwenImageLayered
from imageserver.engine.families.stable_diffusion import StableDiffusion
from imageserver.engine.families.stable_diffusion_xl import StableDiffusionXL
from imageserver.engine.families.z_image import ZImage
from imageserver.engine.pipelines.merging import Merger
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulerSpec
from imageserver.engine.pipelines.prompt_embeddings import EmbeddingCache
from imageserver.engine.pipelines.separate_text_encoder import SeparateTextEncoder
from imageserver.engine.pipelines.token_counts import TokenUsage
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class Family(Protocol):
    """What the engine must know of a family."""

    @property
    def name(self) -> str:
        """The family's name in `/info`."""

    @property
    def pipeline_classes(self) -> Mapping[Kind, str]:
        """The classes of diffusers that serve each kind of generation, made of the same components."""

    @property
    def noise_schedulers(self) -> Mapping[str, NoiseSchedulerSpec]:
        """The schedulers that fit beside the model's own, by name."""

    @property
    def denoiser(self) -> str:
        """The component whose calls are suspended."""

    @property
    def guidance(self) -> str:
        """What the family's documentation calls its classifier-free guidance."""

    @property
    def positive_magic(self) -> Mapping[str, str]:
        """Quality words that the model was trained with, by language."""

    @property
    def loading(self) -> Mapping[str, Any]:
        """What `from_pretrained` is told beside the folder."""

    @property
    def separate_text_encoder(self) -> SeparateTextEncoder | None:
        """The text encoder that the model's own folder does not bring along."""

    def load_parts(self, folder: Path) -> dict[str, Any]:
        """Return the components that diffusers cannot load from a model's folder by itself; raises OSError."""

    def customize(self, pipeline: Pipeline) -> None:
        """Make a freshly loaded pipeline what the family serves."""

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return the steps and the guidance of this model of the family, where a request names none."""

    def strength_for(self, generation: Generation) -> float:
        """Return the strength that makes the pipeline do the generation's number of steps."""

    @property
    def merger(self) -> Merger | None:
        """How its denoiser calls merge; None serves them one by one."""

    @property
    def preview_tensors(self) -> tuple[str, ...]:
        """What a pipeline's step callback is to be given for a preview."""

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents (channels, height, width) of the finished image, as far as the last step can tell."""

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        """Return the latents (channels, height, width) of an image (1, 3, height, width) in [-1, 1]."""

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return the number of pixels that width and height must be multiples of."""

    def max_tokens(self, pipeline: Pipeline) -> int | None:
        """Return how many squares of `size_multiple` pixels an image may have; larger ones are enlarged."""

    @property
    def control_net(self) -> str:
        """The class of diffusers of its ControlNets; empty where it is served without."""

    @property
    def max_images(self) -> int:
        """How many images of one request the model sees each by itself."""

    @property
    def layers(self) -> int:
        """Into how many layers an image is taken apart where a request does not say; 0 generates whole images."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return how often one step calls the denoiser."""

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the keyword arguments of the pipeline's call that the generation decides."""

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Return what the model reads of the generation, and warnings: text that was cut, parameters without effect."""


FAMILIES: tuple[Family, ...] = (
    QwenImage(),
    QwenImageEdit(),
    QwenImageEditPlus(),
    QwenImage21(),
    QwenImageLayered(),
    StableDiffusion(),
    StableDiffusionXL(),
    CogView4(),
    HiDreamImage(),
    Flux(),
    ZImage(),
)


def published_class(family: Family) -> str:
    """Return the pipeline class that the family's models are published as: the first it names."""
    return next(iter(family.pipeline_classes.values()))


def family_of(pipeline_class: str) -> Family | None:
    """Return the family that serves a pipeline class of diffusers, by its name in `model_index.json`."""
    return next((family for family in FAMILIES if published_class(family) == pipeline_class), None)
