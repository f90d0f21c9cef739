"""The room in the queue: for jobs, for the images that they start from, and for each key its share of both."""

from imageserver.dispatch.admission import refuse_if_full, refuse_if_share_taken, refuse_if_too_much
from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.models.model_loading import ModelLoading
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.settings import Settings


class QueueRoom:
    """Refuses what finds no room; requests that wait for their models take a place too."""

    def __init__(self, settings: Settings, jobs: JobTable, models: ModelLoading, seats: SeatList) -> None:
        self._max_jobs = settings.max_queue
        self._max_bytes = int(settings.max_queue_mb * 2**20)
        self._jobs = jobs
        self._models = models
        self._seats = seats

    def refuse_if_none(self, credential: str, source_bytes: int = 0) -> None:
        """Raise QueueFull where a job of a credential, with an image of so many bytes, finds no room."""
        held = len(self._jobs) + self._models.requests_waiting
        refuse_if_full(held, self._max_jobs, lambda: self._jobs.remaining / max(1, len(self._seats.ready)))
        if credential:
            self._refuse_if_share_taken(credential, held, source_bytes)
        if source_bytes:
            refuse_if_too_much(source_bytes, self._jobs.source_bytes, self._max_bytes)

    def _refuse_if_share_taken(self, credential: str, held: int, source_bytes: int) -> None:
        own = [job for job in self._jobs if job.credential == credential]
        count = len(own) + self._models.requests_of(credential)
        pause = sum(job.remaining for job in own) / max(1, count)
        refuse_if_share_taken(count, 1, held, self._max_jobs, what=f"{count} generations (MAX_QUEUE)", pause=pause)
        if source_bytes:
            own_bytes = sum(len(job.source) for job in own)
            what = f"images of {own_bytes / 2**20:.0f} MiB (MAX_QUEUE_MB)"
            held_bytes = self._jobs.source_bytes
            refuse_if_share_taken(own_bytes, source_bytes, held_bytes, self._max_bytes, what=what, pause=pause)
