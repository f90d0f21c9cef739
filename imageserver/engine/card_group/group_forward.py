"""The forwards of one model on a group of cards; alone where a card is lost."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.context_parallel import sharing_tokens
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import ComputeForward, RankDone, RankFailed
from imageserver.engine.card_group.process_group import ProcessGroup
from imageserver.engine.card_group.rank_process import CardLost, RankProcess
from imageserver.engine.card_group.shares import Share, divide
from imageserver.engine.card_group.values import NotTransferable, describe
from imageserver.engine.devices import devices
from imageserver.engine.pipelines.merger import Arguments, Merger, RowMerger

logger = logging.getLogger(__name__)

# Within this time a rank's death is known.
LOSS_SECONDS = 0.5
RECOMPUTED = "A card of the group was lost meanwhile; its part was computed again by another."

Forward = Callable[..., Any]


class SharingFailed(Exception):
    """Ranks that share the tokens of a forward have failed in it, and are no longer in step."""


class RankError(RuntimeError):
    """A rank has failed in a forward that it computed alone, and is still in step."""


class GroupForward:
    """Computes calls on all cards of a group: each card some of the calls, or a part of the tokens of one."""

    def __init__(
        self, group: CardGroup, model: str, denoiser: Any, forward: Forward, merger: Merger, copies: LoraCopies
    ) -> None:  # fmt: skip
        """`forward` computes on rank 0 alone."""
        self._group = group
        self._model = model
        self._denoiser = denoiser
        self._forward = forward
        self._merger = merger
        self._copies = copies
        self._met: ProcessGroup | None = None
        # How many tokens a call needs before so many ranks share them; measured at the start.
        self.shared_from: dict[int, int] = {}
        self.takes_part = True

    @property
    def size(self) -> int:
        """How many calls can be computed at a time."""
        return self._group.size if self.takes_part else 1

    def compute(self, calls: Sequence[Arguments]) -> tuple[list[Any], str]:
        """Return each call's result, and a sentence for the clients where a card was lost meanwhile.

        Where there are more cards than calls, a call with several rows is taken apart.
        """
        merger = self._merger
        if not isinstance(merger, RowMerger) or len(calls) >= self.size:
            return self._compute(calls)
        rows = [merger.rows(call) for call in calls]
        try:
            outputs, warning = self._compute([row for call in rows for row in call])
        except RankError as error:
            # Nobody would compute it again: other calls that fail together are repeated one by one.
            logger.warning("%s computes a forward again: %s.", self._group.devices[0], error)
            return [self._forward(**call) for call in calls], ""
        return [_joined([outputs.pop(0) for _ in call]) for call in rows], warning

    def _compute(self, calls: Sequence[Arguments]) -> tuple[list[Any], str]:
        shares = self._divide(calls)
        if shares[-1].ranks == (0,):
            return self._alone(calls, shares), ""
        try:
            return self._on_cards(calls, shares), ""
        except NotTransferable as error:
            logger.info("%s computes on one card alone from now on: %s.", self._model, error)
            self.takes_part = False
            return self._alone(calls, shares), ""
        except SharingFailed as error:
            # It might fail again, after every start of the ranks.
            self.shared_from.clear()
            self._group.break_up(str(error))
        except CardLost as error:
            self._group.break_up(str(error))
        return self._alone(calls, shares), RECOMPUTED

    def tokens_of(self, call: Arguments) -> int:
        return self._merger.batch_size(call) * self._merger.token_count(call)

    def _divide(self, calls: Sequence[Arguments]) -> list[Share]:
        tokens = self.tokens_of(calls[0])

        def is_worthwhile(degree: int) -> bool:
            return degree in self.shared_from and tokens >= self.shared_from[degree]

        return divide([self._merger.text_length(call) for call in calls], self.size, is_worthwhile)

    def _alone(self, calls: Sequence[Arguments], shares: Sequence[Share]) -> list[Any]:
        """Compute share by share: together they might not fit one card."""
        parts = [self._split(calls, share, self._forward(**self._merged(calls, share))) for share in shares]
        return _in_order(shares, parts)

    def _on_cards(self, calls: Sequence[Arguments], shares: Sequence[Share]) -> list[Any]:
        """Raise CardLost where a rank is gone, SharingFailed where the ranks are no longer in step.

        Any other error leaves them in step.
        """
        met = self._group.process_group
        assert met is not None
        merged = [self._merged(calls, share) for share in shares]
        messages = [self._message(arguments, share) for arguments, share in zip(merged, shares, strict=True)]
        self._prepare(met)
        for share, arguments, message in zip(shares, merged, messages, strict=True):
            for rank in share.ranks:
                if rank != 0:
                    self._ask(rank, share, message, arguments, met)
        outputs: list[Any] = [self._own(merged[0], len(shares[0].ranks), met)]
        outputs += [self._receive(share, met) for share in shares]
        devices.synchronize(met.device)
        if lost := next((process.loss for process in self._group.processes if process.loss), ""):
            raise CardLost(lost)
        if failure := next((output for output in outputs if isinstance(output, Exception)), None):
            raise failure
        self._group.succeeded()
        del outputs[1]  # what the ranks beside rank 0 have answered, which has the result itself
        return _in_order(shares, [self._split(calls, *one) for one in zip(shares, outputs, strict=True)])

    def _prepare(self, met: ProcessGroup) -> None:
        if met is not self._met:
            self._met = met
            self._copies.forget()
        self._copies.send(self._group.processes)

    def _message(self, arguments: Arguments, share: Share) -> ComputeForward:
        return ComputeForward(
            model=self._model, arguments=describe(arguments, []), degree=len(share.ranks), answers=False
        )

    def _ask(self, rank: int, share: Share, message: ComputeForward, arguments: Arguments, met: ProcessGroup) -> None:
        process = self._group.processes[rank - 1]
        process.send(msgspec.structs.replace(message, answers=rank == share.ranks[0]))
        try:
            met.send(arguments, rank)
        except RuntimeError as error:
            raise CardLost(process.loss or f"card {process.device} accepts nothing") from error

    def _own(self, arguments: Arguments, degree: int, met: ProcessGroup) -> Any:
        """Return rank 0's own result, or the error where nobody shares its tokens: the others have yet to answer."""
        try:
            if degree == 1:
                return self._forward(**arguments)
            with sharing_tokens(self._denoiser, met, degree):
                output = self._denoiser(**arguments)
                devices.synchronize(met.device)
                return output
        except Exception as error:
            if degree > 1:
                raise self._explained(f"{type(error).__name__}: {error}") from error
            return error

    def _receive(self, share: Share, met: ProcessGroup) -> Any:
        """Return the result of a share from the rank that answers, or the error; None for what rank 0 has itself."""
        found: Any = None
        for rank in share.ranks:
            if rank == 0:
                continue
            process = self._group.processes[rank - 1]
            answer = process.answer()
            if isinstance(answer, RankFailed):
                sentence = answer.explained(process.device)
                if answer.lost:
                    raise CardLost(sentence)
                if len(share.ranks) > 1:
                    raise self._explained(sentence, process)
                return RankError(sentence)
            if rank == share.ranks[0]:
                try:
                    found = met.receive(answer.output, rank)
                except RuntimeError as error:
                    raise CardLost(process.loss or f"card {process.device} sends nothing") from error
        return found

    def _explained(self, sentence: str, failed: RankProcess | None = None) -> Exception:
        """Return why rank 0, or a rank that has `failed`, says this: any rank may be lost, or have failed before it.

        A rank that fails ends too, and with it the forwards of those that wait for it.
        """
        until = time.monotonic() + LOSS_SECONDS
        failures = [sentence] if failed else []
        for process in self._group.processes:
            if process is failed or not process.is_lost_within(max(0.0, until - time.monotonic())):
                continue
            try:
                while isinstance(answer := process.answer(), RankDone):
                    pass
            except CardLost as lost:
                return lost
            failures.append(answer.explained(process.device))
            if answer.lost:
                return CardLost(failures[-1])
        return SharingFailed(failures[0] if failures else sentence)

    def _merged(self, calls: Sequence[Arguments], share: Share) -> Arguments:
        """Return the arguments of one forward; a single call passes unchanged and is bit-equal to the pipeline's."""
        chosen = [calls[index] for index in share.calls]
        return chosen[0] if len(chosen) == 1 else self._merger.merge(chosen)

    def _split(self, calls: Sequence[Arguments], share: Share, output: Any) -> list[Any]:
        if len(share.calls) == 1:
            return [output]
        ends = [0]
        for index in share.calls:
            ends.append(ends[-1] + self._merger.batch_size(calls[index]))
        return [(output[0][begin:end],) for begin, end in itertools.pairwise(ends)]


def _in_order(shares: Sequence[Share], parts: Sequence[list[Any]]) -> list[Any]:
    """Return the results in the order of the calls."""
    found = {
        index: output
        for share, part in zip(shares, parts, strict=True)
        for index, output in zip(share.calls, part, strict=True)
    }
    return [found[index] for index in sorted(found)]


def _joined(rows: Sequence[Any]) -> Any:
    """Return one result `(rows,)`, a tensor with the batch in front or a list of images."""
    if len(rows) == 1:
        return rows[0]
    parts = [row[0] for row in rows]
    return (torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [image for part in parts for image in part],)
