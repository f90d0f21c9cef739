"""Settings come from the environment, and a wrong one is told in one sentence."""

import pytest

from imageserver.settings import WORKING_DIR, Settings, load_settings


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
        ({"DEFAULT_WIDTH": "4096", "DEFAULT_HEIGHT": "4096"}, "4096x4096, more than MAX_PIXELS=4194304"),
        ({"DEFAULT_WIDTH": "63", "DEFAULT_HEIGHT": "64"}, "DEFAULT_WIDTH='63' is not valid"),
        ({"DEFAULT_STEPS": "0"}, "DEFAULT_STEPS='0' is not valid"),
        ({"DEFAULT_GUIDANCE_SCALE": "nan"}, "DEFAULT_GUIDANCE_SCALE='nan' is not valid"),
        ({"HF_AUTH": "any", "OFFLINE": "1"}, "HF_AUTH=any must ask the hub"),
        ({"WEBHOOK_SECRET": "hush"}, "WEBHOOK_SECRET is too short"),
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
