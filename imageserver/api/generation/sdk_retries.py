"""What the OpenAI SDK repeats by itself: a retry joins the first try, and what would fail again is not retried.

Source: openai-python 3.52, `_base_client.py`.
"""

from typing import Any

from flask import Blueprint, Response, request

from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.retry_headers import Retry, key_of_tries, retry_count_of
from imageserver.api.request_context import client_address, credential
from imageserver.api.services import Services

# A retry would fail again and take as long.
NOT_RETRIED = (500, 504, 507)
MAX_RETRY_AFTER_SECONDS = 60


def retry_of(service: Services, content: Any, init_image: InitImage | None) -> Retry | None:
    """Return which try this request of the SDK is, so that a retry joins the first one; None for other clients.

    `content` is all that makes the request another one, but for its images.
    """
    count = retry_count_of(request.headers)
    if count is None or "Idempotency-Key" in request.headers:
        return None
    client = f"{credential() or client_address()} {request.headers.get('Authorization', '')}"
    images = (init_image.image, *init_image.further, init_image.mask) if init_image else ()
    return Retry(service.thread_pool.run(key_of_tries, client, request.path, content, *images), count)


def discourage(blueprint: Blueprint) -> None:
    """Let a dialect's answers tell the SDK, which retries every server error, not to retry what would fail again."""

    @blueprint.after_request
    def say_what_would_fail_again(response: Response) -> Response:
        # It waits up to a minute, and for longer pauses not at all: it would fail again at once.
        too_late = response.headers.get("Retry-After", 0, type=int) > MAX_RETRY_AFTER_SECONDS
        if response.status_code in NOT_RETRIED or too_late:
            response.headers["X-Should-Retry"] = "false"
        return response
