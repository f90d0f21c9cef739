"""Turn every exception into the error format of a dialect; no traceback or path reaches a client."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, jsonify, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from imageserver.api.request_context import request_id
from imageserver.api.schemas import NativeError
from imageserver.errors import BodyTooLarge, InvalidParameter, NotFound, ServiceError
from imageserver.telemetry.error_line import log_error

logger = logging.getLogger(__name__)

BEARER = 'Bearer realm="qwen-image-server"'
# Accepted everywhere, but offered only where clients wait for the offer: browsers would open a password dialog.
BASIC = 'Basic realm="qwen-image-server"'

Envelope = Callable[[ServiceError], dict[str, Any]]

# The error schema and the envelope of each dialect by its blueprint; all others use NativeError.
SCHEMAS: dict[str, type[BaseModel]] = {}
ENVELOPES: dict[str, Envelope] = {}
# Path prefixes that belong to a dialect, also where it has no route.
PREFIXES: dict[str | tuple[str, ...], Envelope] = {}


class OpenAIErrorDetail(BaseModel):
    """The error itself, in OpenAI's format."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """An error in the format of the OpenAI SDK."""

    error: OpenAIErrorDetail


def native(error: ServiceError) -> dict[str, Any]:
    """Return `{"error", "code", "param", "request_id"}`."""
    try:
        number: int | None = request_id()
    except ServiceError:
        number = None  # the request id counter itself failed
    return {"error": error.sentence, "code": error.code, "param": error.param, "request_id": number}


# Of OpenAI's errors, those by which its clients know a limit of their own.
KINDS = {"rate_limited": "rate_limit_exceeded", "quota_exceeded": "insufficient_quota"}


def openai(error: ServiceError) -> dict[str, Any]:
    """Return `{"error": {"message", "type", "param", "code"}}`, the format of the OpenAI SDK."""
    kind = KINDS.get(error.code) or (
        "rate_limit_error"
        if error.status == 429
        else "server_error"
        if error.status >= 500
        else "invalid_request_error"
    )
    return {"error": {"message": error.sentence, "type": kind, "param": error.param, "code": error.code}}


def error_response(
    error: ServiceError,
    envelope: Envelope,
    *,
    wrong_value: int = InvalidParameter.status,
    challenges: Sequence[str] = (BEARER,),
) -> Response:
    """Return the response for an error, with its status and, if it has one, its Retry-After.

    `wrong_value` is the status of the dialect for what is 422 in the others, `challenges` are its ways to send a key.
    """
    g.error_code = error.code
    response = jsonify(envelope(error))
    response.status_code = wrong_value if error.status == InvalidParameter.status else error.status
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = ", ".join(challenges)
    return response


def register(
    target: Flask | Blueprint,
    envelope: Envelope = native,
    schema: type[BaseModel] = NativeError,
    *,
    prefix: str | tuple[str, ...] | None = None,
    wrong_value: int = InvalidParameter.status,
    challenges: Sequence[str] = (BEARER,),
) -> None:
    """Handle every exception in the views of the application or of one dialect; `schema` documents the envelope.

    With a `prefix`, errors at unknown paths that begin with it use the envelope too.
    """
    SCHEMAS[target.name], ENVELOPES[target.name] = schema, envelope
    if prefix is not None:
        PREFIXES[prefix] = envelope

    @target.errorhandler(ServiceError)
    def service_error(error: ServiceError) -> Response:
        log_error(logger, error)
        return error_response(error, _envelope_here(envelope), wrong_value=wrong_value, challenges=challenges)

    @target.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        chosen = _envelope_here(envelope)
        if error.code == 413:
            limit = current_app.config["MAX_CONTENT_LENGTH"] / 2**20
            return error_response(BodyTooLarge(f"The request body is larger than {limit:g} MiB (MAX_BODY_MB)."), chosen)
        if error.code == 404:
            return error_response(NotFound("There is no route at this address; GET / lists all routes."), chosen)
        shaped = ServiceError(error.description or error.name)
        shaped.status, shaped.code = error.code or 500, error.name.lower().replace(" ", "_")
        response = error_response(shaped, chosen)
        response.headers.update({name: value for name, value in error.get_headers() if name == "Allow"})
        return response

    @target.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        logger.error("An unexpected error.", exc_info=error)
        return error_response(ServiceError(), envelope)


def _envelope_here(own: Envelope) -> Envelope:
    """Return the envelope of the current request; where no route answers, that of the dialect whose address it is.

    Flask reports what has no route only to the application's handlers.
    """
    if request.url_rule is not None:
        return own
    if isinstance(request.routing_exception, MethodNotAllowed):
        # The address is a route's, which keeps its own for other methods too.
        method = next(iter(request.routing_exception.valid_methods or ()), None)
        rule, _ = current_app.create_url_adapter(request).match(method=method, return_rule=True)  # type: ignore[union-attr]
        return ENVELOPES.get(rule.endpoint.partition(".")[0], own)
    dialect = next((each for prefix, each in PREFIXES.items() if request.path.startswith(prefix)), own)
    neighbours = _envelopes_beside(request.path, own)
    return own if neighbours and dialect not in neighbours else dialect


def _envelopes_beside(path: str, own: Envelope) -> set[Envelope]:
    """Return the envelopes of the routes that begin with the same two parts, such as /v1/jobs."""
    start = "/".join(path.split("/")[:3])
    rules = [rule for rule in current_app.url_map.iter_rules() if f"{rule.rule}/".startswith(f"{start}/")]
    return {ENVELOPES.get(rule.endpoint.partition(".")[0], own) for rule in rules}
