"""Form the batch of a forward from the waiting denoiser calls, and compute it."""

import itertools
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from imageserver.engine.batching.lookahead import ForeseenCall
from imageserver.engine.batching.running_job import RunningJob
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.pipelines.merger import Arguments, Merger
from imageserver.engine.pipelines.suspension import Track

# Padding that costs more of a forward than this is not worth a merge.
MAX_PADDING = 0.15

# A job and the track of its image whose denoiser call waits, or one that is foreseen.
WaitingCall = tuple[RunningJob, Track]
BatchedCall = tuple[RunningJob, Track | ForeseenCall]


def form_batch(ranked: Sequence[WaitingCall]) -> list[BatchedCall]:
    """Return the calls of the next forward: the first of `ranked`, those that may join it, and foreseen ones."""
    if not ranked:
        return []
    leader, track = ranked[0]
    model = leader.model
    if model.merger is None or not leader.shares_forwards:
        return [ranked[0]]
    cap = model.most_calls(leader.pixels, tokens_of(model.merger, arguments_of(track)))
    if cap <= 1:
        return [ranked[0]]
    others = [entry for entry in ranked[1:] if entry[0].shares_forwards_with(leader)]
    calls, most_padding = [arguments_of(other) for _, other in others], _most_padding(leader)
    chosen = companions(model.merger, arguments_of(track), calls, cap, most_padding)
    return with_foreseen(model, [ranked[0], *(others[index] for index in chosen)], cap)


def with_foreseen(model: ServedModel, batch: Sequence[WaitingCall], cap: int) -> list[BatchedCall]:
    """Return up to `cap` calls: those of a batch, and after each the one that its image is known to make next.

    Where there is room such a call saves a forward, so it may need more padding than a companion, as far as costs show.
    Where there is none, the last call gives way to it, unless its job is shorter: images then advance by whole steps
    one after the other, so the first end earlier.
    """
    assert model.merger is not None
    leader, track = batch[0]
    first, padding_when_full = arguments_of(track), _most_padding(leader)
    worthwhile = model.costs.worthwhile_padding(leader.pixels) if padding_when_full else 0.0
    if model.spreads:
        padding_when_full = math.inf
    waiting, calls = deque(batch), list[BatchedCall]()
    while waiting:
        job, track = waiting.popleft()
        calls.append((job, track))
        full = len(calls) + len(waiting) >= cap
        if full and not (waiting and _gives_way(waiting[-1][0], job)):
            continue
        call = job.lookaheads[track.index].foresee() if job.lookaheads else None
        padding = padding_when_full if full else max(padding_when_full, worthwhile)
        if call is not None and _fits(model.merger, first, call.waiting.arguments, padding):
            if full:
                waiting.pop()
            calls.append((job, call))
    return calls


def compute(batch: Sequence[BatchedCall]) -> list[Any]:
    """Return each call's result; a single call passes unchanged and is bit-equal to the plain pipeline.

    The model uses the LoRAs of the batch already.
    """
    calls = [arguments_of(track) for _, track in batch]
    job, track = batch[0]
    model = job.model
    if job.generation.quality != "exact" and model.tiers is not None:
        assert isinstance(track, Track)
        assert track.waiting is not None
        name = f"{track.index}/{track.waiting.name}"
        return [model.tiers.forward(job.id, name, job.generation, calls[0])]
    if model.cards is not None and job.shares_forwards:
        outputs, warning = model.cards.compute(calls)
        for each in {each.id: each for each, _ in batch}.values() if warning else ():
            each.warnings.append(warning)
        return outputs
    forward = model.forward_for(job.generation)
    if len(calls) == 1:
        return [forward(**calls[0])]
    assert model.merger is not None
    sizes = [model.merger.batch_size(call) for call in calls]
    return split(forward(**model.merger.merge(calls)), sizes)


def companions(
    merger: Merger, leader: Arguments, others: Sequence[Arguments], cap: int, most_padding: float = MAX_PADDING
) -> list[int]:
    """Return the indexes of the calls in `others` that should join `leader`, at most `cap - 1`, in their order.

    Calls with the leader's text length go first: a mask takes attention off its fast path.
    """
    shape, length = merger.shape_of(leader), merger.text_length(leader)
    fitting = [index for index, other in enumerate(others) if merger.shape_of(other) == shape]
    equal = [index for index in fitting if merger.text_length(others[index]) == length]
    chosen = equal[: cap - 1]
    for index in fitting:
        if len(chosen) >= cap - 1:
            break
        if index not in chosen and _padding(merger, leader, others[index]) <= most_padding:
            chosen.append(index)
    return sorted(chosen)


def tokens_of(merger: Merger, call: Arguments) -> int:
    """Return the tokens of a call's images, sources included: they decide its memory, texts add little."""
    return merger.batch_size(call) * (merger.token_count(call) - merger.text_length(call))


def split(output: Any, sizes: Sequence[int]) -> list[Any]:
    """Return each call's part of a forward's `(rows,)`, a tensor with the batch in front or a list of images."""
    ends = list(itertools.accumulate(sizes))
    return [(output[0][end - size : end],) for end, size in zip(ends, sizes, strict=True)]


def _most_padding(leader: RunningJob) -> float:
    """Return how much padding calls may need to join a leader's: none where a mask costs more than they gain."""
    return MAX_PADDING if leader.model.mixes_lengths(leader.pixels) else 0.0


def _gives_way(last: RunningJob, job: RunningJob) -> bool:
    """Whether a call of `last` waits so that `job` gains a forward: not where it is shorter, nor for its own images."""
    return last is not job and last.claim().remaining >= job.claim().remaining


def _fits(merger: Merger, leader: Arguments, call: Arguments, most_padding: float) -> bool:
    return merger.shape_of(call) == merger.shape_of(leader) and _padding(merger, leader, call) <= most_padding


def _padding(merger: Merger, leader: Arguments, other: Arguments) -> float:
    difference = abs(merger.text_length(leader) - merger.text_length(other))
    return difference / max(merger.token_count(leader), merger.token_count(other))


def arguments_of(track: Track | ForeseenCall) -> Any:
    assert track.waiting is not None
    return track.waiting.arguments
