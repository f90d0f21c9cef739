"""The bodies of the OpenAI dialect: their translation and their ignored fields."""

import io

import pytest
from flask import Flask

from imageserver.api.dialects.openai_images.bodies import (
    EditsBody,
    GenerationsBody,
    VariationsBody,
    checked,
    refuse_image,
    to_generate_fields,
    warnings_of,
)
from imageserver.api.dialects.openai_images.model_names import image_fields
from imageserver.api.dialects.openai_images.sent_images import addresses_in, unknown_files
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


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"steps": 4}, {"num_inference_steps": 4}),
        ({"batch_size": 2}, {"n": 2}),
        ({"num_images": 2}, {"n": 2}),
        ({"image_size": "64x128"}, {"size": "64x128"}),
        ({"image_size": {"width": 64, "height": 128}}, {"size": "64x128"}),
    ],
)
def test_what_other_services_with_this_api_call_a_field_means_ours(fields, expected):
    body = checked(GenerationsBody, {"prompt": "x"} | fields)
    assert to_generate_fields(body) == DEFAULT | expected
    assert warnings_of(body, set()) == []


def test_a_field_sent_under_two_names_means_ours_and_the_other_is_named():
    body = checked(GenerationsBody, {"prompt": "x", "steps": 4, "num_inference_steps": 9})
    assert to_generate_fields(body) == DEFAULT | {"num_inference_steps": 9}
    assert warnings_of(body, set()) == ["'steps' is not a parameter and was ignored."]


@pytest.mark.parametrize("image_size", ["1K", "landscape_4_3", 512, {"width": 64}, {"width": "64", "height": True}])
def test_an_image_size_that_is_none_of_ours_is_ignored_with_a_warning(image_size):
    body = checked(GenerationsBody, {"prompt": "x", "image_size": image_size})
    assert to_generate_fields(body) == DEFAULT
    assert warnings_of(body, set()) == ["'image_size' is not a parameter and was ignored."]


def test_of_two_other_names_of_a_field_the_second_is_named():
    body = checked(GenerationsBody, {"prompt": "x", "batch_size": 2, "num_images": 3})
    assert to_generate_fields(body) == DEFAULT | {"n": 2}
    assert warnings_of(body, set()) == ["'num_images' is not a parameter and was ignored."]


@pytest.mark.parametrize("shape", ["16:9", "21:9"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"size": "64x128"}, {"size": "64x128"}),
        ({"size": "4:3"}, {"aspect_ratio": "4:3"}),
        ({"width": 64, "height": 128}, {"width": 64, "height": 128}),
    ],
)
def test_a_size_counts_more_than_a_shape_and_a_warning_says_so(shape, size, expected):
    body = checked(GenerationsBody, {"prompt": "x", "aspect_ratio": shape} | size)
    assert to_generate_fields(body) == DEFAULT | expected
    assert warnings_of(body, set()) == ["aspect_ratio is ignored beside a size."]


def test_a_shape_beside_auto_counts():
    body = checked(GenerationsBody, {"prompt": "x", "aspect_ratio": "16:9", "size": "auto"})
    assert to_generate_fields(body) == DEFAULT | {"aspect_ratio": "16:9"}
    assert warnings_of(body, set()) == []


def test_base64_means_the_same_as_b64_json():
    assert checked(GenerationsBody, {"prompt": "x", "response_format": "base64"}).response_format == "b64_json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", "data:a"),
        ("image", ["data:a"]),
        ("image", {"type": "image_url", "url": "data:a"}),
        ("image", {"image_url": None, "url": "data:a"}),
        ("image_url", "data:a"),
        ("images", ["data:a"]),
        ("images", [{"image_url": "data:a"}]),
        ("images", "data:a"),
        ("reference_images", ["data:a"]),
        ("reference_images", "data:a"),
        ("reference_images", {"url": "data:a"}),
        ("reference_images[]", ["data:a"]),
        ("input_references", [{"type": "image_url", "image_url": {"url": "data:a"}}]),
        ("input_references", {"image_url": {"url": "data:a"}}),
    ],
)
@pytest.mark.parametrize("model", [GenerationsBody, EditsBody, VariationsBody])
def test_an_image_has_any_name_that_clients_give_it(model, name, value):
    body = checked(model, {"prompt": "x", name: value})
    assert addresses_in(body) == ["data:a"]
    assert warnings_of(body, set()) == []


def test_images_under_several_names_are_all_used():
    body = checked(EditsBody, {"prompt": "x", "input_references": ["data:a"], "reference_images": ["data:b"]})
    assert sorted(addresses_in(body)) == ["data:a", "data:b"]
    assert warnings_of(body, set()) == []


@pytest.mark.parametrize("name", ["image", "images[0]", "reference_images[]", "input_references"])
def test_a_file_under_any_of_these_names_is_an_image(name):
    with Flask(__name__).test_request_context(method="POST", data={name: (io.BytesIO(b"x"), "a.png"), "markup": ""}):
        assert unknown_files() == set()


@pytest.mark.parametrize(
    "sent", [{"image": "data:a"}, {"image[]": ["data:a"]}, {"reference_images": ["data:a"]}, {"url": {"url": "data:a"}}]
)
def test_a_stream_that_starts_from_no_image_is_refused_with_one(sent):
    with pytest.raises(InvalidParameter, match="cogview4 stream starts from no image") as refused:
        refuse_image({"prompt": "x", "stream": True} | sent, "cogview4")
    assert refused.value.param == "stream_format"


@pytest.mark.parametrize("sent", [{}, {"image": None, "images": []}, {"image_url": " "}])
def test_a_stream_that_starts_from_no_image_is_not_refused_without_one(sent):
    refuse_image({"prompt": "x", "stream": True} | sent, "cogview4")


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
