"""Baseline a, the plain design: Flask under gunicorn's gevent worker, a patched lock, `pipe()` in the greenlet."""

import threading
import time

from flask import Flask, Response, jsonify, request

from benchmarks.servers.drawing import draw, finish, load_pipeline, read


def create_app() -> Flask:
    """Load the pipeline and build the application."""
    app = Flask(__name__)
    pipeline, lock = load_pipeline(), threading.Lock()

    @app.post("/generate")
    def generate() -> Response:
        wanted = read(request.get_json())
        with lock:
            began = time.monotonic()
            image = draw(pipeline, [wanted])[0]
        return Response(finish(image, began), mimetype="image/png")

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="healthy")

    return app
