"""The servers that are compared, each one file: how people serve a pipeline today, and ours.

All use the same pipeline on the same device, and finish with the same overlay and the same PNG encoder, so that what
differs is the design alone.
"""

from benchmarks.servers.kind import Kind, ours, project_python

GUNICORN = ("-m", "gunicorn", "--worker-class", "gevent", "--timeout", "600", "--log-level", "warning")

PLAIN = Kind(
    letter="a",
    name="plain",
    label="Flask, gevent worker, patched lock, pipe() in the greenlet",
    arguments=(*GUNICORN, "--bind", "127.0.0.1:{port}", "benchmarks.servers.plain:create_app()"),
)
NATIVE_THREAD = Kind(
    letter="b",
    name="native thread",
    label="the same with pipe() on a native thread",
    arguments=(*GUNICORN, "--bind", "127.0.0.1:{port}", "benchmarks.servers.native_thread:create_app()"),
)
LITSERVE = Kind(
    letter="c1",
    name="LitServe",
    label="LitServe, one request at a time",
    arguments=("-m", "benchmarks.servers.litserve_api", "{port}", "1"),
    needs="litserve",
)
LITSERVE_BATCHED = Kind(
    letter="c2",
    name="LitServe, batched",
    label="LitServe, max_batch_size=8, batch_timeout=0.05",
    arguments=("-m", "benchmarks.servers.litserve_api", "{port}", "8"),
    needs="litserve",
)
FASTAPI_COPIES = Kind(
    letter="d",
    name="FastAPI, copies",
    label="FastAPI, a pipeline copy per request in a thread pool",
    arguments=("-m", "benchmarks.servers.fastapi_copies", "{port}"),
    needs="uvicorn",
)
OURS = ours(python=project_python())

KINDS = (PLAIN, NATIVE_THREAD, LITSERVE, LITSERVE_BATCHED, FASTAPI_COPIES, OURS)
