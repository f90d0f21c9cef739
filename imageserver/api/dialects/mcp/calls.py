"""Calls of the tools, and their results: content for the assistant, and the same for programs."""

import base64
from dataclasses import dataclass
from typing import Any

from flask import request

from imageserver.api.dialects.mcp.tools import EditArguments, GenerateArguments
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.model_lookup import listing
from imageserver.api.generation.run import GenerationResult, PendingGeneration
from imageserver.api.generation.save import save_all, urls_of
from imageserver.api.generation.saved_images import ImageReader
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import MAX_IMAGES, Images
from imageserver.api.request_context import request_id
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter, ServiceError, StorageFull, StorageUnavailable

DIALECT = "mcp"

Result = dict[str, Any]


def prepare_call(service: Services, arguments: GenerateArguments) -> PendingGeneration:
    """Return the generation that a call asks for; raises ServiceError."""
    init_image = _init_image(service, arguments) if isinstance(arguments, EditArguments) else None
    parsed = parse_request(
        service, arguments.to_generate_fields(), request.headers, dialect=DIALECT, images=Images(init_image)
    )
    return prepare(service, request_id(), parsed)


def models_result(service: Services) -> Result:
    """Return the models that the other tools can name, the default model first; raises Loading."""
    default = service.loaded_info().name
    models = [
        {
            "name": listed.name,
            "family": listed.family,
            "default": listed.name == default,
            "loaded": listed.loaded,
            "edits": listed.info is not None and not {"image", "edit"}.isdisjoint(listed.info.kinds),
        }
        for listed in listing(service)
    ]
    lines = [f"{model['name']}{' (default)' if model['default'] else ''}" for model in models]
    return {"content": [_text("\n".join(lines))], "structuredContent": {"models": models}, "isError": False}


def error_result(error: ServiceError) -> Result:
    """Return a failed call: the assistant reads the sentence, and may do better."""
    pause = "" if error.retry_after is None else f" Try again in {error.retry_after:.0f} seconds."
    details = {"code": error.code, "param": error.param}
    return {"content": [_text(error.sentence + pause)], "structuredContent": {"error": details}, "isError": True}


@dataclass(frozen=True)
class FinishedCall:
    """The images of a call, saved under their addresses where the disk has room."""

    service: Services
    result: GenerationResult
    addresses: list[str]
    warnings: list[str]

    def content(self, *, as_link: bool, further: str = "") -> Result:
        """Return the images themselves or links to them, and a text about them."""
        kind = self.result.request.output_options.mimetype
        generation, seeds = self.result.request.generation, self.result.outcome.seeds
        size = f"{generation.width}x{generation.height}"
        warnings = self.warnings + ([further] if further else [])
        addresses = self.addresses or [""] * len(seeds)
        about = [f"{size}, seed {seed} {url}".strip() for seed, url in zip(seeds, addresses, strict=True)]
        if as_link:
            images = [
                {
                    "type": "resource_link",
                    "uri": url,
                    "name": url.rpartition("/")[2].partition("?")[0],
                    "mimeType": kind,
                }
                for url in self.addresses
            ]
        else:
            encoded = self.service.thread_pool.run(_encoded, self.result.files)
            images = [{"type": "image", "data": data, "mimeType": kind} for data in encoded]
        structured = {
            "images": [
                {"width": generation.width, "height": generation.height, "seed": seed, "url": url or None}
                for seed, url in zip(seeds, addresses, strict=True)
            ],
            "model": self.result.info.name if self.result.info else None,
            "warnings": warnings,
        }
        return {
            "content": [*images, _text("\n".join([*about, *warnings]))],
            "structuredContent": structured,
            "isError": False,
        }


def finished(service: Services, result: GenerationResult, *, as_link: bool) -> FinishedCall:
    """Save the images of a call, so that a next one can name them; raises ServiceError where only links are wanted."""
    warnings = list(result.warnings)
    try:
        addresses = urls_of(save_all(service, result))
    except (StorageFull, StorageUnavailable) as error:
        if as_link:
            raise
        addresses, warnings = [], [*warnings, f"The address is missing: {error.sentence}"]
    return FinishedCall(service, result, addresses, warnings)


def _init_image(service: Services, arguments: EditArguments) -> InitImage:
    given = [arguments.image] if isinstance(arguments.image, str) else arguments.image
    if not 1 <= len(given) <= MAX_IMAGES:
        raise InvalidParameter(f"image: {len(given)} images were sent; 1 to {MAX_IMAGES} are allowed.", param="image")
    reader = ImageReader(service)
    images = [reader.read(each, name="image") for each in given]
    mask = None if arguments.mask is None else reader.read(arguments.mask, name="mask")
    return InitImage(image=images[0], further=tuple(images[1:]), mask=mask)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _encoded(files: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(data).decode() for data in files]
