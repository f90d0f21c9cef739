"""The bodies of the OpenAI dialect: their translation and their ignored fields."""

import pytest

from imageserver.api.dialects.openai_images.bodies import (
    EditsBody,
    GenerationsBody,
    VariationsBody,
    checked,
    to_generate_fields,
    warnings_of,
)
from imageserver.api.dialects.openai_images.model_names import image_fields
from imageserver.errors import BadRequest, InvalidParameter

DEFAULT = {"prompt": "x", "seed": None, "positive_magic": False, "add_overlay": False, "quality": "exact"}


def native(model=GenerationsBody, **content):
    return to_generate_fields(checked(model, content))


def test_a_prompt_alone_is_used_unchanged_with_a_random_seed_and_no_overlay():
    assert native(prompt="x") == DEFAULT


def test_fields_of_both_dialects_are_passed_on():
    extras = {
        "negative_prompt": "y", "n": 2, "num_inference_steps": 3, "true_cfg_scale": 1.5, "seed": 4,
        "output_format": "webp", "output_compression": 5, "deterministic": True, "cache": False, "timeout": 6.0,
        "strength": 0.5, "priority": "background",
    }  # fmt: skip
    assert native(prompt="x", **extras) == DEFAULT | extras


@pytest.mark.parametrize(("size", "expected"), [("auto", None), (None, None), ("64x128", "64x128")])
def test_auto_means_no_size(size, expected):
    assert native(prompt="x", size=size).get("size") == expected


def test_quality_tier_is_the_native_quality_and_openais_quality_has_no_effect():
    assert native(prompt="x", quality="low", quality_tier="fast")["quality"] == "fast"
    assert native(prompt="x", quality="low")["quality"] == "exact"


def test_fields_of_openai_alone_are_accepted_and_ignored():
    ignored = {
        "model": "gpt-image-1", "moderation": "low", "style": "vivid", "user": "me", "safety_identifier": "s",
        "background": "opaque", "response_format": "url",
    }  # fmt: skip
    body = checked(GenerationsBody, {"prompt": "x", **ignored})
    assert to_generate_fields(body) == DEFAULT
    assert warnings_of(body, set()) == []


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"prompt": "x", "background": "checked"}, "background"),
        ({"prompt": "x", "response_format": "gif"}, "response_format"),
        ({"prompt": "x", "output_format": "gif"}, "output_format"),
        ({"prompt": "x", "partial_images": 4}, "partial_images"),
        ({"prompt": "x", "partial_images": -1}, "partial_images"),
        ({"prompt": "x", "stream": "yes"}, "stream"),
        ({"prompt": "x", "size": "64"}, "size"),
        ({"prompt": 5}, "prompt"),
    ],
)
def test_unsupported_values_are_refused_by_name(content, param):
    with pytest.raises(InvalidParameter) as raised:
        checked(GenerationsBody, content)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": "64X128"}, {"size": "64x128"}),
        ({"size": "16:9"}, {"aspect_ratio": "16:9"}),
        ({"aspect_ratio": "16:9"}, {"aspect_ratio": "16:9"}),
        ({"width": 64, "height": 128}, {"width": 64, "height": 128}),
        ({"background": "transparent"}, {"background": "transparent"}),
        ({"seed": -1}, {"seed": -1}),
    ],
)
def test_what_other_apis_call_by_these_names_is_honoured(fields, expected):
    assert native(prompt="x", **fields) == DEFAULT | expected


@pytest.mark.parametrize("blank", ["", "  ", "\n", None])
def test_a_blank_field_is_left_out_in_json_as_in_a_form(blank):
    fields = dict.fromkeys(GenerationsBody.model_fields, blank) | {"prompt": "x"}
    assert to_generate_fields(checked(GenerationsBody, fields)) == DEFAULT


@pytest.mark.parametrize("name", ["image[]", "url[]", "image_url[]"])
def test_a_list_in_the_way_of_forms_is_the_field_without_brackets(name):
    body = checked(EditsBody, {"prompt": "x", name: ["a", "b"]})
    assert getattr(body, name.removesuffix("[]")) == ["a", "b"]
    assert warnings_of(body, set()) == []


@pytest.mark.parametrize(
    ("model", "asked", "fields"),
    [
        (None, None, {"url", "b64_json"}),
        ("dall-e-2", None, {"url", "b64_json"}),
        ("dall-e-3", None, {"url", "b64_json"}),
        ("demo", None, {"url", "b64_json"}),
        ("gpt-image-1", None, {"b64_json"}),
        ("chatgpt-image-latest", None, {"b64_json"}),
        ("gpt-image-1", "url", {"url"}),
        ("dall-e-2", "b64_json", {"b64_json"}),
    ],
)
def test_the_models_name_says_what_its_client_reads(model, asked, fields):
    assert set(image_fields(model, asked)) == fields


@pytest.mark.parametrize("model", [GenerationsBody, EditsBody])
@pytest.mark.parametrize("content", [{}, {"prompt": ""}, {"prompt": None}, {"prompt": " "}])
def test_a_prompt_is_required(model, content):
    with pytest.raises(BadRequest, match="Prompt is required"):
        checked(model, content)


def test_a_variation_without_a_prompt_is_generated_without_guidance_between_two_blanks():
    assert native(VariationsBody) == DEFAULT | {"prompt": " ", "true_cfg_scale": 1.0}
    assert native(VariationsBody, prompt="") == native(VariationsBody)
    assert "true_cfg_scale" not in native(VariationsBody, negative_prompt="blurry")
    assert "true_cfg_scale" not in native(VariationsBody, prompt="darker")
    assert native(VariationsBody, true_cfg_scale=3.0)["true_cfg_scale"] == 3.0


def test_ignored_fields_are_named_in_warnings():
    body = checked(GenerationsBody, {"prompt": "x", "zoom": 1, "partial_images": 1, "stream_format": "openai"})
    assert warnings_of(body, {"markup"}) == [
        "'markup' is not a parameter and was ignored.",
        "'zoom' is not a parameter and was ignored.",
        "partial_images is ignored without stream.",
        "stream_format is ignored without stream.",
    ]
    streamed = checked(GenerationsBody, {"prompt": "x", "stream": True, "partial_images": 1, "response_format": "url"})
    assert warnings_of(streamed, set()) == ["response_format is ignored in a stream: images are sent as b64_json."]


def test_an_unknown_name_is_quoted_short_and_in_ascii():
    body = checked(GenerationsBody, {"prompt": "x", "é" * 500: 1})
    [warning] = warnings_of(body, set())
    assert warning.isascii()
    assert len(warning) < 150
