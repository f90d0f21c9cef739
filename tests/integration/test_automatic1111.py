"""What clients of AUTOMATIC1111 send reaches the engine, and they are answered as they expect.

The sequences are those of Open WebUI (`routers/images.py`), of SillyTavern (`src/endpoints/stable-diffusion.js`) and of
Cyanic, a plug-in of Krita (`sdapi_v1.py`, `widgets/generate.py`).
"""

import numpy as np
import pytest
from PIL import Image

from imageserver.imaging.decoding import read_image
from imageserver.imaging.fitting import fit_image
from imageserver.imaging.metadata import read_metadata
from tests.support.automatic1111_client import Automatic1111Client, files_of, images_of, info_of, job_of, text_of
from tests.support.images import colours, file_of, opened
from tests.support.server import in_background

# What both clients send where no password is set.
NO_PASSWORD = {"Authorization": "Basic "}
POLLS = 15


@pytest.fixture
def client(fake_server):
    return Automatic1111Client(fake_server, **NO_PASSWORD)


def test_open_webui_verifies_chooses_a_model_and_generates(client):
    options = client.get("/sdapi/v1/options").json()
    model = client.get("/sdapi/v1/sd-models").json()[0]
    assert options["sd_model_checkpoint"] == model["title"] == "fake"
    assert model["model_name"]
    # It sends back all options that it was given.
    assert client.post("/sdapi/v1/options", options | {"sd_model_checkpoint": model["title"]}).status_code == 200
    refused = client.post("/sdapi/v1/options", options | {"sd_model_checkpoint": "sd_xl_base_1.0"})
    assert refused.status_code == 404
    assert "this server serves fake" in refused.json()["detail"]
    body = {
        "prompt": "a red circle", "batch_size": 2, "width": 96, "height": 64, "steps": 5, "negative_prompt": "dog",
        "cfg_scale": 6.5, "sampler_name": "FakeScheduler", "scheduler": "Automatic",
    }  # fmt: skip
    answer = client.post("/sdapi/v1/txt2img", body)
    assert [image.size for image in images_of(answer)] == [(96, 64)] * 2
    info = info_of(answer)
    assert info["all_seeds"] == [info["seed"], info["seed"] + 1]
    assert info.items() >= {"cfg_scale": 6.5, "steps": 5, "width": 96, "height": 64, "negative_prompt": "dog"}.items()
    assert info["warnings"] == []
    assert "X-Warnings" not in answer.headers
    assert job_of(client.server, answer)["dialect"] == "automatic1111"


def test_sillytavern_connects_loads_its_lists_and_generates(client):
    assert client.get("/sdapi/v1/options").status_code == 200
    assert "forge_preset" not in client.get("/sdapi/v1/options").json()
    upscalers = [item["name"] for item in client.get("/sdapi/v1/upscalers").json()]
    assert upscalers[0] == "None"
    assert client.get("/sdapi/v1/latent-upscale-modes").json() == []
    assert client.get("/sdapi/v1/sd-vae").json() == []
    assert client.get("/sdapi/v1/sd-modules").json() == []
    [sampler] = [item["name"] for item in client.get("/sdapi/v1/samplers").json()]
    [scheduler] = [item["name"] for item in client.get("/sdapi/v1/schedulers").json()]
    title = client.get("/sdapi/v1/sd-models").json()[0]["title"]
    assert client.post("/sdapi/v1/options", {"sd_model_checkpoint": title}).status_code == 200
    client.wait_until_idle()
    assert client.progress()["progress"] == 0
    body = {
        "url": client.server.url, "auth": "me:secret", "prompt": "[step=0.05] a portrait", "negative_prompt": "",
        "sampler_name": sampler, "scheduler": scheduler, "steps": 20, "cfg_scale": 7, "width": 64, "height": 64,
        "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 1, "hr_additional_modules": [],
        "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": 21, "clip_skip": 1, "save_images": True,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        "override_settings_restore_afterwards": True, "send_images": True, "do_not_save_grid": False,
        "do_not_save_samples": False,
    }  # fmt: skip
    generating = in_background(client.post, "/sdapi/v1/txt2img", body)
    client.wait_until_busy()
    seen = client.progress()
    assert 0 < seen["progress"] < 1
    answer = generating.result(30)
    assert images_of(answer)[0].getpixel((0, 0)) == (21, 21, 21)
    assert "secret" not in answer.text
    assert info_of(answer)["warnings"] == []
    saved = [path for path in client.server.output_dir.iterdir() if f"req{answer.headers['X-Request-Id']}" in path.name]
    assert [path.read_bytes() for path in saved] == files_of(answer)


