"""Every address of the server: the dialects, the server's own pages, and what holds for all of them."""

from flask import Flask

from imageserver.api import authentication, errors
from imageserver.api.dialects import cogview4_stream, huggingface, native
from imageserver.api.dialects.automatic1111 import views as automatic1111
from imageserver.api.dialects.openai_images import views as openai_images
from imageserver.api.dialects.tasks import views as tasks
from imageserver.api.dialects.websocket import views as websocket
from imageserver.api.page import views as page
from imageserver.api.server import health, jobs, loras, models, openapi
from imageserver.api.wsgi import body_timeout, response_headers, send_timeout
from imageserver.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """Put all routes into the application."""
    errors.register(app)
    body_timeout.register(app, settings.body_timeout)
    send_timeout.register(app, settings.send_timeout)
    response_headers.register(app)
    authentication.register(app)
    for dialect in (native, openai_images, cogview4_stream, huggingface, tasks, automatic1111):
        app.register_blueprint(dialect.blueprint)
    for room in (health, page, jobs, loras, models, openapi):
        app.register_blueprint(room.blueprint)
    websocket.register(app)
