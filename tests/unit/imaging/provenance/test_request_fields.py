"""The request in an image's metadata makes the same image again, whatever fields the first one had."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask, g
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from imageserver.api.generation.build_request import build_request, parse_request
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import ServiceError
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.imaging.provenance.request_fields import request_fields
from imageserver.lora_folder import LoraFile
from imageserver.lora_metadata import LoraMetadata
from imageserver.lora_profiles import LoraProfile
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies

SCHEDULERS = {"Euler": "EulerX", "Heun": "HeunX"}
QWEN = ModelInfo(
    name="demo", positive_magic={"en": ", Ultra HD", "zh": ", 超清"}, schedulers=SCHEDULERS, sampler="Euler"
)
FLUX = ModelInfo(
    name="flux", guidance="guidance_scale", transparency=True, default_size=(96, 64), sampler="Flow", default_steps=4
)
PROFILES = {
    "night": LoraProfile(),
    "fast": LoraProfile(num_inference_steps=4, true_cfg_scale=1.0, scheduler="Heun", scale=0.7),
}
WHOLE = st.integers(1, 150)
SIDES = st.integers(64, 2048)
LORA = st.fixed_dictionaries({"name": st.sampled_from(list(PROFILES))}, optional={"scale": st.floats(-10, 10)})
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)

# What may decide the pixels of an image from text alone.
VARIED = {
    "prompt": st.one_of(TEXT, st.sampled_from(["a (wolf:1.2)", "a wolf, Ultra HD", "狼, 超清", ", Ultra HD"])),
    "negative_prompt": TEXT | st.just("(blurred)"),
    "num_inference_steps": st.none() | WHOLE,
    "true_cfg_scale": st.none() | st.floats(0, 50),
    "guidance_scale": st.none() | st.floats(0, 50),
    "seed": st.none() | st.integers(-1, 2**64 - 11),
    "n": st.integers(1, 10),
    "output_format": st.sampled_from(["png", "jpeg", "webp"]),
    "output_compression": st.none() | st.integers(0, 100),
    "model": st.none(),
    "scheduler": st.sampled_from([None, "Euler", "Heun", "HeunX"]),
    "loras": st.none() | st.lists(LORA, max_size=2, unique_by=lambda lora: lora["name"]),
    "deterministic": st.booleans(),
    "aspect_ratio": st.sampled_from(["1:1", "16:9", "s1:1"]),
    "width": st.none() | SIDES,
    "height": st.none() | SIDES,
    "size": st.none() | st.tuples(SIDES, SIDES).map("{0[0]}x{0[1]}".format),
    "language": st.sampled_from(["en", "zh"]),
    "positive_magic": st.booleans(),
    "add_overlay": st.booleans(),
    "quality": st.sampled_from(["exact", "high", "fast"]),
    "background": st.sampled_from([None, "auto", "opaque", "transparent"]),
    "emphasis": st.booleans(),
    "upscale": st.none() | st.floats(1, 4, exclude_min=True),
    "upscale_strength": st.none() | st.floats(0, 1),
    "upscale_steps": st.none() | WHOLE,
}
# How an image is waited for and answered, and what needs images, which are not kept.
FREE = {"priority", "cache", "timeout", "save_to_file"}
# The prompt that it has led to is kept instead.
LED_TO_PROMPT = {"enhance"}
WITH_IMAGES = {
    "image", "mask", "strength", "layers", "control_image", "control_preprocessor", "controlnet_conditioning_scale",
    "control_guidance_start", "control_guidance_end", "controls",
}  # fmt: skip
BODIES = st.fixed_dictionaries(
    {"prompt": VARIED["prompt"]},
    optional={name: each for name, each in VARIED.items() if name not in ("prompt", "width", "height", "size")},
).flatmap(
    lambda body: st.one_of(
        st.just(body),
        st.builds(lambda size: body | {"size": size}, VARIED["size"]),
        st.builds(lambda width, height: body | {"width": width, "height": height}, SIDES, SIDES),
    )
)


def lora_file(name):
    return LoraFile(name, Path(name), f"digest of {name}", 1, PROFILES[name], LoraMetadata())


SERVICE = SimpleNamespace(
    settings=Settings(_env_file=None),
    thread_pool=ThreadPool(1),
    proxies=TrustedProxies(""),
    # The owner gives both models a LoRA.
    registry={name: SimpleNamespace(loras={"night": 0.5}) for name in ("demo", "flux")},
    loras=SimpleNamespace(find=lora_file),
    output_sealer=None,
    output_signer=None,
    decoding_memory=SimpleNamespace(reserve=lambda *_: contextlib.nullcontext()),
)
APP = Flask("request fields")
APP.extensions[EXTENSION] = SERVICE


def made(body, info):
    with APP.test_request_context():
        g.arrived = time.monotonic()
        parsed = parse_request(SERVICE, body, Headers(), dialect="native", prompt_required=False)
        return build_request(SERVICE, 1, parsed, info).request


def pixels_of(request):
    """Return all that decides the pixels of its first image, and how they are encoded."""
    options = request.output_options
    encoding = (options.output_format, options.compression, options.aspect_ratio_name is None)
    return replace(request.generation, count=1), encoding


def fields_of(request, info):
    options = request.output_options
    return request_fields(
        request.generation,
        info,
        seed=request.generation.seed,
        output_format=options.output_format,
        compression=options.compression,
        overlay=options.aspect_ratio_name is not None,
    )


def test_no_field_is_forgotten():
    assert VARIED.keys() | FREE | LED_TO_PROMPT | WITH_IMAGES == GenerateBody.model_fields.keys()


@pytest.mark.parametrize("info", [QWEN, FLUX], ids=lambda info: info.name)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(body=BODIES)
@example(body={"prompt": "a wolf", "loras": []})
@example(body={"prompt": "a wolf", "loras": [{"name": "fast"}], "scheduler": "Euler"})
@example(body={"prompt": "a wolf", "width": 64, "height": 2048, "upscale": 1.5117})
@example(body={"prompt": "a wolf", "width": 64, "height": 192, "upscale": 96.5 / 64})
@example(body={"prompt": "a wolf", "width": 64, "height": 64, "upscale": 1.001})
def test_an_image_s_request_makes_the_same_image_again(body, info):
    try:
        first = made(body, info)
    except ServiceError:
        assume(False)
    assert pixels_of(made(fields_of(first, info), info)) == pixels_of(first)


def test_the_prompt_is_kept_as_it_was_written():
    written = {"prompt": "a wolf", "positive_magic": True, "language": "zh"}
    assert written.items() <= fields_of(made(written, QWEN), QWEN).items()
    assert fields_of(made({"prompt": "a wolf", "positive_magic": False}, QWEN), QWEN)["positive_magic"] is False


def test_a_better_prompt_is_kept_so_that_the_image_needs_no_language_model_again():
    able = replace(QWEN, enhances=True)
    outcome = Outcome(
        width=64, height=64, seeds=(1,), inference_time=0.0, queue_time=0.0, batch_size=1, revised_prompt="A grey wolf"
    )
    asked = made({"prompt": "wolf", "enhance": True}, able)
    first = replace(asked, generation=asked.generation.as_generated(outcome))
    assert first.generation.prompt == "A grey wolf" + QWEN.positive_magic["en"]
    again = made(fields_of(first, QWEN), QWEN)
    assert again.generation == replace(first.generation, enhancement=None)


def test_a_layered_models_default_number_of_layers_is_written_down():
    generation = Generation(
        prompt="a cat", negative_prompt="", width=640, height=640, steps=4, true_cfg_scale=1.0, seed=1
    )
    for layers, written in ((0, 4), (2, 2)):
        fields = request_fields(
            replace(generation, layers=layers), replace(QWEN, layers=4), seed=1, output_format="png", compression=None,
            overlay=False,
        )  # fmt: skip
        assert fields["layers"] == written
