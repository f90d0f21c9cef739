"""The request body of the Responses API, and the options of its tool `image_generation`.

Source: openai-python 3.52, `openai/types/responses/response_create_params.py` and `tool.py`.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from imageserver.api.inputs.generate_request import Whole
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.openai_options import (
    ImageReference,
    OpenAIOptions,
    ignored_shape,
    unknown_fields,
    with_our_names,
)
from imageserver.api.inputs.validation import omittable, shown, validated, without_blanks
from imageserver.errors import BadRequest, InvalidParameter

IMAGE_GENERATION = "image_generation"
# Of a language model, or of OpenAI's service; they mean nothing for an image.
IGNORED = frozenset(
    (
        "access_programs", "context_management", "include", "image", "max_output_tokens", "max_tool_calls",
        "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "reasoning", "safety_identifier", "service_tier", "stream_options", "temperature", "text", "top_logprobs",
        "top_p", "truncation", "user",
    )
)  # fmt: skip
# Without them the answer would be about something else than the client means.
REFUSED = {
    "conversation": "this server stores no conversations; send previous_response_id, or all of it as input",
    "prompt": "this server stores no prompt templates; send input",
}


class ResponsesBody(BaseModel, strict=True, extra="allow", json_schema_extra=omittable):
    """The body of `POST /v1/responses`; fields that only a language model has are ignored."""

    input: str | list[dict[str, Any]] = Field(
        description="The prompt, or a conversation: the text of the user's last message is the prompt. Its images, or "
        "else the last image before it, are what the new one starts from."
    )
    model: str | None = Field(
        None,
        max_length=200,
        description="Name of a model from /v1/models; an unknown name means that of the tool, or the default model.",
    )
    tools: list[dict[str, Any]] | None = Field(
        None, description='With {"type": "image_generation"} in it, an image is generated; otherwise a sentence.'
    )
    tool_choice: str | dict[str, Any] | None = Field(
        None, description="none, or another tool, means no image: the answer is a sentence."
    )
    previous_response_id: str | None = Field(
        None, max_length=200, description="The response whose image is edited, unless input has one."
    )
    store: bool = Field(True, description="Keep the image for previous_response_id.")
    stream: bool = Field(False, description="Return server-sent events.")
    instructions: Any = Field(None, description="Ignored, and returned unless its JSON is longer than 64 KiB.")
    metadata: dict[str, Any] | None = Field(
        None, description="Returned as it is, unless its JSON is longer than 64 KiB."
    )

    @property
    def wants_image(self) -> bool:
        return bool(self._image_tools) and self._may_use_it()

    def image_tool(self) -> "ImageTool":
        """Return the tool of a body that wants an image; raises InvalidParameter."""
        return validated(ImageTool, with_our_names(without_blanks(self._image_tools[0])))

    @property
    def _image_tools(self) -> list[dict[str, Any]]:
        return [tool for tool in self.tools or () if tool.get("type") == IMAGE_GENERATION]

    def _may_use_it(self) -> bool:
        choice = self.tool_choice
        if isinstance(choice, dict):
            allowed = choice.get("tools")
            among = allowed if choice.get("type") == "allowed_tools" and isinstance(allowed, list) else [choice]
            return any(isinstance(tool, dict) and tool.get("type") == IMAGE_GENERATION for tool in among)
        return choice != "none"


class ImageTool(OpenAIOptions):
    """The tool `image_generation`; its options are those of `POST /v1/images/generations`."""

    type: Literal["image_generation"]
    n: Whole = Field(1, ge=1, le=1, description="Always 1: a call generates one image.")
    action: Literal["auto", "generate", "edit"] = Field(
        "auto", description="generate starts from no image; edit is refused without one."
    )
    partial_images: Whole = Field(0, ge=0, le=3, description="Number of partial images; only in a stream.")
    input_image_mask: ImageReference | None = Field(None, description="Mask: transparent areas are regenerated.")
    input_fidelity: str | None = Field(None, description="Ignored with a warning; see strength.")


def checked(content: Any) -> ResponsesBody:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    given = without_blanks(as_object(content))
    for name, reason in REFUSED.items():
        if name in given:
            raise InvalidParameter(f"{name}: {reason}.", param=name)
    if "input" not in given:
        raise BadRequest("input is required: it is the prompt.", param="input")
    return validated(ResponsesBody, given)


def warnings_of(body: ResponsesBody, tool: ImageTool | None) -> list[str]:
    """Return warnings about fields that are ignored."""
    extra = body.model_extra or {}
    warnings = unknown_fields(body, ignored=IGNORED | {"background"})
    if extra.get("background") is True:
        warnings.append("background is ignored: the response comes when its image is finished.")
    if tool is None:
        return warnings
    warnings += unknown_fields(tool) + ignored_shape(tool)
    if tool.partial_images and not body.stream:
        warnings.append("partial_images is ignored without stream.")
    if tool.input_fidelity is not None:
        warnings.append("input_fidelity is ignored; use strength instead.")
    others = sorted({shown(each.get("type")) for each in body.tools or () if each.get("type") != IMAGE_GENERATION})
    return warnings + [f"Tools of the type {kind} are never called." for kind in others]
