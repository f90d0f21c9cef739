"""What a request's LoRAs recommend stands in for what the request leaves open."""

import json

import pytest

from imageserver.api.inputs.generate_request import parse, resolve
from imageserver.api.inputs.loras import LoraChoice, read_stack
from imageserver.errors import InvalidParameter
from imageserver.lora_folder import LoraFolder
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None, max_steps=20)


@pytest.fixture
def folder(tmp_path):
    profiles = {
        "quick": {"num_inference_steps": 4, "true_cfg_scale": 1.0, "scheduler": "Euler", "scale": 0.9},
        "slow": {"num_inference_steps": 90},
        "plain": {},
    }
    for name, profile in profiles.items():
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
        (tmp_path / f"{name}.json").write_text(json.dumps(profile))
    return LoraFolder(tmp_path)


def resolved(folder, *names, **fields):
    body = parse({"prompt": "x", "loras": [{"name": name} for name in names], **fields}, SETTINGS)
    return resolve(body, SETTINGS, None, stack=read_stack(body.loras, folder))[0]


def test_a_profile_gives_the_defaults(folder):
    generation = resolved(folder, "quick")
    assert (generation.steps, generation.true_cfg_scale, generation.scheduler) == (4, 1.0, "Euler")
    assert [(lora.name, lora.scale) for lora in generation.loras] == [("quick", 0.9)]


def test_what_the_request_says_goes_first(folder):
    generation = resolved(folder, "quick", num_inference_steps=7, true_cfg_scale=2.5, scheduler="Heun")
    assert (generation.steps, generation.true_cfg_scale, generation.scheduler) == (7, 2.5, "Heun")


def test_a_profile_does_not_exceed_the_servers_limit(folder):
    assert resolved(folder, "slow").steps == 20


def test_the_order_of_a_stack_does_not_matter(folder):
    assert resolved(folder, "slow", "plain", "quick") == resolved(folder, "quick", "slow", "plain")


def test_a_lora_without_a_profile_changes_no_default(folder):
    default = resolve(parse({"prompt": "x"}, SETTINGS), SETTINGS, None)[0]
    assert (resolved(folder, "plain").steps, resolved(folder, "plain").true_cfg_scale) == (
        default.steps, default.true_cfg_scale
    )  # fmt: skip
    assert resolved(folder, "plain").loras[0].scale == 1.0


def test_one_lora_is_named_once(folder):
    with pytest.raises(InvalidParameter, match="'plain' is named twice"):
        read_stack([LoraChoice(name="plain"), LoraChoice(name="plain", scale=0.5)], folder)


@pytest.mark.parametrize(
    "loras",
    [[{"name": ""}], [{"scale": 1}], [{"name": "plain", "scale": 11}], [{"name": "x", "y": 1}], ["plain"], "plain"],
)
def test_what_is_no_stack_is_refused_by_name(loras):
    with pytest.raises(InvalidParameter) as refused:
        parse({"prompt": "x", "loras": loras}, SETTINGS)
    assert refused.value.param.partition("[")[0] == "loras"
