"""Make an order of a request: one way for every dialect that speaks in the native body's terms."""

import time
from dataclasses import replace
from typing import Any

from werkzeug.datastructures import Headers

import aspect_ratios
from imageserver.api import output_options
from imageserver.api.generation.model_lookup import Waiter, facts_for
from imageserver.api.generation.run import GenerationRequest
from imageserver.api.inputs import control_image as control_images
from imageserver.api.inputs import generate_request, layers
from imageserver.api.inputs import init_image as init_images
from imageserver.api.inputs.control_image import ControlImage
from imageserver.api.inputs.init_image import InitImage, ReadImage
from imageserver.api.inputs.loras import LoraChoice, Stack, read_stack
from imageserver.api.inputs.retry_headers import Retry, idempotency_key_of, patience_of
from imageserver.api.request_context import arrival, client_address, credential
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, ModelInfo

# A library that repeats itself hangs up when its read timeout passes; the clock here starts a little later.
RETRY_TIMEOUT_SHARE = 0.9


def place(
    service: Services,
    number: int,
    content: Any,
    headers: Headers,
    *,
    dialect: str = "native",
    init_image: InitImage | None = None,
    control_image: ControlImage | None = None,
    previews: int = 0,
    prompt_required: bool = True,
    retry: Retry | None = None,
    waited: float = 0.0,
) -> tuple[GenerationRequest, list[str], generate_request.GenerateBody]:
    """Return the order, the warnings and the body it was made of; raises the ServiceError that names what is wrong.

    `content` is what the native API takes. Dialects hand the image to start from over as `init_image`, the one for a
    ControlNet as `control_image`; `previews` are the images on the way that each image's client wants to see. It
    may have `waited` seconds for its model already.
    """
    body = generate_request.parse(content, prompt_required=prompt_required)
    idempotency_key = idempotency_key_of(headers)
    # Before a model is loaded for it.
    generate_request.check(body, service.settings)
    timeout, patience = body.timeout or service.settings.request_timeout, body.timeout or patience_of(headers)
    began = time.monotonic() - waited
    facts = facts_for(service, body.model, Waiter(number, dialect, body.prompt, timeout))
    # A model that had to be loaded has taken its part of them; the rest is told to clients, and shall be short to read.
    loaded_for = round(time.monotonic() - began, 1)
    control_images.refuse_unserved(service.settings, facts, control_image, init_image)
    refuse_unserved(facts, init_image)
    layers.refuse_unserved(facts, body)
    read = init_images.read(service, init_image, facts) if init_image else None
    guide = control_images.read(service, control_image) if control_image else None
    sizing = read or guide
    generation, warnings = generate_request.resolve(
        body,
        service.settings,
        facts,
        seed_source=idempotency_key,
        usual_size=sizing.usual_size if sizing else None,
        previews=previews,
        stack=_stack(service, body, facts),
    )
    generation, pixels, about_images = _with_images(service, body, facts, generation, read, guide)
    as_named = (generation.width, generation.height) == aspect_ratios.size_of(body.aspect_ratio)
    shown_ratio = body.aspect_ratio_name if as_named else "custom"
    order = GenerationRequest(
        number=number,
        generation=generation,
        finish=output_options.OutputOptions(
            output_format=body.output_format,
            compression=body.output_compression,
            aspect_ratio_name=shown_ratio if body.add_overlay else None,
            font_path=service.settings.font_path,
        ),
        timeout=max(0.0, timeout - loaded_for),
        patience=None if patience is None else max(0.0, patience - loaded_for),
        use_cache=body.cache,
        idempotency_key=idempotency_key,
        retry_key=retry.key if retry else None,
        is_retry=retry is not None and retry.count > 0,
        arrived=arrival(),
        returns_after=0.0 if idempotency_key else RETRY_TIMEOUT_SHARE * (patience_of(headers) or 0.0),
        credential=credential(),
        dialect=dialect,
        client=client_address(),
        source=pixels,
    )
    return order, warnings + about_images, body


def _with_images(
    service: Services,
    body: generate_request.GenerateBody,
    facts: ModelInfo | None,
    generation: Generation,
    read: ReadImage | None,
    guide: ReadImage | None,
) -> tuple[Generation, bytes, list[str]]:
    """Return the generation with what it starts from and what guides it, the pixels of both, and warnings."""
    warnings: list[str] = []
    pixels = b""
    if read is not None:
        if facts is not None and facts.layers:
            generation = layers.sized(generation, read)
            warnings += layers.without_effect(body)
        edits = facts is not None and "edit" in facts.kinds
        if edits and body.strength is not None:
            warnings.append("strength has no effect: the model edits, it does not generate over the image.")
        # All steps of an edit are done.
        source, pixels = read.fit(service, generation, 1.0 if edits else body.strength)
        generation = replace(generation, source=source)
    elif body.strength is not None:
        warnings.append("strength is ignored without an image.")
    if sizing := read or guide:
        warnings += sizing.warnings
    if guide is not None:
        generation, guiding = control_images.guide(service, body, generation, guide)
        pixels += guiding
    else:
        warnings += control_images.unused(body)
    return generation, pixels, warnings


def _stack(service: Services, body: generate_request.GenerateBody, facts: ModelInfo | None) -> Stack:
    """Return the LoRAs of a request, or those that the owner has given the model."""
    chosen = body.loras
    if chosen is None and facts is not None and facts.name in service.registry:
        usual = service.registry[facts.name].loras
        chosen = [LoraChoice(name=name, scale=scale) for name, scale in usual.items()]
    return service.thread_pool.run(read_stack, chosen, service.loras) if chosen else generate_request.NO_LORAS


def refuse_unserved(facts: ModelInfo | None, init_image: InitImage | None) -> None:
    """Raise InvalidParameter where a model cannot start from what was sent, or cannot keep what is masked."""
    if facts is None:
        return
    if init_image is None:
        if "text" not in facts.kinds:
            raise InvalidParameter(f"{facts.name} ({facts.family}) edits images; send image.", param="image")
        return
    image_name, mask_name = init_image.names
    if not {"image", "edit"} & set(facts.kinds):
        raise InvalidParameter(
            f"{facts.name} ({facts.family}) generates from text alone; leave {image_name} out.", param=image_name
        )
    if init_image.mask is not None and "inpaint" not in facts.kinds:
        raise InvalidParameter(
            f"{facts.name} ({facts.family}) does not inpaint; leave {mask_name} out.", param=mask_name
        )
