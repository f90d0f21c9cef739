"""Fields of AUTOMATIC1111 are translated with their meaning, and unsupported ones give warnings."""

import json
import math
import time
from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.api.dialects.automatic1111 import responses
from imageserver.api.dialects.automatic1111.bodies import (
    Img2ImgBody,
    Txt2ImgBody,
    checked,
    output_format_of,
    sent,
    to_generate_fields,
    warnings_of,
)
from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint
from imageserver.api.dialects.automatic1111.lora_tags import loras_in
from imageserver.api.dialects.automatic1111.options import StoredOptions
from imageserver.api.dialects.automatic1111.samplers import SamplerChoice, choose
from imageserver.dispatch.client.model_names import ModelNames
from imageserver.errors import BadRequest, InvalidParameter, ModelNotFound, QueueFull
from imageserver.generation import ModelInfo
from imageserver.protocol.messages import JobStatus
from imageserver.settings import Settings

FLOW = ModelInfo(name="flow", sampler="Euler", schedulers={"Euler": "FlowMatchEulerDiscreteScheduler"})
DIFFUSION = ModelInfo(
    name="diffusion",
    sampler="DPM++ 2M Karras",
    schedulers={
        "DPM++ 2M Karras": "DPMSolverMultistepScheduler", "DPM++ 2M": "DPMSolverMultistepScheduler",
        "Euler": "EulerDiscreteScheduler", "Euler Karras": "EulerDiscreteScheduler",
        "Euler a": "EulerAncestralDiscreteScheduler",
    },
)  # fmt: skip
SETTINGS = Settings(_env_file=None, max_images=4, max_steps=100, max_prompt_chars=200)


def txt2img(**content):
    return checked(Txt2ImgBody, content, SETTINGS)


def img2img(**content):
    return checked(Img2ImgBody, {"init_images": ["aGk="], **content}, SETTINGS)


def native(body):
    return to_generate_fields(body, "png", "")


def job(**changes):
    fields = {
        "id": 1, "dialect": "automatic1111", "state": "processing", "prompt": "x", "width": 64, "height": 64,
        "steps": 10, "n": 1, "seed": 1, "priority": "normal", "created_at": 1.0, "started_at": 2.0, "total_steps": 10,
    }  # fmt: skip
    return JobStatus(**(fields | changes))


def test_omitted_fields_mean_the_models_defaults_and_512_pixels():
    assert native(txt2img(prompt="a cat")) == {
        "prompt": "a cat", "seed": None, "n": 1, "width": 512, "height": 512, "output_format": "png",
        "positive_magic": False, "add_overlay": False,
    }  # fmt: skip


def test_fields_are_translated_to_those_of_generate():
    body = txt2img(
        prompt="a cat",
        negative_prompt="dog",
        seed=7,
        batch_size=2,
        n_iter=2,
        steps=12,
        cfg_scale=7,
        width=640,
        height=96,
    )
    assert native(body).items() >= {
        "negative_prompt": "dog", "seed": 7, "n": 4, "num_inference_steps": 12, "true_cfg_scale": 7, "width": 640,
        "height": 96,
    }.items()  # fmt: skip


@pytest.mark.parametrize(("seed", "expected"), [(-1, None), ("-1", None), (None, None), (0, 0), ("12", 12), (3.0, 3)])
def test_every_spelling_of_a_seed_is_read(seed, expected):
    assert native(txt2img(prompt="x", seed=seed))["seed"] == expected


def test_null_is_the_same_as_left_out():
    nothing = dict.fromkeys([*Txt2ImgBody.model_fields, "s_tmax", "refiner_checkpoint"])
    assert native(txt2img(**nothing)) == native(txt2img())
    assert warnings_of(txt2img(**nothing)) == []


def test_a_prompt_may_be_left_out_and_is_then_generated_without_guidance():
    fields = native(txt2img())
    assert (fields["prompt"], fields["true_cfg_scale"]) == (" ", 1.0)
    assert "true_cfg_scale" not in native(txt2img(negative_prompt="dog"))


def test_lora_tags_are_removed_from_the_prompt_and_become_loras():
    body = txt2img(prompt="a cat <lora:Fancy Style:0.8>, sitting<lyco:b>", negative_prompt="<lora:c:-1:0.5>dog")
    assert native(body)["prompt"] == "a cat, sitting"
    assert native(body)["negative_prompt"] == "dog"
    chosen, warnings = loras_in(body.prompt, body.negative_prompt, ["fancy style", "c"])
    assert chosen == [{"name": "fancy style", "scale": 0.8}]
    assert warnings == ["these tags were removed from the prompts without adding a LoRA: 'c', 'b'."]


