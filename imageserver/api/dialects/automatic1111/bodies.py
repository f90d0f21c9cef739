"""The request bodies of the AUTOMATIC1111 dialect, and their translation to the fields of `POST /generate`.

Source: stable-diffusion-webui 1.10, `modules/api/models.py` and `modules/processing.py`.
"""

import math
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import Field

from imageserver.api.dialects.automatic1111.hires_fix import HiresFix
from imageserver.api.dialects.automatic1111.lora_tags import without_tags
from imageserver.api.dialects.automatic1111.number_texts import as_number, texts_and_blanks, with_numbers
from imageserver.api.inputs.generate_request import (
    AS_WHOLE,
    SEEDS,
    Flag,
    Fraction,
    Steps,
    Whole,
    check_limit,
    check_text,
)
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.validation import BlanksLeftOut, is_blank, shown, validated, without_blanks, without_nulls
from imageserver.errors import InvalidParameter
from imageserver.generation import NO_PROMPT, OutputFormat, has_emphasis
from imageserver.registry import MAX_SIDE, MIN_SIDE
from imageserver.settings import Settings

B = TypeVar("B", bound="GeneratingBody")

SamplesFormat = Literal["png", "jpg", "jpeg", "webp"]
# Some clients send the seed as text.
Seed = Annotated[int, Field(ge=-1, lt=SEEDS), AS_WHOLE] | Annotated[str, Field(pattern=r"^(-1|[0-9]{1,19})$")]

FORMATS: dict[str, OutputFormat] = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
# Strength 0 still generates the last step.
MIN_STRENGTH = 0.001
# Unknown names quoted in one warning.
MAX_QUOTED = 20
# Of a text that a response repeats, except those that are long by nature.
MAX_ECHOED_CHARACTERS = 10_000
# Of each other field, as JSON.
MAX_ECHOED_BYTES = 2**16
LONG_TEXTS = {"prompt", "negative_prompt", "init_images", "mask"}

# Features that are not supported, each with the values that switch it off, beside null and blanks.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "alwayson_scripts": ({}, []),
    "clip_skip": (0, 1),
    "distilled_cfg_scale": (),
    "enable_hr": (False,),
    "firstpass_image": (),
    "infotext": (),
    "initial_noise_multiplier": (1,),
    "latent_mask": (),
    "refiner_checkpoint": ("None", "none"),
    "restore_faces": (False,),
    "s_churn": (0,),
    "s_min_uncond": (0,),
    "s_noise": (1,),
    "s_tmax": (0, math.inf),
    "s_tmin": (0,),
    "script_name": ("None",),
    "seed_resize_from_h": (0, -1),
    "seed_resize_from_w": (0, -1),
    "subseed_strength": (0,),
    "tiling": (False,),
}
# Like UNSUPPORTED, but these matter only with a mask.
UNSUPPORTED_WITH_MASK: dict[str, tuple[Any, ...]] = {"inpaint_full_res": (False,), "inpainting_fill": (1,)}
# Details of unsupported features, and fields without meaning on a server: ignored without a warning. The last two are
# SillyTavern's own.
WITHOUT_EFFECT = {
    "comments", "disable_extra_networks", "do_not_save_grid", "do_not_save_samples", "eta", "firstphase_height",
    "firstphase_width", "force_task_id", "hr_additional_modules", "hr_cfg", "hr_checkpoint_name",
    "hr_distilled_cfg", "hr_negative_prompt", "hr_prompt", "hr_resize_x", "hr_resize_y", "hr_sampler_name",
    "hr_scale", "hr_scheduler", "hr_second_pass_steps", "hr_upscaler", "image_cfg_scale", "inpaint_full_res_padding",
    "override_settings_restore_afterwards", "refiner_switch_at", "script_args", "subseed", "auth", "url",
}  # fmt: skip
# Like UNSUPPORTED, for `override_settings` and `/options`.
UNSUPPORTED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "CLIP_stop_at_last_layers": (0, 1),
    "forge_additional_modules": ([],),
    "img2img_color_correction": (False,),
    "sd_vae": ("Automatic", "None"),
}

# `[from:to:when]`, `[to:when]` and `[one|other]`.
EDITING = re.compile(r"\[[^\[\]:|]{0,200}(\||:[^\[\]:|]{0,200}:|:\s{0,3}[0-9.]{1,8}\s{0,3}\])")


