"""Count each request for images before its body is read, and tell clients what they may still ask for.

Every route that documents 429 counts, whether its answer comes from the engine or from the cache; a batch counts each
of its tasks, a WebSocket each of its frames. Source of the headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
from typing import cast

from flask import Flask, Response, current_app, g, request

from imageserver.api.operations import Operation
from imageserver.api.request_context import account, limits, request_id, services
from imageserver.protocol.messages import QuotaUse, UsageRequest


def register(app: Flask) -> None:
    """Refuse clients that ask too often, and add `RateLimit` and `RateLimit-Policy` where a client has limits."""

    @app.before_request
    def count_generating_request() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        operation = getattr(view, "operation", Operation())
        if 429 in operation.errors:
            count_requests(1)

    @app.after_request
    def add_rate_limits(response: Response) -> Response:
        limited = [quota for quota in cast(tuple[QuotaUse, ...], g.get("quotas", ())) if quota.limit]
        if limited:
            response.headers["RateLimit-Policy"] = ", ".join(_policy(quota) for quota in limited)
            response.headers["RateLimit"] = ", ".join(_rest(quota) for quota in limited)
        return response


def count_requests(count: int, number: int | None = None) -> None:
    """Count requests for images, under the number of this request or another; raises RateLimited, EngineUnavailable."""
    if not limits().any:
        return
    question = UsageRequest(job=number or request_id(), account=account(), limits=limits(), requests=count)
    usage = services().client.usage(question)
    g.quotas = usage.quotas
    if usage.refusal is not None:
        raise usage.refusal.as_error()


def _policy(quota: QuotaUse) -> str:
    unit = "" if quota.unit == "requests" else f';qu="{quota.unit}"'
    return f'"{quota.name}";q={math.floor(quota.limit)};w={quota.window}{unit}'


def _rest(quota: QuotaUse) -> str:
    return f'"{quota.name}";r={max(0, math.floor(quota.limit - quota.used))};t={math.ceil(quota.reset)}'
