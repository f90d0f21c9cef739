"""Forms become the JSON bodies that they stand for."""

import functools

import pytest
from flask import Flask, request

from imageserver.api.dialects.openai_images.bodies import EditsBody, checked
from imageserver.api.dialects.openai_images.sent_images import addresses_in
from imageserver.api.inputs.form_body import is_form, read_form
from imageserver.api.inputs.form_parser import FormRequest
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.validation import BLANKS
from imageserver.errors import BadRequest, InvalidParameter
from tests.support.blocking import cpu_seconds, longest_block


def read(fields, **names):
    app = Flask(__name__)
    app.request_class = FormRequest
    with app.test_request_context(method="POST", data=fields):
        return read_form(EditsBody, names)


def test_a_field_under_another_name_is_read_as_the_field_is():
    assert read({"steps": "4"}, steps="num_inference_steps") == {"num_inference_steps": 4}


def test_of_two_other_names_of_a_field_the_second_stays_unless_the_first_is_blank():
    names = {"batch_size": "n", "num_images": "n"}
    assert read({"batch_size": "2", "num_images": "3"}, **names) == {"n": 2, "num_images": "3"}
    assert read({"batch_size": "", "num_images": "3"}, **names) == {"n": 3}


@pytest.mark.parametrize("name", ["images", "reference_images", "input_references"])
def test_the_images_of_a_form_are_text_or_objects_under_each_of_their_names(name):
    for sent in ({name: "data:a"}, {f"{name}[]": ["data:a"]}, {f"{name}[][image_url]": ["data:a"]}):
        assert addresses_in(checked(EditsBody, read({"prompt": "x"} | sent))) == ["data:a"]


def test_objects_in_a_list_are_read_field_by_field_as_the_openai_sdk_sends_them():
    sent = {"prompt": "x", "loras[][name]": ["night", "7"], "loras[][scale]": ["0.5", "1"]}
    assert read(sent) == {"prompt": "x", "loras": [{"name": "night", "scale": 0.5}, {"name": "7", "scale": 1}]}


def test_objects_in_a_list_that_may_hold_texts_are_read_too():
    sent = {"prompt": "x", "images[][image_url]": ["a", "b"]}
    assert read(sent) == {"prompt": "x", "images": [{"image_url": "a"}, {"image_url": "b"}]}


def test_objects_that_leave_different_fields_out_cannot_be_told_apart():
    with pytest.raises(InvalidParameter, match="loras") as refused:
        read({"loras[][name]": ["night", "day"], "loras[][scale]": ["0.5"]})
    assert refused.value.param == "loras"


def test_fields_that_are_not_lists_of_objects_stay_unchanged():
    assert read({"seed[][x]": "1", "mood[][x]": "2"}) == {"seed[][x]": "1", "mood[][x]": "2"}


def test_a_field_that_is_nested_too_deeply_is_the_clients_error():
    assert read({"prompt": "x", "seed": "[" * 50})["seed"] == "[" * 50
    with pytest.raises(BadRequest, match="seed: The JSON contains more than 10000 values"):
        read({"prompt": "x", "seed": "[" * 100_000})
    with pytest.raises(BadRequest, match="100 levels"):
        read({"prompt": "x", "seed": "[" * 500 + "]" * 500})


def test_a_form_of_very_many_fields_is_refused_before_each_is_checked():
    with pytest.raises(BadRequest, match="1000 fields"):
        read({"prompt": "x"} | {f"field{number}": "1" for number in range(1000)})


def test_json_that_curl_calls_a_form_is_json():
    app = Flask(__name__)
    app.request_class = FormRequest
    form = {"content_type": "application/x-www-form-urlencoded", "method": "POST"}
    with app.test_request_context(data=' {"prompt": "a & b=c"}', **form):
        assert not is_form()
        assert read_json() == {"prompt": "a & b=c"}
        assert not request.files
    with app.test_request_context(data="prompt=a+cat&n=2", **form):
        assert is_form()
        assert read_form(EditsBody) == {"prompt": "a cat", "n": 2}
        assert request.get_data() == b"", "the text of the form is kept beside its fields"


def test_a_blank_field_is_left_out():
    assert read({"prompt": "x", "seed": " ", "size": "", "n": "\n"}) == {"prompt": "x"}


def test_a_long_field_of_line_ends_keeps_others_waiting_for_a_fraction_of_the_time_that_trimming_it_takes():
    text = "\r\n" * 2_000_000
    form = f'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{text}\r\n--b--\r\n'
    app = Flask(__name__)
    app.request_class = FormRequest
    with app.test_request_context(method="POST", data=form, content_type="multipart/form-data; boundary=b"):
        read_it = functools.partial(read_form, EditsBody)
        # The least of three: a busy machine makes single ones longer.
        assert min(longest_block(read_it) for _ in range(3)) < cpu_seconds(lambda: text.strip(BLANKS)) / 2
        assert read_it()["prompt"] == text


def test_a_form_whose_type_is_named_twice_is_told_so():
    # What openai-edge sends on Node: the boundary of its polyfill, and a body with that of Node.
    twice = "multipart/form-data, multipart/form-data; boundary=-----374743846654911791255350"
    with (
        Flask(__name__).test_request_context(method="POST", data=b"------formdata-undici-1--", content_type=twice),
        pytest.raises(BadRequest, match="names more than one type; a form needs multipart/form-data alone"),
    ):
        is_form()
