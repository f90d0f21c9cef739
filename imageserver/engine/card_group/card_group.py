"""Rank 0's hold on the other ranks: started with the engine, lost one by one or all at once, and started again."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import torch

from imageserver.engine.card_group.messages import JoinRanks, LoadDenoiser, RankFailed, UnloadDenoiser
from imageserver.engine.card_group.process_group import ProcessGroup
from imageserver.engine.card_group.rank_process import CardLost, RankProcess
from imageserver.engine.card_group.restart_pause import RestartPause
from imageserver.engine.device_errors import DeviceLost
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

SILENT_SECONDS = 10.0


@dataclass(frozen=True)
class RanksReady:
    """The ranks of start `number` have loaded their models, without those that failed; for the engine's main thread."""

    number: int
    ranks: tuple[RankProcess, ...]


class CardGroup:
    """The cards of one engine, the first is rank 0's own.

    It is used from the engine's main thread; every rank ends with the thread that started it.
    """

    def __init__(
        self, devices: Sequence[str], settings: Settings, wake: Callable[[RanksReady], None] = lambda ready: None,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:  # fmt: skip
        """Start the ranks, which load nothing yet; `wake` passes ranks that were started again to the main thread."""
        self.devices = tuple(devices)
        self.loss = ""
        self.losses = 0
        self.processes: list[RankProcess] = []
        self.process_group: ProcessGroup | None = None
        self._settings = settings
        self._wake = wake
        self._silent_seconds = silent_seconds
        self._denoisers: dict[str, LoadDenoiser] = {}
        self._loading: set[str] = set()
        self._starts = 0
        self._starting = 0  # the number of the start that is under way
        self._pause = RestartPause()
        # Never closed: a store looks at its file once more when it is forgotten.
        self._store = os.memfd_create("ranks") if sys.platform == "linux" else -1
        self._threads = _threads(len(devices)) if devices[0].startswith("cpu") else 0
        if self._threads:
            torch.set_num_threads(self._threads)
        self._start()

    @property
    def size(self) -> int:
        """The ranks that compute forwards now."""
        return self.process_group.size if self.process_group else 1

    @property
    def started(self) -> tuple[str, ...]:
        """The cards that can each hold a part of a model, whether they have met or not."""
        return (self.devices[0], *(rank.device for rank in self.processes if not self._starting))

    @property
    def in_use(self) -> tuple[str, ...]:
        """The cards that compute forwards now."""
        return (self.devices[0], *(rank.device for rank in self.processes if self.process_group))

    @property
    def reason(self) -> str:
        """Why not all cards compute, and whether the others are on their way; empty where all do."""
        if len(self.in_use) == len(self.devices):
            return ""
        return f"{self.loss}; the other cards are being started again" if self.loss and self._starting else self.loss

    @property
    def is_divided(self) -> bool:
        """Whether a model has a part on each card, and none as a whole."""
        return any(each.parts > 1 for each in self._denoisers.values())

    @property
    def is_broken(self) -> bool:
        """Whether lost cards are still to be started again, or on their way."""
        return bool(self._starting or (self.losses and not self.processes))

    def load(self, request: LoadDenoiser) -> None:
        """Let every rank load a model; `complete` waits until they have."""
        if self._starting:
            self.break_up("another model is being loaded")
        self._denoisers[request.model] = request
        if self.processes:
            self._loading.add(request.model)
            self._load(request)

    def complete(self, model: str) -> bool:
        """Wait until every rank has loaded a model, and return whether it can be shared.

        At the start ranks that fail are left out; later a model that does not fit is not shared. One in
        parts needs all of them.
        """
        if model not in self._loading:
            return model in self._denoisers
        self._loading.remove(model)
        failures = {rank: failure for rank in self.processes if (failure := rank.failure())}
        for rank, failure in failures.items():
            logger.warning("%s cannot compute %s: %s", rank.device, model, failure)
            self.loss = failure
        refused = bool(failures) and self._denoisers[model].parts > 1
        if refused:
            self.unload(model)
        if self.process_group is None and not refused:
            self._join([rank for rank in self.processes if rank not in failures])
        elif any(rank.loss for rank in self.processes):
            self.break_up(self.loss)
        elif failures:
            self.unload(model)
        for rank in self.processes:
            rank.starts(over=True)
        return model in self._denoisers

    def unload(self, model: str) -> None:
        """Free the memory of a model on every rank; an unknown name is ignored."""
        self.complete(model)
        if self._denoisers.pop(model, None) is not None:
            for rank in self.processes:
                rank.try_to_send(UnloadDenoiser(model=model))

    def break_up(self, reason: str) -> None:
        """Go on with rank 0 alone, until the ranks are started again.

        Raises DeviceLost where it has no whole model: this engine's successor starts all ranks.
        """
        ranks, self.processes = self.processes, []
        met, self.process_group = self.process_group, None
        self._starting = 0
        self._loading.clear()
        for rank in ranks:
            rank.end()
        if met is not None:
            met.leave()
        self.loss, self.losses = reason, self.losses + 1
        self._pause.begin()
        if self.is_divided:
            raise DeviceLost(f"The group of cards is broken up: {reason}. No card has the whole transformer.")
        logger.warning("The group of cards is broken up: %s. %s computes alone.", reason, self.devices[0])

    def succeeded(self) -> None:
        """Start again without a pause after the next loss: the cards have computed a forward together."""
        self._pause.skip_next()

    def tend(self) -> None:
        """Notice a loss while nothing waits, and start the ranks again after one; they load in the background."""
        if self.process_group is not None:
            if lost := next((rank.loss for rank in self.processes if rank.loss), ""):
                self.break_up(lost)
        elif not self._starting and (self._denoisers or self.is_broken) and self._pause.is_over:
            self._start_again()

    def receive(self, ready: object) -> None:
        """Meet ranks that were started again; anything but `RanksReady` is ignored."""
        if isinstance(ready, RanksReady) and ready.number == self._starting:
            self._starting = 0
            self._join(ready.ranks)

    def close(self) -> None:
        """End every rank."""
        for rank in self.processes:
            rank.end()
        if self.process_group is not None:
            self.process_group.leave()
        self.processes, self.process_group = [], None

    def _start(self) -> None:
        self.processes, self._starts = [], self._starts + 1
        for device in self.devices[1:]:
            try:
                if self._store < 0:
                    raise OSError("only Linux has groups of cards")
                rank = RankProcess(device, self._threads, self._settings, self._store, self._silent_seconds)
            except OSError as error:
                self.loss = f"{device} cannot be used: {error}"
                logger.warning("%s", self.loss)
            else:
                self.processes.append(rank)

    def _start_again(self) -> None:
        logger.info("The other cards of the group are started again.")
        self._start()
        if not self._denoisers:
            # They meet when a model is loaded.
            if not self.processes:
                self._pause.begin()
            return
        self._starting = self._starts
        for request in self._denoisers.values():
            self._load(request)
        threading.Thread(
            target=self._await, args=(self._starting, tuple(self.processes), len(self._denoisers)), name="ranks",
            daemon=True,
        ).start()  # fmt: skip

    def _load(self, request: LoadDenoiser) -> None:
        for part, rank in enumerate(self.processes, start=1):
            rank.starts()
            rank.try_to_send(msgspec.structs.replace(request, part=part) if request.parts > 1 else request)

    def _await(self, number: int, ranks: Sequence[RankProcess], expected: int) -> None:
        failures = {rank: [failure for _ in range(expected) if (failure := rank.failure())] for rank in ranks}
        for rank in ranks:
            if failures[rank]:
                logger.warning("%s cannot be used: %s", rank.device, failures[rank][0])
        self._wake(RanksReady(number, tuple(rank for rank in ranks if not failures[rank])))

    def _join(self, ranks: Sequence[RankProcess]) -> None:
        """Meet these ranks in a process group, and end the others."""
        for rank in self.processes:
            if rank not in ranks:
                rank.end()
        self.processes = list(ranks)
        try:
            if not ranks:
                raise CardLost(self.loss or "no other card can be used")
            for number, rank in enumerate(ranks, start=1):
                rank.send(JoinRanks(rank=number, size=1 + len(ranks), start=self._starts))
            device, size = torch.device(self.devices[0]), 1 + len(ranks)
            self.process_group = ProcessGroup(0, size, device, self._store, self._starts)
            for rank in ranks:
                if isinstance(answer := rank.answer(), RankFailed):
                    raise CardLost(f"card {rank.device}: {answer.sentence}")
                rank.on_loss = self.process_group.abort
                rank.starts(over=True)
        except (CardLost, RuntimeError) as error:
            self.break_up(str(error).strip().splitlines()[0])
            return
        if len(self.in_use) == len(self.devices):
            self.loss = ""
        logger.info("%s compute together.", " and ".join(self.in_use))


def _threads(ranks: int) -> int:
    return max(1, torch.get_num_threads() // ranks)
