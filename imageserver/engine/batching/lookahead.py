"""Guidance look-ahead: compute the call that an image makes next beside the one it waits at.

A step with guidance calls the denoiser twice, at the same latents and time with two texts. At the first call the second
is known, so both fit into one forward. The result is handed over when the pipeline asks for it with the same tensors,
which is at once: nothing is kept from one forward to the next.
"""

from collections.abc import Mapping
from typing import Any

import torch

from imageserver.engine.pipelines.call_arguments import copied, same, versions
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.suspension import Call, Track

# A pipeline that changes its texts twice on the way is not foreseeable.
MAX_MISSES = 2
# What the two calls of a step have in common, in every family that makes two.
SHARED = ("hidden_states", "timestep")


class Lookahead:
    """What one image's pipeline is known to call next.

    The pair of texts is what the pipeline encoded, or learnt from two calls in a row at the same latents and time: so
    neither the names of the passes nor their order matter, nor how many pairs a step has.
    """

    def __init__(self, track: Track) -> None:
        self._track = track
        self._before: Arguments | None = None
        self._pair: tuple[Arguments, Arguments] | None = None
        self._misses = 0

    def foresee(self) -> "ForeseenCall | None":
        """Return the call that will follow the one the track waits at, None where that is unknown."""
        assert self._track.waiting is not None
        call = self._track.waiting.arguments
        if self._misses >= MAX_MISSES:
            return None
        if len(texts := self._track.texts[-2:]) == 2:
            self._track.texts.clear()
            self._expect(*texts)
        if self._pair is None:
            self._learn(call)
        if self._pair is None or not same(self._pair[0], {name: call.get(name) for name in self._pair[0]}):
            return None
        return ForeseenCall(self, self._track, {**copied(call), **self._pair[1]})

    def judge(self, *, right: bool) -> None:
        """Keep the pair if it was right; what was wrong must be learnt again."""
        if not right:
            self._misses += 1
            self._pair = None

    def _learn(self, call: Arguments) -> None:
        before, self._before = self._before, copied(call)
        if before is not None and all(name in call and same(before[name], call[name]) for name in SHARED):
            self._expect(before, call)

    def _expect(self, first: Arguments, second: Arguments) -> None:
        """Foresee `second` after every call that has the arguments of `first` in which they differ."""
        changed = [name for name in {**first, **second} if not same(first.get(name), second.get(name))]
        # A mask may be missing from one of them.
        if changed and all(isinstance(second.get(name), torch.Tensor | None) for name in changed):
            self._pair = (_part(first, changed), _part(second, changed))
            self._before = None


class ForeseenCall:
    """A call that a track has not made yet; beside the track's own call it takes part in a forward like another one."""

    def __init__(self, lookahead: Lookahead, track: Track, arguments: Arguments) -> None:
        self.waiting = Call(arguments)
        self.index = track.index
        self.hit = False
        self._lookahead = lookahead
        self._track = track
        self._versions = versions(arguments)

    def resume(self, output: Any) -> None:
        """Hand the result over if the track now waits at just this call; otherwise it is dropped."""
        foreseen, asked = self.waiting.arguments, self._track.waiting
        self.hit = asked is not None and same(foreseen, asked.arguments) and versions(foreseen) == self._versions
        self._lookahead.judge(right=self.hit)
        if self.hit:
            self._track.resume(output)

    def drop(self) -> None:
        """Take it for wrong: the forward that it was in has failed."""
        self._lookahead.judge(right=False)


def _part(call: Arguments, names: list[str]) -> Mapping[str, Any]:
    return {name: call.get(name) for name in names}
