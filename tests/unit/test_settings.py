"""Settings come from the environment, and a wrong one is told in one sentence."""

from pathlib import Path

import pytest

from imageserver import startup
from imageserver.settings import WORKING_DIR, Settings
from imageserver.settings.source import load_settings


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
        ("LOCAL_FILES_ONLY", "offline", "true", True),
        ("TORCH_DTYPE", "dtype", "float16", "float16"),
        ("MAX_CONCURRENT_REQUESTS", "max_in_flight", "2", 2),
        ("SCHEDULER_TYPE", "default_scheduler", "DPMSolver++", "DPMSolver++"),
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


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"DEFAULT_WIDTH": "512"}, "DEFAULT_WIDTH and DEFAULT_HEIGHT belong together"),
        ({"DEFAULT_HEIGHT": "512"}, "DEFAULT_WIDTH and DEFAULT_HEIGHT belong together"),
        ({"COMPILE": "1", "CUDA_GRAPHS": "1"}, "COMPILE=1 and CUDA_GRAPHS=1 exclude each other"),
        ({"MODEL": "auto", "TRANSFORMER_FILE": "q4.gguf"}, "MODEL=auto may choose another: set MODEL too"),
        ({"DEFAULT_WIDTH": "4096", "DEFAULT_HEIGHT": "4096"}, "4096x4096, more than MAX_PIXELS=4194304"),
        ({"DEFAULT_WIDTH": "63", "DEFAULT_HEIGHT": "64"}, "DEFAULT_WIDTH='63' is not valid"),
        ({"DEFAULT_STEPS": "0"}, "DEFAULT_STEPS='0' is not valid"),
        ({"DEFAULT_GUIDANCE_SCALE": "nan"}, "DEFAULT_GUIDANCE_SCALE='nan' is not valid"),
        ({"HF_AUTH": "any", "OFFLINE": "1"}, "HF_AUTH=any must ask the hub"),
        ({"C2PA_CERT": "a.pem"}, "C2PA_CERT and C2PA_KEY belong together"),
        ({"C2PA_KEY": "a.pem"}, "C2PA_CERT and C2PA_KEY belong together"),
        ({"C2PA_CERT": "a.pem", "C2PA_KEY": "b.pem", "PROVENANCE": "off"}, "but PROVENANCE=off says nothing"),
        ({"WEBHOOK_SECRET": "hush"}, "WEBHOOK_SECRET is too short"),
        ({"CONTROLNET": "/a/canny,/b/canny"}, "CONTROLNET names canny twice"),
        ({"ALLOWED_HOSTS": "a.example, b.example:80"}, "'b.example:80' is not a host name"),
        ({"ALLOWED_HOSTS": "http://a.example"}, "'http://a.example' is not a host name"),
        ({"ALLOWED_HOSTS": "a*.example"}, "'a*.example' is not a host name"),
        ({"ALLOWED_ORIGINS": "app.example"}, "'app.example' is not an origin"),
        ({"ALLOWED_ORIGINS": "https://app.example/path"}, "'https://app.example/path' is not an origin"),
        ({"ALLOWED_ORIGINS": "null"}, "'null' is not an origin"),
        ({"ALLOWED_ORIGINS": "*"}, "ALLOWED_ORIGINS=* would let every web page use this server"),
        ({"PUBLIC_URL": "images.example"}, "PUBLIC_URL='images.example' is not valid"),
        ({"PUBLIC_URL": "https://images.example/?a=b"}, "PUBLIC_URL='https://images.example/?a=b' is not valid"),
    ],
)
def test_settings_that_contradict_each_other_are_one_sentence(monkeypatch, chosen, sentence):
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ending:
        load_settings()
    assert sentence in str(ending.value)
    assert "hush" not in str(ending.value)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("", True), ("public", True), ("a.example, b_c:80", True), ("[::1]:65535,127.0.0.1", True), ("[fe80::1]", True),
        ("::1", False), ("a.example:0", False), ("a.example:65536", False), ("http://a.example", False), ("a b", False),
        ("[gg::1]", False), ("*", False), ("user@a", False), ("a/24", False),
    ],
)  # fmt: skip
def test_hosts_of_webhooks_are_read_at_the_start(monkeypatch, text, is_right):
    monkeypatch.setenv("WEBHOOK_HOSTS", text)
    if is_right:
        load_settings()
    else:
        with pytest.raises(SystemExit, match="neither HOST nor HOST:PORT"):
            load_settings()


def test_settings_survive_the_way_to_a_child_process():
    settings = Settings(max_queue=3, model="x", font_path=WORKING_DIR / "a.ttf")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_relative_folders_lie_in_the_project():
    settings = Settings()
    assert settings.resolve(settings.output_dir) == WORKING_DIR / "tmp"
    assert settings.resolve(WORKING_DIR) == WORKING_DIR


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """The path of a .env file that is read; the test writes it."""
    file = tmp_path / ".env"
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    monkeypatch.delenv("MAX_QUEUE", raising=False)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["# Größe\r\nMAX_QUEUE=7\r\n", "MAX_QUEUE=7"])
def test_env_file_may_be_of_any_editor(env_file, encoding, text):
    env_file.write_bytes(text.encode(encoding))
    assert load_settings().max_queue == 7


@pytest.mark.parametrize("content", ["# Größe\nMAX_QUEUE=7".encode("latin-1"), b"\xff\xfe\x00"])
def test_env_file_of_another_encoding_is_one_sentence(env_file, content):
    env_file.write_bytes(content)
    with pytest.raises(SystemExit, match="is not a text in UTF-8 or UTF-16"):
        load_settings()


def test_env_file_that_is_a_folder_or_empty_or_not_there_is_none(env_file):
    default = Settings.model_fields["max_queue"].default
    assert load_settings().max_queue == default
    env_file.touch()
    assert load_settings().max_queue == default
    env_file.unlink()
    env_file.mkdir()
    assert load_settings().max_queue == default


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("MAX_QUEU=hush", "did you mean MAX_QUEUE?"),
        ("output-dir=hush", "did you mean OUTPUT_DIR?"),
        ("export APIKEYS=hush", "did you mean API_KEYS?"),
        ("XYZ_123=hush", "variables of other programs belong elsewhere."),
        ("MAX_QUEUE=5", None), ("max_queue=5", None), ("MODEL_ID=demo", None), ("#MAX_QUEU=5", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_unknown_names_in_env_file_are_told_with_the_nearest_one_and_without_their_value(
    env_file, capsys, line, advice, encoding
):
    env_file.write_text(line, encoding=encoding)
    startup.warn_of_unknown_settings()
    warning = capsys.readouterr().err
    assert "hush" not in warning
    assert warning.count("\n") == (advice is not None)
    if advice is not None:
        assert warning.startswith("WARNING ")
        assert warning.endswith(f"is not a setting and has no effect; {advice}\n")


def test_without_an_env_file_nothing_is_warned_of(env_file, capsys):
    startup.warn_of_unknown_settings()
    assert capsys.readouterr().err == ""


def test_a_tilde_means_the_home_folder_in_every_path(env_file, monkeypatch):
    names = [name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)]
    assert {"state_dir", "models_file", "font_path", "api_keys_file"} <= set(names)
    env_file.write_text("MODEL=demo\n" + "".join(f"{name.upper()}=~/{name}\n" for name in names))
    monkeypatch.setattr(Settings, "registry", lambda self: None)
    settings = load_settings()
    assert {name: getattr(settings, name) for name in names} == {name: Path.home() / name for name in names}
