"""The current request: its id, its credential, and the services of its worker."""

from typing import cast

from flask import current_app, g, request

from imageserver.api.credentials.api_keys import NOBODY, Owner
from imageserver.api.services import Services
from imageserver.client_limits import ClientLimits, limits_in
from imageserver.telemetry.logs import current_request
from imageserver.web_addresses import network_of

EXTENSION = "imageserver"


def services() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])


def request_id() -> int:
    """Return this request's id, assigned at the first call, so that health polls use none."""
    if "request_id" not in g:
        g.request_id = services().request_ids.next_id()
        current_request.set(g.request_id)
    return cast(int, g.request_id)


def assign_request_id() -> None:
    """Give the response its `x-request-id`, which SDKs show; for the `before_request` of a blueprint."""
    request_id()


def owner() -> Owner:
    """Return whose request this is; on a server without API keys it is nobody's."""
    return cast(Owner, g.get("owner", NOBODY))


def credential() -> str:
    """Return the name of this request's credential; empty on a server without API keys."""
    return owner().name


def limits() -> ClientLimits:
    """Return what this request's owner may ask for."""
    own = owner().limits
    return limits_in(services().settings) if own is None else own


def account() -> str:
    """Return who is charged for this request: its credential, without keys the address where there are limits."""
    if "account" not in g:
        g.account = credential() or (f"address {network_of(client_address())}" if limits().any else "")
    return cast(str, g.account)


def arrival() -> float:
    """Return the monotonic time, in seconds, at which this request arrived."""
    return cast(float, g.arrived)


def client_address() -> str:
    """Return the address of the client; behind a proxy that is not in TRUSTED_PROXIES it is the proxy's."""
    return services().proxies.client_of(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))
