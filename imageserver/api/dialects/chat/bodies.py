"""The request body of the chat completions, and its translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/chat/completion_create_params.py`; images as OpenRouter's clients ask for
them: https://openrouter.ai/docs/features/multimodal/image-generation
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from imageserver.api.generation.conversation import ConversationMessage, read_message
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.openai_options import (
    OpenAIOptions,
    generate_fields,
    ignored_shape,
    unknown_fields,
    with_our_names,
)
from imageserver.api.inputs.validation import validated, without_blanks

MESSAGES = "messages"
IMAGE = "image"
SHAPE = "aspect_ratio"
# Fields that no language model has: who sends one wants an image. OpenRouter's clients may send nothing else.
FOR_IMAGES = frozenset(
    (
        "aspect_ratio", "background", "guidance_scale", "height", "image_config", "image_output", "layers", "loras",
        "negative_prompt", "num_inference_steps", "output_compression", "output_format", "quality_tier", "scheduler",
        "size", "strength", "true_cfg_scale", "width",
    )
)  # fmt: skip
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


ImageOutput = Literal["both", "images", "link"]


@dataclass(frozen=True)
class ReplyOptions:
    """What a reply needs of its request, which a stream would otherwise keep in memory with all its images."""

    image_output: ImageOutput
    includes_usage: bool


class ChatBody(OpenAIOptions):
    """The body of `POST /v1/chat/completions`; fields that only a language model has are ignored."""

    messages: list[dict[str, Any]] = Field(
        min_length=1,
        description="The conversation; the text of the user's last message is the prompt. Its images, or else the last "
        "image before it, are what the new one starts from.",
    )
    modalities: list[str] | None = Field(
        None,
        description='With "image" in it, images are generated; otherwise the answer is a sentence. Left out, a field '
        "for images alone, such as size or image_config, asks for one too.",
    )
    image_output: ImageOutput = Field(
        "both",
        description="images sends data URLs in `images` of the message, link a Markdown link to the saved image as its "
        "content.",
    )
    image_config: dict[str, Any] | None = Field(None, description="OpenRouter's name for {aspect_ratio}.")
    stream: bool = Field(False, description="Return server-sent events.")
    stream_options: dict[str, Any] | None = Field(None, description="{include_usage}: end a stream with the usage.")

    @property
    def wants_image(self) -> bool:
        if self.modalities is None:
            return not FOR_IMAGES.isdisjoint(self.model_fields_set)
        return IMAGE in self.modalities

    @property
    def config(self) -> dict[str, Any]:
        """What `image_config` has, without what is null or blank."""
        return without_blanks(self.image_config or {})

    @property
    def shape(self) -> str | None:
        """The shape in `image_config`."""
        shape = self.config.get(SHAPE)
        return shape if isinstance(shape, str) else None

    @property
    def reply_options(self) -> ReplyOptions:
        includes_usage = (self.stream_options or {}).get("include_usage") is True
        return ReplyOptions(self.image_output, includes_usage)

    def conversation(self) -> list[ConversationMessage]:
        """Return the conversation; raises InvalidParameter."""
        return [read_message(message, MESSAGES) for message in self.messages]


def checked(content: Any) -> ChatBody:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    return validated(ChatBody, with_our_names(without_blanks(as_object(content))))


def to_generate_fields(body: ChatBody, prompt: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning, but for the model."""
    return generate_fields(body, prompt, body.shape)


def warnings_of(body: ChatBody) -> list[str]:
    """Return warnings about fields that are ignored."""
    further = [f"image_config.{name}" for name in body.config if name != SHAPE]
    return unknown_fields(body, *further, ignored=IGNORED) + ignored_shape(body) + _about_shape(body)


def _about_shape(body: ChatBody) -> list[str]:
    if SHAPE not in body.config:
        return []
    if body.shape is None:
        return ["image_config.aspect_ratio is ignored: it must be a text such as 16:9."]
    if body.has_size or body.aspect_ratio is not None:
        return ["image_config.aspect_ratio is ignored beside a size or an aspect_ratio."]
    return []
