"""One image is decoded without the video model's copies, to the same bits."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.engine.pipelines.suspension import Track


@pytest.fixture
def installed() -> Iterator[None]:
    single_frame_vae.install()
    yield
    single_frame_vae.install()


def test_an_image_that_is_suspended_in_the_stock_arithmetic_leaves_the_others_theirs(installed: None) -> None:
    def decode() -> None:
        with single_frame_vae.stock_arithmetic():
            seen.append(single_frame_vae.active())
            track.let_others_go_first()
            seen.append(single_frame_vae.active())

    seen: list[bool] = []
    track = Track(0, 0, decode)
    track.begin()
    assert single_frame_vae.active()
    with single_frame_vae.stock_arithmetic():
        pass
    track.resume(None)
    assert seen == [False, False]


def test_one_frame_is_decoded_to_the_same_bits_without_keeping_anything_for_later_ones(
    pipeline: QwenImagePipeline, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = pipeline.vae
    latents = torch.randn(1, vae.config.z_dim, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    kept: list[object] = []
    stock_forward = type(vae.decoder).forward

    def forward(self: object, x: torch.Tensor, feat_cache: object = None, feat_idx: object = None) -> torch.Tensor:
        kept.append(feat_cache)
        return stock_forward(self, x, feat_cache, feat_idx or [0])

    monkeypatch.setattr(type(vae.decoder), "forward", forward)
    with torch.no_grad(), single_frame_vae.stock_arithmetic():
        ours = vae.decode(latents, return_dict=False)[0]
        single_frame_vae.uninstall()
        theirs = vae.decode(latents, return_dict=False)[0]
    assert torch.equal(ours, theirs)
    assert kept[0] is None
    assert kept[1] is not None
