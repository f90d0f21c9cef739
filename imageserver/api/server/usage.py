"""What the client has used of its requests and device seconds, and what it may still use."""

from typing import Literal

from flask import Blueprint, Response, jsonify
from pydantic import Field

from imageserver.api.operations import documented
from imageserver.api.request_context import account, limits, owner, request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.protocol.messages import QuotaUse, UsageRequest

blueprint = Blueprint("usage", __name__)


class QuotaResponse(ResponseSchema):
    """One quota of the client."""

    name: Literal["minute", "hour", "day"]
    unit: Literal["requests", "device-seconds"]
    limit: float | None = Field(description="What may be used in the window; null means any.")
    used: float | None = Field(description="Generations under way included, as estimated; null where nobody counts.")
    remaining: float | None
    window_seconds: int
    resets_in: float = Field(description="Seconds until the hour or day (UTC) ends, or a request leaves the minute.")


class UsageResponse(ResponseSchema):
    """What the client has used."""

    object: Literal["usage"]
    name: str = Field(description="Name of the key; empty on a server without keys.")
    role: Literal["user", "admin"]
    quotas: list[QuotaResponse]


@blueprint.get("/v1/usage")
@documented(response=UsageResponse, errors=(503,))
def usage() -> Response:
    """Return what this client has used of its quotas, and what it may still use."""
    question = UsageRequest(job=request_id(), account=account(), limits=limits())
    quotas = [_response_of(quota, counted=bool(account())) for quota in services().client.usage(question).quotas]
    response = UsageResponse(object="usage", name=owner().name, role=owner().role, quotas=quotas)
    return jsonify(response.model_dump())


def _response_of(quota: QuotaUse, *, counted: bool) -> QuotaResponse:
    return QuotaResponse(
        name=quota.name,
        unit=quota.unit,
        limit=quota.limit or None,
        used=round(quota.used, 3) if counted else None,
        remaining=round(max(0.0, quota.limit - quota.used), 3) if quota.limit else None,
        window_seconds=quota.window,
        resets_in=round(quota.reset, 3),
    )
