"""Build a generation request in three steps, for every dialect that speaks in the native body's terms.

`parse_request` validates, `wait_for_model` may wait for minutes, `build_request` decides everything that is left open.
"""

import time
from dataclasses import dataclass
from typing import Any

from flask import request as http_request
from werkzeug.datastructures import Headers

import aspect_ratios
from imageserver.api.generation.lora_fetch import fetch_missing
from imageserver.api.generation.model_lookup import WaitingRequest, wait_for_model
from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.generation.source_images import SourceImages
from imageserver.api.inputs import generate_request
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.loras import LoraChoice, Stack, read_stack
from imageserver.api.inputs.retry_headers import Retry, idempotency_key_of, patience_of, patience_of_all_tries
from imageserver.api.inputs.upscale import with_second_stage
from imageserver.api.output_options import OutputOptions
from imageserver.api.request_context import account, arrival, client_address, credential, limits
from imageserver.api.services import Services
from imageserver.capabilities import Needs, check_supported
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, ModelInfo
from imageserver.imaging.provenance.manifests.claims import Ingredient
from imageserver.imaging.provenance.manifests.store import memory_needed

# A library that repeats itself hangs up when its read timeout passes; the clock here starts a little later.
RETRY_TIMEOUT_SHARE = 0.9

NO_IMAGES = Images()


@dataclass(frozen=True, kw_only=True)
class ParsedRequest:
    """A client's request, validated except for the rules of its model.

    `timeout` and `patience` are the seconds from its arrival that the server and the client wait. `previews` is the
    number of partial images that the client wants for each image. `upscale_only` enlarges the image that was sent.
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
    upscale_only: bool = False


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
    upscale_only: bool = False,
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
        upscale_only=upscale_only,
    )


def prepare(service: Services, number: int, parsed: ParsedRequest, *, queued: bool = True) -> PendingGeneration:
    """Wait for a request's model and build the generation request; raises ServiceError."""
    waiter = WaitingRequest(number, parsed.dialect, parsed.body.prompt, parsed.timeout)
    return build_request(service, number, parsed, *wait_for_model(service, parsed.body.model, waiter), queued=queued)


def build_request(
    service: Services,
    number: int,
    parsed: ParsedRequest,
    info: ModelInfo | None,
    waited: float = 0.0,
    *,
    queued: bool = True,
) -> PendingGeneration:
    """Return the generation of a request that has `waited` seconds for its model; raises InvalidParameter.

    One with images that is to be `queued` is refused here already where the queue is full; see `SourceImages`. `info`
    is None while the model is unknown; the engine then checks what it supports.
    """
    body, images = parsed.body, parsed.images
    _check_supported(service, info, parsed)
    stack = _stack(service, body, info)

    def resolve(image_size: tuple[int, int] | None) -> tuple[Generation, list[str]]:
        generation, warnings = generate_request.resolve(
            body,
            service.settings,
            info,
            seed_source=parsed.idempotency_key,
            image_size=image_size,
            previews=parsed.previews,
            stack=stack,
        )
        return with_second_stage(body, generation, info, service.settings, only=parsed.upscale_only), warnings

    # One that may have been generated already, or that joins its first try, takes no place in the queue.
    asks = queued and parsed.idempotency_key is None and not (parsed.retry and parsed.retry.count)
    source = SourceImages(number, images, body, info, max(0.0, parsed.timeout - waited), asks)
    sourced = source.read(service, resolve)
    generation, waited = sourced.generation, waited + sourced.waited
    began = time.monotonic()
    ingredients = _ingredients(service, images, generation, max(0.0, parsed.timeout - waited))
    waited += round(time.monotonic() - began, 1)
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
            sealer=service.output_sealer,
            signer=service.output_signer,
            ingredients=ingredients,
        ),
        timeout=max(0.0, parsed.timeout - waited),
        patience=None if parsed.patience is None else max(0.0, parsed.patience - waited),
        use_cache=body.cache,
        idempotency_key=parsed.idempotency_key,
        retry=parsed.retry,
        returns_after=parsed.returns_after,
        arrived=arrival(),
        credential=credential(),
        account=account(),
        limits=limits(),
        dialect=parsed.dialect,
        client=client_address(),
        source=sourced.pixels,
    )
    return PendingGeneration(service, request, sourced.warnings)


def _ingredients(service: Services, images: Images, generation: Generation, timeout: float) -> tuple[Ingredient, ...]:
    """Return the images of a request with the C2PA manifests that they bring, where its answer has one too.

    Raises DeadlineExceeded, and Cancelled when the client leaves while it waits for memory.
    """
    if service.output_signer is None or not generation.generated_steps or images == Images():
        return ()
    from imageserver.imaging.provenance.manifests.ingredients import read_ingredients

    start = images.init_image
    changed = [start.image, *start.further] if start else []
    inputs = [control.image for control in images.control_images]
    needed = service.thread_pool.run(memory_needed, [*changed, *inputs])
    with service.decoding_memory.reserve(needed, timeout, http_request.environ):
        return service.thread_pool.run(read_ingredients, changed, inputs)


def _check_supported(service: Services, info: ModelInfo | None, parsed: ParsedRequest) -> None:
    """Raise InvalidParameter if the model, once known, cannot serve the request."""
    init_image, control = parsed.images.init_image, next(iter(parsed.images.control_images), None)
    if parsed.body.upscale is not None and init_image is not None and init_image.mask is not None:
        raise InvalidParameter(
            "upscale: what a mask keeps is not enlarged; leave upscale or mask out.", param="upscale"
        )
    if parsed.upscale_only and parsed.body.upscale_strength == 0:
        # Lanczos alone: no model takes part.
        return
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


def _stack(service: Services, body: GenerateBody, info: ModelInfo | None) -> Stack:
    """Return the LoRAs of a request, or those that the owner has given the model."""
    chosen = body.loras
    if chosen is None and info is not None and info.name in service.registry:
        defaults = service.registry[info.name].loras
        chosen = [LoraChoice(name=name, scale=scale) for name, scale in defaults.items()]
    if not chosen:
        return generate_request.NO_LORAS
    fetch_missing(service, [choice.name for choice in chosen])
    return service.thread_pool.run(read_stack, chosen, service.loras)
