"""What every request begins with."""

from contextvars import copy_context

from flask import Flask

from imageserver.api.wsgi import response_headers
from imageserver.telemetry.logs import current_credential, current_request, current_trace


def test_no_line_of_a_request_names_what_the_one_before_it_on_the_connection_was():
    app, seen = Flask("kept alive"), []
    response_headers.register(app)

    @app.get("/")
    def view():
        seen.append((current_request.get(), current_credential.get(), current_trace.get()))
        current_request.set(7)
        current_credential.set("ann")
        current_trace.set("a" * 32)
        return ""

    client = app.test_client()
    # In one context, like the requests of a connection that is kept alive.
    copy_context().run(lambda: [client.get("/") for _ in range(2)])
    assert seen == [(None, "", "")] * 2