class GeneratingBody(BlanksLeftOut, strict=True, extra="allow", json_schema_extra=texts_and_blanks):
    """The fields of both bodies; unknown keys are ignored with a warning, null and "" mean nothing, "20" is 20."""

    prompt: str = Field("", description="Image description; <lora:name:weight> adds a LoRA from /v1/loras.")
    negative_prompt: str = Field("", description="Concepts to avoid.")
    styles: list[str] = Field([], description="Names of prompt styles; ignored, because this server has none.")
    seed: Seed = Field(-1, description="Random seed, -1 for a random one; image k uses seed + k.")
    sampler_name: str = Field(
        "", description="Sampler from /sdapi/v1/samplers; for any other, the model's own is used with a warning."
    )
    scheduler: str = Field(
        "Automatic", description="Noise schedule from /sdapi/v1/schedulers; any other is ignored with a warning."
    )
    sampler_index: str = Field("", description="Older name of sampler_name.")
    batch_size: Whole = Field(1, ge=1, description="Number of images, multiplied by n_iter.")
    n_iter: Whole = Field(1, ge=1, description="Number of images, multiplied by batch_size.")
    steps: Steps | None = Field(None, description="Number of denoising steps; the model's default if omitted.")
    cfg_scale: Fraction | None = Field(
        None, ge=0, le=50, description="Classifier-free guidance scale; the model's default if omitted, 1 disables it."
    )
    width: Whole = Field(512, ge=MIN_SIDE, le=MAX_SIDE, description="Width in pixels.")
    height: Whole = Field(512, ge=MIN_SIDE, le=MAX_SIDE, description="Height in pixels.")
    override_settings: dict[str, Any] = Field({}, description="Supports samples_format and sd_model_checkpoint.")
    send_images: Flag = Field(True, description="Return the images in the response.")
    save_images: Flag = Field(False, description="Save the images in the server's output folder.")

    @property
    def count(self) -> int:
        return self.batch_size * self.n_iter


class Txt2ImgBody(HiresFix, GeneratingBody):
    """The body of `POST /sdapi/v1/txt2img`."""


class Img2ImgBody(GeneratingBody):
    """The body of `POST /sdapi/v1/img2img`."""

    init_images: list[str] = Field(
        min_length=1, description="One image to start from: base64, a data URL or, if allowed, a web address."
    )
    include_init_images: Flag = Field(False, description="Return init_images and mask in `parameters`.")
    resize_mode: Annotated[Literal[0, 1, 2, 3], AS_WHOLE] = Field(
        0, description="How an image of another aspect ratio is fitted: 0 stretch, 1 crop, 2 pad, 3 like 0."
    )
    denoising_strength: Fraction = Field(
        0.75, ge=0, le=1, description="How much the image changes; 0 runs only the last step."
    )
    mask: str | None = Field(
        None, description="Mask: white or, in a mask with transparency, opaque areas are regenerated."
    )
    mask_blur: Fraction | None = Field(None, ge=0, le=256, description="Blur of the mask in pixels, both ways.")
    mask_blur_x: Fraction = Field(4, ge=0, le=256, description="Horizontal blur of the mask in pixels.")
    mask_blur_y: Fraction = Field(4, ge=0, le=256, description="Vertical blur of the mask in pixels.")
    mask_round: Flag = Field(True, description="Round the mask to black and white.")
    inpainting_mask_invert: Flag = Field(0, description="1 regenerates the black areas instead.")

    @property
    def blur(self) -> tuple[float, float]:
        """The standard deviations of the mask's blur: horizontal, vertical."""
        return (self.mask_blur_x, self.mask_blur_y) if self.mask_blur is None else (self.mask_blur, self.mask_blur)


def checked(model: type[B], content: Any, settings: Settings) -> B:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    body = validated(model, with_numbers(model, without_nulls(as_object(content))))
    for name in ("prompt", "negative_prompt"):
        check_text(name, getattr(body, name), settings.max_prompt_chars)
    if body.count > settings.max_images:
        raise InvalidParameter(
            f"batch_size x n_iter is {body.count} images; the limit is {settings.max_images} (MAX_IMAGES).",
            param="batch_size",
        )
    check_limit("steps", body.steps, settings.max_steps, "MAX_STEPS")
    if isinstance(body, Img2ImgBody) and len(body.init_images) > 1:
        raise InvalidParameter(
            f"init_images contains {len(body.init_images)} images; send one request per image.", param="init_images"
        )
    return body


