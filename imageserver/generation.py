"""Requests and results: the types that every package shares."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from imageserver.enhancement.enhancement import Enhancement

Quality = Literal["exact", "high", "fast"]
OutputFormat = Literal["png", "jpeg", "webp"]
CaptionForm = Literal["sentence", "tags"]
Priority = Literal["interactive", "normal", "background"]
MemoryPlanName = Literal[
    "full", "tensor-parallel", "float8", "int8", "encoder-offload", "model-offload", "int8-offload", "nf4",
    "group-offload", "sequential-offload", "device-map",
]  # fmt: skip

# Qwen's own prompt suffixes. Source: the Qwen/Qwen-Image model card.
POSITIVE_MAGIC = {"en": ", Ultra HD, 4K, cinematic composition.", "zh": ", 超清，4K，电影级构图."}

# A blank is how Qwen-Image spells an empty prompt.
NO_PROMPT = " "

# Control images of one request, and ControlNets that are loaded.
MAX_CONTROLS = 3

# As many as AUTOMATIC1111 shows of a hash.
HASH_LETTERS = 10

EMPHASIS_MARKS = frozenset("()[]\\")

# Layers have as many pixels as a square with this side, and sides that are multiples of LAYER_MULTIPLE.
LAYER_SIDE, LAYER_MULTIPLE = 640, 32

# Tiles of a second stage overlap by one part in so many.
TILE_OVERLAP = 8


@dataclass(frozen=True, kw_only=True)
class Source:
    """The image that a generation starts from; its pixels travel beside, `digest` names them.

    The pixels are `height * width * 3` bytes of RGB in the generation's own size and, when `masked`, `height * width`
    bytes after them: 255 is regenerated, 0 keeps the source. `strength` in (0, 1] is the share of the steps that run: 1
    leaves nothing of the source. `further` are the widths and heights of further images that the model reads, each by
    itself; their RGB follows.
    """

    strength: float
    digest: str
    masked: bool = False
    further: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """An image that guides a generation through a ControlNet; its pixels travel beside, `digest` names them.

    They are `height * width * 3` bytes of RGB in the generation's own size, after the source's and those of the
    controls before it. `scale` is how strongly it guides, from the share `start` to the share `end` of the steps, 0 to
    1. `net` is the number of its ControlNet among those that are loaded.
    """

    digest: str
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    net: int = 0


@dataclass(frozen=True, kw_only=True)
class Upscale:
    """A second stage: the image is enlarged with Lanczos to `width` x `height`, the size of the answer.

    It is then generated over in tiles of the size `tile`, each with the `strength` of a source in `steps` steps; 0 only
    enlarges. `only` leaves the first stage out: the source itself is enlarged.
    """

    width: int
    height: int
    strength: float
    steps: int
    tile: tuple[int, int]
    only: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """The number of columns and rows of tiles, which overlap by at least an eighth."""
        columns, rows = (
            1 if side <= tile else math.ceil((side - tile // TILE_OVERLAP) / (tile - tile // TILE_OVERLAP))
            for side, tile in zip((self.width, self.height), self.tile, strict=True)
        )
        return columns, rows

    @property
    def tiles(self) -> int:
        """The number of tiles that are generated."""
        return math.prod(self.grid) if self.strength else 0


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA that a generation uses; `digest` identifies the content of its files, `scale` is its strength.

    `hub_id` names it on the hub that it was fetched from, for machines that have not fetched it yet.
    """

    name: str
    digest: str
    scale: float = 1.0
    hub_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One request for `count` images, with every choice already made.

    `width` and `height` are the pixels of the answer; the engine generates at the next multiple its VAE needs and crops
    to the centre. Image k uses `seed + k`. A `true_cfg_scale` of 1 or less switches classifier-free guidance off.
    `previews` is the number of previews of each image, spread evenly over its steps.
    `model` is the name of the model that generates it; empty is the default model. `scheduler` is a name of
    `ModelInfo.schedulers`; empty is the model's own, or what its `loras` (by name) recommend. `layers` is how many
    layers an image is separated into; 0 is the model's default, or no layers where it generates whole images.
    `transparent` keeps the transparency of a model that generates it. `emphasis` reads brackets in its texts as
    weights. With `upscale` the answer is larger than `width` and `height`, which are those of the first stage. With an
    `enhancement` a better prompt replaces `prompt`, which is used where none can be written. With a `caption` its
    result is a text of that form about its source, and `count` is 0: no image is generated.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    true_cfg_scale: float
    seed: int
    count: int = 1
    deterministic: bool = False
    priority: Priority = "normal"
    quality: Quality = "exact"
    source: Source | None = None
    controls: tuple[Control, ...] = ()
    previews: int = 0
    scheduler: str = ""
    loras: tuple[Lora, ...] = ()
    model: str = ""
    layers: int = 0
    transparent: bool = False
    emphasis: bool = False
    upscale: Upscale | None = None
    enhancement: Enhancement | None = None
    caption: CaptionForm | None = None

    def as_generated(self, outcome: "Outcome") -> "Generation":
        """Return it with the prompt that its image was generated from."""
        if self.enhancement is None or not outcome.revised_prompt:
            return self
        return replace(self, prompt=outcome.revised_prompt + self.enhancement.suffix)

    @property
    def answer_size(self) -> tuple[int, int]:
        """The width and height of the answer."""
        return (self.upscale.width, self.upscale.height) if self.upscale else (self.width, self.height)

    @property
    def stages(self) -> tuple[tuple["Generation", int], ...]:
        """The generations that it consists of, and how often each runs for an image: itself, or two stages."""
        upscale = self.upscale
        if upscale is None:
            return ((self, 1),)
        first = replace(self, upscale=None)
        width, height = upscale.tile
        tile = replace(
            first,
            width=width,
            height=height,
            steps=upscale.steps,
            source=Source(strength=upscale.strength or 1.0, digest=""),
            controls=(),
            previews=0,
        )
        return (first, 0 if upscale.only else 1), (tile, upscale.tiles)

    @property
    def forward_pixels(self) -> int:
        """The pixels of its largest forward."""
        return max(
            (stage.width * stage.height for stage, times in self.stages if times), default=self.width * self.height
        )

    @property
    def source_bytes(self) -> int:
        """How many bytes the pixels of its source and controls have that travel beside it."""
        size, source = self.width * self.height, self.source
        controls = 3 * size * len(self.controls)
        if source is None:
            return controls
        further = sum(3 * width * height for width, height in source.further)
        return controls + 3 * size + (size if source.masked else 0) + further

    @property
    def generated_steps(self) -> int:
        """The denoising steps of one image, those of all tiles too: with a source only its strength's share runs."""
        if self.upscale is not None:
            return sum(times * stage.generated_steps for stage, times in self.stages)
        if self.source is None:
            return self.steps
        # As `get_timesteps` of diffusers' image-to-image pipelines counts them.
        return self.steps - int(self.steps - min(self.steps * self.source.strength, self.steps))