def test_krita_connects_reads_every_list_and_is_told_what_its_results_are(client):
    assert client.get("/queue/status").status_code == 200
    for name in ("face-restorers", "prompt-styles", "hypernetworks"):
        assert client.get(f"/sdapi/v1/{name}").json() == []
    # The one that is shipped.
    assert [lora["name"] for lora in client.get("/sdapi/v1/loras").json()] == ["night"]
    assert client.get("/sdapi/v1/scripts").json() == {"txt2img": [], "img2img": []}
    assert client.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
    answer = client.generate(
        "a layer", batch_size=2, save_images=False, override_settings={"sd_model_checkpoint": "fake"}
    )
    told = answer.json()["parameters"]
    assert (told["batch_size"], told["n_iter"], told["save_images"]) == (2, 1, False)
    assert len(files_of(answer)) == told["batch_size"] * told["n_iter"]
    assert len(info_of(answer)["all_seeds"]) == 2
    assert (info_of(answer)["width"], info_of(answer)["height"]) == (64, 64)


def test_an_image_starts_from_another_and_is_fitted_as_the_resize_mode_says(client):
    source = colours(64, 32)
    fields = {"prompt": "x", "width": 128, "height": 128, "denoising_strength": 0.4, "include_init_images": False}
    for mode, expected in enumerate(("stretch", "crop", "pad", "stretch")):
        body = fields | {"init_images": [text_of(source, "data:image/png;base64,")], "resize_mode": mode}
        answer = client.post("/sdapi/v1/img2img", body)
        [image] = images_of(answer)
        # The fake engine answers with what it starts from.
        assert np.abs(np.asarray(image).astype(int) - fitted(source, expected)).max() <= 1, expected
        assert info_of(answer)["denoising_strength"] == 0.4
        assert answer.json()["parameters"]["init_images"] is None
    assert "resize_mode 3" in answer.headers["X-Warnings"]


def fitted(image: Image.Image, mode: str) -> np.ndarray:
    pixels = fit_image(read_image(file_of(image), name="x", max_pixels=10**6), 128, 128, mode)
    return np.frombuffer(pixels.data, np.uint8).reshape(128, 128, 3).astype(int)


def test_the_mask_says_what_is_regenerated_and_the_inverted_one_what_is_not(demo_server):
    client = Automatic1111Client(demo_server)
    source = colours(128, 128)
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    fields = {
        "prompt": "a red circle", "init_images": [text_of(source)], "mask": text_of(mask), "width": 128, "height": 128,
        "steps": 2, "denoising_strength": 1, "mask_blur": 0, "seed": 3,
    }  # fmt: skip
    for invert in (0, 1):
        [image] = images_of(client.post("/sdapi/v1/img2img", fields | {"inpainting_mask_invert": invert}))
        same = (np.asarray(image) == np.asarray(source)).all(-1)
        kept, generated = (same[:, 64:], same[:, :64]) if not invert else (same[:, :64], same[:, 64:])
        assert kept.all()
        assert generated.mean() < 0.1


def test_a_denoising_strength_of_0_leaves_the_image_almost_as_it_is(demo_server):
    source = Image.new("RGB", (128, 128), (200, 40, 40))
    body = {"prompt": "x", "init_images": [text_of(source)], "width": 128, "height": 128, "denoising_strength": 0}
    answer = Automatic1111Client(demo_server).post("/sdapi/v1/img2img", body)
    [image] = images_of(answer)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(source)).mean() < 25
    assert info_of(answer)["warnings"] == ["denoising_strength 0 still runs the last step."]


