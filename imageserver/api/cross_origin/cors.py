"""Cross-origin resource sharing: let pages of ALLOWED_ORIGINS send requests and read the answers.

Credentials of the browser (cookies, saved passwords) are never accepted; a page sends its key itself. Source: Fetch
Standard, section 3.2.
"""

from flask import Flask, Response, request

from imageserver.api.cross_origin.guard import PREFLIGHT
from imageserver.api.cross_origin.origins import allowed_origins
from imageserver.settings import Settings

# How long a browser may remember the answer to its question.
MAX_AGE_SECONDS = 600


def register(app: Flask, settings: Settings) -> None:
    """Answer browsers' preflight requests, and open answers to the allowed origins."""
    origins = allowed_origins(settings)
    if not origins:
        return

    @app.before_request
    def answer_preflight() -> Response | None:
        if request.method != "OPTIONS" or PREFLIGHT not in request.headers or not _is_allowed():
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = _methods(app)
        # Every SDK has headers of its own, and * would not include Authorization.
        if asked := request.headers.get("Access-Control-Request-Headers"):
            response.headers["Access-Control-Allow-Headers"] = asked
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return response

    @app.after_request
    def open_to_origin(response: Response) -> Response:
        response.vary.add("Origin")
        if _is_allowed():
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = "*"
        return response

    def _is_allowed() -> bool:
        return "Origin" in request.headers and origins.allows(request.headers["Origin"])


def _methods(app: Flask) -> str:
    """Return the methods of all routes together: which of them a route has, its own answer says."""
    return ", ".join(sorted(set().union(*(rule.methods or () for rule in app.url_map.iter_rules())) - {"OPTIONS"}))
