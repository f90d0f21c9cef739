"""Lists, watches and stops requests for the workers."""

import msgspec

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.job_records import ENDED, JobRecord, Watcher
from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import CancelJob, CurrentJob, CurrentJobRequest, JobList, JobStatus, ListJobs, Watch

# A thousand whole prompts of up to 40 kB each would not fit into a message.
MAX_LISTED_PROMPT_CHARACTERS = 1000


class JobQueries:
    """Answers from the job records, and knows which of them are watched."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._job_records = dispatcher.job_records
        self._watched: dict[int, tuple[JobRecord, Listener]] = {}

    def list_jobs(self, query: ListJobs, worker: Listener) -> None:
        """Answer one request's status, or those of several with their prompts cut."""
        if query.wanted is not None:
            record = self._job_records.find(query.wanted, query.credential)
            jobs = [] if record is None else [self._status(record)]
        else:
            jobs = [_with_cut_prompt(self._status(record)) for record in self._job_records.listed(query)]
        worker.send(JobList(job=query.job, jobs=tuple(jobs)))

    def current(self, query: CurrentJobRequest, worker: Listener) -> None:
        """Send the request that a client of a dialect waits for, and its last preview."""
        record = self._job_records.current(query.dialect, query.credential, query.client)
        if record is None:
            worker.send(CurrentJob(job=query.job))
            return
        preview, pixels = record.preview or (None, b"")
        worker.send(CurrentJob(job=query.job, status=self._status(record), preview=preview), pixels)

    def cancel(self, query: CancelJob, worker: Listener) -> None:
        """Stop a request that has not ended, and answer its status."""
        record = self._job_records.find(query.wanted, query.credential)
        if record is not None:
            self._dispatcher.cancel(query.wanted)
        worker.send(JobList(job=query.job, jobs=() if record is None else (record.status,)))

    def watch(self, query: Watch, worker: Listener) -> None:
        """Send a request's events from now on, and those that were missed."""
        record = self._job_records.find(query.wanted, query.credential)
        if record is None:
            worker.send(JobList(job=query.job, jobs=()))
            return
        record.watch(query.job, Watcher(worker, query.previews), query.after)
        # A record whose request has ended has no watchers any more, and nobody ends their watches.
        self._watched = {number: watch for number, watch in self._watched.items() if number in watch[0].watchers}
        if record.status.state not in ENDED:
            self._watched[query.job] = (record, worker)

    def unwatch(self, number: int) -> None:
        """End a watch; unknown ones are ignored."""
        record, _ = self._watched.pop(number, (None, None))
        if record is not None:
            record.watchers.pop(number, None)

    def leave(self, worker: Listener) -> None:
        """End every watch of a worker that is gone."""
        for number in [number for number, (_, listener) in self._watched.items() if listener is worker]:
            self.unwatch(number)

    def _status(self, record: JobRecord) -> JobStatus:
        """Return the record's status with the present estimate."""
        status = record.status
        job = self._dispatcher.jobs.job_of(status.id)
        if job is None or status.state in ENDED:
            return status
        if status.state == "processing":
            left = round(self._dispatcher.jobs.time_left(job), 3)
            return msgspec.structs.replace(status, expected_seconds=left)
        return record.status_with(self._dispatcher.estimate_wait(job))


def _with_cut_prompt(status: JobStatus) -> JobStatus:
    revised = status.revised_prompt
    return msgspec.structs.replace(status, prompt=_cut(status.prompt), revised_prompt=revised and _cut(revised))


def _cut(prompt: str) -> str:
    whole = len(prompt) <= MAX_LISTED_PROMPT_CHARACTERS
    return prompt if whole else f"{prompt[: MAX_LISTED_PROMPT_CHARACTERS - 1]}…"
