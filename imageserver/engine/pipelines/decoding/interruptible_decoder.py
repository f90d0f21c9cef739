"""Let others go first between two layers of a VAE's decoder.

On two CPU cores decoding an image of 1328 x 1328 takes a second, in which a small image could have been finished. The
same modules run in the same order, so no bit changes.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import greenlet
import torch

from imageserver.engine.pipelines.suspension import Track

# Giving up a shorter turn would cost small images more than it gives to others.
MIN_TURN_SECONDS = 0.05
# Relative to the decoding that it interrupts: both hold their activations meanwhile.
MAX_SIZE = 0.5


@dataclass(frozen=True)
class _Decoding:
    track: Track
    size: int


class InterruptibleDecoder:
    """Suspends tracks inside of a VAE's decoder; only a much smaller image may begin meanwhile."""

    def __init__(self, vae: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._vae = vae
        self._clock = clock
        # The one that was interrupted first in front.
        self._under_way: list[_Decoding] = []
        self._turn_began = 0.0
        self._stock: Callable[..., Any] = vae.decoder.forward
        vae.decoder.forward = self._decode
        layers = [module for module in vae.decoder.modules() if not any(module.children())]
        for layer in layers:
            layer.register_forward_pre_hook(lambda *_: self._give_up_turn())

    def _decode(self, latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        track = greenlet.getcurrent()
        # Tiles and frames share state that belongs to the VAE.
        shared = getattr(self._vae, "use_tiling", False) or options.get("feat_cache") is not None or arguments
        if shared or not isinstance(track, Track):
            return self._stock(latents, *arguments, **options)
        with self._registered(_Decoding(track, latents.numel())):
            decoded = self._stock(latents, **options)
            # What follows visits every pixel several times.
            self._give_up_turn()
            return decoded

    @contextlib.contextmanager
    def _registered(self, decoding: _Decoding) -> Iterator[None]:
        while self._obstacle(decoding) is not None:
            decoding.track.let_others_go_first(lambda: self._obstacle(decoding))
        self._under_way.append(decoding)
        self._turn_began = self._clock()
        try:
            yield
        finally:
            self._under_way.remove(decoding)

    def _obstacle(self, decoding: _Decoding) -> Track | None:
        """Return the track that must end its decoding before this one begins."""
        last = self._under_way[-1] if self._under_way else None
        return last.track if last is not None and decoding.size > MAX_SIZE * last.size else None

    def _give_up_turn(self) -> None:
        track = greenlet.getcurrent()
        if not any(each.track is track for each in self._under_way):
            return
        if self._clock() - self._turn_began < MIN_TURN_SECONDS:
            return
        track.let_others_go_first()
        self._turn_began = self._clock()
