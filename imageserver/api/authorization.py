"""What only an admin may do: whatever changes the server for every client, and seeing or stopping others' jobs.

Without keys everybody is an admin. A request that names a model loads it whoever sends it; MODEL_LOADING decides that.
"""

from flask import Flask, request

from imageserver.api.request_context import owner, request_id
from imageserver.errors import AdminRequired

ADMIN_ENDPOINTS = {
    "models.load", "models.unload", "loras.load", "loras.unload", "automatic1111.catalog.set_options",
}  # fmt: skip


def register(app: Flask) -> None:
    """Refuse users at the routes of admins, before their body is read."""

    @app.before_request
    def require_admin_for_route() -> None:
        if request.endpoint in ADMIN_ENDPOINTS:
            require_admin("This changes the server for every client")


def require_admin(what: str) -> None:
    """Raise AdminRequired unless the request's owner is an admin; `what` begins the sentence."""
    if owner().role != "admin":
        # The SDKs show the request id.
        request_id()
        raise AdminRequired(f"{what}: it needs a key with the role admin, and yours has the role user.")
