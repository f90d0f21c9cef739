"""Only what will be loaded is chosen of a hub's files: no second format, nothing that is left out or replaced."""

import pytest

from imageserver.engine.downloads.file_choice import component_files, pipeline_files

# The files of stable-diffusion-xl-base-1.0 that matter, with their published sizes; small files are shortened to 1.
SDXL = {
    "README.md": 1,
    "model_index.json": 1,
    "sd_xl_base_1.0.safetensors": 6_938_078_334,
    "scheduler/scheduler_config.json": 1,
    "text_encoder/config.json": 1,
    "text_encoder/flax_model.msgpack": 492_243_242,
    "text_encoder/model.fp16.safetensors": 246_144_152,
    "text_encoder/model.safetensors": 492_265_168,
    "text_encoder_2/config.json": 1,
    "text_encoder_2/model.fp16.safetensors": 1_389_382_176,
    "text_encoder_2/model.safetensors": 2_778_702_264,
    "tokenizer/merges.txt": 1,
    "tokenizer/vocab.json": 1,
    "tokenizer_2/merges.txt": 1,
    "unet/config.json": 1,
    "unet/diffusion_pytorch_model.fp16.safetensors": 5_135_149_760,
    "unet/diffusion_pytorch_model.safetensors": 10_270_077_736,
    "unet/model.onnx": 7_340_254,
    "vae/config.json": 1,
    "vae/diffusion_pytorch_model.fp16.safetensors": 167_335_342,
    "vae/diffusion_pytorch_model.safetensors": 334_643_268,
    "vae_1_0/config.json": 1,
    "vae_1_0/diffusion_pytorch_model.safetensors": 334_643_268,
}
SDXL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    **{
        name: ["library", "Class"]
        for name in ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae")
    },
    "feature_extractor": [None, None],
}
SHARDS = {f"transformer/diffusion_pytorch_model-0000{n}-of-00002.safetensors": 10_000_000_000 for n in (1, 2)}
QWEN = {
    "model_index.json": 1,
    "transformer/config.json": 1,
    "transformer/diffusion_pytorch_model.safetensors.index.json": 1,
    **SHARDS,
    "vae/config.json": 1,
    "vae/diffusion_pytorch_model.safetensors": 254_000_000,
}
QWEN_INDEX = {"transformer": ["diffusers", "Transformer"], "vae": ["diffusers", "VAE"]}


def chosen(files, index, present=(), *, left_out=(), replaced=(), half=True):
    return pipeline_files(files, present, index, left_out=left_out, replaced=replaced, half=half)


def gigabytes(files, names):
    return sum(files[name] for name in names) / 1e9


def test_of_sdxl_half_the_bytes_are_fetched_where_the_weights_have_16_bits():
    names = chosen(SDXL, SDXL_INDEX)
    assert gigabytes(SDXL, names) == pytest.approx(6.94, abs=0.01)
    assert all(".fp16." in name for name in names if name.endswith(".safetensors"))
    assert {"tokenizer/merges.txt", "unet/config.json", "scheduler/scheduler_config.json"} <= names


def test_in_float32_the_whole_weights_are_fetched_and_nothing_beside_them():
    names = chosen(SDXL, SDXL_INDEX, half=False)
    assert gigabytes(SDXL, names) == pytest.approx(13.88, abs=0.01)
    assert not any(
        ".fp16." in name or name.startswith("vae_1_0") or "/" not in name for name in names - {"model_index.json"}
    )


def test_weights_that_are_on_the_disk_are_not_fetched_in_another_format():
    assert not any(".fp16." in name for name in chosen(SDXL, SDXL_INDEX, present=SDXL.keys()))
    half_of_it = [name for name in SDXL if name.startswith("unet/")]
    names = chosen(SDXL, SDXL_INDEX, present=half_of_it)
    assert "unet/diffusion_pytorch_model.safetensors" in names
    assert "vae/diffusion_pytorch_model.fp16.safetensors" in names


def test_a_variant_that_is_not_smaller_is_not_taken_instead_of_the_weights_themselves():
    files = QWEN | {"vae/diffusion_pytorch_model.fp16.safetensors": 253_000_000}
    assert "vae/diffusion_pytorch_model.fp16.safetensors" not in chosen(files, QWEN_INDEX)


def test_a_component_that_is_left_out_is_not_fetched_at_all():
    index = SDXL_INDEX | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    files = SDXL | {"safety_checker/config.json": 1, "safety_checker/model.safetensors": 1_216_000_000}
    assert not any(name.startswith("safety_checker") for name in chosen(files, index, left_out={"safety_checker"}))
    assert "safety_checker/model.safetensors" in chosen(files, index)


def test_of_a_transformer_that_a_file_replaces_only_the_configuration_is_fetched():
    names = chosen(QWEN, QWEN_INDEX, replaced={"transformer"})
    assert names == {
        "model_index.json", "transformer/config.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    assert set(SHARDS) <= chosen(QWEN, QWEN_INDEX)


def test_shards_come_with_their_own_index_and_without_the_other_ones():
    files = QWEN | {name.replace("model-", "model.fp16-"): size // 2 for name, size in SHARDS.items()}
    files["transformer/diffusion_pytorch_model.safetensors.index.fp16.json"] = 1
    names = {name for name in chosen(files, QWEN_INDEX) if name.startswith("transformer/")}
    assert len(names) == 4
    assert all("fp16" in name for name in names - {"transformer/config.json"})
    assert not any("fp16" in name for name in chosen(files, QWEN_INDEX, half=False))


def test_pickles_and_what_training_left_are_never_chosen():
    files = QWEN | {
        "vae/diffusion_pytorch_model.bin": 1,
        "vae/diffusion_pytorch_model.bin.index.json": 1,
        "vae/diffusion_pytorch_model.non_ema.safetensors": 254_000_000,
        "vae/train.py": 1,
    }
    assert chosen(files, QWEN_INDEX) == chosen(QWEN, QWEN_INDEX)


def test_a_single_component_has_its_weights_at_the_top_under_any_name():
    files = {
        "config.json": 1,
        "all-in-one.safetensors": 9,
        "model.fp16.safetensors": 9,
        "model.bin": 9,
        "merges.txt": 1,
    }
    assert component_files(files, ()) == {"config.json", "all-in-one.safetensors", "merges.txt"}
