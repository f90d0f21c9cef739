"""The HTTP worker's handle on one request to the dispatcher: it yields the replies until the request ends."""

import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from imageserver.errors import DeadlineExceeded, EngineUnavailable, ServiceError
from imageserver.generation import ModelInfo, Outcome
from imageserver.protocol import messages

R = TypeVar(
    "R",
    messages.Admitted,
    messages.Estimate,
    messages.History,
    messages.JobList,
    messages.CurrentJob,
    messages.LorasLoaded,
    messages.ModelResponse,
    messages.Usage,
    messages.Measured,
)

Update = messages.AnyMessage | ServiceError

# The dispatcher ends a job at its deadline; only one that hangs itself needs this.
GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class PreviewImage:
    """A preview: the engine's message and its small RGB pixels."""

    preview: messages.Preview
    pixels: bytes


@dataclass(frozen=True)
class Image:
    """The images of one generation: its outcome, and the pixels that the outcome describes."""

    outcome: Outcome
    pixels: bytes
    joined: bool = False


GenerationUpdate = messages.Queued | messages.Started | messages.Progress | PreviewImage | Image | None


class Ticket:
    """Receives the dispatcher's messages about one request, and passes them to the greenlet that waits."""

    def __init__(self, job: int, timeout: float, cancel: Callable[[int], None]) -> None:
        self.job = job
        self.timeout = timeout
        self._cancel = cancel
        self._is_finished = False
        self.received: queue.SimpleQueue[tuple[Update, bytes]] = queue.SimpleQueue()

    def receive(self, message: Update, raw: bytes = b"") -> None:
        self.received.put((message, raw))

    def updates(self, pause: float) -> Iterator[GenerationUpdate]:
        """Yield the updates, the image last, and None after every `pause` seconds without one.

        Raises the ServiceError that ended the generation early.
        """
        give_up = time.monotonic() + self.timeout + GRACE_SECONDS
        while not self._is_finished:
            # Not kept here: the pixels of an image are large, and whoever sends it may take long.
            yield self._next(pause, give_up)

    def _next(self, pause: float, give_up: float) -> GenerationUpdate:
        left = give_up - time.monotonic()
        try:
            message, raw = self.received.get(timeout=max(0.0, min(pause, left)))
        except queue.Empty:
            if left <= pause:
                self.cancel()
                raise DeadlineExceeded(f"The time limit of {self.timeout:g} s passed.") from None
            return None
        match message:
            case messages.Finished():
                self._is_finished = True
                return Image(message.outcome, raw, message.joined)
            case messages.Preview():
                return PreviewImage(message, raw)
            case messages.Queued() | messages.Started() | messages.Progress():
                return message
        raise as_error(message)

    def response(self, kind: type[R]) -> tuple[R, bytes]:
        """Wait for the one message that answers a query, and its raw bytes."""
        try:
            message, raw = self.received.get(timeout=self.timeout)
        except queue.Empty:
            self.cancel()
            raise EngineUnavailable("The dispatcher does not answer.", retry_after=2) from None
        if isinstance(message, kind):
            return message, raw
        raise as_error(message)

    def model(self) -> ModelInfo | None:
        """Wait until the requested model is loaded; raises the ServiceError that prevented it."""
        give_up = time.monotonic() + self.timeout
        while True:
            try:
                message, _ = self.received.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                self.cancel()
                sentence = f"The time limit of {self.timeout:g} s passed while it waited for the model."
                raise DeadlineExceeded(sentence) from None
            match message:
                case messages.ModelResponse():
                    return message.info
                case messages.Started() | messages.Progress():
                    continue
                case _:
                    raise as_error(message)

    def cancel(self) -> None:
        """Stop the generation or the watch; whoever waits gets Cancelled."""
        self._cancel(self.job)


def as_error(message: Update) -> ServiceError:
    """Return the error that an unexpected message stands for."""
    match message:
        case messages.Failed():
            return message.as_error()
        case ServiceError():
            return message
    return EngineUnavailable(f"The dispatcher answered {type(message).__name__}.", retry_after=2)
