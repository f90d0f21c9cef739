"""Baseline a, the plain design: Flask under gunicorn's gevent worker, a patched lock, `pipe()` in the greenlet."""

import threading
import time

from flask import Flask, Response, jsonify, request

from benchmarks.servers.generating import finish, generate, load_pipeline, read


def create_app() -> Flask:
    """Load the pipeline and build the application."""
    app = Flask(__name__)
    pipeline, lock = load_pipeline(), threading.Lock()

    @app.post("/generate")
    def generate_view() -> Response:
        wanted = read(request.get_json())
        with lock:
            began = time.monotonic()
            image = generate(pipeline, [wanted])[0]
        return Response(finish(image, began), mimetype="image/png")

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="healthy")

    return app
