"""The body of `POST /generate`, and its conversion to a generation: defaults filled in, limits checked."""

import hashlib
import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

import aspect_ratios
from imageserver.api.inputs.controls import ControlChoice, Preprocessor
from imageserver.api.inputs.enhancement import enhancement_of
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.loras import MAX_STACKED_LORAS, LoraChoice, Stack
from imageserver.api.inputs.sizes import SIZE_PATTERN, sides_of
from imageserver.api.inputs.validation import BlanksLeftOut, blanks_left_out, shown, validated
from imageserver.errors import BadRequest, InvalidParameter
from imageserver.generation import MAX_CONTROLS, POSITIVE_MAGIC, Generation, ModelInfo, Priority, Quality, has_emphasis
from imageserver.registry import MAX_SIDE, MIN_SIDE
from imageserver.schedulers import find_scheduler
from imageserver.settings import Settings

SEEDS = 2**64
# As AUTOMATIC1111 writes it.
RANDOM_SEED = -1
MAX_UPSCALE = 4
# Some characters are blank for Python, but not for JSON Schema's regular expressions.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"

# Stands for a model whose own defaults are not known yet.
UNKNOWN_MODEL = ModelInfo(name="", positive_magic=POSITIVE_MAGIC)

NO_LORAS = Stack()

Fraction = Annotated[float, Field(allow_inf_nan=False)]


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON has one kind of number: 20.0 is as whole as 20.
AS_WHOLE = BeforeValidator(_as_whole)
Whole = Annotated[int, AS_WHOLE]
# The limits of nullable fields are inside: outside, pydantic 2.14 leaves them out of the JSON schema.
Steps = Annotated[int, Field(ge=1), AS_WHOLE]
Seed = Annotated[int, Field(ge=RANDOM_SEED, lt=SEEDS), AS_WHOLE]
# Some clients send a switch as a number.
Flag = Annotated[bool | Literal[0, 1], AS_WHOLE]
Percent = Annotated[int, Field(ge=0, le=100), AS_WHOLE]
Layers = Annotated[int, Field(ge=1, le=10), AS_WHOLE]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE), AS_WHOLE]


class Prompted(BaseModel, strict=True):
    """The prompt of a generation, in bodies that have it as a field of this name."""

    prompt: str = Field(description="Image description.", json_schema_extra={"pattern": NOT_BLANK})


class GenerationOptions(BlanksLeftOut, strict=True):
    """The options of a generation that several dialects have under these names."""

    negative_prompt: str = Field(" ", description="Concepts to avoid.")
    num_inference_steps: Steps | None = Field(None, description="Number of denoising steps; 20 by default.")
    true_cfg_scale: Fraction | None = Field(
        None, ge=0, le=50, description="Classifier-free guidance scale; 4.0 by default, 1 disables it."
    )
    guidance_scale: Fraction | None = Field(None, ge=0, le=50, description="Ignored by Qwen-Image, with a warning.")
    seed: Seed | None = Field(
        42, description="Random seed for reproducibility; null or -1 for a random one. Image k uses seed + k."
    )
    n: Whole = Field(1, ge=1, description="Number of images; several are sent as a ZIP file.")
    output_format: Literal["png", "jpeg", "webp"] = Field("png", description="File format of the images.")
    output_compression: Percent | None = Field(
        None, description="Quality of jpeg (95) and webp (90); png is always exact."
    )
    model: str | None = Field(
        None, max_length=200, description="Name of a model from /v1/models; the default model if omitted."
    )
    scheduler: str | None = Field(
        None,
        max_length=100,
        description="Scheduler by its AUTOMATIC1111 name, such as DPM++ 2M Karras, or its diffusers class; the model's "
        "own by default, /info lists what fits.",
    )
    loras: list[LoraChoice] | None = Field(
        None, max_length=MAX_STACKED_LORAS, description='LoRAs to use, such as {"name": "night", "scale": 0.8}.'
    )
    layers: Layers | None = Field(
        None, description="Number of layers that a layered model separates `image` into; 4 by default."
    )
    priority: Priority = Field("normal", description="Class of the queue: interactive, normal or background.")
    cache: bool = Field(True, description="Answer a repeated request from the cache, or join it to the one under way.")
    deterministic: bool = Field(False, description="Generate alone, bit-equal to the plain pipeline.")
    timeout: Fraction | None = Field(None, gt=0, description="Seconds to wait at most, queue included.")
    strength: Fraction | None = Field(
        None, gt=0, le=1, description="How much `image` changes; 0.85 by default, 0.6 without a prompt, 1 with a mask."
    )
    enhance: Flag = Field(
        False,
        description="Let a language model rewrite the prompt first; where /info says that the server can, otherwise "
        "with a warning.",
    )


