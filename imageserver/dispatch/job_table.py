"""Every job under way: where it is, which requests wait for it and until when, and how requests ended."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator

import msgspec

from imageserver.dispatch.estimates.measured_pace import MeasuredPace
from imageserver.dispatch.estimates.queue_wait import SeatLoad, estimate_wait
from imageserver.dispatch.jobs import Job, Listener, Tally, Waiter, state_after
from imageserver.dispatch.queue import JobQueue
from imageserver.dispatch.single_flight import SingleFlight
from imageserver.errors import ServiceError
from imageserver.protocol.messages import Failed, Finished, Preview, Progress, Queued, Started, failed


class JobTable:
    """Finds jobs by number, request and worker, and notifies their clients; it decides nothing and knows no engine."""

    def __init__(self, on_end: Callable[[Job, Finished | Failed], None] = lambda job, message: None) -> None:
        """Let `on_end` know how each job ended, before its clients do."""
        self._on_end = on_end
        self.queue = JobQueue()
        # What the engine works on; a cancelled job stays until the engine reports its end.
        self.running: dict[int, Job] = {}
        self.tally = Tally()
        self._jobs: dict[int, Job] = {}
        self._awaited: dict[int, Job] = {}  # number of a request -> the job that it waits for
        self.single_flight = SingleFlight()
        self._paces: dict[int, MeasuredPace] = {}
        # By the names of the devices: the moment of the last step of any of their jobs.
        self._stepped: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    @property
    def remaining(self) -> float:
        """The expected device time that all jobs together still take."""
        return round(sum(job.remaining for job in itertools.chain(self.running.values(), self.queue)), 3)

    @property
    def begun(self) -> int:
        """The number of jobs that engines have begun."""
        return sum(job.begun for job in self.running.values())

    @property
    def held_by_engines(self) -> int:
        """The number of jobs that engines were given and have not begun, without those that were cancelled since."""
        return sum(job.state == "processing" and not job.begun for job in self.running.values())

    @property
    def source_bytes(self) -> int:
        """The size of the images that the jobs start from."""
        return sum(len(job.source) for job in self._jobs.values())

    def find(self, number: int) -> Job | None:
        """Return a job by its own number, None once it has ended."""
        return self._jobs.get(number)

    def job_of(self, request: int) -> Job | None:
        return self._awaited.get(request)

    def requests_of(self, worker: Listener) -> list[int]:
        """Return the requests that wait for jobs on behalf of a worker's clients."""
        return [waiter.id for job in self for waiter in job.waiters if waiter.worker is worker]

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job
        self.single_flight.add(job)
        self.queue.push(job)

    def attach(self, waiter: Waiter, job: Job, on_deadline: Callable[[Waiter], None]) -> None:
        """Let a request wait for a job until its deadline."""
        job.waiters.append(waiter)
        self._awaited[waiter.id] = job
        self.single_flight.join(waiter.id, job)
        waiter.timer = asyncio.get_running_loop().call_later(waiter.timeout, on_deadline, waiter)

    def start(self, job: Job) -> None:
        self.queue.pop(job)
        job.state, job.started = "processing", asyncio.get_running_loop().time()
        self.running[job.id] = job

    def requeue(self, job: Job) -> None:
        job.state, job.share_done, job.begun, job.started = "queued", 0.0, False, None
        job.paced_work = None
        self._paces.pop(job.id, None)
        self.queue.push(job)

    def notify(self, job: Job, message: Queued | Started | Progress | Preview, raw: bytes = b"") -> None:
        """Record how far a job is, and notify every request that waits for it."""
        if isinstance(message, Started):
            # It may have waited in the engine too, behind others.
            job.begun, job.started = True, asyncio.get_running_loop().time()
        elif isinstance(message, Progress):
            message = self._advance(job, message)
        for waiter in job.waiters:
            waiter.notify(message, raw)

    def time_left(self, job: Job) -> float:
        """Return the expected seconds until a running job is done, with what its device gives to others before."""
        beside = [other for other in self.running.values() if other.device == job.device]
        return estimate_wait(job, [SeatLoad(beside, room=True)], (), asyncio.get_running_loop().time()).total

    def detach(self, waiter: Waiter, error: ServiceError) -> None:
        """End one request with an error; its job, if it has one, goes on."""
        job = self._awaited.get(waiter.id)
        if job is not None:
            job.waiters.remove(waiter)
        self._end_wait(waiter, failed(waiter.id, error))

    def repeat_result(self, job: Job, waiter: Waiter) -> None:
        """Answer a request with the images of a job that has ended and was kept for it."""
        assert job.result is not None
        message, raw = job.result
        self.single_flight.join(waiter.id, job)
        self._end_wait(waiter, _for_waiter(message, job, waiter), raw)

    def fail(self, job: Job, error: ServiceError) -> None:
        """End a job and every request for it with an error."""
        self.end(job, failed(job.id, error))

    def end(self, job: Job, message: Finished | Failed, raw: bytes = b"") -> None:
        """Answer every request that waits for a job and forget the job."""
        self._on_end(job, message)
        job.state = state_after(message)
        self._jobs.pop(job.id, None)
        self._paces.pop(job.id, None)
        self.queue.remove(job)
        # A finished job may be kept for a retry; the image that it started from is needed no more.
        job.source = b""
        self.single_flight.end(job, (message, raw) if isinstance(message, Finished) else None)
        for waiter in job.waiters:
            self._end_wait(waiter, _for_waiter(message, job, waiter), raw)

    def _advance(self, job: Job, message: Progress) -> Progress:
        """Record a step, and return its message with the time that is left.

        Of jobs whose steps share a forward, the first that reports it is charged for it, for it goes before the others.
        """
        now = asyncio.get_running_loop().time()
        pace = self._paces.setdefault(job.id, MeasuredPace())
        pace.record(message.step, message.total, now - self._stepped.get(job.device, now))
        self._stepped[job.device] = now
        job.paced_work, job.share_done = pace.work(job.work), message.step / message.total
        return msgspec.structs.replace(message, time_left=round(self.time_left(job), 3))

    def _end_wait(self, waiter: Waiter, message: Finished | Failed, raw: bytes = b"") -> None:
        self._awaited.pop(waiter.id, None)
        if waiter.timer is not None:
            waiter.timer.cancel()
        self.tally.count(state_after(message))
        self.single_flight.answer(waiter.id, state_after(message))
        waiter.notify(message, raw)


def _for_waiter(message: Finished | Failed, job: Job, waiter: Waiter) -> Finished | Failed:
    """Return the message with the waiter's own queue time."""
    if isinstance(message, Failed):
        return message
    queue_time = max(0.0, (job.started or waiter.arrived) - waiter.arrived)
    outcome = dataclasses.replace(message.outcome, queue_time=queue_time)
    return Finished(job=waiter.id, outcome=outcome, joined=waiter.joined)
