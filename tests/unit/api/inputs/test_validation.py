"""Validation errors name the client's field, not the server's types."""

import tracemalloc
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from imageserver.api.inputs.validation import shown, validated, with_own_names
from imageserver.errors import InvalidParameter


class WeightedPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    weight: int = Field(ge=1)


class Assembly(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    parts: list[WeightedPart]
    part: WeightedPart | None = None
    size: str | None = Field(None, pattern="^[0-9]+x[0-9]+$", description="WIDTHxHEIGHT.")


@pytest.mark.parametrize(
    ("content", "param", "sentence"),
    [
        ({}, "parts", "parts is required."),
        ({"parts": [], "mood": 1}, "mood", "'mood' is not a parameter; known are parts, part, size."),
        ({"parts": [{"weight": 1}, {"weight": 1, "mood": 1}]}, "parts[1].mood", "'parts[1].mood' is not a parameter."),
        ({"parts": [{}]}, "parts[0].weight", "parts[0].weight is required."),
        ({"parts": ["x"]}, "parts", "parts: input should be a JSON object (got 'x')."),
        ({"parts": [], "size": "big"}, "size", "size: 'big' does not fit. WIDTHxHEIGHT."),
        ([], "body", "body: input should be a JSON object (got [])."),
        (
            {"parts": [{"weight": 0}]},
            "parts[0].weight",
            "parts[0].weight: input should be greater than or equal to 1 (got 0).",
        ),
    ],
)
def test_the_error_names_the_wrong_field_and_what_it_may_be(content: Any, param: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        validated(Assembly, content)
    assert (refused.value.param, refused.value.sentence) == (param, sentence)


@pytest.mark.parametrize("content", [{"x" * 10**6: 1}, {"parts": "é" * 10**6}, {"parts": [{"weight": ["é" * 10**6]}]}])
def test_an_error_about_a_huge_value_is_short(content: Any) -> None:
    with pytest.raises(InvalidParameter) as refused:
        validated(Assembly, content)
    assert len(refused.value.sentence) < 250
    assert len(refused.value.param or "") <= 100


def test_no_more_of_a_huge_value_is_written_out_than_is_shown() -> None:
    huge = {"texts": ["é" * 10**7] * 3}
    tracemalloc.start()
    assert shown(huge).endswith("...")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_of_two_other_names_of_a_field_the_second_stays_so_that_a_warning_has_it() -> None:
    names = {"batch_size": "n", "num_images": "n"}
    assert with_own_names({"batch_size": 2, "num_images": 3}, names) == {"n": 2, "num_images": 3}
    all_names = {"batch_size": 2, "num_images": 3, "n": 1}
    assert with_own_names(all_names, names) == all_names


@pytest.mark.parametrize("value", ["a'b", "é", 5, None, [1, "x"], {"a": [True]}, 1.5])
def test_a_short_value_is_shown_as_python_writes_it(value: Any) -> None:
    assert shown(value) == ascii(value)
