"""The tasks of the native API: the body of `POST /generate` under an id that the client has chosen.

So a client that lost its connection, or its memory of the answer, sends the same again and gets the same task.
"""

from uuid import UUID

import msgspec
from flask import Response, jsonify, request
from pydantic import Field

from imageserver.api.dialects.tasks.accepting import TaskRequest, accept
from imageserver.api.dialects.tasks.statuses import TaskStatusResponse, cancel_task, fields_of, found_task, status_of
from imageserver.api.dialects.tasks.stored_request import DIALECT
from imageserver.api.dialects.tasks.views import blueprint
from imageserver.api.generation.build_request import build_request, parse_request
from imageserver.api.generation.model_lookup import Unloaded, look_up
from imageserver.api.inputs.generate_request import GenerateBody, Whole
from imageserver.api.inputs.images.request_images import read_images
from imageserver.api.inputs.json_body import read_model
from imageserver.api.operations import GENERATING_ERRORS, documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.services import Services
from imageserver.errors import Busy

MAX_PREVIEWS = 100
IMAGES = {"image", "mask", "control_image", "controls"}


class NativeTaskBody(GenerateBody):
    """The body of `PUT /v1/tasks/{task_id}`; unknown keys are refused."""

    previews: Whole = Field(
        0, ge=0, le=MAX_PREVIEWS, description="Number of previews per image, for `/v1/jobs/{number}/events`."
    )


@blueprint.put("/v1/tasks/<uuid:task_id>")
@documented(
    body=NativeTaskBody,
    response=TaskStatusResponse,
    errors=(*GENERATING_ERRORS, 409, 410),
    example={"prompt": "a red circle on a blue background", "aspect_ratio": "s1:1", "num_inference_steps": 4},
)
def put(task_id: UUID) -> Response:
    """Submit a task under an id of yours; sent again, it is the same task."""
    service, name = services(), str(task_id)
    if service.tasks.find(name, "") is None:
        accepted = accept(service, _read(service, name, read_model(NativeTaskBody)))
        outlook = {"estimated_time": accepted.expected, "queue_position": accepted.position}
        # Without a question to the dispatcher: it would have the number of the task's own job.
        return jsonify(fields_of(service, accepted.task, None) | outlook)
    if service.tasks.find(name, credential()) is None:
        raise Busy("This id is taken; choose another UUID.", param="task_id")
    return jsonify(status_of(service, found_task(service, name)))


@blueprint.get("/v1/tasks/<uuid:task_id>")
@documented(response=TaskStatusResponse, errors=(404, 410, 503))
def show(task_id: UUID) -> Response:
    """Return the state of a task."""
    return jsonify(status_of(services(), found_task(services(), str(task_id))))


@blueprint.delete("/v1/tasks/<uuid:task_id>")
@documented(response=TaskStatusResponse, errors=(404, 410, 503))
def delete(task_id: UUID) -> Response:
    """Cancel a task; one that has already ended stays as it is."""
    return jsonify(status_of(services(), cancel_task(services(), str(task_id))))


def _read(service: Services, task_id: str, body: NativeTaskBody) -> TaskRequest:
    number = request_id()
    fields = body.model_dump(exclude={"previews", *IMAGES}, exclude_unset=True)
    given = body.model_dump(include=IMAGES, exclude_none=True)
    images = read_images(service, given)
    parsed = parse_request(service, fields, request.headers, dialect=DIALECT, images=images, previews=body.previews)
    info = look_up(service, body.model)
    if isinstance(info, Unloaded):
        pending, warnings, kept = None, [], msgspec.json.encode(given) if given else b""
    else:
        pending, kept = build_request(service, number, parsed, info), b""
        warnings = pending.warnings
    return TaskRequest(
        number=number, pending=pending, fields=fields, warnings=warnings, task_id=task_id, previews=body.previews,
        images=kept,
    )  # fmt: skip
