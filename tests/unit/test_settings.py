"""Settings come from the environment, and a wrong one is told in one sentence."""

import pytest

from imageserver.settings import PROJECT_ROOT, Settings, load_settings


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch):
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def test_every_setting_has_a_sentence_of_help():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.rstrip().endswith("."), name


def test_names_in_the_environment_are_the_field_names_in_capitals(monkeypatch):
    monkeypatch.setenv("MAX_QUEUE", "7")
    monkeypatch.setenv("LOG_FORMAT", "json")
    settings = load_settings()
    assert (settings.max_queue, settings.log_format) == (7, "json")


@pytest.mark.parametrize(
    ("alias", "field", "text", "value"),
    [
        ("MODEL_ID", "model", "demo", "demo"),
        ("OFFLINE_MODE", "offline", "1", True),
        ("TORCH_DTYPE", "dtype", "float16", "float16"),
    ],
)
def test_other_names_of_the_documents_work_too(monkeypatch, alias, field, text, value):
    monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setenv(alias, text)
    assert getattr(load_settings(), field) == value


def test_empty_value_means_the_default(monkeypatch):
    monkeypatch.setenv("MAX_QUEUE", "")
    assert load_settings().max_queue == Settings.model_fields["max_queue"].default


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "70000"), ("WORKERS", "many"), ("DTYPE", "int3"), ("MAX_QUEUE", "0")]
)
def test_wrong_setting_is_one_sentence_with_its_name_and_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ending:
        load_settings()
    sentence = str(ending.value)
    assert f"{name}='{value}'" in sentence
    assert "\n" not in sentence


def test_settings_survive_the_way_to_a_child_process():
    settings = Settings(max_queue=3, model="x", font_path=PROJECT_ROOT / "a.ttf")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_relative_folders_lie_in_the_project():
    settings = Settings()
    assert settings.resolve(settings.output_dir) == PROJECT_ROOT / "tmp"
    assert settings.resolve(PROJECT_ROOT) == PROJECT_ROOT
