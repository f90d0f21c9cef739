"""A model that edits is served end to end: a folder in its published layout, the real engine, and several dialects."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.support import tiny_models
from tests.support.images import coded, file_of, noise, pixels
from tests.support.served_model import assert_a_lora_leaves_no_trace, assert_leaving_cancels, assert_together_as_alone
from tests.support.server import SMALL_IMAGES, Server
from tests.support.tiny_loras import save_lora

COMMON = {"num_inference_steps": 3, "add_overlay": False}


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp("edit")
    tiny_models.save_tiny_qwen_image_edit(folder, plus=True)
    save_lora(folder / "loras", "red", tiny_models.tiny_qwen_image_edit(plus=True))
    return servers(engine="preloaded", MODEL=str(folder), LORA_DIR=str(folder / "loras"), **SMALL_IMAGES)


@pytest.fixture(scope="module")
def first_edition(servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with the first Qwen-Image-Edit, which sees one image."""
    folder: Path = tmp_path_factory.mktemp("edit")
    tiny_models.save_tiny_qwen_image_edit(folder, plus=False)
    return servers(engine="preloaded", MODEL=str(folder), **SMALL_IMAGES)


def png(seed: int = 0, width: int = 128, height: int = 128) -> bytes:
    return file_of(noise(seed, width, height))


def text(seed: int = 0, width: int = 128, height: int = 128) -> str:
    return coded(png(seed, width, height))


def test_an_image_is_edited_at_its_own_size_or_the_one_asked_for(server):
    own = server.generate("make it blue", image=text(width=100, height=68), **COMMON)
    assert pixels(own).shape == (68, 100, 3)
    asked = server.generate("make it blue", image=text(), size="192x128", **COMMON)
    assert pixels(asked.content).shape == (128, 192, 3)


def test_what_it_cannot_do_is_refused_by_name(server):
    alone = server.generate("a cat", **COMMON)
    assert (alone.status_code, alone.json()["param"]) == (422, "image")
    assert alone.json()["error"].endswith("edits images; send image.")
    masked = server.generate("a cat", image=text(), mask=text(), **COMMON)
    assert (masked.status_code, masked.json()["param"]) == (422, "mask")
    assert masked.json()["error"].endswith("does not inpaint; leave mask out.")


def test_strength_is_warned_of_and_all_steps_are_done(server):
    edited = server.generate("a hat", image=text(), strength=0.5, **COMMON)
    assert "strength has no effect" in edited.headers["X-Warnings"]
    plain = server.generate("a hat", image=text(), **(COMMON | {"seed": int(edited.headers["X-Seed"])}))
    assert (pixels(edited.content) == pixels(plain.content)).all()


def test_the_openai_dialect_edits(server):
    answer = requests.post(
        f"{server.url}/v1/images/edits",
        data={"prompt": "make it blue", "num_inference_steps": 3},
        files={"image": ("image.png", png(), "image/png")},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert pixels(base64.b64decode(answer.json()["data"][0]["b64_json"])).shape == (128, 128, 3)


def test_several_images_are_seen_each_by_itself(server):
    def generate(*images: str) -> requests.Response:
        answer = server.generate("put both together", image=list(images), seed=1, **COMMON)
        assert answer.status_code == 200, answer.text
        return answer

    first, second = text(0), text(1, width=192)
    both = generate(first, second)
    assert "X-Warnings" not in both.headers
    # The first one's size, not that of a row.
    assert pixels(both.content).shape == (128, 128, 3)
    for other in (generate(first), generate(first, text(2, width=192)), generate(first, text(1, 128, 192))):
        assert (pixels(both.content) != pixels(other.content)).any()


def test_more_than_it_sees_apart_are_put_side_by_side_with_a_warning(server):
    answer = server.generate("all four", image=[text(seed) for seed in range(4)], **COMMON)
    assert pixels(answer.content).shape == (128, 512, 3)
    assert "sees up to 3 images by themselves: the 4 that were sent" in answer.headers["X-Warnings"]


def test_the_first_edition_sees_one_image_and_several_as_a_row(first_edition):
    assert first_edition.get("/info").json()["model_family"] == "qwen-image-edit"
    one = first_edition.generate("make it blue", image=text(width=100, height=68), **COMMON)
    assert pixels(one).shape == (68, 100, 3)
    row = first_edition.generate("make both blue", image=[text(0), text(1)], **COMMON)
    assert pixels(row.content).shape == (128, 256, 3)
    assert "X-Warnings" in row.headers


def test_a_lora_changes_what_is_generated_and_the_next_image_is_as_before(server):
    assert_a_lora_leaves_no_trace(server, "make it blue", image=text(), **COMMON)


def test_several_images_may_be_sent_as_files_too(server):
    files = [("image", ("a.png", png(0), "image/png")), ("image", ("b.png", png(1), "image/png"))]
    fields = {"prompt": "put both together", "seed": "1", "num_inference_steps": "3", "add_overlay": "false"}
    sent = requests.post(f"{server.url}/generate", data=fields, files=files, timeout=60)
    assert sent.status_code == 200, sent.text
    as_text = server.generate("put both together", image=[text(0), text(1)], seed=1, **COMMON)
    assert (pixels(sent.content) == pixels(as_text.content)).all()
    edited = requests.post(
        f"{server.url}/v1/images/edits",
        data={"prompt": "put both together", "seed": "1", "num_inference_steps": "3"},
        files=[("image[]", file) for _, file in files],
        timeout=60,
    )
    generated = base64.b64decode(edited.json()["data"][0]["b64_json"])
    assert (pixels(generated) == pixels(sent.content)).all()


def test_several_clients_at_a_time_get_what_each_gets_alone(server):
    def generate(seed: int) -> np.ndarray:
        generated = server.generate("make it blue", image=text(seed), seed=seed, **COMMON)
        return pixels(generated)

    assert_together_as_alone(generate, range(3))


def test_a_client_that_leaves_stops_its_edit(server):
    assert_leaving_cancels(server, seconds=1, image=text())
