"""Form the batch of a forward from the waiting denoiser calls, and compute it."""

import itertools
from collections.abc import Sequence
from typing import Any

from imageserver.engine.batching.running_job import RunningJob
from imageserver.engine.pipelines.merger import Arguments, Merger
from imageserver.engine.pipelines.suspension import Track

# Padding that costs more of a forward than this is not worth a merge.
MAX_PADDING = 0.15

# A job and the track of its image whose denoiser call waits.
WaitingCall = tuple[RunningJob, Track]


def form_batch(ranked: Sequence[WaitingCall]) -> list[WaitingCall]:
    """Return the calls of the next forward, the first of `ranked` and those that may join it."""
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
    chosen = companions(model.merger, arguments_of(track), [arguments_of(other) for _, other in others], cap)
    return [ranked[0], *(others[index] for index in chosen)]


def compute(batch: Sequence[WaitingCall]) -> list[Any]:
    """Return each call's result; a single call passes unchanged and is bit-equal to the plain pipeline."""
    calls = [arguments_of(track) for _, track in batch]
    job, track = batch[0]
    model = job.model
    if model.adapters is not None:
        model.adapters.use(job.generation.loras)
    if job.generation.quality != "exact" and model.tiers is not None:
        assert track.waiting is not None
        name = f"{track.index}/{track.waiting.name}"
        return [model.tiers.forward(job.id, name, job.generation, calls[0])]
    forward = model.forward_for(job.generation)
    if len(calls) == 1:
        return [forward(**calls[0])]
    assert model.merger is not None
    sizes = [model.merger.batch_size(call) for call in calls]
    return split(forward(**model.merger.merge(calls)), sizes)


def companions(merger: Merger, leader: Arguments, others: Sequence[Arguments], cap: int) -> list[int]:
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
        if index not in chosen and _padding(merger, leader, others[index]) <= MAX_PADDING:
            chosen.append(index)
    return sorted(chosen)


def tokens_of(merger: Merger, call: Arguments) -> int:
    """Return the tokens of a call's images, sources included: they decide its memory, texts add little."""
    return merger.batch_size(call) * (merger.token_count(call) - merger.text_length(call))


def split(output: Any, sizes: Sequence[int]) -> list[Any]:
    """Return each call's part of a forward's `(rows,)`, a tensor with the batch in front or a list of images."""
    ends = list(itertools.accumulate(sizes))
    return [(output[0][end - size : end],) for end, size in zip(ends, sizes, strict=True)]


def _padding(merger: Merger, leader: Arguments, other: Arguments) -> float:
    difference = abs(merger.text_length(leader) - merger.text_length(other))
    return difference / max(merger.token_count(leader), merger.token_count(other))


def arguments_of(track: Track) -> Any:
    assert track.waiting is not None
    return track.waiting.arguments
