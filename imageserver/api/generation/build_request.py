"""Build a generation request in three steps, for every dialect that speaks in the native body's terms.

`parse_request` validates, `wait_for_model` may wait for minutes, `build_request` decides everything that is left open.
"""

from dataclasses import dataclass, replace
from typing import Any

from werkzeug.datastructures import Headers

import aspect_ratios
from imageserver.api.generation.model_lookup import WaitingRequest, wait_for_model
from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.inputs import control_image as control_images
from imageserver.api.inputs import generate_request, layers
from imageserver.api.inputs import init_image as init_images
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.init_image import ReadImage
from imageserver.api.inputs.loras import LoraChoice, Stack, read_stack
from imageserver.api.inputs.request_images import Images
from imageserver.api.inputs.retry_headers import Retry, idempotency_key_of, patience_of, patience_of_all_tries
from imageserver.api.output_options import OutputOptions
from imageserver.api.request_context import arrival, client_address, credential
from imageserver.api.services import Services
from imageserver.capabilities import Needs, check_supported
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, ModelInfo

# A library that repeats itself hangs up when its read timeout passes; the clock here starts a little later.
RETRY_TIMEOUT_SHARE = 0.9

NO_IMAGES = Images()


@dataclass(frozen=True, kw_only=True)
class ParsedRequest:
    """A client's request, validated except for the rules of its model.

    `timeout` and `patience` are the seconds from its arrival that the server and the client wait. `previews` is the
    number of partial images that the client wants for each image.
    """

    body: GenerateBody
    images: Images
    dialect: str
    previews: int
    timeout: float
    patience: float | None
    idempotency_key: str | None
    retry: Retry | None
    returns_after: float


def parse_request(
    service: Services,
    content: Any,
    headers: Headers,
    *,
    dialect: str,
    images: Images = NO_IMAGES,
    previews: int = 0,
    prompt_required: bool = True,
    streamed: bool = False,
    retry: Retry | None = None,
) -> ParsedRequest:
    """Return the request in `content`, which is what the native API accepts; raises BadRequest or InvalidParameter."""
    body = generate_request.parse(content, service.settings, prompt_required=prompt_required)
    idempotency_key = idempotency_key_of(headers)
    patience = patience_of(headers)
    if streamed:
        # A library waits so long for the next bytes of a stream, not for all of them.
        client_patience = None
    else:
        client_patience = patience_of_all_tries(headers) if retry else patience
    return ParsedRequest(
        body=body,
        images=images,
        dialect=dialect,
        previews=previews,
        timeout=body.timeout or service.settings.request_timeout,
        patience=body.timeout or client_patience,
        idempotency_key=idempotency_key,
        retry=retry,
        returns_after=0.0 if idempotency_key else RETRY_TIMEOUT_SHARE * (patience or 0.0),
    )


def prepare(service: Services, number: int, parsed: ParsedRequest) -> PendingGeneration:
    """Wait for a request's model and build the generation request; raises ServiceError."""
    waiter = WaitingRequest(number, parsed.dialect, parsed.body.prompt, parsed.timeout)
    return build_request(service, number, parsed, *wait_for_model(service, parsed.body.model, waiter))


def build_request(
    service: Services, number: int, parsed: ParsedRequest, info: ModelInfo | None, waited: float = 0.0
) -> PendingGeneration:
    """Return the generation of a request that has `waited` seconds for its model; raises InvalidParameter.

    `info` is None while the model is unknown; the engine then checks what it supports.
    """
    body, images = parsed.body, parsed.images
    _check_supported(service, info, parsed)
    start = init_images.read(service, images.init_image, info) if images.init_image else None
    guide = control_images.read(service, images.control_image) if images.control_image else None
    sizing = start or guide
    generation, warnings = generate_request.resolve(
        body,
        service.settings,
        info,
        seed_source=parsed.idempotency_key,
        image_size=sizing.default_size if sizing else None,
        previews=parsed.previews,
        stack=_stack(service, body, info),
    )
    generation, pixels, about_images = _with_images(service, body, info, generation, start, guide)
    as_named = (generation.width, generation.height) == aspect_ratios.size_of(body.aspect_ratio)
    shown_ratio = body.aspect_ratio_name if as_named else "custom"
    request = GenerationRequest(
        number=number,
        generation=generation,
        output_options=OutputOptions(
            output_format=body.output_format,
            compression=body.output_compression,
            aspect_ratio_name=shown_ratio if body.add_overlay else None,
            font_path=service.settings.font_path,
        ),
        timeout=max(0.0, parsed.timeout - waited),
        patience=None if parsed.patience is None else max(0.0, parsed.patience - waited),
        use_cache=body.cache,
        idempotency_key=parsed.idempotency_key,
        retry=parsed.retry,
        returns_after=parsed.returns_after,
        arrived=arrival(),
        credential=credential(),
        dialect=parsed.dialect,
        client=client_address(),
        source=pixels,
    )
    return PendingGeneration(service, request, warnings + about_images)


def _check_supported(service: Services, info: ModelInfo | None, parsed: ParsedRequest) -> None:
    """Raise InvalidParameter if the model, once known, cannot serve the request."""
    init_image, control = parsed.images.init_image, parsed.images.control_image
    if info is None:
        if control is not None and not service.settings.controlnet:
            raise InvalidParameter(
                f"The model has no ControlNet (CONTROLNET); leave {control.name} out.", param=control.name
            )
        return
    image_name, mask_name = init_image.names if init_image else (None, None)
    needs = Needs(
        image=image_name,
        mask=mask_name if init_image and init_image.mask is not None else None,
        control_image=control.name if control else None,
        layers=parsed.body.layers is not None,
    )
    check_supported(needs, f"{info.name} ({info.family})", info.kinds, layered=info.layers > 0)


def _with_images(
    service: Services,
    body: GenerateBody,
    info: ModelInfo | None,
    generation: Generation,
    start: ReadImage | None,
    guide: ReadImage | None,
) -> tuple[Generation, bytes, list[str]]:
    """Return the generation with its init and control images, the pixels of both, and warnings."""
    warnings: list[str] = []
    pixels = b""
    if start is not None:
        if info is not None and info.layers:
            generation = layers.sized(generation, start)
            warnings += layers.without_effect(body)
        edits = info is not None and "edit" in info.kinds
        if edits and body.strength is not None:
            warnings.append("strength has no effect: the model edits the image instead of generating over it.")
        # All steps of an edit are done.
        source, pixels = start.fit(service, generation, 1.0 if edits else body.strength)
        generation = replace(generation, source=source)
    elif body.strength is not None:
        warnings.append("strength is ignored without an image.")
    if sizing := start or guide:
        warnings += sizing.warnings
    if guide is not None:
        generation, guiding = control_images.guide(service, body, generation, guide)
        pixels += guiding
    else:
        warnings += control_images.unused(body)
    return generation, pixels, warnings


def _stack(service: Services, body: GenerateBody, info: ModelInfo | None) -> Stack:
    """Return the LoRAs of a request, or those that the owner has given the model."""
    chosen = body.loras
    if chosen is None and info is not None and info.name in service.registry:
        defaults = service.registry[info.name].loras
        chosen = [LoraChoice(name=name, scale=scale) for name, scale in defaults.items()]
    return service.thread_pool.run(read_stack, chosen, service.loras) if chosen else generate_request.NO_LORAS
