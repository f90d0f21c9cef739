"""The bodies of the chat completions: when an image is wanted, and under which names its options are sent."""

import pytest

from imageserver.api.dialects.chat.bodies import FOR_IMAGES, ChatBody, checked, to_generate_fields, warnings_of

MESSAGES = {"messages": [{"role": "user", "content": "x"}]}


def body(**fields):
    return checked(MESSAGES | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"modalities": ["image", "text"]},
        {"modalities": ["image"]},
        {"image_config": {"aspect_ratio": "16:9"}},
        {"size": "64x64"},
        {"steps": 4},
        {"image_size": "64x64"},
        {"true_cfg_scale": 1.5},
        {"loras": [{"name": "night"}]},
        {"strength": 0.5},
        {"background": "transparent"},
    ],
)
def test_who_asks_for_an_image_or_for_what_only_images_have_gets_one(fields):
    assert body(**fields).wants_image


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "gpt-image-1", "temperature": 1, "max_tokens": 9, "n": 2, "seed": 3, "stream": True, "user": "me"},
        {"modalities": ["text"], "size": "64x64"},
        {"modalities": [], "size": "64x64"},
        {"size": "", "image_config": None},
    ],
)
def test_any_other_question_gets_a_sentence(fields):
    assert not body(**fields).wants_image


def test_every_field_that_asks_for_an_image_is_a_field():
    assert set(ChatBody.model_fields) >= FOR_IMAGES


def test_what_other_services_call_a_field_means_ours():
    sent = body(steps=4, image_size="64x128")
    fields = to_generate_fields(sent, "x")
    assert (fields["num_inference_steps"], fields["size"], warnings_of(sent)) == (4, "64x128", [])


@pytest.mark.parametrize("image_size", ["1K", "landscape_4_3", {"width": "wide"}])
def test_an_image_size_that_is_none_of_ours_is_ignored_with_a_warning(image_size):
    sent = body(modalities=["image"], image_size=image_size)
    assert "size" not in to_generate_fields(sent, "x")
    assert warnings_of(sent) == ["'image_size' is not a parameter and was ignored."]


def test_a_shape_that_is_not_text_is_ignored_with_a_warning():
    sent = body(image_config={"aspect_ratio": 1.5})
    assert "aspect_ratio" not in to_generate_fields(sent, "x")
    assert warnings_of(sent) == ["image_config.aspect_ratio is ignored: it must be a text such as 16:9."]


@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_blank_shape_is_left_out(blank):
    sent = body(image_config={"aspect_ratio": blank, "image_size": None})
    assert "aspect_ratio" not in to_generate_fields(sent, "x")
    assert warnings_of(sent) == []


@pytest.mark.parametrize("shape", ["16:9", "21:9"])
@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"size": "64x128"}, {"size": "64x128"}),
        ({"size": "4:3"}, {"aspect_ratio": "4:3"}),
        ({"width": 64, "height": 128}, {"width": 64, "height": 128}),
        ({"aspect_ratio": "4:3"}, {"aspect_ratio": "4:3"}),
    ],
)
def test_an_own_size_or_shape_counts_more_than_openrouters_and_a_warning_says_so(shape, beside, expected):
    sent = body(image_config={"aspect_ratio": shape}, **beside)
    fields = to_generate_fields(sent, "x")
    assert {name: fields[name] for name in ("size", "width", "height", "aspect_ratio") if name in fields} == expected
    assert warnings_of(sent) == ["image_config.aspect_ratio is ignored beside a size or an aspect_ratio."]
