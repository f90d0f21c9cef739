"""Count each request for images before its body is read, and tell clients what they may still ask for.

Every route that documents 429 counts, whether its answer comes from the engine or from the cache; a batch counts each
of its tasks, a WebSocket each of its frames, and a conversation what asks for an image. Source of the headers:
draft-ietf-httpapi-ratelimit-headers-11.
"""

import math
import time
from typing import cast

from flask import Flask, Response, current_app, g, request

from imageserver.api.operations import Operation
from imageserver.api.request_context import account, limits, request_id, services
from imageserver.protocol.messages import QuotaUse, UsageRequest

REQUESTS = "requests"
# Later than any `Retry-After`.
LATEST = 10**9


def register(app: Flask) -> None:
    """Refuse clients that ask too often, and add `RateLimit` and `RateLimit-Policy` where a client has limits."""

    @app.before_request
    def count_generating_request() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        operation = getattr(view, "operation", Operation())
        if 429 in operation.errors and not operation.counts:
            count_requests(1)

    @app.after_request
    def add_rate_limits(response: Response) -> Response:
        limited = [quota for quota in cast(tuple[QuotaUse, ...], g.get("quotas", ())) if quota.limit]
        # Section 3.1.2 allows registered units only, and a policy without a unit means requests.
        policies = [_policy(quota) for quota in limited if quota.unit == REQUESTS]
        if policies:
            response.headers["RateLimit-Policy"] = ", ".join(policies)
        if rests := _rests(limited, int(response.headers.get("Retry-After", LATEST))):
            response.headers["RateLimit"] = ", ".join(rests)
        return response


def count_requests(count: int, number: int | None = None) -> None:
    """Count requests for images, under the number of this request or another; raises RateLimited, EngineUnavailable."""
    if not limits().any:
        return
    asked_at = time.monotonic()
    question = UsageRequest(job=number or request_id(), account=account(), limits=limits(), requests=count)
    usage = services().client.usage(question)
    g.quotas, g.quotas_at = usage.quotas, asked_at
    if usage.refusal is not None:
        raise usage.refusal.as_error()


def _policy(quota: QuotaUse) -> str:
    return f'"{quota.name}";q={math.floor(quota.limit)};w={quota.window}'


def _rests(limited: list[QuotaUse], retry_after: int) -> list[str]:
    """Return what is left of each quota; section 6 allows no window that ends after `Retry-After`."""
    rests = []
    for quota in limited:
        window = max(0, math.ceil(quota.reset - (time.monotonic() - g.quotas_at)))
        if window <= retry_after:
            unit = "" if quota.unit == REQUESTS else f';qis-unit="{quota.unit}"'
            rests.append(f'"{quota.name}";r={max(0, math.floor(quota.limit - quota.used))};t={window}{unit}')
    return rests
