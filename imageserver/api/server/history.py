"""The last hour of the server, minute by minute."""

import msgspec
from flask import Blueprint, Response, jsonify
from pydantic import Field

from imageserver.api.operations import documented
from imageserver.api.request_context import request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.protocol.messages import HistoryRequest

blueprint = Blueprint("history", __name__)


class DeviceShareResponse(ResponseSchema):
    """One device in one minute."""

    name: str = Field(description="The device, as `/health` names it.")
    busy: float = Field(description="Share of the minute in which it computed, 0 to 1.")


class MinuteResponse(ResponseSchema):
    """One minute of the server; the last one may still be under way."""

    ended_at: float = Field(description="Unix seconds.")
    seconds: float = Field(description="Length of the minute: less than 60 where it is under way.")
    queued: float = Field(
        description="Mean number of requests that waited, also those that an engine held but had not begun."
    )
    running: float = Field(description="Mean number of requests that an engine had begun.")
    refused: int = Field(description="Requests that the queue refused: full, too large, or too late for their client.")
    devices: list[DeviceShareResponse]


class HistoryResponse(ResponseSchema):
    """At most the last 60 minutes, the oldest first; they are lost when the dispatcher restarts."""

    object: str
    data: list[MinuteResponse]


@blueprint.get("/v1/history")
@documented(response=HistoryResponse, errors=(503,))
def history() -> Response:
    """Return the last hour, minute by minute: what waited, ran and was refused, and how busy each device was."""
    minutes = services().client.history(HistoryRequest(job=request_id()))
    return jsonify(object="list", data=[msgspec.to_builtins(minute) for minute in minutes])
