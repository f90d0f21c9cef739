"""Turn every failure into a dialect's envelope; nothing of a traceback or a path reaches a client."""

import logging
import math
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException

from imageserver.api.request_context import request_id
from imageserver.api.schemas import NativeError
from imageserver.errors import BodyTooLarge, NotFound, ServiceError

logger = logging.getLogger(__name__)

# Basic is taken too, but not asked for: a browser would ask its reader for a password.
CHALLENGE = 'Bearer realm="qwen-image-server"'

Envelope = Callable[[ServiceError], dict[str, Any]]

# The schema of each dialect's errors, by its blueprint; the others answer NativeError.
ENVELOPES: dict[str, type[BaseModel]] = {}
# How the addresses begin that are a dialect's even where it serves nothing there.
PREFIXES: dict[str | tuple[str, ...], Envelope] = {}


class OpenAIErrorDetail(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """An error as the OpenAI SDK reads it."""

    error: OpenAIErrorDetail


def native(error: ServiceError) -> dict[str, Any]:
    """Return `{"error", "code", "param", "request_id"}`."""
    try:
        number: int | None = request_id()
    except ServiceError:
        number = None  # the counter itself is what failed
    return {"error": error.sentence, "code": error.code, "param": error.param, "request_id": number}


def openai(error: ServiceError) -> dict[str, Any]:
    """Return `{"error": {"message", "type", "param", "code"}}`, as the OpenAI SDK reads it."""
    kind = "invalid_request_error" if error.status < 500 and error.status != 429 else "server_error"
    kind = "rate_limit_error" if error.status == 429 else kind
    return {"error": {"message": error.sentence, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: ServiceError, envelope: Envelope) -> Response:
    """Return the error's answer with its status and, where it says so, when to come back."""
    response = jsonify(envelope(error))
    response.status_code = error.status
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = CHALLENGE
    return response


def register(
    target: Flask | Blueprint,
    envelope: Envelope = native,
    schema: type[BaseModel] = NativeError,
    *,
    prefix: str | tuple[str, ...] | None = None,
) -> None:
    """Answer every exception of every view of the application or of one dialect; `schema` is the envelope's.

    A dialect with a `prefix` also answers for unknown addresses that begin so.
    """
    ENVELOPES[target.name] = schema
    if prefix is not None:
        PREFIXES[prefix] = envelope

    @target.errorhandler(ServiceError)
    def service_error(error: ServiceError) -> Response:
        logger.info("%d %s: %s", error.status, error.code, error.sentence)
        return error_response(error, envelope)

    @target.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        # Of an address that no view serves the application alone is told.
        chosen = next((each for prefix, each in PREFIXES.items() if request.path.startswith(prefix)), envelope)
        if error.code == 413:
            limit = current_app.config["MAX_CONTENT_LENGTH"] / 2**20
            return error_response(BodyTooLarge(f"The request body is larger than {limit:g} MiB (MAX_BODY_MB)."), chosen)
        if error.code == 404:
            return error_response(NotFound("There is nothing at this address; GET / lists the API."), chosen)
        shaped = ServiceError(error.description or error.name)
        shaped.status, shaped.code = error.code or 500, error.name.lower().replace(" ", "_")
        response = error_response(shaped, chosen)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @target.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        logger.error("An unexpected error.", exc_info=error)
        sentence = "The server made a mistake; its log has the details under this request id."
        return error_response(ServiceError(sentence), envelope)
