"""The arguments of the tools become the fields of `POST /generate`, or an error that the assistant can read."""

import pytest

from imageserver.api.dialects.mcp.tools import EditArguments
from imageserver.errors import InvalidParameter


@pytest.mark.parametrize(("name", "value"), [("seed", -2), ("seed", 2**64), ("num_inference_steps", 10**30)])
def test_a_value_that_no_dialect_takes_is_named(name, value):
    arguments = EditArguments(prompt="x", image="y", **{name: value})
    with pytest.raises(InvalidParameter) as refused:
        arguments.to_generate_fields()
    assert refused.value.param == name
