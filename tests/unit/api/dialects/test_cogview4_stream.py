"""The frames of the CogView4 stream: the chunks of an image of any size join to its base64."""

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageserver.api.dialects import cogview4_stream
from imageserver.api.dialects.cogview4_stream import (
    MAX_CHUNK_BYTES,
    MAX_FILE_CHUNK_BYTES,
    FrameFields,
    checked,
    frames_of,
    to_generate_fields,
)
from imageserver.errors import GenerationFailed, InvalidParameter
from imageserver.settings import Settings

KEYS = {
    "step", "total_steps", "progress", "image", "timestamp", "is_final", "is_chunked", "chunk_id", "chunk_index",
    "total_chunks", "image_index", "total_images", "seed",
}  # fmt: skip
ASKED = {"prompt": "x", "stream": True, "stream_format": "cogview4"}


def parsed(frame):
    """Return what a frame says; it is one line of data and an empty one."""
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 2
    return json.loads(frame.removeprefix(b"data: "))


def view(**changes):
    fields = {"step": 4, "total_steps": 50, "is_final": False, "image_index": 0, "total_images": 1, "seed": 7}
    return FrameFields(**(fields | changes))


# Sizes around the borders of a chunk, for the chunks themselves as small as images in a test can be.
@given(image=st.binary(min_size=1, max_size=200), chunk=st.integers(1, 30).map(lambda number: number * 3))
def test_the_chunks_of_an_image_join_to_its_base64(image, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cogview4_stream, "MAX_FILE_CHUNK_BYTES", chunk)
        frames = [parsed(frame) for frame in frames_of(image, view())]
    assert base64.b64decode("".join(frame["image"] for frame in frames), validate=True) == image
    assert all(frame.keys() == KEYS for frame in frames)
    assert all(len(frame["image"]) <= chunk // 3 * 4 for frame in frames)
    if len(frames) == 1:
        [frame] = frames
        assert frame["is_chunked"] is False
        assert frame["chunk_id"] is frame["chunk_index"] is frame["total_chunks"] is None
    else:
        assert [frame["chunk_index"] for frame in frames] == list(range(len(frames)))
        assert {frame["total_chunks"] for frame in frames} == {len(frames)}
        assert len({frame["chunk_id"] for frame in frames}) == 1
        assert all(frame["is_chunked"] for frame in frames)


@pytest.mark.parametrize(
    ("size", "letters"),
    [
        (1, [4]),
        (MAX_FILE_CHUNK_BYTES, [MAX_CHUNK_BYTES]),
        (MAX_FILE_CHUNK_BYTES + 1, [MAX_CHUNK_BYTES, 4]),
        (3 * MAX_FILE_CHUNK_BYTES, [MAX_CHUNK_BYTES] * 3),
    ],
)
def test_an_image_is_split_where_its_base64_reaches_400_kib(size, letters):
    assert MAX_CHUNK_BYTES == 400 * 1024
    assert [len(parsed(frame)["image"]) for frame in frames_of(bytes(size), view())] == letters


def test_two_images_never_share_a_chunk_id():
    ids = {parsed(next(frames_of(bytes(MAX_FILE_CHUNK_BYTES + 1), view())))["chunk_id"] for _ in range(50)}
    assert len(ids) == 50


@given(total=st.integers(1, 150), index=st.integers(0, 3), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_a_frame_says_which_step_of_which_image_it_shows(total, index, seed, data):
    step = data.draw(st.integers(0, total - 1))
    final = step == total - 1
    shown = view(step=step, total_steps=total, is_final=final, image_index=index, total_images=4, seed=seed)
    [frame] = (parsed(frame) for frame in frames_of(b"jpeg", shown))
    assert (frame["step"], frame["total_steps"], frame["is_final"]) == (step, total, final)
    assert frame["progress"] == (step + 1) / total
    assert (frame["image_index"], frame["total_images"], frame["seed"]) == (index, 4, seed)
    assert isinstance(frame["timestamp"], float)
    # The document's client takes every frame with this key for a failure.
    assert "error" not in frame


def test_the_frames_of_a_large_image_are_built_one_at_a_time():
    image = bytes(40 * MAX_FILE_CHUNK_BYTES)
    tracemalloc.start()
    try:
        for _ in frames_of(image, view()):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A frame is built of a few copies of its chunk; all frames at once would be 40 chunks and more.
    assert peak < 8 * MAX_CHUNK_BYTES


def test_omitted_fields_have_the_documented_defaults():
    fields = to_generate_fields(checked(ASKED), Settings())
    assert fields == {
        "prompt": "x", "size": "1024x1024", "num_inference_steps": 50, "true_cfg_scale": 5.0, "seed": None,
        "positive_magic": False, "add_overlay": False,
    }  # fmt: skip


def test_given_fields_override_the_defaults_and_null_means_omitted():
    asked = {"guidance_scale": 7.5, "num_inference_steps": 20, "size": "512x512", "seed": 3, "negative_prompt": None}
    fields = to_generate_fields(checked(ASKED | asked), Settings())
    assert (fields["true_cfg_scale"], fields["num_inference_steps"], fields["size"]) == (7.5, 20, "512x512")
    assert fields["seed"] == 3
    assert "negative_prompt" not in fields
    assert "guidance_scale" not in fields


def test_true_cfg_scale_overrides_guidance_scale():
    fields = to_generate_fields(checked(ASKED | {"guidance_scale": 7.5, "true_cfg_scale": 1.0}), Settings())
    assert fields["true_cfg_scale"] == 1.0


def test_the_default_steps_respect_a_lower_limit_of_the_server():
    assert to_generate_fields(checked(ASKED), Settings(max_steps=8))["num_inference_steps"] == 8


def test_a_wrong_field_is_named():
    with pytest.raises(InvalidParameter, match="guidance_scale"):
        checked(ASKED | {"guidance_scale": -1})


def test_a_failure_is_a_frame_and_the_end():
    error, done, rest = cogview4_stream.error_frame(GenerationFailed("It broke.")).split(b"\n\n")
    told = parsed(error + b"\n\n")
    assert (told["error"], told["code"], isinstance(told["timestamp"], float)) == (
        "It broke.",
        "generation_failed",
        True,
    )
    assert (done, rest) == (b"data: [DONE]", b"")


def test_numbers_may_be_text_and_blanks_are_left_out_as_in_the_original():
    body = checked(ASKED | {"n": "2", "guidance_scale": "3.5", "seed": "-1", "size": "", "num_inference_steps": " "})
    assert (body.n, body.guidance_scale, body.seed, body.size) == (2, 3.5, -1, "1024x1024")
    assert to_generate_fields(body, Settings(_env_file=None))["num_inference_steps"] == 50
