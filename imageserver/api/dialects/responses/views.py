"""OpenAI's Responses API, `/v1/responses`: the tool `image_generation` generates and edits images in a conversation.

Source: openai-python 3.52, `openai/resources/responses/responses.py`.
"""

import msgspec
from flask import Blueprint, Response, request, stream_with_context

from imageserver.api import errors
from imageserver.api.dialects.responses import conversation, image_memory
from imageserver.api.dialects.responses.bodies import ImageTool, ResponsesBody, checked, warnings_of
from imageserver.api.dialects.responses.echo import Echo
from imageserver.api.dialects.responses.events import Events
from imageserver.api.dialects.responses.reply import (
    NO_TOKENS,
    SENTENCE,
    Reply,
    ResponseReply,
    about,
    image_details,
    usage_of,
    warnings_about,
)
from imageserver.api.generation import sdk_retries
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.model_lookup import find_name
from imageserver.api.generation.run import GenerationResult, PendingGeneration
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.openai_options import generate_fields
from imageserver.api.operations import EVENTS, GENERATING_ERRORS, REPEATABLE, documented
from imageserver.api.rate_limits import count_requests
from imageserver.api.request_context import assign_request_id, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse

DIALECT = "responses"

blueprint = Blueprint("responses", __name__, url_prefix="/v1")
errors.register(blueprint, errors.openai, errors.OpenAIError, wrong_value=400)
blueprint.before_request(assign_request_id)
sdk_retries.discourage(blueprint)

EXAMPLE = {"input": "a red circle on a blue background", "tools": [{"type": "image_generation", "size": "512x512"}]}


@blueprint.post("/responses")
@documented(
    body=ResponsesBody,
    response=ResponseReply,
    media=(EVENTS,),
    errors=tuple(status for status in GENERATING_ERRORS if status != 422),
    example=EXAMPLE,
    counts=True,
    **REPEATABLE,
)
def respond() -> Response:
    """Generate an image with the tool image_generation, or edit the last one; without the tool, return a sentence."""
    service, body = services(), checked(read_json())
    if not body.wants_image:
        return _sentence(service, body)
    count_requests(1)
    tool = body.image_tool()
    model = _model(service, body, tool)
    pending = _prepare(service, body, tool, model)
    reply = Reply(Echo.of(body), image_memory.new_ids(), pending.request.generation.model or model or "")
    if body.stream:
        events = Events(service, reply, pending.warnings)
        frames = events.of_image(pending.request.without_pixels(), pending.stream(request.environ))
        # The image is kept under this request's credential.
        return sse.event_stream(stream_with_context(frames), events.error_frame)
    return _json(_document(service, reply, pending.result(request.environ)))


def _sentence(service: Services, body: ResponsesBody) -> Response:
    reply, warnings = (
        Reply(Echo.of(body), image_memory.ids_after(body.previous_response_id), body.model or ""),
        warnings_of(body, None),
    )
    if body.stream:
        events = Events(service, reply, warnings)
        return sse.event_stream(events.of_sentence(), events.error_frame)
    output = [reply.message(SENTENCE)]
    return _json(reply.document("completed", output=output, usage=NO_TOKENS, warnings=warnings))


def _document(service: Services, reply: Reply, result: GenerationResult) -> dict[str, object]:
    if reply.echo.store:
        image_memory.keep(service, reply.ids, result)
    output = [reply.image_call("completed", **image_details(service, result)), reply.message(about(result))]
    return reply.document("completed", output=output, usage=usage_of(result), warnings=warnings_about(result))


def _prepare(service: Services, body: ResponsesBody, tool: ImageTool, model: str | None) -> PendingGeneration:
    prompt, sources = conversation.read(service, body, tool, service.info_of(model or ""))
    content = [body.model, prompt, tool.model_dump(exclude={"input_image_mask"})]
    parsed = parse_request(
        service,
        generate_fields(tool, prompt) | ({"model": model} if model else {}),
        request.headers,
        dialect=DIALECT,
        images=Images(sources.init_image),
        previews=tool.partial_images if body.stream else 0,
        streamed=body.stream,
        retry=None if body.stream else sdk_retries.retry_of(service, content, sources.init_image),
    )
    pending = prepare(service, request_id(), parsed)
    pending.warnings += [*sources.warnings, *warnings_of(body, tool)]
    return pending


def _model(service: Services, body: ResponsesBody, tool: ImageTool) -> str | None:
    """Return the first name that is a model's here: clients for OpenAI name a language model and one of its tools."""
    named = (find_name(service, name) for name in (tool.model, body.model) if name)
    return next((name for name in named if name is not None), None)


def _json(document: dict[str, object]) -> Response:
    # Python's own encoder takes five times as long for megabytes of base64.
    return Response(msgspec.json.encode(document), mimetype="application/json")
