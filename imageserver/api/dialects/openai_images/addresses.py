"""Other addresses of the same API: Azure's, OpenRouter's, without `/v1`, with it twice, and with a slash too many.

Azure's client names the model in the path. Source: openai-python 3.52, `lib/azure.py`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

DEPLOYMENT = "imageserver.deployment"
AZURE = re.compile(r"/openai(?:/v1|/deployments/(?P<name>[^/]+))?(?=/)")
VERSION = "/v1"
# The base URL of OpenRouter and of Lemonade ends so.
BELOW_API = "/api/v1/"
# OpenRouter's address for the same.
OPENROUTERS, GENERATIONS = "/v1/images", "/v1/images/generations"
# The other methods of these are the Hugging Face dialect's, and those of saved images.
UNVERSIONED = {
    "POST": re.compile(r"/images(?:/(?:generations|edits|variations))?|/chat/completions|/responses"),
    "GET": re.compile(r"/models(?:/.+)?"),
}


def register(app: Flask) -> None:
    """Serve every other address as the documented one."""
    inner: Application = app.wsgi_app

    def at_documented_address(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, deployment = documented(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        environ |= {"PATH_INFO": path} | ({DEPLOYMENT: deployment} if deployment else {})
        return inner(environ, start_response)

    app.wsgi_app = at_documented_address  # type: ignore[method-assign]


def documented(method: str, path: str) -> tuple[str, str | None]:
    """Return the documented path of an address, and the deployment that Azure's names."""
    plain = re.sub("/{2,}", "/", path)
    azure = AZURE.match(plain)
    if azure:
        plain = VERSION + plain[azure.end() :]
    if plain.startswith(BELOW_API):
        plain = plain.removeprefix("/api")
    while plain.startswith(f"{VERSION}{VERSION}/"):
        plain = plain.removeprefix(VERSION)
    wanted = UNVERSIONED.get(method)
    if wanted is not None and wanted.fullmatch(plain.rstrip("/")):
        plain = VERSION + plain
    plain = plain.rstrip("/")
    if (method, plain) == ("POST", OPENROUTERS):
        plain = GENERATIONS
    if not plain.startswith(f"{VERSION}/"):
        return path, None
    return plain, azure["name"] if azure else None


def deployment() -> str | None:
    """Return the model that the address of this request names."""
    name: str | None = request.environ.get(DEPLOYMENT)
    return name
