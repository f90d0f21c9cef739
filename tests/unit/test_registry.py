"""Names of models come from one file, and whatever is wrong in it is one sentence at the start."""

import re

import pytest

from imageserver.registry import RegistryUnusable, read_registry
from imageserver.settings import PACKAGE_DIR, Settings
from imageserver.settings.source import load_settings

SDXL = '["sd-xl-base"]\nsource = "stabilityai/stable-diffusion-xl-base-1.0"\n'


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch):
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "models.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def test_what_stands_in_an_entry_is_read_and_the_rest_is_left_open(write):
    entry = read_registry(write(SDXL + 'steps = 25\nguidance = 6\nsize = "1024x768"'))["sd-xl-base"]
    assert (entry.source, entry.steps, entry.guidance) == ("stabilityai/stable-diffusion-xl-base-1.0", 25, 6.0)
    assert entry.width_and_height == (1024, 768)
    assert (entry.hub, entry.revision, entry.family, entry.dtype) == (None, None, None, None)


def test_the_file_that_is_shipped_has_the_names_of_the_documents():
    registry = read_registry(PACKAGE_DIR / "models.toml")
    assert {
        "qwen-image",
        "qwen-image-2512",
        "qwen-image-2.1",
        "qwen-image-2.1-turbo",
        "qwen-image-edit-2511",
        "qwen-image-layered",
        "z-image-turbo",
        "cogview4",
        "hidream-i1-full",
        "flux.2-klein-4b",
        "ernie-image",
        "ernie-image-turbo",
        "runwayml/stable-diffusion-v1-5",
        "sd-xl-base",
    } <= set(registry)
    assert (registry["sd-1.5"].steps, registry["sd-1.5"].guidance) == (28, 7.0)


def test_every_model_that_is_shipped_has_its_licence_its_size_and_a_whole_commit():
    for name, entry in read_registry(PACKAGE_DIR / "models.toml").items():
        assert entry.licence, name
        assert entry.download_gb, name
        assert entry.commercial == ("Research" not in entry.licence and "Non-Commercial" not in entry.licence), name
        pinned = entry.revision_on("huggingface")
        # The Hub does not accept a shortened one.
        assert pinned is None or re.fullmatch("[0-9a-f]{40}", pinned), name


def test_a_revision_may_differ_between_the_hubs(write):
    entry = read_registry(write(SDXL + 'revision = { huggingface = "main", modelscope = "v1" }'))["sd-xl-base"]
    assert (entry.revision_on("huggingface"), entry.revision_on("modelscope")) == ("main", "v1")
    entry = read_registry(write(SDXL + 'revision = { huggingface = "main" }'))["sd-xl-base"]
    assert entry.revision_on("modelscope") is None
    assert read_registry(write(SDXL + 'revision = "v2"'))["sd-xl-base"].revision_on("modelscope") == "v2"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[sd\n", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        ("[sd]\nsteps = 3", r'\["sd"\] has no source'),
        (SDXL + "stepz = 3", r'\["sd-xl-base"\] has the unknown key .stepz.; known are source, hub'),
        (SDXL + "steps = 0", "steps=0 is not valid"),
        (SDXL + 'steps = "many"', "steps='many' is not valid"),
        (SDXL + "guidance = nan", "guidance=nan is not valid"),
        (SDXL + 'size = "big"', "size='big' is not valid"),
        (SDXL + 'size = "16x16"', "each side must be 64 to 4096"),
        (SDXL + 'dtype = "int3"', "dtype='int3' is not valid"),
        (SDXL + 'revision = { somewhere = "v1" }', "revision.* is not valid"),
        ('[sd]\nsource = ""', "source='' is not valid"),
        ('source = "x"', "'source' is outside of every table"),
        ('[demo]\nsource = "x"', r"\[demo\] has a meaning of its own"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_that_names_the_file_and_the_key(write, text, sentence):
    with pytest.raises(RegistryUnusable, match=sentence) as refusal:
        read_registry(write(text))
    assert str(refusal.value).startswith("models.toml")
    assert "\n" not in str(refusal.value)


def test_the_start_ends_with_that_sentence(monkeypatch, write):
    monkeypatch.setenv("MODELS_FILE", str(write(SDXL + "stepz = 3")))
    with pytest.raises(SystemExit, match=r"MODELS_FILE=.* cannot be used\. .*unknown key 'stepz'"):
        load_settings()


def test_a_mistake_that_comes_later_changes_no_settings_that_were_accepted(monkeypatch, write):
    monkeypatch.setenv("MODELS_FILE", str(write(SDXL)))
    settings = load_settings()
    names = set(settings.registry())
    write(SDXL + "stepz = 3")
    assert set(settings.registry()) == names


def test_a_file_that_was_asked_for_and_is_not_there_ends_the_start(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(SystemExit, match=r"none\.toml cannot be read: No such file"):
        load_settings()


def test_a_models_toml_of_the_user_takes_the_place_of_the_shipped_one(monkeypatch, tmp_path, write):
    monkeypatch.setattr(Settings, "resolve", lambda self, path: tmp_path / path)
    assert Settings().registry() == read_registry(PACKAGE_DIR / "models.toml")
    write(SDXL)
    assert list(Settings().registry()) == ["sd-xl-base"]
