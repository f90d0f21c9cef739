"""`POST /generate` on the wire: parameters, both output modes, headers, warnings and exact sizes."""

import io
import json
import re
import zipfile

import pytest

from aspect_ratios import ASPECT_RATIOS
from tests.support.images import opened


def test_plain_prompt_is_a_512_by_512_png_with_its_facts_in_headers(fake_server):
    response = fake_server.generate("a red circle")
    image = opened(response)
    assert (response.headers["Content-Type"], image.format, image.size) == ("image/png", "PNG", (512, 512))
    assert response.headers["X-Seed"] == "42"
    assert (response.headers["X-Image-Width"], response.headers["X-Image-Height"]) == ("512", "512")
    assert re.fullmatch(r"\d+\.\d\d", response.headers["X-Inference-Time"])
    assert re.fullmatch(r"\d+\.\d\d", response.headers["X-Queue-Time"])
    assert int(response.headers["X-Request-Id"]) > 0
    assert "X-Warnings" not in response.headers


def test_save_to_file_answers_the_documented_keys_and_a_url_that_works(fake_server):
    answer = fake_server.generate(save_to_file=True, seed=7, num_inference_steps=3).json()
    assert answer["status"] == "success"
    assert (answer["width"], answer["height"], answer["seed"], answer["seeds"]) == (512, 512, 7, [7])
    assert answer["inference_time"] == round(answer["inference_time"], 2)
    assert (answer["model"], answer["warnings"], answer["batch_size"]) == ("fake", [], 1)
    assert answer["queue_time"] >= 0
    name = answer["file_path"].rsplit("/", 1)[1]
    assert re.fullmatch(rf"Qwen-Image-\d{{8}}_\d{{6}}-req{answer['request_id']}\.png", name)
    assert [path.name for path in fake_server.output_dir.iterdir() if path.name == name] == [name]
    assert answer["url"].startswith(fake_server.url + "/images/")
    saved = fake_server.get("/images/" + name)
    assert opened(saved).size == (512, 512)
    assert saved.content == (fake_server.output_dir / name).read_bytes()


@pytest.mark.parametrize("name", ASPECT_RATIOS)
def test_aspect_ratio_has_exactly_its_documented_size(fake_server, name):
    response = fake_server.generate(aspect_ratio=name, num_inference_steps=1, output_format="jpeg")
    assert opened(response).size == ASPECT_RATIOS[name]
    assert (int(response.headers["X-Image-Width"]), int(response.headers["X-Image-Height"])) == ASPECT_RATIOS[name]


def test_four_to_three_is_1472_by_1140(fake_server):
    assert opened(fake_server.generate(aspect_ratio="4:3", num_inference_steps=1)).size == (1472, 1140)


@pytest.mark.parametrize("fields", [{"width": 333, "height": 77}, {"size": "333x77"}])
def test_any_size_is_exact_to_the_pixel(fake_server, fields):
    assert opened(fake_server.generate(**fields)).size == (333, 77)


@pytest.mark.parametrize("side", [64, 65])
def test_smallest_images_carry_the_overlay_too(fake_server, side):
    assert opened(fake_server.generate(width=side, height=side)).size == (side, side)


def test_overlay_changes_pixels_and_can_be_left_out(fake_server):
    with_panel = opened(fake_server.generate(seed=5))
    plain = opened(fake_server.generate(seed=5, add_overlay=False))
    assert plain.getextrema() == ((5, 5), (5, 5), (5, 5))
    assert with_panel.getextrema() != plain.getextrema()


def test_several_images_as_bytes_are_a_zip_with_seeds_that_count_up(fake_server):
    response = fake_server.generate(n=3, seed=10, add_overlay=False)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/zip")
    assert response.headers["X-Seed"] == "10,11,12"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        names = archive.namelist()
        colours = [opened(archive.read(name)).getpixel((0, 0)) for name in names]
    number = response.headers["X-Request-Id"]
    assert names == [f"{number}-{index}.png" for index in range(3)]
    assert len(colours) == 3


