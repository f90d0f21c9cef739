"""What every answer carries, whatever its dialect."""

from flask import Flask, Response, g


def register(app: Flask) -> None:
    """Add the request id, and keep browsers from guessing content types."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        if "request_id" in g:
            response.headers["X-Request-Id"] = str(g.request_id)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
