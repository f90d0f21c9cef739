"""Baseline b, first come, first served: as the plain design, but `pipe()` and the PNG run on native threads."""

import threading
import time

import gevent
from flask import Flask, Response, jsonify, request

from benchmarks.servers.generating import finish, generate, load_pipeline, read


def create_app() -> Flask:
    """Load the pipeline and build the application."""
    app = Flask(__name__)
    pipeline, lock = load_pipeline(), threading.Lock()

    @app.post("/generate")
    def generate_view() -> Response:
        wanted, threads = read(request.get_json()), gevent.get_hub().threadpool
        with lock:
            began = time.monotonic()
            image = threads.apply(generate, (pipeline, [wanted]))[0]
        return Response(threads.apply(finish, (image, began)), mimetype="image/png")

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="healthy")

    return app