def test_several_images_as_files_are_all_listed(fake_server):
    answer = fake_server.generate(n=2, seed=10, save_to_file=True).json()
    assert answer["file_path"] == answer["file_paths"][0]
    assert len(set(answer["file_paths"])) == len(set(answer["urls"])) == 2
    assert answer["seeds"] == [10, 11]
    for path in answer["file_paths"]:
        assert opened(fake_server.get("/images/" + path.rsplit("/", 1)[1])).size == (512, 512)


@pytest.mark.parametrize(("output_format", "ending"), [("jpeg", "jpg"), ("webp", "webp"), ("png", "png")])
def test_output_format_holds_for_bytes_and_files(fake_server, output_format, ending):
    response = fake_server.generate(output_format=output_format)
    assert response.headers["Content-Type"] == f"image/{output_format}"
    assert opened(response).format == output_format.upper()
    assert fake_server.generate(output_format=output_format, save_to_file=True).json()["file_path"].endswith(ending)


def test_lower_compression_quality_makes_smaller_files(fake_server):
    small, large = (
        len(fake_server.generate(output_format="jpeg", output_compression=quality).content) for quality in (5, 100)
    )
    assert small < large


def test_every_documented_parameter_is_honoured(fake_server):
    response = fake_server.generate(
        "猫", negative_prompt="blurry", aspect_ratio="16:9", num_inference_steps=7, true_cfg_scale=2.5, seed=123,
        language="zh", save_to_file=False, add_overlay=False, deterministic=True, timeout=30, model="fake",
    )  # fmt: skip
    image = opened(response)
    assert image.size == (1664, 928)
    parameters = image.text["parameters"]
    assert parameters.startswith("猫, 超清，4K，电影级构图.")
    for fact in ("Negative prompt: blurry", "Steps: 7", "CFG scale: 2.5", "Seed: 123", "Size: 1664x928"):
        assert fact in parameters


def test_defaults_are_the_documented_ones(fake_server):
    parameters = opened(fake_server.generate("a cat")).text["parameters"]
    assert parameters.startswith("a cat, Ultra HD, 4K, cinematic composition.")
    for fact in ("Steps: 20", "CFG scale: 4", "Seed: 42", "Size: 512x512"):
        assert fact in parameters


def test_positive_magic_can_be_left_out(fake_server):
    parameters = opened(fake_server.generate("a cat", positive_magic=False)).text["parameters"]
    assert parameters.splitlines()[0] == "a cat"


def test_null_seed_generates_one_and_says_which(fake_server):
    seeds = {fake_server.generate(seed=None).headers["X-Seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_largest_seed_survives_the_whole_way(fake_server):
    assert fake_server.generate(seed=2**64 - 1, save_to_file=True).json()["seed"] == 2**64 - 1


def test_ignored_parameters_are_named_in_warnings(fake_server):
    fields = {"guidance_scale": 3.5, "output_compression": 50}
    header = fake_server.generate(**fields).headers["X-Warnings"]
    listed = fake_server.generate(save_to_file=True, **fields).json()["warnings"]
    assert header == " | ".join(listed)
    assert [warning.split()[0] for warning in listed] == ["guidance_scale", "output_compression"]


def test_chunked_body_is_read(fake_server):
    body = json.dumps({"prompt": "a red circle"}).encode()
    response = fake_server.post(iter([body[:10], body[10:]]))
    assert opened(response).size == (512, 512)


def test_unknown_model_is_404_naming_the_one_served(fake_server):
    response = fake_server.generate(model="stable-diffusion")
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert "fake" in response.json()["error"]


def test_failed_generation_is_500_without_a_trace(fake_server):
    response = fake_server.generate("[fail]")
    assert response.status_code == 500
    assert response.json()["code"] == "generation_failed"
    assert "Traceback" not in response.text


@pytest.mark.fault(5)
def test_device_out_of_memory_is_507_and_the_next_job_is_served(fake_server):
    response = fake_server.generate("[oom]")
    assert (response.status_code, response.json()["code"]) == (507, "out_of_memory")
    assert fake_server.generate().ok
