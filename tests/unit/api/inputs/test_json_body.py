"""Text that is not Unicode is refused wherever it is in a body."""

import pytest

from imageserver.api.inputs.json_body import ENCODED_CHARACTERS, refuse_lone_surrogates
from imageserver.errors import InvalidParameter


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"prompt": "a", "model": "b\ud83d"}, "model"),
        ({"tools": [{"type": ["x", {"a": "\udfff"}]}]}, "tools"),
        ({"metadata": {"\ud800": 1}}, "metadata"),
        ({"\ud800": 1}, "body"),
        (["x", "\ud800"], "body"),
        ({"prompt": "é" * (2 * ENCODED_CHARACTERS) + "\ud83d"}, "prompt"),
    ],
)
def test_half_a_surrogate_pair_is_refused_naming_the_field(content, param):
    with pytest.raises(InvalidParameter, match="lone surrogate") as refused:
        refuse_lone_surrogates(content)
    assert refused.value.param == param


def test_all_of_unicode_is_taken():
    refuse_lone_surrogates(
        {"prompt": "😀 \U0010ffff \uffff \x00" * (ENCODED_CHARACTERS // 4), "seed": 1, "更多": [None, True]}
    )
