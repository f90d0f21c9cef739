"""What the owner chooses for requests that do not say goes before the model's own; what cannot be is refused."""

import pytest

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models.model_pool import ModelPool
from imageserver.settings import Settings
from tests.support.tiny_models import load, save_tiny_qwen_image, silent, tiny_stable_diffusion


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "diffusion"
    tiny_stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return save_tiny_qwen_image(tmp_path_factory.mktemp("models") / "flow")


def loaded(model, **chosen):
    return load(Settings(_env_file=None, model=str(model), device="cpu", **chosen))


def test_steps_guidance_and_size_of_the_owner_go_before_those_of_the_file(diffusion, tmp_path):
    file = tmp_path / "models.toml"
    file.write_text(
        f'["mine"]\nsource = "{diffusion}"\nsteps = 7\nguidance = 2.0\nsize = "128x128"\n', encoding="utf-8"
    )
    info = loaded("mine", models_file=file, default_steps=9, default_guidance_scale=0.0).info
    assert (info.default_steps, info.default_true_cfg_scale, info.default_size) == (9, 0.0, (128, 128))
    info = loaded("mine", models_file=file, default_width=256, default_height=192).info
    assert (info.default_steps, info.default_true_cfg_scale, info.default_size) == (7, 2.0, (256, 192))


@pytest.mark.parametrize(
    ("chosen", "sampler"),
    [
        ({}, "DPM++ 2M Karras"),
        ({"default_scheduler": "DPMSolver++", "use_karras_sigmas": True}, "DPM++ 2M Karras"),
        ({"default_scheduler": "DPMSolver++"}, "DPM++ 2M"),
        ({"use_karras_sigmas": False}, "DPM++ 2M"),
        ({"default_scheduler": "euler", "use_karras_sigmas": True}, "Euler Karras"),
        ({"default_scheduler": "Euler Karras", "use_karras_sigmas": False}, "Euler"),
        ({"default_scheduler": "DDIMScheduler"}, "DDIM"),
    ],
)
def test_the_owner_s_scheduler_becomes_the_model_s_own(diffusion, chosen, sampler):
    model = loaded(diffusion, **chosen)
    assert model.info.sampler == sampler
    assert model.info.scheduler == type(model.pipeline.scheduler).__name__ == model.info.schedulers[sampler]
    assert model.pipeline.scheduler.config.get("use_karras_sigmas", False) == sampler.endswith("Karras")


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"default_scheduler": "DPMSolver++"}, r"DEFAULT_SCHEDULER=DPMSolver\+\+ does not fit .*; known are .*Euler"),
        (
            {"default_scheduler": "nonsense", "use_karras_sigmas": True},
            "nonsense with USE_KARRAS_SIGMAS=1 does not fit",
        ),
    ],
)
def test_a_scheduler_that_does_not_fit_the_model_is_refused_with_those_that_do(flow, chosen, sentence):
    with pytest.raises(ModelUnavailable, match=sentence):
        loaded(flow, **chosen)


def test_karras_is_refused_where_the_scheduler_has_no_such_thing(diffusion):
    with pytest.raises(ModelUnavailable, match="DEFAULT_SCHEDULER=Euler a with USE_KARRAS_SIGMAS=1 does not fit"):
        loaded(diffusion, default_scheduler="Euler a", use_karras_sigmas=True)


def test_they_hold_for_the_model_of_the_settings_and_not_for_others_that_clients_load(diffusion, flow):
    chosen = {"default_steps": 9, "default_width": 256, "default_height": 192, "default_scheduler": "DPMSolver++"}
    settings = Settings(_env_file=None, model=str(diffusion), device="cpu", **chosen)
    pool = ModelPool(settings, send=lambda *_: None, report=silent)
    first, other = pool.find(str(diffusion), silent), pool.find(str(flow), silent)
    assert (first.entry.steps, first.entry.size, first.settings.default_scheduler) == (9, "256x192", "DPMSolver++")
    assert (other.entry.steps, other.entry.size, other.settings.default_scheduler) == (None, None, "")
