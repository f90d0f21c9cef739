"""The engine's interface to a model family: one subclass in its own file, one line in the registry.

The defaults suit most families; a subclass states where its pipeline differs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.language.language_model import LanguageModel, open_language_model
from imageserver.engine.pipelines.decoding.vae_number_format import without_overflow
from imageserver.engine.pipelines.merger import Merger
from imageserver.engine.pipelines.noise_schedulers import NoiseSchedulerSpec
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache
from imageserver.engine.pipelines.texts.separate_text_encoder import SeparateTextEncoder
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.pipelines.texts.unread_words import skip_unread_words
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class Family(ABC):
    """One family of models.

    `name` is its name in `/info`. `pipeline_classes` gives the diffusers class that serves each kind of generation, all
    made of the same components; models are published as the first. `denoiser` is the component whose calls are
    suspended, `noise_schedulers` those that fit beside the model's own. `merger` joins denoiser calls; without one they
    run one by one. `guidance` is the family's own name for classifier-free guidance, `positive_magic` gives quality
    words that the model was trained with, by language. `loading` is passed to `from_pretrained`;
    `separate_text_encoder` is one that the model's folder does not contain; `control_net` is the diffusers class of its
    ControlNets, `combined_control_net` the one that takes several control images; up to `max_control_nets` are loaded.
    The model reads up to `max_images` images of one request, each by itself, and separates an image into `layers`
    layers where a request does not say; 0 generates whole images. `transparency` says that its images have an alpha
    channel, `emphasis` that its words may have weights, `float16` that the models generate in that format.
    `preview_tensors` are the tensors that the pipeline's step callback needs for a preview.
    `text_arguments` are the denoiser's arguments that the pipeline's `encode_prompt` returns for one text, in its
    order; only families that call the denoiser twice a step need them, to foresee the second call of the first step.
    """

    name: str
    pipeline_classes: Mapping[Kind, str]
    denoiser: str
    noise_schedulers: Mapping[str, NoiseSchedulerSpec]
    merger: Merger | None = None
    guidance: str = "guidance_scale"
    positive_magic: Mapping[str, str] = {}
    loading: Mapping[str, Any] = {}
    separate_text_encoder: SeparateTextEncoder | None = None
    control_net: str = ""
    combined_control_net: str = ""
    max_control_nets: int = 1
    max_images: int = 1
    layers: int = 0
    transparency: bool = False
    emphasis: bool = False
    float16: bool = False
    preview_tensors: tuple[str, ...] = ("latents", "noise_pred")
    text_arguments: tuple[str, ...] = ()

    @abstractmethod
    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return the steps and the guidance of this model where a request names none, as its model card has them."""

    @abstractmethod
    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the keyword arguments of the pipeline's call that the generation decides."""

    @abstractmethod
    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Return the tokens, and warnings: text beyond the model's limit, parameters without effect."""

    @abstractmethod
    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return the number of pixels that width and height must be multiples of."""

    @abstractmethod
    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents (channels, height, width) of the finished image, predicted from the last step."""

    def preview_scale(self, pipeline: Pipeline) -> int:
        """Return how many pixels wide one of the latents of `preview_latents` is."""
        return int(pipeline.vae_scale_factor)

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        """Return the latents (channels, height, width) of an image (1, 3, height, width) in [-1, 1].

        Source: diffusers `autoencoder_kl.py` (0.42), the VAE of most families.
        """
        vae = pipeline.vae
        with without_overflow(vae):
            latents = vae.encode(image.to(pipeline._execution_device, vae.dtype)).latent_dist.mode()
        scaled: torch.Tensor = (latents[0].float() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        return scaled

    def load_components(self, folder: Path) -> dict[str, Any]:
        """Return the components that diffusers cannot load from a model's folder by itself; raises OSError."""
        return {}

    def customize(self, pipeline: Pipeline) -> None:
        """Change a freshly loaded pipeline where the family is not served as it was published."""
        skip_unread_words(pipeline)

    def language_model(self, pipeline: Pipeline) -> LanguageModel | None:
        """Return the text encoder as what it was before it encoded for images; None where it is no whole one."""
        return open_language_model(getattr(pipeline, "text_encoder", None), getattr(pipeline, "tokenizer", None))

    def strength_for(self, generation: Generation) -> float:
        """Return the strength that makes the pipeline run the generation's number of steps."""
        assert generation.source is not None
        return generation.source.strength

    def max_tokens(self, pipeline: Pipeline) -> int | None:
        """Return how many squares of `size_multiple` pixels an image may have; larger images are enlarged to size."""
        return None

    def calls_per_step(self, pipeline: Pipeline, generation: Generation) -> int:
        """Return how often one step calls the denoiser; with 1, guidance is part of the call."""
        return 1
