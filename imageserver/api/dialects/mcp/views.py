"""The Model Context Protocol at `/mcp`: its streamable HTTP transport, without sessions.

Every request stands for itself, so any worker may answer it. Source:
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Blueprint, Response, request, stream_with_context

from imageserver import __version__
from imageserver.api import errors
from imageserver.api.dialects.mcp import calls
from imageserver.api.dialects.mcp.json_rpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    VERSION_HEADER,
    VERSIONS,
    RpcError,
    RpcMessage,
    RpcReply,
    envelope,
    failure,
    reply,
)
from imageserver.api.dialects.mcp.stream import CallStream
from imageserver.api.dialects.mcp.tools import TOOLS, GenerateArguments
from imageserver.api.inputs.json_body import read_model
from imageserver.api.inputs.validation import shown, validated, without_nulls
from imageserver.api.operations import EVENTS, documented
from imageserver.api.rate_limits import count_requests
from imageserver.api.request_context import services
from imageserver.api.services import Services
from imageserver.api.wsgi import sse
from imageserver.errors import ServiceError

JSON = "application/json"

blueprint = Blueprint("mcp", __name__)
errors.register(blueprint, envelope, RpcError)


@blueprint.post("/mcp", strict_slashes=False)
@documented(
    body=RpcMessage,
    response=RpcReply,
    media=(EVENTS,),
    empty=(202,),
    errors=(400, 408, 413, 422),
    example={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
)
def receive() -> Response:
    """Answer a message of the Model Context Protocol, whose tools generate and edit images and list models."""
    message = read_model(RpcMessage)
    if request.headers.get(VERSION_HEADER, VERSIONS[-1]) not in VERSIONS:
        sentence = f"{VERSION_HEADER} must be one of {', '.join(VERSIONS)}."
        return _json(failure(message.id, UNSUPPORTED_VERSION, sentence, {"supported": list(VERSIONS)}), status=400)
    if not message.needs_answer:
        # Notifications change nothing here: a client cancels a call by closing its connection.
        accepted = Response(status=202)
        del accepted.headers["Content-Type"]
        return accepted
    if message.method == CALL:
        return _call(services(), message)
    result = ANSWERS.get(message.method or "")
    if result is None:
        return _json(failure(message.id, METHOD_NOT_FOUND, f"The method {shown(message.method)} is not served."))
    return _json(reply(message.id, result(message.params or {})))


def _initialize(params: dict[str, Any]) -> dict[str, Any]:
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in VERSIONS else VERSIONS[-1],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "qwen-image-server", "title": "qwen-image-server", "version": __version__},
        "instructions": "Generates and edits images. An image that was generated is edited by its address.",
    }


CALL = "tools/call"
ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "initialize": _initialize,
    "ping": lambda params: {},
    "tools/list": lambda params: {"tools": [tool.listed() for tool in TOOLS.values()]},
}


def _call(service: Services, message: RpcMessage) -> Response:
    params = message.params or {}
    tool = TOOLS.get(params["name"]) if isinstance(params.get("name"), str) else None
    given = params.get("arguments") or {}
    if tool is None or not isinstance(given, dict):
        sentence = f"name must be one of {', '.join(TOOLS)}, arguments a JSON object."
        return _json(failure(message.id, INVALID_PARAMS, sentence))
    # Errors are answered as results, which assistants can read.
    try:
        if issubclass(tool.arguments, GenerateArguments):
            # Not by the route, whose other messages ask for no image; a wrong call counts as everywhere.
            count_requests(1)
        arguments = validated(tool.arguments, without_nulls(given))
        if isinstance(arguments, GenerateArguments):
            return _generate(service, message, arguments)
        return _json(reply(message.id, calls.models_result(service)))
    except ServiceError as error:
        return _json(reply(message.id, calls.error_result(error)))


def _generate(service: Services, message: RpcMessage, arguments: GenerateArguments) -> Response:
    token = message.progress_token
    pending = calls.prepare_call(service, arguments)
    accepts_json = not request.accept_mimetypes or bool(request.accept_mimetypes[JSON])
    if token is not None or not accepts_json:
        stream = CallStream(service, message.id, token, as_link=arguments.as_link, limited=accepts_json)
        # The addresses of saved images are those of this request's host.
        frames = stream_with_context(stream.frames(pending.stream(request.environ)))
        return sse.event_stream(frames, stream.error_frame)
    call = calls.finished(service, pending.result(request.environ), as_link=arguments.as_link)
    return _json(reply(message.id, call.content(as_link=arguments.as_link)))


def _json(message: dict[str, Any], *, status: int = 200) -> Response:
    # Python's own encoder takes five times as long for megabytes of base64.
    return Response(msgspec.json.encode(message), status=status, mimetype=JSON)
