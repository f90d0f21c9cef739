"""Validation errors name the client's field, not the server's types."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from imageserver.api.inputs.validation import validated
from imageserver.errors import InvalidParameter


class WeightedPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    weight: int = Field(ge=1)


class Assembly(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    parts: list[WeightedPart]
    part: WeightedPart | None = None


@pytest.mark.parametrize(
    ("content", "param", "sentence"),
    [
        ({}, "parts", "parts is required."),
        ({"parts": [], "mood": 1}, "mood", "'mood' is not a parameter; known are parts, part."),
        ({"parts": [{"weight": 1}, {"weight": 1, "mood": 1}]}, "parts[1].mood", "'parts[1].mood' is not a parameter."),
        ({"parts": [{}]}, "parts[0].weight", "parts[0].weight is required."),
        ({"parts": ["x"]}, "parts", "parts: input should be a JSON object (got 'x')."),
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
