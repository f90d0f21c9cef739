"""Qwen-Image-Layered is served end to end: its published layout, the real engine, and layers in several dialects."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from imageserver.api.dialects.openai_images.responses import ImagesResponse
from tests.support.images import coded, file_of, noise, opened
from tests.support.served_model import assert_a_lora_leaves_no_trace, assert_leaving_cancels
from tests.support.server import Server
from tests.support.tiny_loras import save_lora
from tests.support.tiny_qwen_image_layered import save_tiny_qwen_image_layered, tiny_qwen_image_layered

SIDE = 640
COMMON = {"num_inference_steps": 2, "true_cfg_scale": 1.0, "layers": 2}
PROMPT = "a cat before a house"


@pytest.fixture(scope="module")
def server(servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder: Path = tmp_path_factory.mktemp("qwen-image-layered")
    save_tiny_qwen_image_layered(folder)
    save_lora(folder / "loras", "red", tiny_qwen_image_layered())
    return servers(engine="preloaded", MODEL=str(folder), LORA_DIR=str(folder / "loras"))


def noisy(seed: int = 0, width: int = SIDE, height: int = SIDE) -> str:
    return coded(noise(seed, width, height))


def layers_in(answer: requests.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return [opened(archive.read(name)) for name in archive.namelist()]


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))


def test_a_zip_holds_the_stock_pipelines_layers_with_their_transparency(server):
    answer = server.generate(PROMPT, image=noisy(), seed=7, deterministic=True, **COMMON)
    layers = layers_in(answer)
    assert (answer.headers["X-Seed"], answer.headers["X-Image-Width"]) == ("7,7", str(SIDE))
    assert "X-Warnings" not in answer.headers
    with torch.no_grad():
        [expected] = tiny_qwen_image_layered()(
            image=noise(0, SIDE, SIDE).convert("RGBA"), prompt=PROMPT, **COMMON,
            generator=torch.Generator("cpu").manual_seed(7),
        ).images  # fmt: skip
    assert [layer.mode for layer in layers] == ["RGBA", "RGBA"]
    # Weights that were read from a file lie in other places, which changes last bits.
    for one, other in zip(layers, expected, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max() <= 1


def test_layers_come_from_the_cache_as_they_were(server):
    answer, again = (server.generate(PROMPT, image=noisy(1), cache=True, **COMMON) for _ in range(2))
    assert (answer.headers["X-Cache"], again.headers["X-Cache"]) == ("miss", "hit")
    for one, other in zip(layers_in(answer), layers_in(again), strict=True):
        assert same(one, other)


def test_the_usual_number_is_four_and_the_size_is_told_as_it_is(server):
    fields = COMMON | {"layers": None, "size": "1024x1024", "add_overlay": True}
    answer = server.generate(PROMPT, image=noisy(width=400, height=300), save_to_file=True, **fields)
    assert answer.status_code == 200, answer.text
    saved = answer.json()
    assert len(saved["file_paths"]) == len(saved["urls"]) == 4
    assert (saved["width"], saved["height"]) == (736, 544)
    told = " ".join(saved["warnings"])
    assert "image is 400x300; its layers are 736x544." in told
    assert "The size has no effect" in told
    assert "add_overlay is ignored for layers." in told
    image = opened(requests.get(saved["urls"][3], timeout=30))
    assert (image.mode, image.size) == ("RGBA", (736, 544))
    job = server.get("/v1/jobs?limit=1").json()["data"][0]
    assert (job["width"], job["height"], len(job["seeds"])) == (736, 544, 4)


def test_webp_keeps_the_transparency_and_jpeg_says_that_it_does_not(server):
    exact = layers_in(server.generate(PROMPT, image=noisy(), **COMMON))
    webp = layers_in(server.generate(PROMPT, image=noisy(), output_format="webp", **COMMON))
    for layer, other in zip(exact, webp, strict=True):
        assert (np.asarray(layer)[..., 3] == np.asarray(other)[..., 3]).all()
    answer = server.generate(PROMPT, image=noisy(), output_format="jpeg", **COMMON)
    assert "the layers are laid on white" in answer.headers["X-Warnings"]
    assert [layer.mode for layer in layers_in(answer)] == ["RGB", "RGB"]


def test_the_openai_dialect_answers_an_image_for_each_layer(server):
    fields = {"prompt": PROMPT, "num_inference_steps": 2, "true_cfg_scale": 1.0, "layers": 2, "seed": 3}
    files = {"image": ("image.png", file_of(noise(0, SIDE, SIDE)), "image/png")}
    answer = requests.post(f"{server.url}/v1/images/edits", data=fields, files=files, timeout=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["background"], body["size"]) == ("transparent", "640x640")
    ImagesResponse.model_validate(body)
    assert [image["seed"] for image in body["data"]] == [3, 3]
    layers = [opened(image["b64_json"]) for image in body["data"]]
    native = layers_in(server.generate(PROMPT, image=noisy(), positive_magic=False, **COMMON, seed=3))
    assert all(same(one, other) for one, other in zip(layers, native, strict=True))
    with requests.post(
        f"{server.url}/v1/images/edits", data=fields | {"stream": "true"}, files=files, timeout=60
    ) as stream:
        text = stream.text
    assert text.count("event: image_edit.completed") == 2
    assert '"image_index":1' in text


def test_automatic1111s_clients_get_every_layer_and_hugging_faces_the_first(server):
    body = {"prompt": PROMPT, "init_images": [noisy()], "steps": 2, "cfg_scale": 1, "seed": 5}
    answer = requests.post(f"{server.url}/sdapi/v1/img2img", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    layers = [opened(data) for data in answer.json()["images"]]
    assert [(layer.mode, layer.size) for layer in layers] == [("RGBA", (SIDE, SIDE))] * 4
    parameters = {"prompt": PROMPT, "seed": 5} | COMMON
    answer = requests.post(f"{server.url}/", json={"inputs": noisy(), "parameters": parameters}, timeout=60)
    assert opened(answer).mode == "RGBA"
    assert "This API returns the first of 2 images." in answer.headers["X-Warnings"]


def test_the_quality_tiers_generate_layers_too(server):
    exact, fast = (
        layers_in(server.generate(PROMPT, image=noisy(), quality=quality, **(COMMON | {"num_inference_steps": 12})))
        for quality in ("exact", "fast")
    )
    assert [layer.mode for layer in fast] == ["RGBA", "RGBA"]
    assert not any(same(one, other) for one, other in zip(exact, fast, strict=True))


def test_a_lora_changes_what_is_generated_and_the_next_image_is_as_before(server):
    assert_a_lora_leaves_no_trace(
        server, PROMPT, read=lambda answer: np.stack(layers_in(answer)), image=noisy(), **COMMON
    )


def test_what_it_cannot_do_is_refused_by_name(server):
    for fields, param in (
        ({}, "image"),
        ({"image": noisy(), "mask": noisy()}, "mask"),
        ({"image": noisy(), "layers": 11}, "layers"),
    ):
        answer = server.generate(PROMPT, **(COMMON | fields))
        assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text


@pytest.mark.parametrize(("width", "height"), [(8000, 4), (4, 8000)])
def test_an_image_whose_layers_no_answer_could_hold_is_refused(server, width, height):
    refused = server.generate(PROMPT, image=noisy(width=width, height=height), **COMMON)
    assert (refused.status_code, refused.json()["param"]) == (422, "image"), refused.text
    assert "too long and narrow" in refused.json()["error"]


def test_a_model_that_takes_nothing_apart_refuses_layers(demo_server):
    answer = demo_server.generate(PROMPT, layers=2)
    assert (answer.status_code, answer.json()["param"]) == (422, "layers")


def test_a_client_that_leaves_stops_its_layers(server):
    assert_leaving_cancels(server, seconds=1, image=noisy())