def test_every_image_carries_the_infotext_that_the_answer_tells(client):
    answer = client.generate("a cat, sitting\non a mat", negative_prompt="dog", n_iter=2, seed=5, cfg_scale=3)
    infotexts = info_of(answer)["infotexts"]
    assert [image.info["parameters"] for image in images_of(answer)] == infotexts
    assert infotexts[1].startswith("a cat, sitting\non a mat\nNegative prompt: dog\nSteps: 4, Sampler: FakeScheduler, ")
    for data, seed in zip(answer.json()["images"], (5, 6), strict=True):
        told = client.post("/sdapi/v1/png-info", {"image": "data:image/png;base64," + data}).json()
        assert told["info"] in infotexts
        assert told["parameters"].items() >= {
            "Prompt": "a cat, sitting\non a mat", "Negative prompt": "dog", "Steps": "4", "CFG scale": "3",
            "Seed": str(seed), "Size-1": "64", "Size-2": "64", "Model": "fake",
        }.items()  # fmt: skip
        assert "generation" in told["items"]


def test_an_image_that_tells_nothing_has_no_parameters(client):
    told = client.post("/sdapi/v1/png-info", {"image": text_of(colours())})
    assert told.json() == {"info": "", "items": {}, "parameters": {}}


def test_the_file_format_is_an_option_that_every_worker_keeps_and_a_request_may_override(own_servers):
    server = own_servers(WORKERS="2")
    client = Automatic1111Client(server)
    assert client.get("/sdapi/v1/options").json()["samples_format"] == "png"
    answer = client.post("/sdapi/v1/options", {"samples_format": "webp", "jpeg_quality": 80, "sd_vae": "Automatic"})
    assert (answer.json(), answer.headers["X-Warnings"]) == (None, "options are ignored: 'jpeg_quality'.")
    assert {client.get("/sdapi/v1/options").json()["samples_format"] for _ in range(POLLS)} == {"webp"}
    for number, (fields, expected) in enumerate([({}, "WEBP"), ({"samples_format": "jpg"}, "JPEG")] * 4):
        answer = client.generate(f"number {number}", override_settings=fields)
        [image] = images_of(answer)
        assert image.format == expected
        assert [read_metadata(data)["parameters"] for data in files_of(answer)] == info_of(answer)["infotexts"]


def test_images_that_are_not_to_be_sent_are_not(client):
    answer = client.generate("not sent", send_images=False)
    assert answer.json()["images"] == []
    assert len(info_of(answer)["infotexts"]) == 1


def test_what_is_not_done_is_said_in_the_info_and_in_a_header(client):
    answer = client.generate(
        "<lora:x:1> ü", sampler_name="DPM++ 2M", alwayson_scripts={"ÄDetailer": {}}, restore_faces=True
    )
    warnings = info_of(answer)["warnings"]
    assert len(warnings) == 4
    assert answer.headers["X-Warnings"] == " | ".join(warnings)


