"""The messages of the Model Context Protocol: JSON-RPC 2.0.

Source: https://modelcontextprotocol.io/specification/2025-11-25
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from imageserver.api.schemas import ResponseSchema
from imageserver.errors import InvalidParameter, ServiceError

# Versions before these send several messages in one list.
VERSIONS = ("2025-06-18", "2025-11-25")
VERSION_HEADER = "MCP-Protocol-Version"

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
UNSUPPORTED_VERSION = -32022
SERVER_ERROR = -32000

# Of an id and of a progress token, which a stream keeps to its end and repeats in every message.
MAX_ID_CHARACTERS = 1000


class RpcMessage(BaseModel, strict=True, extra="allow"):
    """A request, or with no `id` a notification, which is not answered."""

    jsonrpc: Literal["2.0"]
    id: int | Annotated[str, Field(max_length=MAX_ID_CHARACTERS)] | None = Field(
        None, description="Returned with the answer."
    )
    method: str | None = Field(None, description="initialize, ping, tools/list or tools/call.")
    params: dict[str, Any] | None = None

    @property
    def needs_answer(self) -> bool:
        return self.id is not None and self.method is not None

    @property
    def progress_token(self) -> int | float | str | None:
        """What the client wants to find in messages about the progress; raises InvalidParameter."""
        meta = (self.params or {}).get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if token is None or (isinstance(token, int | float | str) and len(str(token)) <= MAX_ID_CHARACTERS):
            return token
        raise InvalidParameter(
            f"progressToken must be a number or a text of at most {MAX_ID_CHARACTERS} characters.",
            param="progressToken",
        )


class RpcErrorDetail(BaseModel):
    """The error itself."""

    code: int
    message: str
    data: dict[str, Any] | None = Field(description="This server's code and param.")


class RpcError(BaseModel):
    """An error in the format of JSON-RPC."""

    jsonrpc: Literal["2.0"]
    id: int | str | None
    error: RpcErrorDetail


class RpcReply(ResponseSchema):
    """The answer to a request: a result or an error."""

    jsonrpc: Literal["2.0"]
    id: int | str | None
    result: dict[str, Any] | None = None
    error: RpcErrorDetail | None = None


def reply(number: int | str | None, result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to the request `number` with its result."""
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failure(number: int | str | None, code: int, sentence: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer to the request `number` with an error."""
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": sentence, "data": data}}


def envelope(error: ServiceError) -> dict[str, Any]:
    """Return an error that prevented any result."""
    code = INVALID_REQUEST if error.status in (400, 422) else SERVER_ERROR
    return failure(None, code, error.sentence, {"code": error.code, "param": error.param})
