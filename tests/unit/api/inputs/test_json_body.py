"""JSON bodies: the limits on their depth and size."""

import json

import pytest

from imageserver.api.inputs.json_body import MAX_DEPTH, MAX_VALUES, parsed
from imageserver.errors import BadRequest


def nested(levels, opening, closing):
    return (opening * levels + "1" + closing * levels).encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_a_body_is_refused_beyond_a_depth_that_does_not_depend_on_python(opening, closing):
    of_each = opening.count("[") + opening.count("{")
    assert json.loads(nested(MAX_DEPTH // of_each, opening, closing)) == parsed(
        nested(MAX_DEPTH // of_each, opening, closing)
    )
    for levels in (MAX_DEPTH // of_each + 1, 450, 100_000):
        with pytest.raises(BadRequest):
            parsed(nested(levels, opening, closing))


def test_many_lists_beside_each_other_are_not_deep():
    assert len(parsed(b"[" + b"[[]]," * 3000 + b"1]")) == 3001


@pytest.mark.parametrize(
    "body", [[1] * (MAX_VALUES + 1), {str(n): 1 for n in range(MAX_VALUES + 1)}, [[1] * 100] * (MAX_VALUES // 100)]
)
def test_more_values_than_anybody_needs_are_refused_before_each_is_checked(body):
    with pytest.raises(BadRequest, match="more than 10000 values"):
        parsed(json.dumps(body).encode())
