"""Questions that the engine answers between two forwards: each is answered, at the latest when its time is over."""

import asyncio

from imageserver.dispatch.jobs import Listener
from imageserver.errors import DeadlineExceeded, ServiceError
from imageserver.protocol import messages

# A large LoRA may lie on a slow disk.
QUESTION_TIMEOUT_SECONDS = 100.0


class EngineQuestions:
    """Knows who waits for which answer of the engine."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Listener, asyncio.TimerHandle]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: int, listener: Listener) -> None:
        """Let `listener` wait for the answer to question `job`."""
        error = DeadlineExceeded(f"The engine did not answer within {QUESTION_TIMEOUT_SECONDS:g} s.")
        timer = asyncio.get_running_loop().call_later(
            QUESTION_TIMEOUT_SECONDS, self.answer, job, messages.failed(job, error)
        )
        self._waiting[job] = (listener, timer)

    def answer(self, job: int, message: messages.Message) -> None:
        """Pass an answer on; one that comes too late is ignored."""
        if job in self._waiting:
            listener, timer = self._waiting.pop(job)
            timer.cancel()
            listener.send(message)

    def fail_all(self, error: ServiceError) -> None:
        for job in list(self._waiting):
            self.answer(job, messages.failed(job, error))
