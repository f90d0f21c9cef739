"""A response repeats what its request said, unless that is long: a stream keeps it to its end."""

import pytest

from imageserver.api.dialects.responses.bodies import checked
from imageserver.api.dialects.responses.echo import MAX_BYTES, Echo

LONG = "x" * MAX_BYTES
TOOL = {"type": "image_generation", "size": "512x512"}
SHORT = {
    "instructions": "Be brief.",
    "metadata": {"note": "mine"},
    "previous_response_id": "resp_1",
    "store": False,
    "tool_choice": {"type": "image_generation"},
    "tools": [TOOL],
}


def echo_of(**fields):
    return vars(Echo.of(checked({"input": "a cat"} | fields)))


def test_what_was_sent_is_repeated_but_for_a_mask():
    tools = [TOOL | {"input_image_mask": {"image_url": "data:,"}}]
    assert echo_of(**SHORT | {"tools": tools}) == SHORT


@pytest.mark.parametrize(
    ("name", "long", "left"),
    [
        ("instructions", LONG, None),
        ("metadata", {"note": LONG}, {}),
        ("tool_choice", {"type": LONG}, "auto"),
        ("tools", [TOOL, {"type": "function", "description": LONG}], []),
    ],
)
def test_what_is_long_is_answered_as_if_it_had_not_been_sent(name, long, left):
    assert echo_of(**SHORT | {name: long}) == SHORT | {name: left}
