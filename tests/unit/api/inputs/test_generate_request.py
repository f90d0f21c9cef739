"""What the body of `POST /generate` means."""

import dataclasses
import math

import pytest

from imageserver.api.inputs import generate_request
from imageserver.errors import BadRequest, InvalidParameter
from imageserver.generation import ModelInfo
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None)
INFO = ModelInfo(
    name="loaded", family="qwen", default_steps=8, default_true_cfg_scale=1.5, positive_magic={"en": " Good!"}
)


def resolve(info=None, settings=None, **fields):
    settings = settings or SETTINGS
    body = generate_request.parse({"prompt": "a cat"} | fields, settings)
    return generate_request.resolve(body, settings, info)


def test_defaults_are_the_documented_ones():
    wanted, warnings = resolve()
    assert (wanted.width, wanted.height, wanted.steps, wanted.true_cfg_scale) == (512, 512, 20, 4.0)
    assert (wanted.seed, wanted.count, wanted.negative_prompt, wanted.deterministic) == (42, 1, " ", False)
    assert warnings == []


def test_defaults_of_the_loaded_model_go_before():
    wanted, _ = resolve(INFO)
    assert (wanted.steps, wanted.true_cfg_scale) == (8, 1.5)


def test_zero_guidance_is_a_choice_and_no_default():
    assert resolve(INFO, true_cfg_scale=0)[0].true_cfg_scale == 0


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "a cat, Ultra HD, 4K, cinematic composition."),
        ({"language": "zh"}, "a cat, 超清，4K，电影级构图."),
        ({"positive_magic": False}, "a cat"),
        ({"language": "zh", "positive_magic": False}, "a cat"),
    ],
)
def test_language_chooses_the_quality_words(fields, prompt):
    assert resolve(**fields)[0].prompt == prompt


def test_ignored_fields_are_warned_about():
    assert resolve(guidance_scale=3.5, output_compression=50)[1] == [
        "guidance_scale is ignored by Qwen-Image; use true_cfg_scale.",
        "output_compression is ignored for png, which is always exact.",
    ]
    assert resolve(output_compression=50, output_format="webp")[1] == []


def test_null_seed_is_random_every_time_and_fits_into_any_json():
    seeds = {resolve(seed=None)[0].seed for _ in range(20)}
    assert len(seeds) == 20
    assert max(seeds) < 2**53


def test_minus_one_is_a_random_seed_as_in_automatic1111():
    assert len({resolve(seed=-1)[0].seed for _ in range(20)} - {-1}) == 20


@pytest.mark.parametrize(
    ("transparency", "fields", "kept", "warning"),
    [
        (True, {}, True, None),
        (True, {"output_format": "jpeg"}, False, "background is ignored: jpeg has no transparency"),
        (True, {"add_overlay": True}, True, "add_overlay is ignored for transparent images"),
        (True, {"background": "opaque"}, False, None),
        (False, {}, False, "background is ignored: the model generates opaque images"),
    ],
)
def test_transparency_is_kept_where_there_is_some_and_otherwise_warned_about(transparency, fields, kept, warning):
    info = dataclasses.replace(INFO, transparency=transparency)
    wanted, warnings = resolve(info, **{"background": "transparent"} | fields)
    assert wanted.transparent is kept
    assert [warning is not None and warning in each for each in warnings] == [True] * (warning is not None)


def test_a_model_that_is_not_known_yet_is_opaque():
    assert resolve(background="transparent")[1] == ["background is ignored: the model generates opaque images."]


@pytest.mark.parametrize(("seed", "n"), [(2**64 - 1, 1), (2**64 - 3, 3)])
def test_seeds_reach_up_to_the_last_one(seed, n):
    assert resolve(seed=seed, n=n)[0].seed == seed


@pytest.mark.parametrize(("seed", "n"), [(2**64 - 1, 2), (2**64 - 3, 4)])
def test_seeds_never_pass_the_last_one(seed, n):
    with pytest.raises(InvalidParameter, match="seed"):
        resolve(seed=seed, n=n)


@pytest.mark.parametrize(
    ("fields", "size", "name"),
    [
        ({}, (512, 512), "s1:1"),
        ({"aspect_ratio": "4:3"}, (1472, 1140), "4:3"),
        ({"size": "640x480"}, (640, 480), "custom"),
        ({"width": 640, "height": 480}, (640, 480), "custom"),
        ({"aspect_ratio": "4:3", "size": "640x480"}, (640, 480), "custom"),
    ],
)
def test_exact_size_goes_before_a_named_one(fields, size, name):
    wanted, _ = resolve(**fields)
    assert (wanted.width, wanted.height) == size
    assert generate_request.parse({"prompt": "a cat"} | fields, SETTINGS).aspect_ratio_name == name


