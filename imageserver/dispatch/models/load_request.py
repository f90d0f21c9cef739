"""A client's wait for a model."""

from dataclasses import dataclass

from imageserver.dispatch.jobs import Listener
from imageserver.protocol import messages


@dataclass
class LoadRequest:
    """A client that waits for a model since it `arrived`; `on_disk` once nothing more has to be fetched for it."""

    request: messages.ModelRequest
    listener: Listener
    on_disk: bool
    arrived: float
    begun: bool = False

    @property
    def name(self) -> str:
        return self.request.load

    @property
    def is_generation(self) -> bool:
        """Whether it is the first part of a request for images, rather than one for the model alone."""
        return self.request.prompt is not None

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.listener.send(messages.Started(job=self.request.job))
