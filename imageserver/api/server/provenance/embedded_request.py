"""The request in an image's own metadata, which anybody may have written."""

from typing import Any

from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.json_body import refuse_lone_surrogates
from imageserver.errors import BadRequest, InvalidParameter

NOTHING_KEPT = (
    "The image does not say which request made it: it was made elsewhere or by an older version, its metadata was "
    "removed, or its prompts were too long for a JPEG or WebP file."
)


def read_embedded_request(text: str | None) -> dict[str, Any]:
    """Return the body of `POST /generate` in an image's JSON text; raises InvalidParameter where none can be run."""
    try:
        content = bounded_json.parse(text or "{}")
    except BadRequest:
        content = {}
    content = content if isinstance(content, dict) else {}
    fields, inputs = content.get("request"), content.get("inputs")
    if not isinstance(fields, dict) or not fields:
        raise InvalidParameter(NOTHING_KEPT, param="image")
    if inputs:
        raise InvalidParameter(
            "The image was generated from other images, which are not kept; send its request with them again.",
            param="image",
        )
    refuse_lone_surrogates(fields)
    return fields
