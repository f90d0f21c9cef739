"""The body of `POST /generate` that makes an image again: its prompt as it was written, and every choice made.

Nothing is left to defaults that a model, a LoRA or the owner may decide otherwise later.
"""

from typing import Any

from imageserver.generation import Generation, ModelInfo, OutputFormat, Upscale


def request_fields(
    generation: Generation,
    info: ModelInfo | None,
    *,
    seed: int,
    output_format: OutputFormat,
    compression: int | None,
    overlay: bool,
) -> dict[str, Any]:
    """Return the fields for the one image of a generation that has that seed."""
    fields = _prompt_fields(generation, info) | _generation_fields(generation, info)
    fields |= {"seed": seed, "output_format": output_format, "add_overlay": overlay}
    model = info.name if info else ""
    fields |= {"model": model} if model else {}
    return fields | ({} if compression is None else {"output_compression": compression})


def sent_images(generation: Generation) -> tuple[str, ...]:
    """Return the fields of the images that were sent with the request, which are not kept."""
    source = generation.source
    given = {
        "image": source is not None,
        "mask": source is not None and source.masked,
        "control_image": len(generation.controls) == 1,
        "controls": len(generation.controls) > 1,
    }
    return tuple(name for name, was_sent in given.items() if was_sent)


def _prompt_fields(generation: Generation, info: ModelInfo | None) -> dict[str, Any]:
    """Return the prompt as it was written: the model's own quality words are a setting."""
    for language, words in (info.positive_magic if info else {}).items():
        prompt = generation.prompt.removesuffix(words)
        # Words alone are no prompt.
        if words and prompt != generation.prompt and prompt.strip():
            return {"prompt": prompt, "positive_magic": True, "language": language}
    return {"prompt": generation.prompt, "positive_magic": False}


def _generation_fields(generation: Generation, info: ModelInfo | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "negative_prompt": generation.negative_prompt,
        "width": generation.width,
        "height": generation.height,
        "num_inference_steps": generation.steps,
        "true_cfg_scale": generation.true_cfg_scale,
        "quality": generation.quality,
        # None of them, too: the owner may give the model some.
        "loras": [{"name": lora.name, "scale": lora.scale} for lora in generation.loras],
    }
    given = {
        "scheduler": _scheduler(generation, info),
        "layers": generation.layers or (info.layers if info else 0),
        "deterministic": generation.deterministic,
        "emphasis": generation.emphasis,
        "background": "transparent" if generation.transparent else "",
    }
    fields |= {name: value for name, value in given.items() if value}
    if generation.source is not None:
        fields["strength"] = generation.source.strength
    # Of several, each has its own options beside its image.
    if len(generation.controls) == 1:
        [control] = generation.controls
        fields |= {"controlnet_conditioning_scale": control.scale}
        fields |= {"control_guidance_start": control.start, "control_guidance_end": control.end}
    if (upscale := generation.upscale) is not None and not upscale.only:
        fields |= {"upscale": _factor(generation, upscale)}
        fields |= {"upscale_strength": upscale.strength, "upscale_steps": upscale.steps}
    return fields


def _scheduler(generation: Generation, info: ModelInfo | None) -> str:
    """Return the scheduler's name, that of the model's own too: a LoRA may recommend another."""
    if generation.scheduler or info is None:
        return generation.scheduler
    return info.sampler if info.sampler in info.schedulers else ""


def _factor(generation: Generation, upscale: Upscale) -> float:
    """Return a factor with which both sides are rounded to those of the answer, the simplest that is at hand."""
    sides = ((generation.width, upscale.width), (generation.height, upscale.height))
    ratios = [after / before for before, after in sides]
    low = max(1.0, *((after - 0.5) / before for before, after in sides))
    high = min((after + 0.5) / before for before, after in sides)
    # A half is rounded to the even side, so that the ends may be the only ones that fit.
    for factor in (round(ratios[0], 4), *ratios, (low + high) / 2, low, high):
        if factor > 1 and all(round(before * factor) == after for before, after in sides):
            return factor
    return ratios[0]
