"""The same request again: a twin joins the job under way, a retry the job of the attempt that it repeats.

A client library that times out sends its request again, with its retry count and no key. Its random seed differs, so
the retry is recognised by the client's request as sent.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from imageserver.dispatch.jobs import Job, JobState
from imageserver.protocol.messages import Finished, Submit

# How long images are kept for a client that has left; SDKs retry within eight seconds, proxies and people later.
KEPT_SECONDS = 300.0
# How long a refusal is remembered: the OpenAI SDK obeys a Retry-After of up to 60 seconds.
REFUSED_SECONDS = 65.0
# What the kept images may take of the dispatcher's memory: 12 images of 1328x1328, 80 of 512x512.
MAX_KEPT_BYTES = 64_000_000


@dataclass
class Attempt:
    """One client's request, sent once or again; `ended` means that the client has left or was refused."""

    retry_key: str
    job: Job | None = None
    state: Literal["under way", "ended", "answered"] = "under way"

    @property
    def is_joinable(self) -> bool:
        """Whether its job generates images for it, or has."""
        return self.job is not None and (self.job.state in ("queued", "processing") or self.job.result is not None)


class SingleFlight:
    """The jobs that the same request may join."""

    def __init__(self) -> None:
        self._twins: dict[str, Job] = {}
        # By the number of the last request that made the attempt, the latest last.
        self._attempts: dict[int, Attempt] = {}

    def find(self, request: Submit) -> Job | None:
        """Return the job that a request may join: of the attempt that it repeats, else its twin."""
        if request.retry_key is not None:
            attempt = (self._resume(request.retry_key) if request.is_retry else None) or Attempt(request.retry_key)
            self._attempts[request.job] = attempt
            if attempt.is_joinable:
                return attempt.job
        return self._twins.get(request.twin_key) if request.twin_key else None

    def add(self, job: Job) -> None:
        if job.twin_key is not None:
            self._twins[job.twin_key] = job

    def join(self, number: int, job: Job) -> None:
        """Record which job a request waits for."""
        if attempt := self._attempts.get(number):
            attempt.job = job

    def client_left(self, number: int) -> None:
        """Let a retry take over the attempt of a client that has left."""
        if attempt := self._attempts.get(number):
            attempt.state = "ended"

    def answer(self, number: int, state: JobState) -> None:
        """Record how a request was answered: the next retry takes over an attempt that failed."""
        attempt = self._attempts.get(number)
        if attempt is None:
            return
        if state != "completed":
            attempt.state = "ended"
        elif attempt.state == "under way":
            # Its client may still leave before the images are encoded.
            attempt.state = "answered"
        seconds = KEPT_SECONDS if attempt.is_joinable else REFUSED_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._attempts.pop, number, None)

    def end(self, job: Job, result: tuple[Finished, bytes] | None) -> None:
        """Let nobody join a job any more but the retries of the attempts that wait for it."""
        if job.twin_key is not None and self._twins.get(job.twin_key) is job:
            del self._twins[job.twin_key]
        numbers = [number for number, attempt in self._attempts.items() if attempt.job is job]
        if numbers and result is not None and len(result[1]) <= MAX_KEPT_BYTES:
            for number in numbers:
                # Those that ended last are at the end.
                self._attempts[number] = self._attempts.pop(number)
            job.result = result
            self._drop_images()

    def _drop_images(self) -> None:
        """Keep the images of finished jobs within MAX_KEPT_BYTES; a retry that comes after that is generated again.

        Images whose client was answered go first, then those that were finished first.
        """
        kept: dict[int, tuple[Job, int, bool]] = {}
        for attempt in self._attempts.values():
            if attempt.job is not None and attempt.job.result is not None:
                answered = attempt.state == "answered" and kept.get(attempt.job.id, (None, 0, True))[2]
                kept[attempt.job.id] = attempt.job, len(attempt.job.result[1]), answered
        total = sum(size for _, size, _ in kept.values())
        for job, size, _ in sorted(kept.values(), key=lambda entry: not entry[2]):
            if total <= MAX_KEPT_BYTES:
                return
            total -= size
            job.result = None

    def _resume(self, retry_key: str) -> Attempt | None:
        """Return the attempt that a retry repeats, and leave it to the retry.

        Ended ones go first: two clients may ask for the same at the same time, and only one of them repeats itself. One
        under way is taken as well, for a proxy may hide that its client has left.
        """
        found = [
            (attempt.state == "ended", number)
            for number, attempt in self._attempts.items()
            if attempt.retry_key == retry_key and attempt.state != "answered"
        ]
        if not found:
            return None
        attempt = self._attempts.pop(max(found)[1])
        attempt.state = "under way"
        return attempt