@pytest.mark.parametrize(
    ("tag", "scale"),
    [
        ("<lora:a>", 1), ("<lora:a:>", 1), ("<lora:a:0.5>", 0.5), ("<lora:A:-1>", -1), ("<lora:a:0.5:0.8>", 0.8),
        ("<lora:a:unet=0.8:dyn=4>", 0.8), ("<lora:a:1:0.7:dyn=4>", 0.7), ("<lyco:a:2>", 2),
    ],
)  # fmt: skip
def test_every_way_to_write_a_strength_is_read(tag, scale):
    assert loras_in(f"a cat {tag}", "", ["a"]) == ([{"name": "a", "scale": scale}], [])


@pytest.mark.parametrize("tag", ["<lora:a:x>", "<lora:a:nan>", "<lora:a:1e9>", "<hypernet:a:1>", "<lora:../a:1>"])
def test_an_unusable_tag_is_a_warning(tag):
    chosen, [warning] = loras_in(f"a cat{tag}", "", ["a"])
    assert chosen == []
    assert "without adding a LoRA" in warning


def test_a_prompt_of_tags_alone_is_empty():
    assert native(txt2img(prompt="<lora:x:1>"))["prompt"] == " "


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"restore_faces": True}, "restore_faces"),
        ({"tiling": 1}, "tiling"),
        ({"enable_hr": True, "hr_upscaler": "Latent"}, "hr_upscaler"),
        ({"subseed": 5, "subseed_strength": 0.2}, "subseed_strength"),
        ({"styles": ["None", "Cinematic"]}, "'Cinematic'"),
        ({"override_settings": {"sd_vae": "x.safetensors"}}, "'sd_vae'"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, "'CLIP_stop_at_last_layers'"),
        ({"alwayson_scripts": {"ADetailer": {"args": []}}}, "'ADetailer'"),
        ({"script_name": "X/Y/Z plot"}, "script_name"),
        ({"s_churn": 0.5}, "s_churn"),
        ({"prompt": "a [red:blue:0.5] cat"}, "prompt editing"),
        ({"colour": "red"}, "'colour'"),
    ],
)
def test_unsupported_features_are_warnings(content, part):
    [warning] = warnings_of(txt2img(**({"prompt": "x"} | content)))
    assert part in warning


def test_the_defaults_that_clients_send_along_give_no_warning():
    # What SillyTavern and the webuiapi package always send.
    body = txt2img(
        prompt="x", sampler_name="Fake", scheduler="Automatic", restore_faces=False, enable_hr=False, hr_scale=2,
        hr_upscaler="Latent", hr_second_pass_steps=0, denoising_strength=0.7, save_images=True, send_images=True,
        do_not_save_grid=False, do_not_save_samples=False, url="http://x", auth="me:secret", subseed=-1,
        subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=-1, eta=1.0, s_churn=0, s_tmax=math.inf,
        s_tmin=0, s_noise=1, script_name=None, script_args=[], alwayson_scripts={}, styles=[], tiling=False,
        override_settings={"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1},
        override_settings_restore_afterwards=True, clip_skip=1,
    )  # fmt: skip
    assert warnings_of(body) == []


def test_the_models_own_sampler_may_be_named_as_people_do():
    for name in ("Euler", "euler", "FlowMatchEulerDiscreteScheduler"):
        assert choose(name, "Automatic", FLOW) == SamplerChoice()
    refused = "sampler 'Euler a' is ignored: the model uses its own, Euler."
    assert choose("Euler a", "", FLOW) == SamplerChoice(warnings=(refused,))


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("DPM++ 2M", "Automatic", ""), ("DPM++ 2M Karras", "", ""), ("DPM++ 2M", "karras", ""),
        ("DPM++ 2M", "Uniform", "DPM++ 2M"), ("DPMSolverMultistepScheduler", "", ""),
        ("DPM++ 2M Karras", "Uniform", "DPM++ 2M"), ("Euler a", "Automatic", "Euler a"), ("euler A", "", "Euler a"),
        ("Euler", "Karras", "Euler Karras"), ("Euler", "", "Euler"), ("", "Uniform", "DPM++ 2M"), ("", "", ""),
    ],
)  # fmt: skip
def test_a_sampler_and_its_schedule_are_one_scheduler(sampler, schedule, scheduler):
    assert choose(sampler, schedule, DIFFUSION) == SamplerChoice(scheduler)


