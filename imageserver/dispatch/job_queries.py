"""Answers the workers' questions about requests: which there are, what becomes of one, and stop it."""

import msgspec

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.job_records import ENDED, JobRecord
from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import CancelJob, CurrentJob, CurrentJobRequest, JobList, JobStatus, ListJobs, Watch

# A thousand whole prompts, of which each may take 40 kB, would be more than a message may hold.
MAX_LISTED_PROMPT_CHARACTERS = 1000


class JobQueries:
    """The desk beside the dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._ledger = dispatcher.job_records
        self._watched: dict[int, tuple[JobRecord, Listener]] = {}

    def list_jobs(self, question: ListJobs, worker: Listener) -> None:
        """Answer one request's status, or the newest ones' with their prompts cut."""
        if question.wanted is not None:
            entry = self._ledger.find(question.wanted, question.credential)
            jobs = [] if entry is None else [self._status(entry)]
        else:
            found = self._ledger.newest(question.credential, question.state, question.limit)
            jobs = [_with_cut_prompt(self._status(entry)) for entry in found]
        worker.send(JobList(job=question.job, jobs=tuple(jobs)))

    def current(self, question: CurrentJobRequest, worker: Listener) -> None:
        """Answer what a client of a dialect is busy with, and the last preview of it."""
        entry = self._ledger.current(question.dialect, question.credential, question.client)
        if entry is None:
            worker.send(CurrentJob(job=question.job))
            return
        preview, pixels = entry.preview or (None, b"")
        worker.send(CurrentJob(job=question.job, status=self._status(entry), preview=preview), pixels)

    def cancel(self, question: CancelJob, worker: Listener) -> None:
        """Stop a request that has not ended, and answer its status."""
        entry = self._ledger.find(question.wanted, question.credential)
        if entry is None:
            worker.send(JobList(job=question.job, jobs=()))
            return
        self._dispatcher.cancel(question.wanted)
        worker.send(JobList(job=question.job, jobs=(entry.status,)))

    def watch(self, question: Watch, worker: Listener) -> None:
        """Tell a request's events from now on, and those it has missed."""
        entry = self._ledger.find(question.wanted, question.credential)
        if entry is None:
            worker.send(JobList(job=question.job, jobs=()))
            return
        entry.watch(question.job, worker, question.after)
        # An entry whose request has ended has no watchers any more, and nobody ends their watches.
        self._watched = {number: watch for number, watch in self._watched.items() if number in watch[0].watchers}
        if entry.status.state not in ENDED:
            self._watched[question.job] = (entry, worker)

    def unwatch(self, question: int) -> None:
        """End a watch; unknown ones are ignored."""
        entry, _ = self._watched.pop(question, (None, None))
        if entry is not None:
            entry.watchers.pop(question, None)

    def leave(self, worker: Listener) -> None:
        """End every watch of a worker that is gone."""
        for question in [number for number, (_, listener) in self._watched.items() if listener is worker]:
            self.unwatch(question)

    def _status(self, entry: JobRecord) -> JobStatus:
        """Return the entry's status with what is expected at this moment."""
        status = entry.status
        job = self._dispatcher.job_of(status.id)
        if job is None or status.state in ENDED:
            return status
        expected = self._dispatcher.estimate_wait(job)
        return entry.status_with(expected, running=job.state == "processing")


def _with_cut_prompt(status: JobStatus) -> JobStatus:
    if len(status.prompt) <= MAX_LISTED_PROMPT_CHARACTERS:
        return status
    return msgspec.structs.replace(status, prompt=f"{status.prompt[: MAX_LISTED_PROMPT_CHARACTERS - 1]}…")
