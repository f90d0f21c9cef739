"""Shared by the dialects that stream images: stream formats at one address, and previews as image files.

`POST /v1/images/generations` is the OpenAI dialect's; a body may ask for another dialect's stream there by its name.
"""

import base64
from collections.abc import Callable
from typing import Any, cast

from flask import Response, current_app
from flask.sansio.app import App

from imageserver.api.generation.run import GenerationRequest
from imageserver.api.inputs.validation import shown
from imageserver.api.services import Services
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import InvalidParameter

EXTENSION = "imageserver_stream_formats"

# Returns the response to a body whose `stream` is true; reads the rest of the request from Flask.
StreamFormat = Callable[[dict[str, Any]], Response]


def offer(app: App, name: str, answer: StreamFormat) -> None:
    """Let `answer` respond to bodies with `stream: true` and `stream_format: name` at `/v1/images/generations`.

    A dialect offers its own when its blueprint is registered, whatever the order of the blueprints:

        blueprint.record_once(lambda state: previews.offer(state.app, "cogview4", answer))

    `answer` is given the whole JSON body, `stream` and `stream_format` included, within the request. What it raises is
    answered in OpenAI's envelope; a dialect with its own catches its ServiceErrors and returns `errors.error_response`.
    """
    app.extensions.setdefault(EXTENSION, {})[name] = answer


def other_format(content: dict[str, Any], default: str = "openai") -> StreamFormat | None:
    """Return the stream format that a body asks for, None for OpenAI's own; raises InvalidParameter for unknown ones.

    A body that names no format gets `default`.
    """
    name = default if content.get("stream_format") is None else content["stream_format"]
    if name == "openai":
        return None
    offered = cast(dict[str, StreamFormat], current_app.extensions.get(EXTENSION, {}))
    answer = offered.get(name) if isinstance(name, str) else None
    if answer is None:
        names = ", ".join(["openai", *sorted(offered)])
        raise InvalidParameter(f"stream_format {shown(name)} is unknown; choose from {names}.", param="stream_format")
    return answer


def encoded_preview(
    service: Services, request: GenerationRequest, preview_image: PreviewImage, *, jpeg_quality: int | None = None
) -> str:
    """Return the bytes of `preview_file` as base64."""
    data = preview_file(service, request, preview_image, jpeg_quality=jpeg_quality)
    return service.thread_pool.run(base64.b64encode, data).decode()


def preview_file(
    service: Services, request: GenerationRequest, preview_image: PreviewImage, *, jpeg_quality: int | None = None
) -> bytes:
    """Return a preview as the bytes of an image file, in the size of the finished one.

    The format is the request's, or JPEG of `jpeg_quality`; enlarging and encoding happen on a thread of the pool.
    """
    options, preview, generation = request.output_options, preview_image.preview, request.generation

    def work() -> bytes:
        from imageserver.imaging.previews import image_file

        return image_file(
            preview_image.pixels,
            (preview.width, preview.height),
            preview.scale,
            (generation.width, generation.height),
            output_format="jpeg" if jpeg_quality else options.output_format,
            compression=jpeg_quality or options.compression,
        )

    return service.thread_pool.run(work)
