"""What an engine process reports to its seat."""

from typing import Protocol

from imageserver.protocol import messages


class EngineEvents(Protocol):
    """The seat's side."""

    def engine_changed(self) -> None:
        """The state, its reason or the progress has changed."""

    def job_event(self, message: messages.JobReport, raw: bytes) -> None:
        """A running job has started, progressed or ended."""

    def model_event(self, message: messages.ModelsLoaded | messages.ModelFetched | messages.LoadProgress) -> None:
        """The models in memory or on the disk have changed, or a load or a download has progressed or failed."""

    def engine_lost(self, *, silent: bool) -> None:
        """The engine is gone, and the running jobs with it; `silent` when the watchdog killed it."""