class Generating(GenerationOptions, Prompted):
    """The fields of a generation that several dialects have under these names, its prompt first."""


class GenerateBody(Generating, extra="forbid", json_schema_extra=blanks_left_out):
    """What a client of the native API may send; unknown keys are refused."""

    aspect_ratio: str = Field(
        aspect_ratios.DEFAULT_ASPECT_RATIO,
        description="Named size: " + ", ".join(aspect_ratios.ASPECT_RATIOS) + ".",
        json_schema_extra={"enum": list(aspect_ratios.ASPECT_RATIOS)},
    )
    width: Side | None = Field(None, description="Exact width in pixels, with `height`.")
    height: Side | None = Field(None, description="Exact height in pixels, with `width`.")
    size: str | None = Field(
        None,
        pattern=SIZE_PATTERN,
        description=f"Exact size as WIDTHxHEIGHT, each side {MIN_SIDE} to {MAX_SIDE} pixels.",
    )
    language: Literal["en", "zh"] = Field("en", description="Prompt language; chooses the quality words.")
    positive_magic: bool = Field(True, description="Append Qwen's quality words to the prompt.")
    save_to_file: bool = Field(False, description="Save to the output folder and return JSON, instead of the bytes.")
    add_overlay: bool = Field(True, description="Add the info overlay to the image.")
    quality: Quality = Field(
        "exact", description="exact computes every block; high and fast skip blocks that change little."
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(
        None, description="transparent keeps the transparency that some models generate; auto and opaque remove it."
    )
    image: str | list[str] | None = Field(
        None,
        description="Image to start from: base64, a data URL or, if allowed, a web address; or a list of up to 16.",
    )
    mask: str | None = Field(
        None, description="Mask of `image`: white areas are regenerated, black ones stay as they are."
    )
    emphasis: Flag = Field(
        False,
        description="Read `(word)`, `[word]` and `(word:1.2)` as weights, as AUTOMATIC1111 does; for Stable Diffusion "
        "and XL.",
    )
    control_image: str | None = Field(
        None, description="Image for the server's ControlNet, such as edges or a depth map."
    )
    control_preprocessor: Preprocessor = Field(
        "none", description="What is made of `control_image` first: canny finds its edges, invert makes its negative."
    )
    controlnet_conditioning_scale: Fraction = Field(
        1.0, ge=0, le=2, description="Strength of `control_image`; 0 disables it."
    )
    control_guidance_start: Fraction = Field(
        0.0, ge=0, le=1, description="Share of the steps after which `control_image` starts."
    )
    control_guidance_end: Fraction = Field(
        1.0, ge=0, le=1, description="Share of the steps after which `control_image` ends."
    )
    controls: list[ControlChoice] | None = Field(
        None,
        max_length=MAX_CONTROLS,
        description='Up to 3 control images instead of one, each with its own options: `{"image": "...", "scale": 0.6, '
        '"preprocessor": "canny", "start": 0, "end": 0.8, "model": "..."}`.',
    )
    upscale: Fraction | None = Field(
        None,
        gt=1,
        le=MAX_UPSCALE,
        description="Enlarge the finished image so many times with Lanczos, and generate over it in a second stage.",
    )
    upscale_strength: Fraction | None = Field(
        None, ge=0, le=1, description="How much the second stage changes; 0.35 by default, 0 only enlarges."
    )
    upscale_steps: Steps | None = Field(None, description="Steps of the second stage; those of the first by default.")

    @property
    def aspect_ratio_name(self) -> str:
        """The name shown in the overlay: the one asked for, unless an exact size was."""
        return "custom" if self.has_exact_size else self.aspect_ratio

    @property
    def has_exact_size(self) -> bool:
        """Whether a size in pixels was asked for."""
        return not (self.size is None and self.width is None and self.height is None)


def parse(content: Any, settings: Settings, *, prompt_required: bool = True) -> GenerateBody:
    """Return the validated body; raises BadRequest or InvalidParameter naming the field and its limit.

    A dialect that does not require a prompt sends a blank one where its client sends none.
    """
    if as_object(content).get("prompt") in (None, ""):
        raise BadRequest("Prompt is required", param="prompt")
    body = validated(GenerateBody, content)
    if prompt_required and not body.prompt.strip():
        raise BadRequest("Prompt is required", param="prompt")
    if body.aspect_ratio not in aspect_ratios.ASPECT_RATIOS:
        names = ", ".join(aspect_ratios.ASPECT_RATIOS)
        raise BadRequest(
            f"aspect_ratio {shown(body.aspect_ratio)} is unknown; choose from {names}.", param="aspect_ratio"
        )
    for name, text in (("prompt", body.prompt), ("negative_prompt", body.negative_prompt)):
        check_text(name, text, settings.max_prompt_chars)
    if body.deterministic and body.quality != "exact":
        raise InvalidParameter("deterministic generates every block: quality must be exact.", param="quality")
    for name in ("num_inference_steps", "upscale_steps"):
        check_limit(name, getattr(body, name), settings.max_steps, "MAX_STEPS")
    check_limit("n", body.n, settings.max_images, "MAX_IMAGES")
    check_limit("timeout", body.timeout, settings.request_timeout, "REQUEST_TIMEOUT")
    if body.seed is not None and body.seed + body.n > SEEDS:
        raise InvalidParameter(f"seed is too large for n={body.n}: image k uses seed + k, below 2^64.", param="seed")
    return body


def resolve(
    body: GenerateBody,
    settings: Settings,
    info: ModelInfo | None,
    *,
    seed_source: str | None = None,
    image_size: tuple[int, int] | None = None,
    previews: int = 0,
    stack: Stack = NO_LORAS,
) -> tuple[Generation, list[str]]:
    """Return the generation that `body` asks for, and warnings; raises InvalidParameter.

    `info` is that of the model that it names, None while the first one is loading. The profiles of the LoRAs in the
    `stack` supply the values that the body omits. A random seed is derived from `seed_source` where there is one, so
    that a retry generates the same. A body without any size means `image_size`, else the model's default.
    """
    asked_for_size = body.has_exact_size or "aspect_ratio" in body.model_fields_set
    default_size = image_size or (info.default_size if info else None)
    width, height = default_size if default_size and not asked_for_size else _size(body, settings)
    warnings = []
    model = info or UNKNOWN_MODEL
    guidance = body.true_cfg_scale
    if model.guidance == "guidance_scale":
        # Either name will do: it is the one guidance that the model has.
        guidance = body.guidance_scale if body.guidance_scale is not None else guidance
    elif body.guidance_scale is not None:
        warnings.append("guidance_scale is ignored by Qwen-Image; use true_cfg_scale.")
    if "aspect_ratio" in body.model_fields_set and body.aspect_ratio_name == "custom":
        warnings.append("aspect_ratio is ignored beside an exact size.")
    if body.output_compression is not None and body.output_format == "png":
        warnings.append("output_compression is ignored for png, which is always exact.")
    transparent, about_background = _transparency(body, info)
    warnings += about_background
    if guidance is None:
        guidance = model.default_true_cfg_scale if stack.guidance is None else stack.guidance
    steps = body.num_inference_steps or min(stack.steps or model.default_steps, settings.max_steps)
    magic = model.positive_magic.get(body.language, "") if body.positive_magic else ""
    enhancement, about_prompt = enhancement_of(body.prompt, magic, settings, info) if body.enhance else (None, [])
    warnings += about_prompt
    generation = Generation(
        prompt=body.prompt + magic,
        negative_prompt=body.negative_prompt,
        width=width,
        height=height,
        steps=steps,
        true_cfg_scale=guidance,
        seed=_generate_seed(seed_source) if body.seed in (None, RANDOM_SEED) else body.seed,
        count=body.n,
        deterministic=body.deterministic,
        priority=body.priority,
        quality=body.quality,
        previews=previews,
        scheduler=_scheduler(body.scheduler or stack.scheduler or "", info),
        loras=stack.loras,
        model=info.name if info else "",
        layers=body.layers or 0,
        transparent=transparent,
        emphasis=bool(body.emphasis) and any(map(has_emphasis, (body.prompt, body.negative_prompt))),
        enhancement=enhancement,
    )
    return generation, warnings


def _transparency(body: GenerateBody, info: ModelInfo | None) -> tuple[bool, list[str]]:
    """Return whether the image keeps its transparency, and a warning where it was asked for and there is none."""
    if body.background != "transparent":
        return False, []
    # A model that is not known yet is one of those that generate opaque images.
    if info is None or not (info.transparency or info.layers):
        return False, ["background is ignored: the model generates opaque images."]
    if info.layers:
        return False, []
    if body.output_format == "jpeg":
        return False, ["background is ignored: jpeg has no transparency; png and webp have it."]
    overlay = body.add_overlay and "add_overlay" in body.model_fields_set
    return True, ["add_overlay is ignored for transparent images."] if overlay else []


def _scheduler(asked: str, info: ModelInfo | None) -> str:
    """Return the scheduler's name, as it came while the model is not known yet; the engine looks again."""
    if info is None:
        return asked
    found = find_scheduler(asked, info.schedulers, info.sampler)
    if found is None:
        raise InvalidParameter(
            f"scheduler {shown(asked)} does not fit {info.name}; known are {', '.join(info.schedulers)}.",
            param="scheduler",
        )
    return found


def _generate_seed(source: str | None) -> int:
    """Return 52 bits, which every JSON reader can give back unchanged."""
    if source is None:
        return secrets.randbits(52)
    return int(hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:13], 16)


