"""A plan needs its weights and what grows with the pixels; the figures are published peaks of whole processes."""

from dataclasses import replace

import pytest
import torch

from imageserver.engine.devices.memory_needs import ModelWeights, decoding_bytes, need_of
from imageserver.engine.devices.memory_plans import BY_NAME, PLANS

GB = 1e9
MEGAPIXEL = 1024 * 1024
STOCK_VAE = decoding_bytes({"_class_name": "AutoencoderKL", "block_out_channels": [128, 256]}, torch.bfloat16)


def model(transformer: float, text_encoder: float, vae: float = 0.17, **more: object) -> ModelWeights:
    """Return the weights of a model by the gigabytes of its parts."""
    parts = {"transformer": int(transformer * GB), "text_encoder": int(text_encoder * GB), "vae": int(vae * GB)}
    return ModelWeights(parts, decoding=STOCK_VAE, **more)  # type: ignore[arg-type]


Z_IMAGE, FLUX = model(12.3, 8.0), model(23.8, 9.8)


def needs(plan: str, weights: ModelWeights, *, tiled: bool = False) -> float:
    """Return the gigabytes that a plan needs on the device for a megapixel in bfloat16."""
    return need_of(BY_NAME[plan], weights, torch.bfloat16, MEGAPIXEL, tiled=tiled).device / GB  # type: ignore[index]


@pytest.mark.parametrize(
    ("plan", "weights", "tiled", "published"),
    [
        ("full", Z_IMAGE, False, 24.87),
        ("model-offload", Z_IMAGE, False, 13.5),
        ("int8", Z_IMAGE, False, 16.7),
        ("int8-offload", Z_IMAGE, False, 8.5),
        ("group-offload", Z_IMAGE, True, 4.7),
        ("sequential-offload", Z_IMAGE, True, 2.4),
        ("full", FLUX, False, 37.0),
        ("model-offload", FLUX, False, 24.0),
        ("full", model(12.7, 17.6), False, 35.0),
    ],
)
def test_needs_are_near_published_peaks(plan: str, weights: ModelWeights, tiled: bool, published: float) -> None:
    assert needs(plan, weights, tiled=tiled) == pytest.approx(published, rel=0.12)


@pytest.mark.parametrize("weights", [Z_IMAGE, FLUX])
def test_what_a_vae_takes_decides_no_plan_of_a_large_model_because_tiles_count_as_fitting(
    weights: ModelWeights,
) -> None:
    modest, hungry = replace(weights, decoding=STOCK_VAE / 10), replace(weights, decoding=STOCK_VAE * 10)
    assert [needs(each.name, modest, tiled=True) for each in PLANS] == [
        needs(each.name, hungry, tiled=True) for each in PLANS
    ]
    assert needs("full", modest) < needs("full", hungry)


def test_a_file_that_is_quantized_already_is_not_counted_as_if_it_shrank_again() -> None:
    gguf = model(5.0, 8.0, fixed=frozenset({"transformer"}))
    assert needs("int8", gguf, tiled=True) == pytest.approx(5.0 + 0.53 * 8.0 + 0.17 + 1.2, rel=0.01)
    assert needs("nf4", gguf) - needs("nf4", model(5.0, 8.0)) == pytest.approx(5.0 * (1 - 0.325), rel=0.01)


def test_only_the_text_encoder_leaves_the_card_where_it_alone_is_offloaded() -> None:
    assert needs("full", Z_IMAGE) - needs("encoder-offload", Z_IMAGE) == pytest.approx(8.0, rel=0.01)
    need = need_of(BY_NAME["encoder-offload"], Z_IMAGE, torch.bfloat16, MEGAPIXEL)
    assert need.ram == pytest.approx(1.1 * 8.0 * GB, rel=0.01)


def test_whole_models_need_the_ram_of_their_largest_file() -> None:
    weights = model(12.3, 8.0, largest_file=int(9.9 * GB))
    ram = {plan.name: need_of(plan, weights, torch.bfloat16, MEGAPIXEL).ram for plan in PLANS}
    assert ram["full"] == ram["int8"] == ram["nf4"] == 9.9 * GB
    assert ram["full"] < ram["int8-offload"] < ram["model-offload"]


def test_the_decoder_is_never_quantized() -> None:
    assert needs("int8", ModelWeights({"vae": int(GB)})) == needs("full", ModelWeights({"vae": int(GB)}))


def test_decoding_takes_what_the_vae_is_made_of() -> None:
    qwen = {"_class_name": "AutoencoderKLQwenImage", "base_dim": 96, "dim_mult": [1, 2, 4, 4]}
    # Measured on an H100: 2.22 GiB at 1328 x 1328.
    assert decoding_bytes(qwen, torch.bfloat16) * 1328**2 == pytest.approx(2.22 * 1024**3, rel=0.02)
    assert decoding_bytes(qwen, torch.float32) == 2 * decoding_bytes(qwen, torch.bfloat16)
    # diffusers decodes SDXL's in float32 where the model is float16.
    sdxl = {"block_out_channels": [128], "force_upcast": True}
    assert decoding_bytes(sdxl, torch.float16) == 2 * decoding_bytes(sdxl, torch.bfloat16)
    flux2 = {"block_out_channels": [128, 256], "decoder_block_out_channels": [96, 192]}
    assert decoding_bytes(flux2, torch.bfloat16) == 0.75 * STOCK_VAE
