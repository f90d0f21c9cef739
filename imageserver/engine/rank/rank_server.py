"""Do what rank 0 asks, one thing after the other."""

import logging
import os
from typing import TYPE_CHECKING

import torch

from imageserver.engine.card_group.context_parallel import sharing_tokens
from imageserver.engine.card_group.messages import (
    AddLora,
    ComputeForward,
    JoinRanks,
    LoadDenoiser,
    RankDone,
    RankFailed,
    RemoveLora,
    ToRank,
    UnloadDenoiser,
    UseLoras,
)
from imageserver.engine.card_group.process_group import ProcessGroup
from imageserver.engine.card_group.sharding.gathering import set_gathering
from imageserver.engine.card_group.values import describe
from imageserver.engine.device_errors import drop_frames, is_lost, is_out_of_memory
from imageserver.engine.devices import devices
from imageserver.protocol.channel import Channel

if TYPE_CHECKING:
    from imageserver.engine.rank.denoisers import Denoisers

logger = logging.getLogger(__name__)

EXIT_CODE = 71


class RankServer:
    """A rank's denoisers and its place in the process group."""

    def __init__(self, channel: Channel, device: torch.device, store: int, denoisers: "Denoisers") -> None:
        self._channel = channel
        self._device = device
        self._store = store
        self._denoisers = denoisers
        self._met: ProcessGroup | None = None

    def serve(self) -> None:
        """Serve until rank 0 is gone; after an error that leaves the ranks out of step the process ends."""
        for message, raw in self._channel:
            request: ToRank = message  # type: ignore[assignment]
            try:
                self._receive(request, raw)
            except Exception as error:
                out_of_step = not isinstance(request, LoadDenoiser)
                self._fail(error, lost=out_of_step or is_lost(error))

    def _receive(self, request: ToRank, raw: bytes) -> None:
        match request:
            case ComputeForward():
                self._compute(request)
            case LoadDenoiser():
                self._denoisers.load(request)
                self._channel.send(RankDone())
            case UnloadDenoiser():
                self._denoisers.unload(request.model)
            case JoinRanks():
                self._met = ProcessGroup(request.rank, request.size, self._device, self._store, request.start)
                self._channel.send(RankDone())
            case AddLora():
                self._denoisers.add_lora(request, raw)
            case RemoveLora():
                self._denoisers.remove_lora(request)
            case UseLoras():
                self._denoisers.use_loras(request)

    def _compute(self, request: ComputeForward) -> None:
        assert self._met is not None
        arguments, denoiser = self._met.receive(request.arguments, 0), self._denoisers[request.model]
        if request.parts:
            set_gathering(denoiser, request.gathers)
        try:
            with sharing_tokens(denoiser, self._met, request.degree):
                output = denoiser(**arguments)
            devices.synchronize(self._device)
            done = RankDone(output=describe(output, []) if request.answers else None)
        except Exception as error:
            self._fail(error, lost=is_lost(error), shared=request.degree > 1 or request.parts)
            return
        # Outside: with tensors half received or half sent rank 0 would take the next ones for these.
        self._channel.send(done)
        if request.answers:
            self._met.send(output, 0)

    def _fail(self, error: Exception, *, lost: bool, shared: bool = False) -> None:
        """Tell rank 0, and end the process where it is lost, or where others wait for it in a shared forward."""
        logger.error("A request of rank 0 failed.", exc_info=error)
        self._channel.send(RankFailed(sentence=_sentence(error), out_of_memory=is_out_of_memory(error), lost=lost))
        if lost or shared:
            # Closed connections free the others.
            os._exit(EXIT_CODE)
        drop_frames(error)


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
