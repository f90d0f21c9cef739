"""MODEL takes the names of models.toml: the folder behind a name is loaded with the defaults that the owner gave it."""

import json

import pytest

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import model_files
from imageserver.registry import read_registry
from imageserver.settings import PACKAGE_DIR, Settings
from tests.support.tiny_models import load, save_tiny_qwen_image


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny_qwen_image(tmp_path_factory.mktemp("models") / "Qwen-Image")


@pytest.fixture
def settings_for(tmp_path):
    def settings_for(model, source, further="", **changes):
        file = tmp_path / "models.toml"
        file.write_text(f'["mine"]\nsource = "{source}"\n{further}', encoding="utf-8")
        return Settings(model=model, device="cpu", models_file=file, **changes)

    return settings_for


def test_a_name_loads_its_folder_with_its_defaults(settings_for, model_folder):
    further = 'steps = 7\nguidance = 0.0\nsize = "320x256"\nfamily = "qwen-image"\ndtype = "bfloat16"'
    info = load(settings_for("mine", model_folder, further)).info
    assert (info.name, info.source, info.family) == ("mine", str(model_folder), "qwen-image")
    assert (info.default_steps, info.default_true_cfg_scale, info.default_size) == (7, 0.0, (320, 256))
    assert info.device.dtype == "bfloat16"


def test_a_setting_goes_before_the_number_format_of_an_entry(settings_for, model_folder):
    settings = settings_for("mine", model_folder, 'dtype = "bfloat16"', dtype="float32")
    assert load(settings).info.device.dtype == "float32"


def test_without_an_entry_a_folder_keeps_the_defaults_of_its_family(settings_for, model_folder):
    info = load(settings_for(str(model_folder), "elsewhere/model")).info
    assert (info.default_steps, info.default_true_cfg_scale, info.default_size) == (20, 4.0, None)
    assert info.name == info.source == str(model_folder)


def test_files_of_another_family_are_refused(settings_for, model_folder):
    with pytest.raises(ModelUnavailable, match="should be of the family cogview4, but its files are qwen-image"):
        load(settings_for("mine", model_folder, 'family = "cogview4"'))


def test_a_usual_size_beyond_the_limit_is_refused_at_the_start(settings_for, model_folder):
    with pytest.raises(ModelUnavailable, match=r"models\.toml: the size 320x256 of mine is more than 65536 pixels"):
        load(settings_for("mine", model_folder, 'size = "320x256"', max_pixels=65536))


def test_an_unknown_word_is_answered_with_the_names_that_there_are(settings_for, model_folder):
    with pytest.raises(ModelUnavailable, match=r"MODEL=mein is neither .* or mine of models\.toml"):
        load(settings_for("mein", model_folder))


def test_a_source_that_leads_nowhere_is_said_with_its_entry(settings_for):
    with pytest.raises(ModelUnavailable, match=r"models\.toml: mine: source=/no/such is neither a folder nor an id"):
        load(settings_for("mine", "/no/such"))


@pytest.mark.parametrize("hub", ["modelscope", "huggingface"])
def test_hub_and_revision_of_an_entry_decide_what_is_fetched(settings_for, model_folder, monkeypatch, hub):
    asked = {}

    def locate(model, settings, report, **options):
        asked.update(options, model=model)
        return model_folder

    other = "huggingface" if hub == "modelscope" else "modelscope"
    monkeypatch.setattr(model_files, "locate", locate)
    settings = settings_for("mine", "owner/model", f'hub = "{hub}"\nrevision = "v1.2"', model_source=other)
    assert load(settings).info.source == "owner/model"
    assert (asked["model"], asked["hub"], asked["revision"]) == ("owner/model", hub, "v1.2")


def test_a_revision_of_one_hub_is_not_asked_of_the_other(settings_for, model_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(model_files, "locate", lambda *_, revision, **__: asked.append(revision) or model_folder)
    for source in ("huggingface", "modelscope"):
        load(settings_for("mine", "owner/model", 'revision = { huggingface = "v1.2" }', model_source=source))
    assert asked == ["v1.2", None]


def test_an_entry_says_how_its_model_is_fitted_into_memory_and_a_setting_goes_before_it(settings_for, model_folder):
    with pytest.raises(ModelUnavailable, match="MEMORY=group-offload is not possible here"):
        load(settings_for("mine", model_folder, 'memory = "group-offload"'))
    assert load(settings_for("mine", model_folder, 'memory = "group-offload"', memory="full")).info


def test_qwen_image_2512_is_served_from_the_hub_s_cache_as_qwen_image_is(tmp_path):
    kept = tmp_path / "models--Qwen--Qwen-Image-2512"
    pinned = read_registry(PACKAGE_DIR / "models.toml")["qwen-image-2512"].revision_on("huggingface")
    folder = save_tiny_qwen_image(kept / "snapshots" / pinned)
    # The layout of the published folder.
    assert (
        json.loads((folder / "model_index.json").read_text()).items()
        >= {
            "_class_name": "QwenImagePipeline",
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
            "tokenizer": ["transformers", "Qwen2Tokenizer"],
            "transformer": ["diffusers", "QwenImageTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKLQwenImage"],
        }.items()
    )
    settings = Settings(
        model="qwen-image-2512", model_source="huggingface", models_dir=tmp_path, offline=True, device="cpu",
        _env_file=None,
    )  # fmt: skip
    info = load(settings).info
    assert (info.name, info.source, info.family) == ("qwen-image-2512", "Qwen/Qwen-Image-2512", "qwen-image")
    assert (info.default_steps, info.default_true_cfg_scale) == (50, 4.0)
