"""OpenAI's chat completions, `/v1/chat/completions`: images where `modalities` asks for them, otherwise a sentence.

Source: openai-python 3.52, `openai/resources/chat/completions`.
"""

from flask import Blueprint, Response, request, stream_with_context

from imageserver.api import errors
from imageserver.api.dialects.chat import completions
from imageserver.api.dialects.chat.bodies import MESSAGES, ChatBody, checked, to_generate_fields, warnings_of
from imageserver.api.generation import sdk_retries
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.conversation import last_question, sources_of
from imageserver.api.generation.model_lookup import find_name
from imageserver.api.generation.run import PendingGeneration
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.json_body import read_json
from imageserver.api.operations import EVENTS, GENERATING_ERRORS, REPEATABLE, documented
from imageserver.api.rate_limits import count_requests
from imageserver.api.request_context import assign_request_id, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse

DIALECT = "chat"

blueprint = Blueprint("chat", __name__, url_prefix="/v1/chat")
errors.register(blueprint, errors.openai, errors.OpenAIError, wrong_value=400)
blueprint.before_request(assign_request_id)
sdk_retries.discourage(blueprint)

EXAMPLE = {
    "messages": [{"role": "user", "content": "a red circle on a blue background"}],
    "modalities": ["image", "text"],
}


@blueprint.post("/completions")
@documented(
    body=ChatBody,
    response=completions.ChatCompletion,
    media=(EVENTS,),
    errors=tuple(status for status in GENERATING_ERRORS if status != 422),
    example=EXAMPLE,
    counts=True,
    **REPEATABLE,
)
def complete() -> Response:
    """Generate images in a chat, starting from the last one there; a request for text gets a sentence."""
    service, body = services(), checked(read_json())
    if not body.wants_image:
        return _sentence(body)
    count_requests(1)
    pending = _prepare(service, body)
    if body.stream:
        frames = completions.frames(service, request_id(), pending.stream(request.environ), body.reply_options)
        # The addresses of saved images are those of this request's host.
        return sse.event_stream(stream_with_context(frames), completions.error_frame)
    completion = completions.completion_of(service, pending.result(request.environ), body.reply_options)
    return completions.json_response(request_id(), completion)


def _sentence(body: ChatBody) -> Response:
    completion = completions.sentence(body.model or "", warnings_of(body))
    if body.stream:
        return sse.event_stream(
            completions.chunks(request_id(), completion, body.reply_options), completions.error_frame
        )
    return completions.json_response(request_id(), completion)


def _prepare(service: Services, body: ChatBody) -> PendingGeneration:
    # Scripts for OpenAI name its models.
    model = find_name(service, body.model) if body.model else None
    question = last_question(service, body.conversation(), MESSAGES)
    sources = sources_of(service, question, service.info_of(model or ""))
    retry = (
        None
        if body.stream
        else sdk_retries.retry_of(
            service, body.model_dump(exclude={MESSAGES}) | {"prompt": question.prompt}, sources.init_image
        )
    )
    parsed = parse_request(
        service,
        to_generate_fields(body, question.prompt) | ({"model": model} if model else {}),
        request.headers,
        dialect=DIALECT,
        images=Images(sources.init_image),
        streamed=body.stream,
        retry=retry,
    )
    pending = prepare(service, request_id(), parsed)
    pending.warnings += [*sources.warnings, *warnings_of(body)]
    return pending
