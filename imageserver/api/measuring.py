"""Count the errors that are answered, and tell clients in `Server-Timing` where the time went."""

from flask import Flask, Response, g

from imageserver.api.request_context import services
from imageserver.telemetry.instruments import REFUSALS


def register(app: Flask) -> None:
    """Look at every response on its way out."""

    @app.after_request
    def measure(response: Response) -> Response:
        if "error_code" in g:
            services().measurements.count(REFUSALS, g.error_code)
        if "server_timing" in g:
            response.headers["Server-Timing"] = g.server_timing
        return response
