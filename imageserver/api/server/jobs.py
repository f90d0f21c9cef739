"""Every request of every dialect as a job: list, show, follow and cancel."""

import base64
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
from flask import Blueprint, Response, copy_current_request_context, jsonify, request
from pydantic import BaseModel, Field

from imageserver.api import errors
from imageserver.api.authorization import require_admin
from imageserver.api.inputs.validation import read_query
from imageserver.api.operations import EVENTS, documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.schemas import JobListResponse, JobProgressListResponse, JobProgressResponse, JobResponse
from imageserver.api.wsgi import sse
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.dispatch.client.watch_ticket import WatchTicket
from imageserver.errors import InvalidParameter, NotFound
from imageserver.protocol.messages import CancelJob, JobEvent, JobStatus, ListJobs, Watch
from imageserver.telemetry.logs import REDACTED

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/jobs")

HEARTBEAT_SECONDS = 10.0
MAX_ID = 2**63 - 1
# gunicorn reads lines of 4094 bytes.
MAX_IDS = 200
NUMBERS = rf"^[0-9]{{1,18}}(,[0-9]{{1,18}}){{0,{MAX_IDS - 1}}}$"
MAX_LISTED = 1000
UNDER_WAY = ("queued", "processing")
# A preview is blurred anyway, and many may watch over slow networks.
MAX_PREVIEW_SIDE, PREVIEW_QUALITY = 768, 80


class JobQuery(BaseModel, extra="forbid"):
    """The query of the routes of one job."""

    all: bool = Field(False, description="Jobs of other clients too; needs a key with the role admin.")


