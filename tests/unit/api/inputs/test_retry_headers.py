"""What the SDK's headers say of its patience and its retries."""

import pytest
from werkzeug.datastructures import Headers

from imageserver.api.inputs.retry_headers import key_of_tries, patience_of, patience_of_all_tries, retry_count_of


def headers(timeout=None, count=None):
    given = {"X-Stainless-Read-Timeout": timeout, "X-Stainless-Retry-Count": count}
    return Headers({name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("count", "expected"), [(None, None), ("0", 0), ("2", 2), ("", None), ("-1", None), ("x", None), ("²", None)]
)
def test_the_retry_count_is_a_number_or_nothing(count, expected):
    assert retry_count_of(headers(count=count)) == expected


@pytest.mark.parametrize(
    ("timeout", "expected"), [(None, None), ("600", 600), ("0.5", 0.5), ("0", None), ("inf", None), ("nan", None)]
)
def test_patience_is_a_number_of_seconds_or_nothing(timeout, expected):
    assert patience_of(headers(timeout)) == expected


@pytest.mark.parametrize(("count", "expected"), [("0", 31.125), ("1", 20.75), ("2", 10), ("7", 10)])
def test_the_patience_of_all_tries_has_those_that_are_left_and_the_pauses_between_them(count, expected):
    assert patience_of_all_tries(headers("10", count)) == expected


def test_who_says_nothing_of_its_patience_has_any():
    assert patience_of_all_tries(headers(count="0")) is None


def test_a_request_has_the_key_of_its_repetitions_alone():
    key = key_of_tries("me", "/a", {"prompt": "x"}, b"image", None)
    assert key == key_of_tries("me", "/a", {"prompt": "x"}, b"image", None)
    others = [
        key_of_tries("you", "/a", {"prompt": "x"}, b"image", None),
        key_of_tries("me", "/b", {"prompt": "x"}, b"image", None),
        key_of_tries("me", "/a", {"prompt": "y"}, b"image", None),
        key_of_tries("me", "/a", {"prompt": "x"}, b"another", None),
        key_of_tries("me", "/a", {"prompt": "x"}, b"image", b"mask"),
        key_of_tries("me", "/a", {"prompt": "\ud800", "big": 2**70}),
    ]
    assert len({key, *others}) == 7
