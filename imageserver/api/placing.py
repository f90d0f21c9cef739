"""Make an order of a request: one way for every dialect that speaks in the native body's terms."""

from typing import Any

from werkzeug.datastructures import Headers

from imageserver.api import bodies, studio
from imageserver.api.orders import Order
from imageserver.api.retries import idempotency_key_of, patience_of
from imageserver.api.services import Services


def place(
    service: Services, number: int, content: Any, headers: Headers
) -> tuple[Order, list[str], bodies.GenerateBody]:
    """Return the order, the warnings and the body it was made of; raises the ServiceError that names what is wrong."""
    body = bodies.parse(content)
    idempotency_key = idempotency_key_of(headers)
    generation, warnings = bodies.resolve(body, service.settings, service.snapshot, seed_source=idempotency_key)
    order = Order(
        number=number,
        generation=generation,
        finish=studio.Finish(
            output_format=body.output_format,
            compression=body.output_compression,
            aspect_ratio_name=body.aspect_ratio_name if body.add_overlay else None,
            font_path=service.settings.font_path,
        ),
        timeout=body.timeout or service.settings.request_timeout,
        patience=body.timeout or patience_of(headers),
        use_cache=body.cache,
        idempotency_key=idempotency_key,
    )
    return order, warnings, body
