"""A finished file says which model has generated it."""

from imageserver.generation import ModelInfo, Outcome
from imageserver.imaging.finishing import finish
from imageserver.imaging.infotext import parse_infotext
from imageserver.imaging.metadata import read_metadata
from tests.support.factories import generation


def test_an_image_carries_the_hash_by_which_its_model_is_listed():
    info = ModelInfo(name="demo", revision="0123456789abcdef")
    [data] = finish(
        bytes(64 * 64 * 3), Outcome(width=64, height=64, seeds=(7,), inference_time=1.0, queue_time=0.0, batch_size=1),
        generation(), info, output_format="png", compression=None, aspect_ratio_name=None, font_path=None,
    ).files  # fmt: skip
    assert parse_infotext(read_metadata(data)["parameters"])["Model hash"] == info.weights_hash == "0123456789"