@pytest.mark.parametrize("content", [None, [], "x", 5, True])
def test_body_that_is_no_object_is_a_bad_request(content):
    with pytest.raises(BadRequest, match="JSON object"):
        generate_request.parse(content, SETTINGS)


@pytest.mark.parametrize("prompt", [None, "", "  ", "\n\t"])
def test_prompt_is_required(prompt):
    with pytest.raises(BadRequest, match=r"^Prompt is required$"):
        generate_request.parse({"prompt": prompt}, SETTINGS)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", "42"), ("seed", True), ("timeout", math.inf), ("n", 1.5), ("save_to_file", 1)]
)
def test_types_are_not_guessed(field, value):
    with pytest.raises(InvalidParameter) as refusal:
        generate_request.parse({"prompt": "a cat", field: value}, SETTINGS)
    assert refusal.value.param == field
    assert repr(value) in refusal.value.sentence


def test_what_a_client_sent_is_shown_short_and_printable():
    with pytest.raises(InvalidParameter) as refusal:
        generate_request.parse({"prompt": "a cat", "language": "\x1b\n" + "é" * 500}, SETTINGS)
    assert refusal.value.sentence.isascii()
    assert refusal.value.sentence.isprintable()
    assert len(refusal.value.sentence) < 200


def test_a_generation_carries_the_name_of_its_model():
    assert resolve(INFO, model="owner/model")[0].model == "loaded"
    assert resolve(model="loaded")[0].model == ""


def test_the_default_size_of_the_model_is_used_unless_a_request_names_one():
    info = dataclasses.replace(INFO, default_size=(320, 256))
    default, sized, named = (
        resolve(info, **fields)[0] for fields in ({}, {"size": "128x64"}, {"aspect_ratio": "s1:1"})
    )
    assert [(one.width, one.height) for one in (default, sized, named)] == [(320, 256), (128, 64), (512, 512)]


@pytest.mark.parametrize(
    ("setting", "value", "fields", "param"),
    [
        ("max_steps", 10, {"num_inference_steps": 11}, "num_inference_steps"),
        ("max_images", 2, {"n": 3}, "n"),
        ("max_pixels", 300_000, {"size": "600x600"}, "size"),
        ("max_prompt_chars", 5, {"prompt": "a cat!"}, "prompt"),
        ("request_timeout", 5.0, {"timeout": 6}, "timeout"),
    ],
)
def test_limits_name_the_field_and_the_setting(setting, value, fields, param):
    with pytest.raises(InvalidParameter, match=setting.upper()) as refusal:
        resolve(settings=Settings(_env_file=None, **{setting: value}), **fields)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "fields", [{"num_inference_steps": 8.0}, {"n": 2.0}, {"seed": 7.0}, {"width": 64.0, "height": 64.0}]
)
def test_whole_numbers_may_have_a_decimal_point(fields):
    wanted, _ = resolve(**fields)
    assert all(type(value) is int for value in (wanted.steps, wanted.count, wanted.seed, wanted.width))


@pytest.mark.parametrize("value", [1.5, "2", True, math.inf])
def test_anything_else_is_no_whole_number(value):
    with pytest.raises(InvalidParameter, match="num_inference_steps"):
        resolve(num_inference_steps=value)


def test_the_default_steps_keep_to_the_limit():
    assert resolve(settings=Settings(_env_file=None, max_steps=4))[0].steps == 4


def test_the_loaded_models_own_quality_words_are_appended():
    assert resolve(INFO)[0].prompt == "a cat Good!"
    assert resolve(INFO, language="zh")[0].prompt == "a cat"


def test_a_model_whose_guidance_is_guidance_scale_takes_either_name():
    info = dataclasses.replace(INFO, guidance="guidance_scale", default_true_cfg_scale=7.0)
    for fields, expected in (
        ({}, 7.0), ({"guidance_scale": 3.5}, 3.5), ({"true_cfg_scale": 2.0}, 2.0), ({"guidance_scale": 0}, 0.0),
        ({"guidance_scale": 3.5, "true_cfg_scale": 2.0}, 3.5),
    ):  # fmt: skip
        wanted, warnings = resolve(info, **fields)
        assert (wanted.true_cfg_scale, warnings) == (expected, [])
