"""A response of the Responses API: its head, the call that generated its image, and a message.

Source: openai-python 3.52, `openai/types/responses/response.py` and `response_output_item.py`.
"""

import base64
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from imageserver.api.dialects.responses.echo import Echo
from imageserver.api.dialects.responses.image_memory import Ids
from imageserver.api.generation.openai_terms import described, tokens_of
from imageserver.api.generation.run import GenerationResult
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.errors import ServiceError

SENTENCE = (
    'This server generates images, not text: add {"type": "image_generation"} to the tools and describe an image.'
)
# Of the codes that OpenAI documents, the one for whatever a server fails with.
SERVER_ERROR = "server_error"
NO_TOKENS = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


class ResponseReply(ResponseSchema):
    """A response in OpenAI's format; warnings are an addition of this server."""

    id: str = Field(description="Send it as previous_response_id to edit the image.")
    object: Literal["response"]
    created_at: int = Field(description="Unix seconds.")
    completed_at: int | None
    status: Literal["in_progress", "completed", "failed"]
    background: Literal[False]
    error: dict[str, Any] | None
    frequency_penalty: float
    incomplete_details: None
    instructions: Any
    max_output_tokens: None
    metadata: dict[str, Any]
    model: str
    output: list[dict[str, Any]] = Field(description="An image_generation_call with the image, and a message.")
    parallel_tool_calls: bool
    presence_penalty: float
    previous_response_id: str | None
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_p: float
    truncation: Literal["disabled"]
    usage: dict[str, Any] | None
    warnings: list[str]


@dataclass
class Reply:
    """The response to one request, as far as it has come."""

    echo: Echo
    ids: Ids
    model: str
    created_at: int = field(default_factory=lambda: int(time.time()))

    def document(
        self,
        status: Literal["in_progress", "completed", "failed"],
        *,
        output: list[dict[str, Any]] | None = None,
        usage: dict[str, Any] | None = None,
        warnings: list[str] | None = None,
        error: ServiceError | None = None,
    ) -> dict[str, Any]:
        """Return the response as JSON."""
        echo = self.echo
        failure = None if error is None else {"code": SERVER_ERROR, "message": error.sentence, "param": error.param}
        return {
            "id": self.ids.response,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": failure,
            # The penalties are of Open Responses; OpenRouter's clients read no response without them.
            "frequency_penalty": 0.0,
            "incomplete_details": None,
            "instructions": echo.instructions,
            "max_output_tokens": None,
            "metadata": echo.metadata,
            "model": self.model,
            "output": output or [],
            "parallel_tool_calls": True,
            "presence_penalty": 0.0,
            "previous_response_id": echo.previous_response_id,
            "store": echo.store,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": echo.tool_choice,
            "tools": echo.tools,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "warnings": warnings or [],
        }

    def image_call(self, status: str, **details: Any) -> dict[str, Any]:
        """Return the output item of the image."""
        return {"type": "image_generation_call", "id": self.ids.image_call, "status": status, "result": None} | details

    def message(self, text: str) -> dict[str, Any]:
        """Return the output item of a finished message."""
        return {
            "type": "message",
            "id": self.ids.message,
            "status": "completed",
            "role": "assistant",
            "content": [text_part(text)],
        }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def image_details(service: Services, result: GenerationResult) -> dict[str, Any]:
    """Return what a finished image adds to its output item."""
    generation = result.generation
    return {
        "result": service.thread_pool.run(base64.b64encode, result.files[0]).decode(),
        "revised_prompt": generation.prompt,
        "action": "generate" if generation.source is None else "edit",
        **described(result.request, result.outcome),
    }


def warnings_about(result: GenerationResult) -> list[str]:
    """Return the warnings of a finished image, and of the layers that a call leaves out."""
    count = len(result.files)
    return result.warnings + ([f"A call returns the first of {count} images."] if count > 1 else [])


def about(result: GenerationResult) -> str:
    """Return the sentences beside an image, which clients show as the answer's text."""
    size = described(result.request)["size"]
    return " ".join([f"The image is {size}, its seed is {result.outcome.seeds[0]}.", *warnings_about(result)])


def usage_of(result: GenerationResult) -> dict[str, Any]:
    """Return the tokens of a finished image."""
    tokens = tokens_of(result.request, result.outcome, range(len(result.files)))
    return NO_TOKENS | {
        "input_tokens": tokens.text + tokens.source,
        "output_tokens": tokens.generated,
        "total_tokens": tokens.total,
    }
