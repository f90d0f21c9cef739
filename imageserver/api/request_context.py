"""The request that is being served: its id, and the services of its worker."""

from typing import cast

from flask import current_app, g, request

from imageserver.api.services import Services
from imageserver.telemetry.logs import current_request

EXTENSION = "imageserver"


def services() -> Services:
    """Return the worker's services."""
    return cast(Services, current_app.extensions[EXTENSION])


def request_id() -> int:
    """Return this request's id; it is taken when it is first needed, so health polls use none up."""
    if "request_id" not in g:
        g.request_id = services().request_ids.take()
        current_request.set(g.request_id)
    return cast(int, g.request_id)


def credential() -> str:
    """Return the name of the credential that this request was sent with; empty while no keys are asked for."""
    return cast(str, g.get("credential", ""))


def arrival() -> float:
    """Return when this request arrived, in seconds of the monotonic clock."""
    return cast(float, g.arrived)


def client_address() -> str:
    """Return the address that this request came from; behind a proxy it is the proxy's."""
    return request.remote_addr or ""
