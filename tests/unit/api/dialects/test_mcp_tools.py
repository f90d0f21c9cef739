"""The arguments of the tools become the fields of `POST /generate`, or an error that the assistant can read."""

import pytest

from imageserver.api.dialects.mcp.tools import EditArguments
from imageserver.errors import InvalidParameter


@pytest.mark.parametrize("seed", [-2, 2**64])
def test_a_seed_that_no_dialect_takes_is_named(seed):
    arguments = EditArguments(prompt="x", image="y", seed=seed)
    with pytest.raises(InvalidParameter) as refused:
        arguments.to_generate_fields()
    assert refused.value.param == "seed"
