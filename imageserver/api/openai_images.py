"""The OpenAI Images dialect: `POST /v1/images/generations` and `/v1/models`, as the openai SDK speaks it.

Source: openai-python 3.52, `openai/types/images*`.
"""

import base64
import time
from typing import Any

from flask import Blueprint, Response, jsonify, request

from imageserver.api import errors
from imageserver.api.current import request_id, services
from imageserver.api.json_body import read_json
from imageserver.api.orders import Delivery, Order, fulfil
from imageserver.api.placing import place
from imageserver.api.saving import save_all, urls_of
from imageserver.api.services import Services
from imageserver.errors import BadRequest, InvalidParameter, Loading, ModelNotFound
from imageserver.generation import ModelFacts

blueprint = Blueprint("openai_images", __name__, url_prefix="/v1")
errors.register(blueprint, errors.openai)

# Honoured as they are; the SDK sends what it does not know itself through `extra_body`, flat.
HONOURED = (
    "prompt", "negative_prompt", "n", "num_inference_steps", "true_cfg_scale", "guidance_scale", "seed",
    "output_format", "output_compression", "deterministic", "quality_tier", "priority", "cache", "timeout",
)  # fmt: skip
# Meaningless here, and harmless.
IGNORED = ("model", "quality", "background", "moderation", "style", "user", "partial_images", "safety_identifier")
SHAPING = ("size", "response_format", "stream")


@blueprint.before_request
def take_request_id() -> None:
    """Give every answer its `x-request-id`, which the SDK shows."""
    request_id()


@blueprint.post("/images/generations")
def generations() -> Response:
    """Draw pictures for the OpenAI SDK."""
    content = read_json()
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    service = services()
    order, warnings = _order(service, content)
    delivery = fulfil(service, order, request.environ)
    return jsonify(_answer(service, order, delivery, content, warnings + list(delivery.outcome.warnings)))


@blueprint.get("/models")
def models() -> Response:
    """List the loaded model."""
    return jsonify(object="list", data=[_model(_facts(services()))])


@blueprint.get("/models/<path:name>")
def model(name: str) -> Response:
    """Tell of one model."""
    facts = _facts(services())
    if name != facts.name:
        raise ModelNotFound(f"model {ascii(name)[:80]} is not loaded; this server serves {facts.name}.", param="model")
    return jsonify(_model(facts))


def _order(service: Services, content: dict[str, Any]) -> tuple[Order, list[str]]:
    _refuse_what_is_not_offered(content)
    fields = {name: content[name] for name in HONOURED if content.get(name) is not None}
    if (tier := fields.pop("quality_tier", None)) is not None:
        fields["quality"] = tier
    size = content.get("size")
    if size not in (None, "auto"):
        fields["size"] = size
    # What OpenAI's own service does: another picture every time, the prompt as it is, no panel.
    fields = {"seed": None, "positive_magic": False, "add_overlay": False} | fields
    order, warnings, _ = place(service, request_id(), fields, request.headers)
    unknown = sorted(content.keys() - {*HONOURED, *IGNORED, *SHAPING})
    warnings += [f"{ascii(name)[:80]} is not a parameter and was ignored." for name in unknown]
    return order, warnings


def _refuse_what_is_not_offered(content: dict[str, Any]) -> None:
    if content.get("stream"):
        raise InvalidParameter("stream is not offered yet; leave it out.", param="stream")
    if content.get("background") == "transparent":
        raise InvalidParameter("background transparent is not offered: the model draws opaque.", param="background")
    if content.get("response_format") not in (None, "b64_json", "url"):
        raise InvalidParameter("response_format must be b64_json or url.", param="response_format")


def _answer(
    service: Services, order: Order, delivery: Delivery, content: dict[str, Any], warnings: list[str]
) -> dict[str, Any]:
    outcome = delivery.outcome
    if content.get("response_format") == "url":
        pictures = [{"url": url} for url in urls_of(save_all(service, order, delivery))]
    else:
        encoded = service.native_pool.run(lambda: [base64.b64encode(data).decode() for data in delivery.files])
        pictures = [{"b64_json": text} for text in encoded]
    return {
        "created": int(time.time()),
        "data": [picture | {"seed": seed} for picture, seed in zip(pictures, outcome.seeds, strict=True)],
        "background": "opaque",
        "output_format": order.finish.output_format,
        "size": f"{outcome.width}x{outcome.height}",
        "model": delivery.facts.name if delivery.facts else None,
        "warnings": warnings,
    }


def _facts(service: Services) -> ModelFacts:
    facts = service.snapshot.facts if service.snapshot else None
    if facts is None:
        raise Loading("The model is not loaded yet.", retry_after=2)
    return facts


def _model(facts: ModelFacts) -> dict[str, Any]:
    return {"id": facts.name, "object": "model", "created": 0, "owned_by": facts.family}