@pytest.mark.parametrize(
    ("sampler", "schedule", "choice"),
    [
        ("Euler a", "Karras", SamplerChoice("Euler a", ("scheduler 'Karras' is ignored with Euler a.",))),
        ("Euler", "Beta", SamplerChoice("Euler", ("scheduler 'Beta' is ignored with Euler.",))),
        (
            "Restart",
            "",
            SamplerChoice("", ("sampler 'Restart' is ignored: the model uses its own, DPM++ 2M Karras.",)),
        ),
    ],
)
def test_a_sampler_or_schedule_that_does_not_fit_is_a_warning(sampler, schedule, choice):
    assert choose(sampler, schedule, DIFFUSION) == choice


def test_while_the_model_loads_its_own_sampler_is_used_with_a_warning():
    assert choose("", "Automatic", None) == SamplerChoice()
    choice = choose("Euler a", "", None)
    assert choice.scheduler == ""
    assert "still loading" in choice.warnings[0]


def test_many_unknown_fields_are_one_short_warning():
    [warning] = warnings_of(txt2img(prompt="x", **{f"field{number}": 1 for number in range(1000)}))
    assert warning.endswith("and 980 more.")
    assert len(warning) < 500


@pytest.mark.parametrize(("strength", "expected"), [(0, 0.001), (0.0004, 0.001), (0.5, 0.5), (1, 1), (None, 0.75)])
def test_denoising_strength_is_the_strength_and_0_the_minimum(strength, expected):
    assert native(img2img(prompt="x", denoising_strength=strength))["strength"] == expected


def test_inpainting_fields_give_a_warning_only_with_a_mask():
    fields = {"prompt": "x", "inpainting_fill": 0, "inpaint_full_res": True, "inpaint_full_res_padding": 32}
    assert warnings_of(img2img(**fields)) == []
    assert warnings_of(img2img(mask="aGk=", **fields)) == [
        "inpaint_full_res is ignored.", "inpainting_fill is ignored."
    ]  # fmt: skip


def test_mask_blur_overrides_the_blur_of_each_direction():
    assert img2img().blur == (4, 4)
    assert img2img(mask_blur_x=1, mask_blur_y=2).blur == (1, 2)
    assert img2img(mask_blur_x=1, mask_blur=0).blur == (0, 0)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"steps": "twenty"}, "steps"),
        ({"cfg_scale": -1}, "cfg_scale"),
        ({"cfg_scale": math.nan}, "cfg_scale"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2, "n_iter": 3}, "batch_size"),
        ({"width": 63}, "width"),
        ({"seed": -2}, "seed"),
        ({"seed": "-2"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": "x" * 201}, "prompt"),
        ({"negative_prompt": "\ud800"}, "negative_prompt"),
        ({"override_settings": []}, "override_settings"),
        ({"init_images": []}, "init_images"),
        ({"init_images": None}, "init_images"),
        ({"init_images": ["aGk=", "aGk="]}, "init_images"),
        ({"resize_mode": 4}, "resize_mode"),
        ({"denoising_strength": 1.1}, "denoising_strength"),
        ({"mask_blur": -1}, "mask_blur"),
    ],
)
def test_a_field_outside_its_limits_is_refused_by_its_own_name(content, param):
    with pytest.raises(InvalidParameter) as caught:
        img2img(**content)
    assert caught.value.param == param
    assert caught.value.sentence.startswith(param)


def test_a_body_that_is_not_an_object_is_refused():
    with pytest.raises(BadRequest):
        checked(Txt2ImgBody, ["x"], SETTINGS)


@pytest.mark.parametrize("name", ["png", "jpg", "jpeg", "webp"])
def test_the_file_format_is_the_requests_own_or_the_stored_one(name):
    expected = {"jpg": "jpeg"}.get(name, name)
    assert output_format_of(txt2img(override_settings={"samples_format": name}), "png") == expected
    assert output_format_of(txt2img(), name) == expected


@pytest.mark.parametrize("name", ["avif", 5, ["png"]])
def test_another_file_format_is_refused(name):
    with pytest.raises(InvalidParameter, match="samples_format"):
        output_format_of(txt2img(override_settings={"samples_format": name}), "png")


def service_with(name: str) -> Any:
    info = ModelInfo(name=name)
    snapshot = SimpleNamespace(models=(info,), loaded=(name,))
    settings = Settings(_env_file=None, model_loading="off")
    client = SimpleNamespace(names=ModelNames(name, ()))
    return SimpleNamespace(
        default_info=info, loaded_info=lambda: info, snapshot=snapshot, settings=settings, client=client
    )


@pytest.mark.parametrize("name", ["Qwen/Qwen-Image", "qwen-image", "Qwen-Image.safetensors [0123abcdef]"])
def test_a_model_may_be_named_in_every_way(name):
    assert find_checkpoint(service_with("Qwen/Qwen-Image"), name) == "Qwen/Qwen-Image"


