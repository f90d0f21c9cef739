"""Count the errors that are answered, and tell clients in `Server-Timing` where the time went."""

import time

from flask import Flask, Response, g

from imageserver.api.request_context import arrival, services
from imageserver.telemetry.instruments import REFUSALS


def register(app: Flask) -> None:
    """Look at every response on its way out."""

    @app.after_request
    def measure(response: Response) -> Response:
        if "error_code" in g:
            services().measurements.count(REFUSALS, g.error_code)
        # Of a stream, the time to its first byte: headers go out before the rest is known.
        app_time = f"app;dur={1000 * (time.monotonic() - arrival()):.1f}"
        response.headers["Server-Timing"] = f"{g.server_timing}, {app_time}" if "server_timing" in g else app_time
        return response
