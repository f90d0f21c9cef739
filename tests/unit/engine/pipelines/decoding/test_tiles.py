"""A decoding that does not fit is tried in tiles, once, and the client is told; a bit-exact one never is."""

from typing import Any

import pytest
import torch

from imageserver.engine.pipelines.decoding.tiles import IN_TILES, current_warnings, decode_in_tiles_when_full
from imageserver.engine.runner.pipeline_runner import with_stock_vae


class Vae:
    """Fits in tiles only."""

    def __init__(self, fits_in_tiles: bool = True) -> None:
        self.use_tiling = False
        self.fits_in_tiles = fits_in_tiles
        self.tries: list[bool] = []

    def enable_tiling(self) -> None:
        self.use_tiling = True

    def disable_tiling(self) -> None:
        self.use_tiling = False

    def decode(self, latents: str) -> str:
        self.tries.append(self.use_tiling)
        if not (self.use_tiling and self.fits_in_tiles):
            raise torch.OutOfMemoryError("full")
        return f"{latents} in tiles"

    def encode(self, image: str) -> str:
        return image


class Released:
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_what_does_not_fit_is_decoded_in_tiles_and_the_client_is_told() -> None:
    vae, released, notes = Vae(), Released(), []  # type: tuple[Any, Released, list[str]]
    decode_in_tiles_when_full(vae, released)
    token = current_warnings.set(notes)
    assert vae.decode("image") == "image in tiles"
    current_warnings.reset(token)
    assert (vae.tries, released.times, notes) == ([False, True], 1, [IN_TILES])
    assert vae.use_tiling is False


def test_what_does_not_fit_in_tiles_either_fails_and_the_next_is_tried_whole_again() -> None:
    vae: Any = Vae(fits_in_tiles=False)
    decode_in_tiles_when_full(vae, lambda: None)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            vae.decode("image")
    assert vae.tries == [False, True, False, True]


def test_a_bit_exact_image_is_never_decoded_in_tiles() -> None:
    vae: Any = Vae()
    decode_in_tiles_when_full(vae, lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        with_stock_vae(vae).decode("image")
    assert vae.tries == [False]


def test_other_errors_are_not_retried() -> None:
    class Broken(Vae):
        def decode(self, latents: str) -> str:
            self.tries.append(self.use_tiling)
            raise RuntimeError("broken")

    vae: Any = Broken()
    decode_in_tiles_when_full(vae, lambda: None)
    with pytest.raises(RuntimeError):
        vae.decode("image")
    assert vae.tries == [False]
