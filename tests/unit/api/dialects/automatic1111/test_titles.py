"""Titles of models are read as AUTOMATIC1111's clients write them, within bounds."""

from types import SimpleNamespace

import pytest

from imageserver.api.dialects.automatic1111.checkpoints import ENDING, find_checkpoint
from tests.support.blocking import cpu_seconds

LOADING = SimpleNamespace(default_info=None)


@pytest.mark.parametrize("title", ["sd15", "sd15.safetensors", "sd15.ckpt [0123abcdef]"])
def test_a_title_may_have_an_ending_and_a_hash(title):
    assert find_checkpoint(LOADING, title) == "sd15"


def test_a_title_of_megabytes_is_not_searched_for_an_ending():
    title = "x" * 2_000_000
    assert cpu_seconds(lambda: find_checkpoint(LOADING, title)) < cpu_seconds(lambda: ENDING.sub("", title)) / 4
