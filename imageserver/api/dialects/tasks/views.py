"""The dialect of asynchronous tasks: submit a task, poll its state, download its images.

The paths and fields are those of HiDream-I1 API servers.
"""

from dataclasses import replace
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from imageserver.api.dialects.tasks.accepting import TaskRequest, accept
from imageserver.api.dialects.tasks.statuses import TaskStatusResponse, cancel_task, found_task, status_of
from imageserver.api.dialects.tasks.stored_request import DIALECT
from imageserver.api.generation.build_request import build_request, parse_request
from imageserver.api.generation.image_response import image_response
from imageserver.api.generation.model_lookup import Unloaded, look_up
from imageserver.api.inputs.generate_request import Generating, Seed, Steps, Whole, check_limit
from imageserver.api.inputs.json_body import as_object, read_json, read_model
from imageserver.api.inputs.sizes import SIZE_PATTERN
from imageserver.api.inputs.validation import BlanksLeftOut, blanks_left_out, read_query, validated
from imageserver.api.operations import GENERATING_ERRORS, IMAGES, documented
from imageserver.api.rate_limits import count_requests
from imageserver.api.request_context import request_id, services
from imageserver.api.services import Services
from imageserver.errors import BadRequest, Gone, InvalidParameter, ModelNotFound, NotFound, ServiceError

blueprint = Blueprint("tasks", __name__)

MAX_BATCH_TASKS = 100
DEFAULT_STEPS = 50
WEBHOOK_HELP = "Web address that receives the signed state of the task when it ends; needs WEBHOOK_SECRET."


class TaskBody(Generating, extra="forbid", json_schema_extra=blanks_left_out):
    """The body of `POST /submit`; unknown keys are refused."""

    resolution: str = Field("1024x1024", pattern=SIZE_PATTERN, description="Size as WIDTHxHEIGHT.")
    num_inference_steps: Steps | None = Field(None, description="Number of denoising steps; 50 by default.")
    num_images_per_prompt: Whole = Field(1, ge=1, description="Number of images; another name for n.")
    seed: Seed | None = Field(None, description="Random seed; null means a random one.")
    add_overlay: bool = Field(False, description="Add the info overlay to the image.")
    positive_magic: bool = Field(False, description="Append Qwen's quality words to the prompt.")
    webhook_url: str | None = Field(None, description=WEBHOOK_HELP)


class BatchBody(BlanksLeftOut, strict=True, extra="forbid", json_schema_extra=blanks_left_out):
    """The body of `POST /batch_submit`."""

    requests: list[TaskBody] = Field(min_length=1, max_length=MAX_BATCH_TASKS, description="The tasks, in order.")
    webhook_url: str | None = Field(None, description="The webhook_url of tasks that have none.")


class SubmitResponse(BaseModel):
    """A task that was accepted."""

    task_id: str
    requestId: int  # noqa: N815 - the documented name
    status: Literal["queued"]
    estimated_time: float | None = Field(
        description="Expected seconds until the images are ready, including the queue; null until its model is loaded, "
        "and where ENHANCE_URL improves its prompt first."
    )
    queue_position: int
    message: str
    warnings: list[str]


class BatchSubmitResponse(BaseModel):
    """The tasks that were accepted, and those that were refused."""

    task_ids: list[str]
    tasks: list[dict[str, Any]]
    message: str


class DownloadQuery(BaseModel, extra="forbid"):
    """The query of `GET /download/{task_id}`."""

    image_index: int = Field(0, ge=0, description="Index of the image; 0 is the first.")


@blueprint.post("/submit")
@documented(
    body=TaskBody,
    response=SubmitResponse,
    errors=GENERATING_ERRORS,
    example={"prompt": "a yellow star on a black background", "resolution": "512x512", "num_inference_steps": 4},
)
def submit() -> Response:
    """Submit a task and return its id at once."""
    service = services()
    return jsonify(_submit(service, _read(service, request_id(), read_json())))


