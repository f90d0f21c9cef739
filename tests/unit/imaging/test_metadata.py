"""What an image tells about its own making, whoever reads it."""

import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from imageserver.errors import InvalidParameter
from imageserver.generation import OutputFormat
from imageserver.imaging.encoding import encode
from imageserver.imaging.headers import MAX_BLOCKS, MAX_TEXTS
from imageserver.imaging.metadata import ImageMetadata, read_metadata
from tests.support.images import chunk, png_with

PIXELS = np.zeros((8, 8, 3), np.uint8)
METADATA = ImageMetadata(
    prompt="a red circle",
    negative_prompt="blurry, dark",
    steps=20,
    sampler="Euler",
    cfg_scale=4.0,
    seed=1,
    width=512,
    height=512,
    model="Qwen-Image",
    version="0.1.0",
)
INFOTEXT = (
    "a red circle\n"
    "Negative prompt: blurry, dark\n"
    "Steps: 20, Sampler: Euler, CFG scale: 4, Seed: 1, Size: 512x512, Model: Qwen-Image, Version: 0.1.0"
)
IMAGE = Image.fromarray(PIXELS)
FORMATS = pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])


def written(metadata: ImageMetadata, output_format: OutputFormat) -> dict[str, str]:
    return read_metadata(encode(PIXELS, output_format=output_format, metadata=metadata))


def test_the_infotext_is_what_automatic1111_writes() -> None:
    assert METADATA.parameters_text() == INFOTEXT


@pytest.mark.parametrize("negative_prompt", ["", " ", "\n"])
def test_an_empty_negative_prompt_has_no_line(negative_prompt: str) -> None:
    lines = replace(METADATA, negative_prompt=negative_prompt).parameters_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["a red circle", "Steps"]


def test_a_fraction_of_guidance_is_kept() -> None:
    assert "CFG scale: 3.5," in replace(METADATA, cfg_scale=3.5).parameters_text()


def test_values_with_commas_or_colons_are_quoted() -> None:
    text = replace(METADATA, model="C:\\models\\a, b").parameters_text()
    assert 'Model: "C:\\\\models\\\\a, b", Version' in text


def test_the_hash_of_the_model_stands_before_its_name_where_clients_read_it_by_position() -> None:
    text = replace(METADATA, model_hash="0123abcdef").parameters_text()
    assert text == INFOTEXT.replace("Model: ", "Model hash: 0123abcdef, Model: ")


def test_further_values_stand_before_the_version_and_unset_ones_nowhere() -> None:
    text = replace(METADATA, extra={"Denoising strength": 0.7, "Hires": None}).parameters_text()
    assert text.endswith("Model: Qwen-Image, Denoising strength: 0.7, Version: 0.1.0")


@FORMATS
@pytest.mark.parametrize("prompt", ["a red circle", "café", "一只猫", "🐱 cat", "two\nlines", "שלום", "x" * 10_000, ""])
def test_every_format_gives_back_infotext_and_json(output_format: OutputFormat, prompt: str) -> None:
    metadata = replace(METADATA, prompt=prompt, extra={"batch_size": 3})
    found = written(metadata, output_format)
    assert found["parameters"] == metadata.parameters_text()
    assert json.loads(found["generation"])["prompt"] == prompt
    assert json.loads(found["generation"])["extra"] == {"batch_size": 3}


@FORMATS
def test_nul_and_lone_surrogates_do_no_harm_and_the_json_keeps_them(output_format: OutputFormat) -> None:
    prompt = "nul \x00 and \ud800 lone \udfff end"
    found = written(replace(METADATA, prompt=prompt), output_format)
    assert found["parameters"].startswith("nul \ufffd and \ufffd lone \ufffd end\nNegative prompt:")
    assert json.loads(found["generation"])["prompt"] == prompt


@FORMATS
@pytest.mark.parametrize("prompt", ["猫" * 100_000, "🐱" * 50_000])
def test_an_endless_prompt_still_gives_an_image_with_its_settings(output_format: OutputFormat, prompt: str) -> None:
    found = written(replace(METADATA, prompt=prompt, negative_prompt=prompt), output_format)
    assert found["parameters"].startswith(prompt[:400])
    assert found["parameters"].splitlines()[-1].startswith("Steps: 20")
    assert json.loads(found["generation"])["seed"] == 1


def test_a_jpeg_with_absurd_values_is_still_written() -> None:
    assert written(replace(METADATA, model="m" * 100_000), "jpeg") == {}


@FORMATS
def test_an_image_without_metadata_tells_nothing(output_format: OutputFormat) -> None:
    assert read_metadata(encode(PIXELS, output_format=output_format)) == {}


def test_latin_letters_make_a_text_chunk_and_others_an_international_one() -> None:
    assert b"tEXtparameters\0a red circle" in encode(PIXELS, output_format="png", metadata=METADATA)
    data = encode(PIXELS, output_format="png", metadata=replace(METADATA, prompt="猫"))
    assert b"iTXtparameters\0\0\0\0\0" + "猫".encode() in data


def test_jpeg_carries_the_user_comment_as_automatic1111_does() -> None:
    data = encode(PIXELS, output_format="jpeg", metadata=METADATA)
    with Image.open(io.BytesIO(data)) as image:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment == b"UNICODE\0" + INFOTEXT.encode("utf-16-be")


@pytest.mark.parametrize(
    "comment", [b"UNICODE\0" + "a cat".encode("utf-16-le"), b"ASCII\0\0\0a cat", b"a cat\0\0"], ids=ascii
)
def test_comments_of_other_programs_are_read(comment: bytes) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "holiday"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif)
    assert read_metadata(buffer.getvalue()) == {"parameters": "a cat"}


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1\0\x10Exif\0\0garbage"])
def test_bytes_that_are_no_image_are_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(InvalidParameter, match="not a readable"):
        read_metadata(data)


def test_a_png_of_very_many_texts_is_refused_before_each_is_read() -> None:
    def png(count: int) -> bytes:
        return png_with(IMAGE, *[chunk(b"tEXt", b"name\0a text")] * count)

    assert read_metadata(png(MAX_TEXTS)) == {"name": "a text"}
    with pytest.raises(InvalidParameter, match="more than 1000 texts"):
        read_metadata(png(MAX_TEXTS + 1))
    with pytest.raises(InvalidParameter, match="more than 50000 blocks"):
        read_metadata(png_with(IMAGE, *[chunk(b"gAMA", bytes(4))] * MAX_BLOCKS))


def test_texts_behind_the_pixels_are_read_too() -> None:
    data = png_with(IMAGE)
    end = data.rindex(b"IEND") - 4
    assert read_metadata(data[:end] + chunk(b"tEXt", b"parameters\0a cat") + data[end:]) == {"parameters": "a cat"}


def test_texts_that_are_short_only_while_compressed_are_refused() -> None:
    texts = [chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(b"x" * 1_000_000)) for number in range(5)]
    assert sum(map(len, read_metadata(png_with(IMAGE, *texts[:4])).values())) == 4_000_000
    with pytest.raises(InvalidParameter, match="more than 4000000 characters"):
        read_metadata(png_with(IMAGE, *texts))


def test_an_image_of_another_program_and_place_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.webp"
    Image.fromarray(PIXELS).save(path)
    assert read_metadata(path.read_bytes()) == {}
