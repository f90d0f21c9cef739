"""The state of a task, for its client and for its webhook, and how its client cancels it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from imageserver.api.generation.save import urls_of
from imageserver.api.request_context import credential, request_id
from imageserver.api.services import Services
from imageserver.errors import Gone, NotFound
from imageserver.outputs.task_store import Task
from imageserver.protocol.messages import CancelJob, JobStatus, ListJobs


class WebhookStatus(BaseModel):
    """The state of a task's webhook."""

    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    error: str | None = Field(description="Why the last attempt failed.")


class TaskStatusResponse(BaseModel):
    """The state of a task; `created_at` and `completed_at` are ISO 8601."""

    task_id: str
    requestId: int  # noqa: N815 - the documented name
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    progress: int = Field(description="0 to 100.")
    result_urls: list[str]
    processing_time: float | None
    created_at: str
    completed_at: str | None
    estimated_time: float | None = Field(description="Expected seconds from now, including the queue.")
    queue_position: int | None
    seeds: list[int]
    error: str | None
    code: str | None
    warnings: list[str]
    webhook: WebhookStatus | None = Field(description="Only for tasks with a webhook_url.")


def status_of(service: Services, task: Task) -> dict[str, Any]:
    """Return the fields of TaskStatusResponse; asks the dispatcher about a running task."""
    job = None
    if task.completed_at is None:
        question = ListJobs(job=request_id(), wanted=task.number, credential=credential())
        job = next(iter(service.client.jobs(question)), None)
    return fields_of(service, task, job)


def fields_of(service: Services, task: Task, job: JobStatus | None) -> dict[str, Any]:
    """Return the fields of TaskStatusResponse by what is known about the task's job."""
    running = job is not None and job.state == "processing"
    done = 100 if task.state == "completed" else 0
    progress = job.step * 100 // job.total_steps if job and job.total_steps else done
    expected = None if job is None else round((job.queue_wait or 0.0) + (job.expected_seconds or 0.0), 2)
    webhook = service.webhook_store.find(task.task_id)
    return {
        "task_id": task.task_id,
        "requestId": task.number,
        "status": "processing" if running else task.state,
        "progress": progress,
        "result_urls": urls_of(task.files),
        "processing_time": task.processing_time,
        "created_at": _iso(task.created_at),
        "completed_at": _iso(task.completed_at) if task.completed_at is not None else None,
        "estimated_time": expected,
        "queue_position": job.queue_position if job else None,
        "seeds": list(task.seeds),
        "error": task.error,
        "code": task.code,
        "warnings": list(task.warnings),
        "webhook": webhook and {"state": webhook.state, "attempts": webhook.attempts, "error": webhook.error},
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")


def found_task(service: Services, task_id: str) -> Task:
    """Return a task of this request's credential; raises NotFound, or Gone for one that has expired."""
    task = service.tasks.find(task_id, credential())
    if task is None:
        raise NotFound("There is no task with this id.", param="task_id")
    if task.state == "expired":
        raise Gone("The task has expired (TASK_TTL).", param="task_id")
    return task


def cancel_task(service: Services, task_id: str) -> Task:
    """Cancel a task unless it has ended, and return it; raises what `found_task` raises."""
    task = found_task(service, task_id)
    service.tasks.fail(task.task_id, code="cancelled", sentence="The task was cancelled.")
    service.client.jobs(CancelJob(job=request_id(), wanted=task.number, credential=credential()))
    return found_task(service, task_id)