@blueprint.post("/batch_submit")
@documented(
    body=BatchBody,
    response=BatchSubmitResponse,
    errors=GENERATING_ERRORS,
    example={"requests": [{"prompt": "a red circle", "resolution": "512x512", "num_inference_steps": 4}]},
)
def batch_submit() -> Response:
    """Submit several tasks and return their ids; tasks beyond the limit of the queue are refused one by one."""
    service = services()
    batch = read_model(BatchBody)
    # The first was counted as the request.
    count_requests(len(batch.requests) - 1)
    # A batch with a wrong field is refused as a whole: its sender must correct it first.
    _check_webhook(service, batch.webhook_url)
    task_requests = []
    for index, body in enumerate(batch.requests):
        try:
            number = request_id() if index == 0 else service.request_ids.next_id()
            task_requests.append(_read(service, number, body.model_dump(exclude_unset=True)))
        except (BadRequest, InvalidParameter, ModelNotFound) as error:
            raise type(error)(f"Task {index}: {error.sentence}", param=f"requests[{index}].{error.param}") from None
    tasks: list[dict[str, Any]] = []
    for task_request in task_requests:
        try:
            url = task_request.webhook_url or batch.webhook_url
            tasks.append(_submit(service, replace(task_request, webhook_url=url)))
        except ServiceError as error:
            if len(task_requests) == 1:
                raise
            tasks.append({"status": "refused", "error": error.sentence, "code": error.code, "param": error.param})
    task_ids = [task["task_id"] for task in tasks if "task_id" in task]
    return jsonify(task_ids=task_ids, tasks=tasks, message=f"{len(task_ids)} of {len(tasks)} tasks were accepted.")


@blueprint.get("/status/<task_id>")
@documented(response=TaskStatusResponse, errors=(404, 410, 503))
def status(task_id: str) -> Response:
    """Return the state of a task."""
    return jsonify(status_of(services(), found_task(services(), task_id)))


@blueprint.delete("/status/<task_id>")
@documented(response=TaskStatusResponse, errors=(404, 410, 503))
def cancel(task_id: str) -> Response:
    """Cancel a task; one that has already ended stays as it is."""
    return jsonify(status_of(services(), cancel_task(services(), task_id)))


@blueprint.get("/download/<task_id>")
@documented(query=DownloadQuery, media=IMAGES, errors=(400, 404, 410, 422, 503))
def download(task_id: str) -> Response:
    """Return an image of a completed task."""
    query = read_query(DownloadQuery)
    task = found_task(services(), task_id)
    if task.state != "completed":
        raise BadRequest("Task not completed", param="task_id")
    if query.image_index >= len(task.files):
        raise NotFound(f"image_index {query.image_index}: the task has {len(task.files)} images.", param="image_index")
    try:
        return image_response(services(), task.files[query.image_index])
    except NotFound:
        raise Gone("The image was deleted (TMP_MAX_AGE, TMP_MAX_MB).", param="task_id") from None


def _submit(service: Services, task_request: TaskRequest) -> dict[str, Any]:
    accepted = accept(service, task_request)
    return {
        "task_id": accepted.task.task_id,
        "requestId": task_request.number,
        "status": "queued",
        "estimated_time": accepted.expected,
        "queue_position": accepted.position,
        "message": "Task submitted successfully",
        "warnings": task_request.warnings,
    }


def _read(service: Services, number: int, content: Any) -> TaskRequest:
    if not as_object(content).get("prompt"):
        raise BadRequest("Prompt is required", param="prompt")
    body = validated(TaskBody, content)
    for name in ("num_images_per_prompt", "n"):
        check_limit(name, getattr(body, name), service.settings.max_images, "MAX_IMAGES")
    fields = body.model_dump(exclude={"resolution", "webhook_url", "num_images_per_prompt"}, exclude_unset=True)
    given = body.model_fields_set
    fields |= {
        "size": body.resolution,
        "num_inference_steps": body.num_inference_steps or min(DEFAULT_STEPS, service.settings.max_steps),
        "seed": body.seed,
        "add_overlay": body.add_overlay,
        "positive_magic": body.positive_magic,
        "n": body.num_images_per_prompt if "num_images_per_prompt" in given else body.n,
    }
    both = {"n", "num_images_per_prompt"} <= given
    ignored = ["n is ignored, because num_images_per_prompt is given."] if both else []
    _check_webhook(service, body.webhook_url)
    try:
        parsed = parse_request(service, fields, request.headers, dialect=DIALECT)
        info = look_up(service, body.model)
        if isinstance(info, Unloaded):
            return TaskRequest(
                number=number, pending=None, fields=fields, warnings=ignored, webhook_url=body.webhook_url
            )
        pending = build_request(service, number, parsed, info)
    except InvalidParameter as error:
        if error.param != "size":
            raise
        # This dialect calls the field resolution.
        raise InvalidParameter(error.sentence.replace("size", "resolution", 1), param="resolution") from None
    warnings = pending.warnings + ignored
    return TaskRequest(number=number, pending=pending, fields=fields, warnings=warnings, webhook_url=body.webhook_url)


def _check_webhook(service: Services, url: str | None) -> None:
    if url is None:
        return
    if service.webhooks is None:
        setting = "OFFLINE" if service.settings.webhook_secret else "WEBHOOK_SECRET, which is not set"
        raise InvalidParameter(
            f"webhook_url: this server sends no webhooks ({setting}); poll GET /status instead.", param="webhook_url"
        )
    service.webhooks.check(url, name="webhook_url")