class NumberedJobsQuery(JobQuery):
    """The query of the routes that list jobs, perhaps by their numbers."""

    ids: str | None = Field(
        None,
        pattern=NUMBERS,
        description=f"Only the jobs with these numbers, {MAX_IDS} at most, with commas between them.",
    )

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The numbers of the jobs that are meant, None for any."""
        return None if self.ids is None else tuple(map(int, self.ids.split(",")))


class JobsQuery(NumberedJobsQuery):
    """The query of `GET /v1/jobs`."""

    state: Literal["queued", "processing", "completed", "failed", "cancelled"] | None = Field(
        None, description="Only jobs in this state."
    )
    limit: int = Field(
        100, ge=1, le=MAX_LISTED, description="Maximum number of jobs, newest first; those of `ids` are all listed."
    )


class EventsQuery(JobQuery):
    """The query of `GET /v1/jobs/{number}/events`."""

    previews: bool = Field(False, description="Events named `preview` too, of a request that asked for previews.")


@blueprint.get("")
@documented(query=JobsQuery, response=JobListResponse, errors=(422, 503))
def list_jobs() -> Response:
    """List the running requests and the last ones that ended."""
    query = read_query(JobsQuery)
    numbers, states = query.numbers, () if query.state is None else (query.state,)
    question = ListJobs(
        job=request_id(), credential=_whose(query), among=numbers, states=states,
        limit=query.limit if numbers is None else MAX_IDS,
    )  # fmt: skip
    return jsonify(
        object="list", data=[_as_json(status, question.credential) for status in services().client.jobs(question)]
    )


@blueprint.get("/progress")
@documented(query=NumberedJobsQuery, response=JobProgressListResponse, errors=(422, 503))
def list_progress() -> Response:
    """List the requests that run or wait in short: their steps, places and waits, for clients that ask often."""
    query = read_query(NumberedJobsQuery)
    question = ListJobs(
        job=request_id(), credential=_whose(query), among=query.numbers, states=UNDER_WAY, limit=MAX_LISTED
    )
    names = JobProgressResponse.model_fields
    found = services().client.jobs(question)
    return jsonify(object="list", data=[{name: getattr(status, name) for name in names} for status in found])


@blueprint.get("/<int:number>")
@documented(query=JobQuery, response=JobResponse, errors=(404, 422, 503))
def show_job(number: int) -> Response:
    """Return the state of one request."""
    question = ListJobs(job=request_id(), credential=_whose(read_query(JobQuery)), wanted=_checked(number))
    return jsonify(_as_json(_only(services().client.jobs(question), number), question.credential))


@blueprint.delete("/<int:number>")
@documented(query=JobQuery, response=JobResponse, errors=(404, 422, 503))
def cancel_job(number: int) -> Response:
    """Cancel one request; one that has already ended stays as it is."""
    question = CancelJob(job=request_id(), credential=_whose(read_query(JobQuery)), wanted=_checked(number))
    return jsonify(_as_json(_only(services().client.jobs(question), number), question.credential))


@blueprint.get("/<int:number>/events")
@documented(
    query=EventsQuery,
    headers={"Last-Event-ID": "The number of the last event received; the stream continues after it."},
    media=(EVENTS,),
    errors=(404, 422, 503),
)
def job_events(number: int) -> Response:
    """Stream the events of one request, with its previews where wanted; `Last-Event-ID` resumes after an event."""
    query = read_query(EventsQuery)
    question = Watch(
        job=request_id(), credential=_whose(query), wanted=_checked(number), after=_last_event_id(),
        previews=query.previews,
    )  # fmt: skip
    ticket = services().client.watch(question)
    events = ticket.events(HEARTBEAT_SECONDS)
    try:
        # None if it has no event yet.
        first = next(events)
    except StopIteration:
        raise _unknown(number) from None

    def shown(status: JobStatus) -> dict[str, Any]:
        return _as_json(status, question.credential)

    frames = _frames(
        ticket, itertools.chain([first], events), services().thread_pool, copy_current_request_context(shown)
    )
    # The stream goes on after this request's context has ended.
    envelope = copy_current_request_context(errors.native)
    return sse.event_stream(frames, lambda error: sse.frame(envelope(error), event="error"))


def _frames(
    ticket: WatchTicket,
    events: Iterator[JobEvent | PreviewImage | None],
    thread_pool: ThreadPool,
    shown: Callable[[JobStatus], dict[str, Any]],
) -> Iterator[bytes]:
    try:
        for event in events:
            match event:
                case JobEvent():
                    yield sse.frame(shown(event.status), event=event.name, number=event.number)
                case PreviewImage():
                    # Without a number: whoever resumes gets the last one again.
                    yield sse.frame(thread_pool.run(_preview, event), event="preview")
                case None:
                    yield sse.HEARTBEAT_FRAME
    except GeneratorExit:
        ticket.cancel()
        raise


def _preview(preview_image: PreviewImage) -> dict[str, Any]:
    """Return a preview as JSON; for a thread of the pool."""
    from imageserver.imaging.previews import image_file

    preview = preview_image.preview
    image = image_file(
        preview_image.pixels,
        (preview.width, preview.height),
        preview.scale,
        (preview.width * preview.scale, preview.height * preview.scale),
        output_format="jpeg",
        compression=PREVIEW_QUALITY,
        max_side=MAX_PREVIEW_SIDE,
    )
    content = base64.b64encode(image).decode()
    return {"image_b64": content, "index": preview.index, "step": preview.step, "total_steps": preview.total}


def _whose(query: JobQuery) -> str:
    """Return the credential whose jobs are meant, empty for everybody's; raises AdminRequired."""
    if not query.all:
        return credential()
    require_admin("Jobs of other clients are private")
    return ""


def _as_json(status: JobStatus, whose: str) -> dict[str, Any]:
    """Return a status as JSON, with the share of its steps that are done.

    `whose` is the credential whose jobs were asked for; without one they may be anybody's.
    """
    progress = round(status.step / status.total_steps, 4) if status.total_steps else 0.0
    shown = {**msgspec.to_builtins(status), "object": "job", "progress": progress}
    if not whose and not services().settings.log_prompts:
        shown["prompt"] = REDACTED
        # Clients generate again from it, so it is not replaced by another text.
        shown["revised_prompt"] = None
    return shown


def _only(found: tuple[JobStatus, ...], number: int) -> JobStatus:
    if not found:
        raise _unknown(number)
    return found[0]


def _unknown(number: int) -> NotFound:
    return NotFound(f"There is no job {number}; the server remembers the last 1000 jobs that ended.")


def _checked(number: int) -> int:
    if number > MAX_ID:
        raise _unknown(number)
    return number


def _last_event_id() -> int:
    """Return the number of the last event that the client received; browsers send it when they reconnect."""
    text = request.headers.get("Last-Event-ID", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidParameter("Last-Event-ID must be the number of an event.", param="Last-Event-ID")
    return int(text)
