"""Record which texts a pipeline encodes for its denoiser, before the first step.

With guidance there are two, and the denoiser is called with one after the other.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import greenlet

from imageserver.engine.pipelines.suspension import Track
from imageserver.engine.pipelines.types import Pipeline


@contextlib.contextmanager
def recorded_texts(pipeline: Pipeline, names: Sequence[str]) -> Iterator[None]:
    """Record on the current track what `encode_prompt` returns, as the denoiser's arguments `names`.

    `pipeline` is the track's own copy. `encode_prompt` returns one text or several, each as many tensors as there are
    names. Outside any track, and without names, nothing is recorded.
    """
    track = greenlet.getcurrent()
    if not names or not isinstance(track, Track):
        yield
        return
    encode = pipeline.encode_prompt

    def encode_and_record(*arguments: Any, **options: Any) -> Any:
        encoded = encode(*arguments, **options)
        for first in range(0, len(encoded), len(names)):
            track.texts.append(dict(zip(names, encoded[first : first + len(names)], strict=True)))
        return encoded

    pipeline.encode_prompt = encode_and_record
    try:
        yield
    finally:
        del pipeline.encode_prompt
