"""The fields of a request that its response repeats.

A stream keeps them to its end, when its body no longer counts towards MAX_WAITING_MB; so long ones are left out.
"""

from dataclasses import dataclass
from typing import Any, Self

import msgspec

from imageserver.api.dialects.responses.bodies import ResponsesBody

# Of each field, as JSON.
MAX_BYTES = 2**16


@dataclass(frozen=True)
class Echo:
    """What clients find of their request in the response; a field that was too long is as if it had not been sent."""

    instructions: Any
    metadata: dict[str, Any]
    previous_response_id: str | None
    store: bool
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]

    @classmethod
    def of(cls, body: ResponsesBody) -> Self:
        # A mask would send an image back.
        tools = [
            {name: value for name, value in tool.items() if name != "input_image_mask"} for tool in body.tools or ()
        ]
        return cls(
            instructions=body.instructions if _is_short(body.instructions) else None,
            metadata=body.metadata if body.metadata and _is_short(body.metadata) else {},
            previous_response_id=body.previous_response_id,
            store=body.store,
            tool_choice=body.tool_choice if body.tool_choice and _is_short(body.tool_choice) else "auto",
            tools=tools if _is_short(tools) else [],
        )


def _is_short(value: Any) -> bool:
    return len(msgspec.json.encode(value)) <= MAX_BYTES
