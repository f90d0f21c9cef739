"""The fields of OpenAI's API under the names that other services have for them."""

import re

from imageserver.api.inputs.openai_options import with_our_names
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN
from tests.support.blocking import cpu_seconds, longest_block


def test_a_size_of_any_length_keeps_others_waiting_for_a_fraction_of_the_time_that_reading_it_takes():
    text = " " * 4_000_000
    assert with_our_names({"image_size": text}) == {"image_size": text}
    blocks = [longest_block(lambda: with_our_names({"image_size": text})) for _ in range(3)]
    assert min(blocks) < cpu_seconds(lambda: re.fullmatch(ANY_SIZE_PATTERN, text)) / 2