@pytest.mark.parametrize("name", [None, ""])
def test_no_name_means_no_model(name):
    assert find_checkpoint(service_with("Qwen/Qwen-Image"), name) is None


@pytest.mark.parametrize("name", ["sd15", "Qwen", 5, "x" * 100_000])
def test_another_model_is_not_found(name):
    with pytest.raises(ModelNotFound) as caught:
        find_checkpoint(service_with("Qwen/Qwen-Image"), name)
    assert len(caught.value.sentence) < 200


def test_the_parameters_answered_are_those_sent_with_defaults_and_no_secrets_or_large_images():
    body = img2img(prompt="x", auth="me:secret", url="http://x", foo=1, hr_scale=2, mask="aGk=", s_tmax=math.inf)
    told = sent(body)
    assert (told["prompt"], told["n_iter"], told["hr_scale"], told["s_tmax"]) == ("x", 1, 2, None)
    assert (told["init_images"], told["mask"]) == (None, None)
    assert told.keys() & {"auth", "url", "foo"} == set()
    assert sent(img2img(include_init_images=True))["init_images"] == ["aGk="]


def test_an_image_in_a_field_without_effect_is_not_sent_back():
    scripts = {"adetailer": {"args": [{"image": "A" * 20_000, "model": "face", "threshold": math.nan}]}}
    told = sent(txt2img(prompt="x", alwayson_scripts=scripts))
    assert told["alwayson_scripts"] == {"adetailer": {"args": [{"image": None, "model": "face", "threshold": None}]}}
    assert sent(img2img(init_images=["A" * 20_000], include_init_images=True))["init_images"] == ["A" * 20_000]
    names = sent(txt2img(sampler_name="A" * 20_000, styles=["A" * 20_000], override_settings={"A" * 20_000: 1}))
    assert max(map(len, map(str, names.values()))) < 11_000


def test_idle_is_a_progress_of_0_and_no_jobs():
    for last in (None, job(state="completed"), job(state="failed")):
        answer = responses.progress(last, None)
        assert (answer.progress, answer.state.job_count, answer.current_image) == (0, 0, None)
        assert not answer.state.interrupted
    assert responses.progress(job(state="cancelled"), None).state.interrupted


def test_a_queued_request_is_not_idle():
    waiting = job(state="queued", started_at=None, queue_position=2, queue_wait=5.0, expected_seconds=3.0)
    answer = responses.progress(waiting, None)
    assert answer.progress > 0
    assert (answer.state.job_count, answer.state.sampling_step, answer.eta_relative) == (1, 0, 8.0)
    assert "2" in answer.textinfo


def test_a_request_that_waits_for_its_model_is_not_idle_either():
    answer = responses.progress(job(state="queued", started_at=None, n=0, total_steps=0), None)
    assert (answer.progress, answer.state.job_count) == (responses.MIN_PROGRESS, 1)


@pytest.mark.parametrize(
    ("step", "number", "sampling_step", "share"), [(0, 0, 0, 0.01), (4, 0, 4, 0.2), (10, 1, 0, 0.5), (20, 1, 10, 1.0)]
)
def test_steps_count_within_the_current_image(step, number, sampling_step, share):
    answer = responses.progress(job(n=2, step=step, total_steps=20), "image")
    assert (answer.state.job_no, answer.state.job_count) == (number, 2)
    assert (answer.state.sampling_step, answer.state.sampling_steps) == (sampling_step, 10)
    assert (answer.progress, answer.current_image) == (share, "image")


def test_the_remaining_time_follows_from_the_requests_own_pace():
    slow = job(step=5, started_at=time.time() - 60, expected_seconds=0.1)
    assert responses.progress(slow, None).eta_relative == pytest.approx(60, abs=5)


def test_options_are_stored_per_credential_and_read_by_every_worker(tmp_path):
    here, there = StoredOptions(tmp_path), StoredOptions(tmp_path)
    assert here.samples_format("") == "png"
    here.set_samples_format("ann", "webp")
    here.set_samples_format("bob", "jpg")
    assert [there.samples_format(name) for name in ("ann", "bob", "")] == ["webp", "jpg", "png"]
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "automatic1111_options.json").write_text("[")
    assert there.samples_format("ann") == "png"


def test_the_envelope_has_the_sentence_in_every_place_that_clients_read(monkeypatch):
    monkeypatch.setattr("imageserver.api.errors.request_id", lambda: 5)
    told = responses.envelope(QueueFull("The server is full."))
    assert told == {
        "error": "QueueFull", "detail": "The server is full.", "body": "", "errors": "The server is full.",
        "code": "queue_full", "param": None, "request_id": 5,
    }  # fmt: skip
    assert responses.Automatic1111Error.model_validate(told)
    json.dumps(told)
