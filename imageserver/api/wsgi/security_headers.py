"""The headers that limit what a browser does with an answer: no frame, no script, no guessed type, no referrer."""

from flask import Flask, Response, request

from imageserver.web_addresses import is_loopback, parse_host

# For answers that are no page; the web page and /docs set their own. Browsers style the images that they show alone.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def register(app: Flask) -> None:
    """Add the headers to every response, errors and files too."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        if _is_secure_context():
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response


def _is_secure_context() -> bool:
    """Return whether browsers honour an opener policy here; elsewhere they complain in their console."""
    host = parse_host(request.host)
    return request.is_secure or (host is not None and is_loopback(host.name))
