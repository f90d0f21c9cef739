"""The request body of the chat completions, and its translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/chat/completion_create_params.py`; images as OpenRouter's clients ask for
them: https://openrouter.ai/docs/features/multimodal/image-generation
"""

from typing import Any, Literal

from pydantic import Field

from imageserver.api.generation.conversation import ConversationMessage, read_message
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.openai_options import OpenAIOptions, generate_fields, unknown_fields
from imageserver.api.inputs.sizes import shape_fields
from imageserver.api.inputs.validation import validated, without_blanks

MESSAGES = "messages"
IMAGE = "image"
# Of a language model; they mean nothing for an image.
IGNORED = frozenset(
    (
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "metadata", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning", "reasoning_effort", "response_format",
        "safety_identifier", "service_tier", "stop", "store", "temperature", "tool_choice", "tools", "top_k",
        "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    )
)  # fmt: skip


class ChatBody(OpenAIOptions):
    """The body of `POST /v1/chat/completions`; fields that only a language model has are ignored."""

    messages: list[dict[str, Any]] = Field(
        min_length=1,
        description="The conversation; the text of the user's last message is the prompt. Its images, or else the last "
        "image before it, are what the new one starts from.",
    )
    modalities: list[str] | None = Field(
        None, description='With "image" in it, images are generated; otherwise the answer is a sentence.'
    )
    image_output: Literal["both", "images", "link"] = Field(
        "both",
        description="images sends data URLs in `images` of the message, link a Markdown link to the saved image as its "
        "content.",
    )
    image_config: dict[str, Any] | None = Field(None, description="OpenRouter's name for {aspect_ratio}.")
    stream: bool = Field(False, description="Return server-sent events.")
    stream_options: dict[str, Any] | None = Field(None, description="{include_usage}: end a stream with the usage.")

    @property
    def wants_image(self) -> bool:
        return IMAGE in (self.modalities or ())

    @property
    def includes_usage(self) -> bool:
        return (self.stream_options or {}).get("include_usage") is True

    def conversation(self) -> list[ConversationMessage]:
        """Return the conversation; raises InvalidParameter."""
        return [read_message(message, MESSAGES) for message in self.messages]


def checked(content: Any) -> ChatBody:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    return validated(ChatBody, without_blanks(as_object(content)))


def to_generate_fields(body: ChatBody, prompt: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning, but for the model."""
    shape = (body.image_config or {}).get("aspect_ratio")
    named = shape_fields(shape) if isinstance(shape, str) else {}
    return named | generate_fields(body, prompt)


def warnings_of(body: ChatBody) -> list[str]:
    """Return warnings about fields that are ignored."""
    further = [f"image_config.{name}" for name in (body.image_config or {}) if name != "aspect_ratio"]
    return unknown_fields(body, *further, ignored=IGNORED)