@dataclass(frozen=True, kw_only=True)
class StageSeconds:
    """How `Outcome.inference_time` was spent: before the first denoiser forward, up to the last one, after it.

    `text` includes reading a source, `denoise` the turns of other generations and, with two stages, all between them.
    """

    text: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a generation went; its pixels travel beside it.

    The pixels on the wire are `count * layers * height * width * channels` bytes row by row, RGB or, of 4 channels,
    RGBA; every layer is a file of its own, and `seeds` has one for each file. Times in seconds: `inference_time`
    from the first device call to the last image, `queue_time` from arrival to the first device call, `device_time`
    the job's share of the device: a shared forward is divided by the number of jobs that shared it.
    In `writing_time` of it, a better prompt or a caption was written, in `lora_time` LoRAs were loaded and switched.
    `prompt_tokens` is how much of the prompt the model read, its template and the negative prompt not counted;
    `image_tokens` is how many tokens the denoiser worked on, those of all images together. `vram_peak_mb` is the most
    that the device held meanwhile, in MiB, weights and neighbours included; 0 where it was not measured. `unsafe` says
    of every image whether the safety checker found it unsafe, in which case it is black; empty without a checker.
    `revised_prompt` is the better prompt that the image was generated from, without its suffix; empty where it was its
    own. `caption` is the text of a generation that asked for one.
    """

    width: int
    height: int
    seeds: tuple[int, ...]
    inference_time: float
    queue_time: float
    batch_size: int
    device_time: float = 0.0
    writing_time: float = 0.0
    lora_time: float = 0.0
    stage_seconds: StageSeconds = StageSeconds()
    warnings: tuple[str, ...] = ()
    prompt_tokens: int = 0
    image_tokens: int = 0
    vram_peak_mb: float = 0.0
    unsafe: tuple[bool, ...] = ()
    layers: int = 1
    channels: int = 3
    revised_prompt: str = ""
    caption: str = ""

    @property
    def pixel_bytes(self) -> int:
        """How many bytes its pixels have on the wire."""
        return len(self.seeds) * self.height * self.width * self.channels

    @property
    def nsfw_detected(self) -> bool | None:
        """Whether the safety checker found an image unsafe; None without a checker."""
        return any(self.unsafe) if self.unsafe else None


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """The device a model runs on, and how the model was fitted to it; sizes in MiB.

    `kind` is PyTorch's name for the kind of device, such as `cuda`; `memory_mb` is what the engine held on it once the
    model was loaded. `memory_plan` tells how the model was fitted into memory, `memory_reason` why, and `vae_tiling`
    whether every image is decoded in tiles. `batch_caps` tells how many images of a size share one forward,
    `max_in_flight` how many requests may be under way at a time. `cards` are the devices of a group that computes one
    image together, and `cards_reason` says how they share it.
    """

    kind: str = "cpu"
    gpu: str = "CPU"
    cuda_version: str = "N/A"
    dtype: str = "float32"
    memory_mb: float = 0.0
    memory_plan: MemoryPlanName = "full"
    memory_reason: str = ""
    vae_tiling: bool = False
    batch_caps: dict[str, int] = field(default_factory=dict)
    max_in_flight: int = 1
    cards: tuple[str, ...] = ()
    cards_reason: str = ""

    def batch_cap(self, pixels: int) -> int:
        """Return how many images of `pixels` share one forward, by `batch_caps`: `{"up to 262144 pixels": 8}`."""
        caps = {int(size.split()[2]): cap for size, cap in self.batch_caps.items()}
        return next((caps[size] for size in sorted(caps) if size >= pixels), 1)


@dataclass(frozen=True)
class RecommendedModel:
    """A model for real images that the machine's memory holds, and the `settings` that start it, as a shell reads them.

    `download_gb` is 0 where its files are on the disk; `alternatives` are the names of others that the memory holds,
    the best first.
    """

    name: str
    settings: str
    download_gb: float = 0.0
    licence: str = ""
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What the engine reports about a loaded model; sizes in MiB, times in seconds.

    `revision` changes whenever the weights do. `source` is the id or folder that the name stands for; `pid` is the
    engine process. `guidance` is the model's own name for the classifier-free guidance parameter, `positive_magic` its
    quality words by language, `kinds` what it generates from: text, an image, an image with a mask to inpaint, each
    with `control` where a ControlNet guides it, or an image to edit. `default_size` is the width and height of requests
    that name none. The model reads up to `max_images` images of one request, each by itself. `scheduler` is the class
    of the model's own noise scheduler and `sampler` its name; `schedulers` gives the diffusers class of each noise
    scheduler that fits. `layers` is how many layers an image is separated into by default; 0 where the model generates
    whole images. `enhances` says that its text encoder can write better prompts,
    `captions` that it can describe images. `recommended` is what would generate real images in the place of the demo
    model, None for other models and where the memory is too small.
    """

    name: str
    family: str = ""
    reason: str = ""
    source: str = ""
    revision: str = ""
    parameters: int = 0
    size_mb: float = 0.0
    load_time: float = 0.0
    pid: int = 0
    device: DeviceInfo = field(default_factory=DeviceInfo)
    kinds: tuple[str, ...] = ("text", "image", "inpaint")
    max_images: int = 1
    layers: int = 0
    transparency: bool = False
    enhances: bool = False
    captions: bool = False
    default_steps: int = 20
    default_true_cfg_scale: float = 4.0
    default_size: tuple[int, int] | None = None
    guidance: str = "true_cfg_scale"
    positive_magic: dict[str, str] = field(default_factory=dict)
    scheduler: str = ""
    sampler: str = ""
    schedulers: dict[str, str] = field(default_factory=dict)
    recommended: RecommendedModel | None = None

    @property
    def weights_hash(self) -> str | None:
        """What AUTOMATIC1111's clients show as the hash of its file; None while it is unknown."""
        return self.revision[:HASH_LETTERS] or None

    def sampler_of(self, generation: Generation) -> str:
        """Return the name of the noise scheduler that a generation uses."""
        return generation.scheduler or self.sampler


def has_emphasis(text: str) -> bool:
    """Return whether a text may contain weights, or brackets that are not meant as such."""
    return not EMPHASIS_MARKS.isdisjoint(text)


def layer_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height of the layers of an image of that shape, whatever its size.

    Source: `calculate_dimensions` of diffusers' `pipeline_qwenimage_layered.py` (0.42), with resolution 640.
    """
    wide = math.sqrt(LAYER_SIDE * LAYER_SIDE * (width / height))
    high = wide / (width / height)
    return round(wide / LAYER_MULTIPLE) * LAYER_MULTIPLE, round(high / LAYER_MULTIPLE) * LAYER_MULTIPLE
