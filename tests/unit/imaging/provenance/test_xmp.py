"""Every generated image says in XMP, where other programs look, that a model generated it."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from imageserver.generation import Outcome, Source, Upscale
from imageserver.imaging.encoding import encode
from imageserver.imaging.finishing import finish
from imageserver.imaging.metadata import read_metadata
from imageserver.imaging.provenance.sealing import Sealer
from tests.support.factories import generation

FORMATS = pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
SEALER = Sealer(b"s" * 32)
OUTCOME = Outcome(width=64, height=64, seeds=(7,), inference_time=1.0, queue_time=0.0, batch_size=1)
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
CODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def finished(wanted, output_format="png", sealer=SEALER):
    [data] = finish(
        bytes(64 * 64 * 3), OUTCOME, wanted, None, output_format=output_format, compression=None,
        aspect_ratio_name=None, font_path=None, sealer=sealer,
    ).files  # fmt: skip
    return data


def source_type(data):
    """Return what another program reads, None without a packet."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        packet = image.info.get("xmp")
    if packet is None:
        return None
    [description] = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return description.attrib[SOURCE_TYPE].removeprefix(CODES)


@FORMATS
def test_every_format_says_that_a_model_generated_it(output_format):
    assert source_type(finished(generation(), output_format)) == "trainedAlgorithmicMedia"


@FORMATS
def test_without_provenance_there_is_no_packet(output_format):
    data = finished(generation(), output_format, sealer=None)
    assert source_type(data) is None
    assert b"xmpmeta" not in data


@FORMATS
def test_the_infotext_and_the_json_are_read_as_without_it(output_format):
    marked, plain = (finished(generation("猫"), output_format, sealer) for sealer in (SEALER, None))
    assert read_metadata(marked) == read_metadata(plain)
    assert read_metadata(marked)["parameters"].startswith("猫\nSteps: 4")


def test_what_a_mask_kept_makes_it_a_composite():
    masked = generation(source=Source(strength=1.0, digest="d", masked=True))
    assert source_type(finished(masked)) == "compositeWithTrainedAlgorithmicMedia"
    assert source_type(finished(replace(masked, source=Source(strength=1.0, digest="d")))) == "trainedAlgorithmicMedia"


def test_an_image_that_was_only_enlarged_was_not_generated():
    upscale = Upscale(width=64, height=64, strength=0.0, steps=4, tile=(64, 64), only=True)
    enlarged = generation(width=32, height=32, source=Source(strength=1.0, digest="d"), upscale=upscale)
    assert source_type(finished(enlarged)) is None
    assert source_type(finished(replace(enlarged, upscale=replace(upscale, strength=0.3)))) is not None


def test_the_checksums_of_a_png_are_right():
    with Image.open(io.BytesIO(encode(np.zeros((8, 8, 3), np.uint8), output_format="png", sealer=SEALER))) as image:
        image.verify()
