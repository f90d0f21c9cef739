"""Authenticate requests by an API key or a Hugging Face token, wherever clients can send one.

The signed address of a saved image needs no key, and a key opens no image without it. A server without keys lets
everyone in under one empty credential, as admin. Names of credentials are logged, keys never.
"""

import base64
import binascii

from flask import Flask, Response, g, request

from imageserver.api.credentials.api_keys import Owner
from imageserver.api.request_context import request_id, services
from imageserver.errors import Forbidden, ServiceError, Unauthorized
from imageserver.telemetry.logs import current_credential

# Monitoring and orchestrators need no key; the index, the page and the OpenAPI document are public.
OPEN_ENDPOINTS = {
    "health.index", "health.health", "health.livez", "health.readyz", "health.startupz", "openapi.document",
    "openapi.docs", "openapi.asset", "page.client", "page.file", "page_share.share",
}  # fmt: skip
# The second is Azure's.
KEY_HEADERS = ("X-API-Key", "Api-Key")
# A browser cannot set headers on a WebSocket.
KEY_IN_QUERY = "/ws/"
SIGNED_ENDPOINTS = {"native.image", "gallery.thumbnail"}


def register(app: Flask) -> None:
    """Require a key for every route that is not public; each dialect has its own error format."""

    @app.before_request
    def require_key() -> None:
        if not services().keyring.locked or request.endpoint in OPEN_ENDPOINTS:
            return
        is_image = request.endpoint in SIGNED_ENDPOINTS
        if is_image and _is_signed(str((request.view_args or {})["name"])):
            return
        try:
            identify()
            if is_image:
                raise Forbidden(
                    "The address of a saved image needs its signature (?sig=), as the answer gave it, and it may "
                    "expire (URL_TTL)."
                )
        except ServiceError:
            # The SDKs show the request id.
            request_id()
            raise

    @app.after_request
    def keep_out_of_shared_caches(response: Response) -> Response:
        if services().keyring.locked and request.endpoint not in OPEN_ENDPOINTS and response.cache_control.public:
            # "public" would let a proxy serve a cached response to a client without a key.
            response.cache_control.public = False
            response.cache_control.private = True
        return response


def identify() -> None:
    """Set the request's owner by its keys, also later in a connection: a key may have been removed meanwhile.

    Raises Unauthorized, Forbidden, HubUnavailable.
    """
    if services().keyring.locked:
        g.owner = _owner_of(_given_keys())
        g.pop("account", None)
        current_credential.set(g.owner.name)


def _is_signed(name: str) -> bool:
    signer = services().url_signer
    return signer is not None and signer.opens(name, request.args)


def _owner_of(given: list[str]) -> Owner:
    """Return the owner of the first valid key, API keys first; raises Unauthorized, Forbidden or HubUnavailable."""
    keyring, huggingface_tokens = services().keyring, services().huggingface_tokens
    owners = [owner for key in given if (owner := keyring.owner_of(key)) is not None]
    if not owners and huggingface_tokens is not None:
        names = [name for key in given if (name := huggingface_tokens.owner_of(key)) is not None]
        owners = [Owner(name, "user") for name in names]
    if not owners:
        raise Unauthorized("The API key is wrong." if given else "This server requires an API key.")
    return owners[0]


def _given_keys() -> list[str]:
    """Return all candidates for the key: bearer token, basic password, a header, or the query of a WebSocket."""
    found = []
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        found.append(value.strip())
    elif scheme.lower() == "basic" and (password := _password(value)):
        found.append(password)
    found += [request.headers[name] for name in KEY_HEADERS if request.headers.get(name)]
    if request.path.startswith(KEY_IN_QUERY) and request.args.get("api_key"):
        found.append(request.args["api_key"])
    return found


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