def test_the_header_of_warnings_stays_short_enough_for_every_client(client):
    scripts = {"script " + "x" * 70 + str(number): {} for number in range(100)}
    answer = client.generate("x", alwayson_scripts=scripts, styles=list(scripts), **scripts)
    assert len(answer.headers["X-Warnings"]) <= 2000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "txt2img", {"prompt": "x", "steps": "many"}, 422, "steps"),
        ("POST", "txt2img", {"prompt": "x", "steps": 100_000}, 422, "steps"),
        ("POST", "txt2img", {"prompt": "x", "batch_size": 4, "n_iter": 4}, 422, "batch_size"),
        ("POST", "txt2img", {"prompt": "x", "width": 4096, "height": 4096}, 422, "width"),
        ("POST", "txt2img", {"prompt": "x", "seed": 2**64 - 1, "batch_size": 2}, 422, "seed"),
        ("POST", "txt2img", {"prompt": "x", "override_settings": {"samples_format": "avif"}}, 422, "override_settings"),
        (
            "POST", "txt2img", {"prompt": "x", "override_settings": {"sd_model_checkpoint": "y"}}, 404,
            "sd_model_checkpoint",
        ),
        ("POST", "txt2img", ["x"], 400, None),
        ("POST", "txt2img", {"prompt": "[fail]"}, 500, None),
        ("POST", "txt2img", {"prompt": "[oom]"}, 507, None),
        ("POST", "img2img", {"prompt": "x"}, 422, "init_images"),
        ("POST", "img2img", {"prompt": "x", "init_images": ["!"]}, 422, "init_images"),
        ("POST", "img2img", {"prompt": "x", "init_images": ["aGk="]}, 422, "init_images"),
        ("POST", "img2img", {"prompt": "x", "init_images": ["http://x/y.png"]}, 422, "init_images"),
        ("POST", "img2img", {"prompt": "x", "init_images": ["aGk=", "aGk="]}, 422, "init_images"),
        ("POST", "img2img", {"prompt": "x", "init_images": [text_of(colours())], "mask": "aGk="}, 422, "mask"),
        ("POST", "options", {"samples_format": "avif"}, 422, "samples_format"),
        ("POST", "options", {"sd_model_checkpoint": "y"}, 404, "sd_model_checkpoint"),
        ("POST", "options", [], 400, None),
        ("POST", "png-info", {"image": "aGk="}, 422, "image"),
        ("POST", "png-info", {}, 422, "image"),
        ("GET", "progress?skip_current_image=maybe", None, 422, "skip_current_image"),
        ("POST", "txt2img", {"enable_hr": True, "hr_scale": 4, "width": 2048, "height": 2048}, 422, "hr_scale"),
        ("POST", "txt2img", {"enable_hr": True, "hr_second_pass_steps": 999}, 422, "hr_second_pass_steps"),
        ("GET", "txt2img", None, 405, None),
        ("POST", "extra-single-image", {}, 422, "image"),
        ("POST", "extra-single-image", {"image": "aGk="}, 422, "image"),
        ("POST", "extra-batch-images", {"imageList": []}, 422, "imageList"),
        ("POST", "extra-batch-images", {"imageList": [{"data": "!"}]}, 422, "imageList[0]"),
        ("POST", "interrogate", {"image": text_of(colours()), "model": "clip"}, 404, None),
        ("POST", "unknown", {}, 404, None),
        ("GET", "", None, 404, None),
    ],
)  # fmt: skip
def test_every_error_is_json_with_one_sentence_where_clients_look_for_it(client, method, path, body, status, param):
    answer = client.ask(method, f"/sdapi/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["detail"] == told["errors"] != ""
    assert (told["body"], told["param"]) == ("", param)
    assert told["error"]


def test_the_extras_enlarge_images_and_refuse_what_would_be_too_large(client):
    image = text_of(colours(64, 32))
    body = {"image": image, "upscaler_1": "Lanczos", "upscaling_resize": "3"}
    assert opened(client.post("/sdapi/v1/extra-single-image", body).json()["image"]).size == (192, 96)
    batch = {"imageList": [{"data": image, "name": "a"}, {"data": image}], "upscaler_1": "R-ESRGAN 4x+"}
    answer = client.post("/sdapi/v1/extra-batch-images", batch)
    assert [opened(each).size for each in answer.json()["images"]] == [(128, 64)] * 2
    assert "R-ESRGAN" in answer.headers["X-Warnings"]
    kept = client.post("/sdapi/v1/extra-single-image", {"image": image}).json()["image"]
    assert opened(kept).tobytes() == colours(64, 32).tobytes()
    large = {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 9000, "upscaling_resize_h": 9000}
    refused = client.post("/sdapi/v1/extra-single-image", {"image": image} | large)
    assert (refused.status_code, refused.json()["param"]) == (422, "upscaling_resize_w")


def test_the_hires_fix_is_a_second_stage_of_the_same_job(client):
    answer = client.generate("enlarged", enable_hr=True, hr_scale=1.5, denoising_strength=0.5, hr_upscaler="Lanczos")
    [image] = images_of(answer)
    info = info_of(answer)
    assert (image.size, info["width"], info["denoising_strength"], info["warnings"]) == ((96, 96), 96, 0.5, [])
    assert "Hires upscale: 1.5" in info["infotexts"][0]
    # Four of the first stage, two of the one tile of the second.
    assert job_of(client.server, answer)["total_steps"] == 4 + 2


def test_a_caption_is_refused_with_a_sentence_of_its_own(client):
    answer = client.post("/sdapi/v1/interrogate", {"image": text_of(colours()), "model": "clip"})
    assert "describes images" in answer.json()["detail"]


def test_controlnets_clients_connect_to_a_server_without_one(client):
    assert client.get("/controlnet/version").json() == {"version": 3}
    assert client.get("/controlnet/model_list", update="true").json() == {"model_list": []}
    assert "none" in client.get("/controlnet/module_list").json()["module_list"]
    assert client.get("/controlnet/settings").json()["control_net_unit_count"] >= 1
    kinds = client.get("/controlnet/control_types").json()["control_types"]
    assert kinds["All"]["model_list"] == ["None"]
    assert client.get("/controlnet/detect").json()["detail"]


def test_every_model_in_the_list_can_be_chosen_back(client):
    listed = client.get("/sdapi/v1/sd-models").json()
    assert client.get("/sdapi/v1/sd-modules").json() == []
    for title in {each["title"] for each in listed} | {each["model_name"] for each in listed}:
        answer = client.generate("chosen", override_settings={"sd_model_checkpoint": title})
        assert info_of(answer)["warnings"] == []


def test_a_body_that_is_no_json_is_an_error_in_the_dialects_shape(client):
    answer = client.ask("POST", "/sdapi/v1/txt2img", data=b"{")
    assert (answer.status_code, answer.json()["detail"]) == (400, "The body is not valid JSON.")


def test_a_full_server_says_when_to_come_back_in_the_dialects_shape(own_servers):
    server = own_servers(MAX_QUEUE="1")
    client = Automatic1111Client(server)
    busy = client.start_generating("[step=0.05]", steps=40)
    client.wait_until_busy()
    answer = client.generate("one too many")
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert busy.result(30).status_code == 200


def test_while_the_model_loads_the_server_is_there_and_says_that_it_has_none_yet(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="4")
    client = Automatic1111Client(server)
    assert client.get("/internal/ping").json() == {}
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] is None
    for path in ("sd-models", "samplers"):
        answer = client.get(f"/sdapi/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "loading")
        assert int(answer.headers["Retry-After"]) >= 1
    assert client.post("/sdapi/v1/options", {"sd_model_checkpoint": "fake"}).status_code == 503
    assert len(files_of(client.generate("it waits for the model"))) == 1


def test_the_same_seed_is_the_same_image_and_another_generate_another(client):
    first, again = (files_of(client.generate("seeded", seed=11)) for _ in range(2))
    assert first == again
    generated = {info_of(client.generate("generated"))["seed"] for _ in range(3)}
    assert len(generated) == 3


def test_the_tolerated_orders_change_nothing(client):
    for path in ("refresh-checkpoints", "refresh-loras", "refresh-vae"):
        assert client.post(f"/sdapi/v1/{path}").json() is None
    for path in ("unload-checkpoint", "reload-checkpoint"):
        assert client.post(f"/sdapi/v1/{path}").json() == {}
    assert client.generate("still here").status_code == 200
    assert client.get("/sdapi/v1/cmd-flags").json()["api"] is True
    ram = client.get("/sdapi/v1/memory").json()["ram"]
    assert ram["total"] == pytest.approx(ram["free"] + ram["used"])