def _size(body: GenerateBody, settings: Settings) -> tuple[int, int]:
    if body.size is not None:
        if body.width is not None or body.height is not None:
            raise InvalidParameter("size and width/height exclude each other.", param="size")
        width, height = sides_of(body.size)
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise InvalidParameter(
                f"size {width}x{height}: each side must be {MIN_SIDE} to {MAX_SIDE} pixels.", param="size"
            )
        param = "size"
    elif body.width is not None or body.height is not None:
        if body.width is None or body.height is None:
            missing = "height" if body.height is None else "width"
            raise InvalidParameter(f"{missing} is missing: width and height go together.", param=missing)
        width, height, param = body.width, body.height, "width"
    else:
        width, height = aspect_ratios.size_of(body.aspect_ratio)
        param = "aspect_ratio"
    if width * height > settings.max_pixels:
        raise InvalidParameter(
            f"{width}x{height} is {width * height} pixels; the limit is {settings.max_pixels} (MAX_PIXELS).",
            param=param,
        )
    return width, height


def check_text(name: str, text: str, limit: int) -> None:
    """Raise InvalidParameter for a text that is too long, or that is not Unicode."""
    if len(text) > limit:
        raise InvalidParameter(
            f"{name} has {len(text)} characters; the limit is {limit} (MAX_PROMPT_CHARS).", param=name
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(f"{name} contains a lone surrogate, which is not Unicode text.", param=name) from None


def check_limit(name: str, value: float | None, limit: float, setting: str) -> None:
    """Raise InvalidParameter for a value above the limit that a setting gives."""
    if value is not None and value > limit:
        raise InvalidParameter(f"{name} is {value:g}; the limit is {limit:g} ({setting}).", param=name)
