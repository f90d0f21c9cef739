"""JSON is bounded before it is parsed, and what is parsed means what it means for `json`."""

import contextlib
import json
import math

import gevent
import pytest

from imageserver.api.inputs.bounded_json import (
    MAX_BACKSLASHES,
    MAX_DEPTH,
    MAX_MARKS,
    MAX_VALUES,
    InvalidJSON,
    parse,
)
from imageserver.api.wsgi.yielding import COUNTED_BYTES, serve_others
from imageserver.errors import BadRequest
from tests.support.blocking import cpu_seconds, longest_block


def nested(levels, opening, closing):
    return (opening * levels + "1" + closing * levels).encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_a_body_is_refused_beyond_a_depth_that_does_not_depend_on_python(opening, closing):
    of_each = opening.count("[") + opening.count("{")
    body = nested(MAX_DEPTH // of_each, opening, closing)
    assert json.loads(body) == parse(body)
    for levels in (MAX_DEPTH // of_each + 1, 450, 4000):
        with pytest.raises(BadRequest, match="100 levels"):
            parse(nested(levels, opening, closing))
    with pytest.raises(BadRequest, match="more than"):
        parse(nested(1_000_000, opening, closing))


def test_many_lists_beside_each_other_are_not_deep():
    assert len(parse(b"[" + b"[[]]," * 3000 + b"1]")) == 3001


@pytest.mark.parametrize(
    "body",
    [
        [1] * (MAX_VALUES + 1),
        {str(n): 1 for n in range(MAX_VALUES + 1)},
        {str(n): str(n) for n in range(5 * MAX_VALUES)},
        [[1] * 100] * (MAX_VALUES // 100),
        [[]] * MAX_VALUES,
        ['a "quoted", [word] \\'] * (MAX_VALUES + 1),
    ],
)
def test_more_values_than_anybody_needs_are_refused(body):
    with pytest.raises(BadRequest, match="more than 10000 values"):
        parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    "prompt", ["red, " * 30_000, '"[{,\\' * 20_000, "\\" * 20_000 + ",", "[" * (MAX_MARKS - 10), "٬,،" * 30_000]
)
def test_commas_brackets_and_quotes_in_a_prompt_are_no_values(prompt):
    body = {"requests": [{"prompt": prompt}, {"prompt": "a cat"}]}
    assert parse(json.dumps(body)) == body
    assert parse(json.dumps(body, ensure_ascii=False).encode()) == body


def test_a_batch_of_a_hundred_tasks_and_base64_of_php_are_within_the_bounds():
    task = {"prompt": "1girl, solo, [detailed], " * 20, "seed": 1, "loras": [{"name": "a", "scale": 1.0}]}
    slashes = json.dumps({"image": "A/b+" * 100_000}).replace("/", "\\/")
    assert len(parse(json.dumps([task] * 100))) == 100
    assert parse(slashes) == json.loads(slashes)


def test_more_escapes_than_an_image_needs_are_refused():
    with pytest.raises(BadRequest, match="1000000 backslashes"):
        parse('["' + "\\n" * (MAX_BACKSLASHES + 1) + '"]')


def test_numbers_of_many_digits_take_no_quadratic_time():
    content = parse(f"[{'9' * 1000}, 18446744073709551615, -7, 0.{'3' * 900}]")
    assert content == [math.inf, 2**64 - 1, -7, pytest.approx(1 / 3)]


@pytest.mark.parametrize("number", ["9" * 1001, "0." + "3" * 1000, "1e" + "0" * 1000])
def test_a_number_of_thousands_of_digits_is_refused(number):
    with pytest.raises(BadRequest, match="more than 1000 characters"):
        parse(f'{{"seed": {number}}}')


@pytest.mark.parametrize("before", ["", '{"lora": [{"weights": '])
def test_a_name_that_an_error_would_repeat_at_length_is_refused(before):
    after = before and "}]}"
    with pytest.raises(BadRequest, match="name of more than 1000 characters"):
        parse(f'{before}{{"{"a" * 1001}": 1}}{after}')
    parse(f'{before}{{"{"a" * 1000}": 1}}{after}')


def test_a_request_of_several_steps_is_served_during_one_pause():
    steps = []

    def request():
        for step in range(3):
            gevent.sleep(0)
            steps.append(step)

    greenlet = gevent.spawn(request)
    serve_others()
    greenlet.kill()
    assert steps == [0, 1, 2]


def test_marks_are_counted_to_the_last_one_wherever_a_pause_falls():
    with pytest.raises(BadRequest, match="10000 values"):
        parse('["' + "x" * (COUNTED_BYTES - 3) + '"' + ",1" * MAX_VALUES + "]")


@pytest.mark.parametrize("text", ["", "{", '"', "[1,]", '{"a": "b', b"\xff\xfe\xff", "[" * 50, '"' * 100_000])
def test_what_is_not_json_is_refused_as_such(text):
    with pytest.raises(InvalidJSON):
        parse(text)


def test_what_python_s_json_reads_beyond_the_standard_is_read_too():
    assert parse('{"a": "\u4e2d"}'.encode("utf-16")) == {"a": "中"}
    assert parse('{"a": "\\ud800", "b": Infinity, "b": 1}') == {"a": "\ud800", "b": 1}


@pytest.mark.parametrize(
    "hostile", ["[" + "[]," * 700_000 + "1]", "[" + ",".join(["1" * 4300] * 500) + "]"], ids=["lists", "numbers"]
)
def test_hostile_json_keeps_others_waiting_for_a_fraction_of_the_time_that_python_takes_to_parse_it(hostile):
    def parse_or_refuse():
        with contextlib.suppress(BadRequest):
            parse(hostile)

    assert longest_block(parse_or_refuse) < cpu_seconds(lambda: json.loads(hostile)) / 4
