"""Baseline d, FastAPI: `python -m benchmarks.servers.fastapi_copies PORT`; each request has a copy of the pipeline.

The copies share the weights and nothing guards the device, as in the asynchronous server among diffusers' examples.
"""

import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.servers.generating import copy_of, finish, generate, load_pipeline, read


def create_app() -> FastAPI:
    """Load the pipeline and build the application."""
    app, pipeline = FastAPI(), load_pipeline()

    # Not async: FastAPI runs it on its thread pool.
    @app.post("/generate")
    def generate_view(body: dict[str, Any]) -> Response:
        began = time.monotonic()
        image = generate(copy_of(pipeline), [read(body)])[0]
        return Response(finish(image, began), media_type="image/png")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
