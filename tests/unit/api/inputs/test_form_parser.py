"""Forms are bounded before they are parsed, and what is parsed means what it means for werkzeug."""

import functools
import io
from urllib.parse import quote

import pytest
from flask import Flask, Request, request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder

from imageserver.api.inputs import form_parser
from imageserver.api.inputs.form_parser import MAX_ESCAPES, MAX_FIELDS, FormRequest
from imageserver.errors import BadRequest
from tests.support.blocking import cpu_seconds, longest_block

MULTIPART = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"


def app_with(request_class):
    app = Flask(__name__)
    app.request_class = request_class
    return app


OURS, WERKZEUGS = app_with(FormRequest), app_with(Request)


@pytest.fixture
def without_pauses(monkeypatch):
    """Parsers that let nobody else in: a pause after each of a thousand fields takes seconds."""
    monkeypatch.setattr(form_parser, "yield_to_others", lambda: None)


def parsed(body, content_type=MULTIPART, app=OURS):
    with app.test_request_context(method="POST", data=body, content_type=content_type):
        files = [(name, file.filename, file.read()) for name, file in request.files.items(multi=True)]
        return list(request.form.items(multi=True)), files


def part(name, content="", *headers):
    lines = "".join(f"\r\n{header}" for header in headers)
    return f'\r\n--b\r\nContent-Disposition: form-data; name="{name}"{lines}\r\n\r\n{content}'.encode()


END = b"\r\n--b--\r\n"

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C"], exclude_characters='"\\'), min_size=1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    st.lists(st.tuples(NAMES, TEXTS), min_size=1, max_size=4),
    st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=2),
)
def test_the_forms_of_clients_mean_what_they_mean_for_werkzeug(texts, uploads):
    data = {}
    for name, text in texts:
        data.setdefault(name, []).append(text)
    for number, (name, content) in enumerate(uploads):
        data.setdefault(name, []).append(FileStorage(io.BytesIO(content), f"{number}.png"))
    environ = EnvironBuilder(method="POST", data=data).get_environ()
    body, content_type = environ["wsgi.input"].read(), environ["CONTENT_TYPE"]
    assert parsed(body, content_type) == parsed(body, content_type, WERKZEUGS)


def test_percent_signs_mean_what_they_mean_for_werkzeug():
    body = "a=1+2%2B3%2f%3D%3d%252B%25&b=%E4%B8%AD" + "%C3%A9x" * 9000 + "&c&=d&&e=%zz%"
    assert parsed(body, URLENCODED)[0] == parsed(body, URLENCODED, WERKZEUGS)[0]


def test_what_is_around_the_parts_is_ignored():
    body = b"a preamble" + part("prompt", "a cat") + part("empty") + END + b"an epilogue"
    assert parsed(body) == ([("prompt", "a cat"), ("empty", "")], [])
    assert parsed(END[2:]) == ([], [])


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (part("a") * (MAX_FIELDS + 1) + END, MULTIPART, "more than 1000 fields"),
        ("&".join(["a"] * (MAX_FIELDS + 1)), URLENCODED, "more than 1000 fields"),
        (part("a" * 201) + END, MULTIPART, "name of more than 200 characters"),
        ("a" * 201 + "=1", URLENCODED, "name of more than 200 characters"),
        (part("a", "", "x: " + "y" * 5000) + END, MULTIPART, "more than 4096 bytes"),
        (b"\r\n--b\r\nno headers" + END, MULTIPART, "no headers"),
        (part("a", "", "x: one\rtwo") + END, MULTIPART, "line break within"),
        (part("a"), MULTIPART, "breaks off"),
        (b"-", MULTIPART, "breaks off"),
        (part("a") + END, "multipart/form-data", "no valid boundary"),
        (part("a") + END, "multipart/form-data; boundary=" + "b" * 71, "no valid boundary"),
        ("a=" + "%41" * (MAX_ESCAPES + 1), URLENCODED, "percent signs"),
    ],
)
def test_a_form_beyond_the_bounds_is_refused_with_the_limit(without_pauses, body, content_type, sentence):
    with pytest.raises(BadRequest, match=sentence):
        parsed(body, content_type)


def test_as_many_fields_as_are_allowed_are_read(without_pauses):
    assert len(parsed(part("a") * MAX_FIELDS + END)[0]) == MAX_FIELDS
    assert len(parsed("&".join(["a=1"] * MAX_FIELDS), URLENCODED)[0]) == MAX_FIELDS


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"a&" * 500_000, URLENCODED), (part("a" * 1_000_000) + END, MULTIPART), (part("a") * 10_000 + END, MULTIPART)],
    ids=["pairs", "a long name", "parts"],
)
def test_hostile_forms_keep_others_waiting_for_a_fraction_of_the_time_that_werkzeug_takes(body, content_type):
    def try_to_parse():
        with pytest.raises(BadRequest):
            parsed(body, content_type)

    def parse_with_werkzeug():
        app = app_with(type("Unlimited", (Request,), {"max_form_parts": None, "max_form_memory_size": None}))
        parsed(body, content_type, app)

    assert longest_block(try_to_parse) < cpu_seconds(parse_with_werkzeug) / 4


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
def test_an_emoji_in_a_long_text_is_refused_and_beside_an_image_it_is_read(content_type):
    def sent(prompt):
        if content_type == URLENCODED:
            return f"prompt={prompt}&image={'A' * 5_000_000}".encode()
        return part("prompt", prompt) + part("image", "A" * 5_000_000) + END

    assert parsed(sent("a 🐈"), content_type)[0] == [("prompt", "a 🐈"), ("image", "A" * 5_000_000)]
    with pytest.raises(BadRequest, match="more than 4 MiB of text"):
        parsed(sent("A" * 5_000_000 + "🐈"), content_type)


def test_an_image_in_a_urlencoded_form_keeps_others_waiting_for_a_fraction_of_the_time_that_werkzeug_takes():
    body = "image=" + quote("A/b+" * 400_000, safe="")

    def parse_with_werkzeug():
        parsed(body, URLENCODED, app_with(type("Unlimited", (Request,), {"max_form_memory_size": None})))

    read = functools.partial(parsed, body, URLENCODED)
    assert read()[0] == [("image", "A/b+" * 400_000)]
    assert min(longest_block(read) for _ in range(2)) < cpu_seconds(parse_with_werkzeug) / 4
