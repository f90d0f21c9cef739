"""Turn every failure into the native envelope; nothing of a traceback or a path reaches a client."""

import logging
import math

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from imageserver.api.current import request_id
from imageserver.errors import BodyTooLarge, NotFound, ServiceError

logger = logging.getLogger(__name__)


def envelope(error: ServiceError) -> Response:
    """Return `{"error", "code", "param", "request_id"}` with the error's status."""
    response = jsonify(error=error.sentence, code=error.code, param=error.param, request_id=request_id())
    response.status_code = error.status
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def register(app: Flask) -> None:
    """Answer every exception of every view."""

    @app.errorhandler(ServiceError)
    def service_error(error: ServiceError) -> Response:
        logger.info("%d %s: %s", error.status, error.code, error.sentence)
        return envelope(error)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if error.code == 413:
            limit = app.config["MAX_CONTENT_LENGTH"] / 2**20
            return envelope(BodyTooLarge(f"The request body is larger than {limit:g} MiB (MAX_BODY_MB)."))
        if error.code == 404:
            return envelope(NotFound("There is nothing at this address; GET / lists the API."))
        shaped = ServiceError(error.description or error.name)
        shaped.status, shaped.code = error.code or 500, error.name.lower().replace(" ", "_")
        response = envelope(shaped)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        logger.error("An unexpected error.", exc_info=error)
        return envelope(ServiceError("The server made a mistake; its log has the details under this request id."))
