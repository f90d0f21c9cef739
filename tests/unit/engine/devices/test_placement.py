"""Where plans have the parts of a pipeline."""

import os
import subprocess
import sys

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.devices import placement
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.devices.placement import loading_options, move_to_device, place_of
from tests.support.paths import DEMO_MODEL, OPTIONAL, ROOT

CUDA, CPU = torch.device("cuda", 1), torch.device("cpu")


def test_weights_are_read_straight_to_the_card_of_a_plan_that_keeps_them_there() -> None:
    assert loading_options(BY_NAME["full"], "transformer", "diffusers", CUDA) == {"device_map": {"": CUDA}}
    assert loading_options(BY_NAME["model-offload"], "transformer", "diffusers", CUDA) == {}
    assert loading_options(BY_NAME["full"], "transformer", "diffusers", CPU) == {}


def test_weights_are_quantized_on_the_card_even_where_they_wait_in_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "quantization_of", lambda plan, library: f"{plan.weights} of {library}")
    for name in ("int8", "int8-offload"):
        options = loading_options(BY_NAME[name], "text_encoder", "transformers", CUDA)
        assert options == {"quantization_config": "int8 of transformers", "device_map": {"": CUDA}}
    assert place_of(BY_NAME["int8-offload"], "text_encoder", CUDA) == CPU
    # Quantizing the decoder harms images most.
    assert loading_options(BY_NAME["int8"], "vae", "diffusers", CUDA) == {"device_map": {"": CUDA}}


def test_with_encoder_offload_only_the_text_encoders_wait_in_ram() -> None:
    plan = BY_NAME["encoder-offload"]
    places = {name: place_of(plan, name, CUDA) for name in ("transformer", "vae", "text_encoder", "text_encoder_2")}
    assert places == {"transformer": CUDA, "vae": CUDA, "text_encoder": CPU, "text_encoder_2": CPU}


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        ("group-offload", {"transformer": "block_level", "vae": "leaf_level", "text_encoder": "leaf_level"}),
        ("encoder-offload", {"text_encoder": "leaf_level"}),
    ],
)
def test_only_the_denoiser_is_offloaded_in_blocks(
    pipeline: QwenImagePipeline, monkeypatch: pytest.MonkeyPatch, plan: str, kinds: dict[str, str]
) -> None:
    """A VAE in blocks stayed behind when it was called to encode, a text encoder came as a whole (seen on an H100)."""
    found: dict[object, object] = {}
    monkeypatch.setattr(
        placement, "apply_group_offloading", lambda part, **options: found.update({part: options["offload_type"]})
    )
    move_to_device(pipeline, BY_NAME[plan], CPU)  # type: ignore[index]
    assert found == {pipeline.components[name]: kind for name, kind in kinds.items()}


# As on a card: straight to the device, which is a CPU here.
QUANTIZED = """
import sys
import numpy as np, torch
from tests.support.tiny_models import load
from imageserver.engine.devices import placement
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.settings import Settings

config = placement.quantization_of(BY_NAME["float8"], "diffusers").quant_type
print(type(config).__name__, config.granularity)

def generate(memory):
    model = load(Settings(_env_file=None, model=sys.argv[1], device="cpu", memory=memory), lambda *news: None)
    image = model.pipeline(prompt="a red circle", width=128, height=128, num_inference_steps=2, true_cfg_scale=1.0,
                           generator=torch.Generator().manual_seed(0)).images[0]
    return model.info, np.asarray(image).astype(int)

(full, exact), (facts, image) = generate("full"), generate("int8")
assert facts.device.memory_plan == "int8", facts
print(facts.size_mb / full.size_mb, np.abs(image - exact).mean())
"""


def test_weights_of_eight_bits_generate_nearly_the_same_image() -> None:
    assert (OPTIONAL / "torchao").is_dir(), "run: .venv/bin/python tools/setup_environment.py --dev"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{OPTIONAL}"}
    done = subprocess.run(
        [sys.executable, "-c", QUANTIZED, str(DEMO_MODEL)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Float8DynamicActivationFloat8WeightConfig [PerRow(" in done.stdout
    share, difference = map(float, done.stdout.split()[-2:])
    # The decoder and the embeddings stay as they are.
    assert share < 0.75
    assert 0 < difference < 3
