"""What the gallery keeps of a generation whose images were saved."""

import logging
from typing import Any

from imageserver.api.generation.run import GenerationResult
from imageserver.api.services import Services
from imageserver.errors import StorageFull
from imageserver.generation import Generation, ModelInfo
from imageserver.outputs.gallery.item import GalleryItem

logger = logging.getLogger(__name__)


def record(service: Services, result: GenerationResult, names: list[str]) -> None:
    """Add saved images to the gallery; where the state database cannot be written, they are saved all the same."""
    if service.gallery is None:
        return
    try:
        service.gallery.add([item_of(result, name, index) for index, name in enumerate(names)])
    except StorageFull as error:
        logger.warning("Saved images are not in the gallery: %s", error.sentence)


def item_of(result: GenerationResult, name: str, index: int) -> GalleryItem:
    """Return the item of the image at an index."""
    request, outcome = result.request, result.outcome
    options, model = request.output_options, result.info.name if result.info else ""
    settings = _prompt_fields(request.generation, result.info) | _generation_fields(request.generation)
    settings |= {"seed": outcome.seeds[index], "output_format": options.output_format}
    settings |= {"add_overlay": options.aspect_ratio_name is not None}
    settings |= {"model": model} if model else {}
    settings |= {} if options.compression is None else {"output_compression": options.compression}
    return GalleryItem(
        name=name,
        credential=request.credential,
        width=outcome.width,
        height=outcome.height,
        model=model,
        settings=settings,
        inputs=_inputs(request.generation),
    )


def _prompt_fields(generation: Generation, info: ModelInfo | None) -> dict[str, Any]:
    """Return the prompt as it was written: the model's own quality words are a setting."""
    for language, words in (info.positive_magic if info else {}).items():
        if words and generation.prompt.endswith(words):
            prompt = generation.prompt.removesuffix(words)
            return {"prompt": prompt, "positive_magic": True, "language": language}
    return {"prompt": generation.prompt, "positive_magic": False}


def _generation_fields(generation: Generation) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "negative_prompt": generation.negative_prompt,
        "width": generation.width,
        "height": generation.height,
        "num_inference_steps": generation.steps,
        "true_cfg_scale": generation.true_cfg_scale,
        "quality": generation.quality,
    }
    given = {
        "scheduler": generation.scheduler,
        "loras": [{"name": lora.name, "scale": lora.scale} for lora in generation.loras],
        "layers": generation.layers,
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
        fields |= {"upscale": round(upscale.width / generation.width, 4)}
        fields |= {"upscale_strength": upscale.strength, "upscale_steps": upscale.steps}
    return fields


def _inputs(generation: Generation) -> tuple[str, ...]:
    """Return the fields of the images that were sent with the request."""
    source = generation.source
    given = {
        "image": source is not None,
        "mask": source is not None and source.masked,
        "control_image": len(generation.controls) == 1,
        "controls": len(generation.controls) > 1,
    }
    return tuple(name for name, was_sent in given.items() if was_sent)