def to_generate_fields(body: GeneratingBody, output_format: OutputFormat, scheduler: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning."""
    prompt, negative_prompt = (without_tags(text) for text in (body.prompt, body.negative_prompt))
    fields: dict[str, Any] = {
        "prompt": prompt or NO_PROMPT,
        "seed": None if int(body.seed) < 0 else int(body.seed),
        "n": body.count,
        "output_format": output_format,
        "positive_magic": False,
        "add_overlay": False,
    }
    if has_emphasis(prompt) or has_emphasis(negative_prompt):
        fields["emphasis"] = True
    # Without either, an image to start from decides the size.
    if not isinstance(body, Img2ImgBody) or body.model_fields_set & {"width", "height"}:
        fields |= {"width": body.width, "height": body.height}
    if negative_prompt.strip():
        fields["negative_prompt"] = negative_prompt
    if scheduler:
        fields["scheduler"] = scheduler
    if body.steps is not None:
        fields["num_inference_steps"] = body.steps
    if body.cfg_scale is not None:
        fields["true_cfg_scale"] = body.cfg_scale
    elif not (prompt.strip() or negative_prompt.strip()):
        # Guidance between two blank prompts changes nothing and doubles the time.
        fields["true_cfg_scale"] = 1.0
    if isinstance(body, Img2ImgBody):
        fields["strength"] = max(body.denoising_strength, MIN_STRENGTH)
    if isinstance(body, HiresFix):
        fields |= body.hires_fields(body.width, body.height)
    return fields


def output_format_of(body: GeneratingBody, default: str) -> OutputFormat:
    """Return the format in `override_settings`, or `default`; raises InvalidParameter."""
    name = without_blanks(body.override_settings).get("samples_format") or default
    if not isinstance(name, str) or name not in FORMATS:
        raise InvalidParameter(
            f"override_settings: samples_format {shown(name)} is unknown; choose from {', '.join(FORMATS)}.",
            param="override_settings",
        )
    return FORMATS[name]


def sent(body: GeneratingBody) -> dict[str, Any]:
    """Return the `parameters` of the response: the body with its defaults, without unknown keys and images.

    Python clients may send Infinity and NaN, which are not valid JSON: they become null, as do long texts where none
    belongs, such as the images of extensions, and fields that many short ones make long: in JSON they may take three
    times as much as in the body.
    """
    extra = body.model_extra or {}
    known = {name: _echoed(value, may_be_long=name in LONG_TEXTS) for name, value in body.model_dump().items()}
    for name in known.keys() - LONG_TEXTS:
        if len(msgspec.json.encode(known[name])) > MAX_ECHOED_BYTES:
            known[name] = None
    for name in extra.keys() - ({*UNSUPPORTED, *UNSUPPORTED_WITH_MASK, *WITHOUT_EFFECT} - {"auth", "url"}):
        del known[name]
    if isinstance(body, Img2ImgBody) and not body.include_init_images:
        known |= {"init_images": None, "mask": None}
    return known


def _echoed(value: Any, *, may_be_long: bool) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case str() if not may_be_long and len(value) > MAX_ECHOED_CHARACTERS:
            return None
        case list():
            return [_echoed(each, may_be_long=may_be_long) for each in value]
        case dict():
            return {
                name[:MAX_ECHOED_CHARACTERS]: _echoed(each, may_be_long=may_be_long) for name, each in value.items()
            }
    return value


def warnings_of(body: GeneratingBody) -> list[str]:
    """Return warnings about fields that are ignored."""
    warnings = []
    if EDITING.search(body.prompt) or EDITING.search(body.negative_prompt):
        warnings.append("prompt editing such as [red:blue:0.5] or [red|blue] is not supported; it is read as [text].")
    given = body.model_extra or {}
    with_mask = isinstance(body, Img2ImgBody) and body.mask
    unsupported = UNSUPPORTED | (UNSUPPORTED_WITH_MASK if with_mask else {})
    warnings += [f"{name} is ignored{_named(given[name])}." for name in sorted(_switched_on(given, unsupported))]
    if isinstance(body, HiresFix):
        warnings += body.hires_warnings(given, body.width, body.height)
    if styles := [style for style in body.styles if style not in ("", "None")]:
        warnings.append(f"styles are ignored, because this server has none: {quoted(styles)}.")
    if options := ignored_options(body.override_settings):
        warnings.append(f"override_settings are ignored: {quoted(options)}.")
    if isinstance(body, Img2ImgBody) and body.resize_mode == 3:
        warnings.append("resize_mode 3 is treated as 0: the image is stretched.")
    if isinstance(body, Img2ImgBody) and body.denoising_strength < MIN_STRENGTH:
        warnings.append("denoising_strength 0 still runs the last step.")
    if unknown := sorted(given.keys() - {*UNSUPPORTED, *UNSUPPORTED_WITH_MASK, *WITHOUT_EFFECT}):
        warnings.append(f"unknown fields are ignored: {quoted(unknown)}.")
    return warnings


def ignored_options(options: dict[str, Any]) -> list[str]:
    """Return the names of unsupported options that are switched on, and of unknown ones."""
    known = {"samples_format", "sd_checkpoint_hash", "sd_model_checkpoint"}
    switched_on = _switched_on(options, UNSUPPORTED_OPTIONS)
    return sorted(switched_on | (options.keys() - known - UNSUPPORTED_OPTIONS.keys()))


def _switched_on(given: dict[str, Any], unsupported: dict[str, tuple[Any, ...]]) -> set[str]:
    found = {name: as_number(given[name]) for name in given.keys() & unsupported.keys()}
    return {name for name, value in found.items() if not is_blank(value) and value not in (None, *unsupported[name])}


def _named(value: Any) -> str:
    return f": {quoted(list(value))}" if isinstance(value, dict) else ""


def quoted(names: list[str]) -> str:
    """Return the names that a client sent as printable text for a warning."""
    quoted = ", ".join(shown(name) for name in names[:MAX_QUOTED])
    return quoted if len(names) <= MAX_QUOTED else f"{quoted} and {len(names) - MAX_QUOTED} more"
