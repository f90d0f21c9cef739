"""The OpenAPI document: `/openapi.json` (OpenAPI 3.1) and `/docs`, a page for it that needs no network.

Paths, methods and summaries come from the routes and their docstrings, schemas from the pydantic models that validate
requests, limits from the settings: nothing is written twice.
"""

import importlib.util
import re
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template_string, send_from_directory
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from werkzeug.routing import Rule

from imageserver import __version__
from imageserver.api import errors
from imageserver.api.inputs.validation import BLANK_TEXT
from imageserver.api.operations import EVENTS, Operation
from imageserver.api.request_context import services
from imageserver.api.schemas import NativeError
from imageserver.errors import NotFound
from imageserver.settings import Settings

blueprint = Blueprint("openapi", __name__)

EXTENSION = "imageserver_openapi"
SWAGGER = "flask_openapi_swagger"
COMPONENTS = "#/components/schemas/{model}"
HIDDEN = {"openapi", "static"}
# Fields of bodies whose limit is a setting.
LIMITED_BY_SETTINGS = {
    "num_inference_steps": ("maximum", "max_steps"),
    "steps": ("maximum", "max_steps"),
    "upscale_steps": ("maximum", "max_steps"),
    "n": ("maximum", "max_images"),
    "num_images_per_prompt": ("maximum", "max_images"),
    "timeout": ("maximum", "request_timeout"),
    "prompt": ("maxLength", "max_prompt_chars"),
    "negative_prompt": ("maxLength", "max_prompt_chars"),
}
CONVERTERS = {
    "int": {"type": "integer", "minimum": 0}, "uuid": {"type": "string", "format": "uuid"}, "path": {"type": "string"},
    "default": {"type": "string"},
}  # fmt: skip

# Swagger UI sets styles of its own, and its style sheet contains images.
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Its addresses are relative: a proxy may serve all of this below a path.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>qwen-image-server API</title>
<link rel="icon" href="docs/images/swagger.svg">
<link rel="stylesheet" href="docs/css/swagger-ui.css">
</head>
<body>
<p><a href=".">qwen-image-server</a></p>
<div id="swagger-ui"></div>
<script src="docs/js/swagger-ui-bundle.js"></script>
<script nonce="{{ nonce }}">
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true,
                 validatorUrl: null, defaultModelsExpandDepth: 0});
</script>
</body>
</html>
"""


@blueprint.get("/openapi.json")
def document() -> Response:
    """Return this API as an OpenAPI document."""
    extensions = current_app.extensions
    if EXTENSION not in extensions:
        # It never changes, and takes 0.12 s to build.
        extensions[EXTENSION] = services().thread_pool.run(_build, current_app)
    return Response(extensions[EXTENSION], mimetype="application/json")


@blueprint.get("/docs")
def docs() -> Response:
    """Return a page that documents this API."""
    nonce = secrets.token_urlsafe(16)
    response = Response(render_template_string(PAGE, nonce=nonce), mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
    return response


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    """Return a file of that page."""
    return send_from_directory(_swagger_folder(), name, max_age=86400)


def _build(app: Flask) -> str:
    return app.json.dumps(describe(app, services().settings)) + "\n"


def describe(app: Flask, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of every route."""
    schemas = _Schemas(settings)
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        blueprint_name = rule.endpoint.split(".")[0]
        # OpenAPI 3.1 cannot describe a WebSocket; docs/dialects.md does.
        if blueprint_name in HIDDEN or rule.websocket:
            continue
        methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        for method in methods:
            view = app.view_functions[rule.endpoint]
            described = _operation(rule, view, blueprint_name, schemas)
            if len(methods) > 1:
                described["operationId"] += f".{method.lower()}"
            paths.setdefault(_path(rule), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "qwen-image-server",
            "version": __version__,
            "summary": "Self-hosted image generation for the clients of many APIs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to the document itself; without it, clients would take the root of the host.
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": SECURITY},
        # The server asks for a key only if its owner has set API_KEYS.
        "security": [{}, {"bearer": []}, {"basic": []}, {"key": []}],
    }


def fields_of(body: type[BaseModel], settings: Settings) -> dict[str, Any]:
    """Return the schemas of a body's fields, with the limits that the settings set for them."""
    schemas = _Schemas(settings)
    schemas.of_body(body)
    fields: dict[str, Any] = schemas.components[body.__name__]["properties"]
    return fields


SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class _Schemas:
    """The schemas that the operations refer to, each defined once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.components: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return a reference to the schema of a model, or the schema itself for a type without a name."""
        schema = TypeAdapter(kind).json_schema(ref_template=COMPONENTS, schema_generator=GenerateJsonSchema)
        self.components |= schema.pop("$defs", {})
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return schema
        self.components[kind.__name__] = schema
        return {"$ref": COMPONENTS.format(model=kind.__name__)}

    def of_body(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return a reference to the schema of a body, with the limits that the settings set for its fields.

        The limits apply to the models inside the body too, such as the Hugging Face `parameters`.
        """
        reference = self.of(model)
        for part in (model.__name__, *TypeAdapter(model).json_schema().get("$defs", {})):
            properties = self.components[part].get("properties", {})
            for name, (keyword, setting) in LIMITED_BY_SETTINGS.items():
                for option in _options(properties[name]) if name in properties else ():
                    if option.get("type") != "null" and option != BLANK_TEXT:
                        limit = getattr(self._settings, setting)
                        option[keyword] = min(limit, option.get(keyword, limit))
        return reference

    def form_of(self, model: type[BaseModel], files: Mapping[str, str]) -> dict[str, Any]:
        """Return the schema of a model as a multipart form."""
        self.of_body(model)
        schema = dict(self.components[model.__name__])
        fields = {
            name: part if name in schema.get("required", ()) else _in_form(part)
            for name, part in schema["properties"].items()
        }
        parts = {name: {"type": "string", "format": "binary", "description": text} for name, text in files.items()}
        schema["properties"] = fields | parts
        return schema


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    options: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return options


def _in_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional form field: all values are text, and a blank text means a field left out."""
    options = [each for each in _options(schema) if each != BLANK_TEXT]
    if {} in options:
        return schema
    annotations = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    if any(option.get("type") == "string" for option in options):
        return annotations | {"anyOf": [*(each for each in options if each.get("type") != "null"), BLANK_TEXT]}
    if any("type" not in option for option in options):
        return annotations | {"anyOf": [*options, BLANK_TEXT]}
    # Each keyword applies only to its own type, so they can be combined.
    keywords = {key: value for option in options for key, value in option.items() if key not in ("type", *annotations)}
    return annotations | keywords | BLANK_TEXT | {"type": [*(option["type"] for option in options), "string"]}


def _operation(rule: Rule, view: Any, blueprint_name: str, schemas: _Schemas) -> dict[str, Any]:
    operation: Operation = getattr(view, "operation", Operation())
    summary, _, description = (view.__doc__ or "").strip().partition("\n")
    described: dict[str, Any] = {
        "operationId": rule.endpoint,
        "tags": [blueprint_name.replace("_", " ")],
        "summary": summary,
        "parameters": [*_path_parameters(rule), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": _responses(operation, blueprint_name, schemas),
    }
    if description.strip():
        described["description"] = " ".join(description.split())
    if body := _body(operation, schemas):
        described["requestBody"] = {"required": True, "content": body}
    return described


def _body(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.body is not None:
        content["application/json"] = {"schema": schemas.of_body(operation.body)}
        if operation.example is not None:
            content["application/json"]["example"] = operation.example
        if operation.form:
            content["multipart/form-data"] = {"schema": schemas.form_of(operation.body, operation.files)}
    for kind in operation.binary:
        content[kind] = {"schema": {"type": "string", "format": "binary"}}
    return content


def _responses(operation: Operation, blueprint_name: str, schemas: _Schemas) -> dict[str, Any]:
    # OpenAPI 3.1 has no schema for the events of a stream.
    content: dict[str, Any] = {
        kind: {} if kind == EVENTS else {"schema": {"type": "string"}} for kind in operation.media
    }
    if operation.response is not None:
        content["application/json"] = {"schema": schemas.of(operation.response)}
    responses: dict[str, Any] = {
        str(status): {
            "description": "Success." if status == 200 else "The same response in another state.",
            "content": content,
        }
        for status in (200, *operation.also)
    }
    responses |= {str(status): {"description": "Accepted; there is no body."} for status in operation.empty}
    error = {"application/json": {"schema": schemas.of(errors.SCHEMAS.get(blueprint_name, NativeError))}}
    for status in sorted({*operation.errors, 401, 403, 421, 503} - set(operation.also)):
        responses[str(status)] = {"description": ERRORS[status], "content": error}
    return responses


ERRORS = {
    400: "The request is malformed, or a required field is missing.",
    401: "The API key is missing or wrong.",
    403: "The key has not the role admin, the Hugging Face token gives no access, an image's address lacks its "
    "signature, or a page of another origin sent the request.",
    404: "It does not exist.",
    408: "The body did not arrive within BODY_TIMEOUT.",
    409: "Not possible in the current state.",
    410: "It existed, but was deleted.",
    413: "The body is larger than MAX_BODY_MB.",
    421: "The server does not answer to this host name (ALLOWED_HOSTS).",
    422: "A field is outside its limits; the error names the field and the limit.",
    429: "The queue is full, the client has used up its requests or device seconds, or the image would come too late; "
    "Retry-After says when to try again.",
    499: "The generation was cancelled.",
    500: "Internal error of the server.",
    503: "The model is loading, the server is stopping, or the Hugging Face Hub cannot be reached.",
    504: "The time limit was exceeded.",
    507: "Out of device memory or disk space.",
}


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"{\1}", rule.rule)


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": CONVERTERS[converter or "default"]}
        for converter, name in re.findall(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>", rule.rule)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = TypeAdapter(operation.query).json_schema(ref_template=COMPONENTS)
    parameters = []
    for name, part in schema["properties"].items():
        # A query has no null; the parameter is left out instead.
        options = [option for option in _options(part) if option.get("type") != "null"]
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": part.get("description", ""),
                "schema": options[0] if len(options) == 1 else {"anyOf": options},
            }
        )
    return parameters


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]


@cache
def _swagger_folder() -> Path:
    """Return the folder of Swagger UI without importing its package, which would import Flask extensions."""
    found = importlib.util.find_spec(SWAGGER)
    if found is None or not found.submodule_search_locations:
        raise NotFound(f"This page needs the package {SWAGGER.replace('_', '-')}; /openapi.json works without it.")
    return Path(found.submodule_search_locations[0]) / "templates" / "swagger"
