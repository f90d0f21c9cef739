"""The forward of a denoiser whose weights are spread over the ranks: every call is computed by all of them."""

import inspect
from collections.abc import Callable
from typing import Any

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import ComputeForward, RankDone, RankFailed
from imageserver.engine.card_group.process_group import ProcessGroup
from imageserver.engine.card_group.rank_process import CardLost
from imageserver.engine.card_group.sharding.gathering import must_gather, set_gathering
from imageserver.engine.card_group.values import NotTransferable, describe
from imageserver.engine.device_errors import is_out_of_memory
from imageserver.engine.devices import devices
from imageserver.errors import GenerationFailed

# Within this time a rank's death is known.
LOSS_SECONDS = 0.5


class ShardedForward:
    """Takes the place of a denoiser's forward on rank 0, below everything that calls it.

    Any failure on the way leaves the ranks out of step: the group is broken up, and with it the engine ends.
    """

    def __init__(self, group: CardGroup, model: str, denoiser: Any) -> None:
        self._group = group
        self._model = model
        self._denoiser = denoiser
        self._stock: Callable[..., Any] = denoiser.forward
        # Whoever calls the denoiser looks for the names of its arguments.
        self.__signature__ = inspect.signature(denoiser.forward)
        self.copies: LoraCopies | None = None
        denoiser.forward = self

    def __call__(self, **arguments: Any) -> Any:
        """Compute a call on all cards; raises DeviceLost where one fails, GenerationFailed before any has begun."""
        met = self._group.process_group
        assert met is not None  # without it this engine has ended
        message = self._message(arguments)
        set_gathering(self._denoiser, message.gathers)
        try:
            return self._computed(message, arguments, met)
        except Exception as error:
            self._group.break_up(self._explained(error))
            raise

    def _message(self, arguments: dict[str, Any]) -> ComputeForward:
        try:
            described = describe(arguments, [])
        except NotTransferable as error:
            raise GenerationFailed(
                f"{self._model} is spread over several cards, and this request gives its transformer {error}, which no "
                "other card can be sent."
            ) from error
        return ComputeForward(
            model=self._model, arguments=described, degree=1, answers=False, parts=True,
            gathers=must_gather(self._denoiser),
        )  # fmt: skip

    def _computed(self, message: ComputeForward, arguments: dict[str, Any], met: ProcessGroup) -> Any:
        ranks = self._group.processes
        if self.copies is not None:
            self.copies.send(ranks)
        for number, process in enumerate(ranks, start=1):
            process.send(message)
            met.send(arguments, number)
        output = self._stock(**arguments)
        devices.synchronize(met.device)
        for process in ranks:
            if isinstance(answer := process.answer(), RankFailed):
                raise CardLost(answer.explained(process.device))
        return output

    def _explained(self, error: Exception) -> str:
        """Return why a forward failed: what a rank says goes before what its end has caused here."""
        for process in self._group.processes:
            if not process.is_lost_within(LOSS_SECONDS):
                continue
            try:
                while isinstance(answer := process.answer(), RankDone):
                    pass
            except CardLost as lost:
                return str(lost)
            return answer.explained(process.device)
        sentence = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"card {self._group.devices[0]}: out of memory: {sentence}" if is_out_of_memory(error) else sentence
