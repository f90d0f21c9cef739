"""Every route of the server: the dialects, the server's own routes, and the handlers that apply to all of them."""

from flask import Flask

from imageserver.api import authentication, authorization, errors, measuring, rate_limits
from imageserver.api.addresses import proxied_requests
from imageserver.api.cross_origin import cors, guard
from imageserver.api.dialects import cogview4_stream, huggingface, native
from imageserver.api.dialects.automatic1111 import views as automatic1111
from imageserver.api.dialects.chat import views as chat
from imageserver.api.dialects.mcp import views as mcp
from imageserver.api.dialects.openai_images import views as openai_images
from imageserver.api.dialects.responses import views as responses
from imageserver.api.dialects.tasks import native_views as tasks
from imageserver.api.dialects.websocket import views as websocket
from imageserver.api.page import views as page
from imageserver.api.server import health, history, jobs, loras, models, openapi, page_share, page_start, usage
from imageserver.api.server.gallery import views as gallery
from imageserver.api.server.provenance import views as provenance
from imageserver.api.wsgi import response_headers, security_headers, send_timeout
from imageserver.api.wsgi.bodies import arriving, body_timeout, fair_reading, malformed_body
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies

# Of MAX_BODY_MB, the bodies that a worker has room for while they arrive, and while they wait.
MIN_BODIES = 4


def register(app: Flask, settings: Settings) -> WaitingBytes:
    """Register the handlers of every request first, in the order in which they run, then the dialects.

    Returns what counts the bytes that wait, for those that handlers and streams have in memory.
    """
    errors.register(app)
    # Before whatever may fail or refuse.
    response_headers.register(app)
    # Of all workers together, but in each of them several whole bodies can arrive at once.
    max_arriving, max_waiting = (
        int(max(together / settings.workers, MIN_BODIES * settings.max_body_mb) * 2**20)
        for together in (settings.max_arriving_mb, settings.max_waiting_mb)
    )
    waiting = arriving.register(app, max_arriving, max_waiting, TrustedProxies(settings.trusted_proxies))
    body_timeout.register(app, settings.body_timeout)
    malformed_body.register(app)
    fair_reading.register(app)
    send_timeout.register(app, settings.send_timeout)
    measuring.register(app)
    security_headers.register(app)
    guard.register(app, settings)
    # Before the key: a browser asks without it whether it may send it.
    cors.register(app, settings)
    authentication.register(app)
    authorization.register(app)
    rate_limits.register(app)
    for dialect in (native, openai_images, chat, responses, cogview4_stream, huggingface, tasks, automatic1111, mcp):
        app.register_blueprint(dialect.blueprint)
    for own_routes in (
        health,
        page,
        page_start,
        page_share,
        jobs,
        history,
        gallery,
        provenance,
        loras,
        models,
        usage,
        openapi,
    ):
        app.register_blueprint(own_routes.blueprint)
    websocket.register(app)
    proxied_requests.register(app, settings)
    return waiting
