"""What a far engine is told: all that an engine reads, and no key or secret."""

import ast
import json

import pytest
from pydantic import SecretStr

from imageserver.cluster.travelling_config import (
    ENGINE_SETTINGS,
    FOLDERS,
    read_travelling_config,
    write_travelling_config,
)
from imageserver.protocol.channel import Address
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings
from tests.support.project_files import name_of, parsed, python_files

NEAR = Address("/near.sock", None, "near-key")
FAR = Address("/far.sock", None, "far-key")
MACHINE, ANOTHER = "10.0.0.7 cuda:1", "10.0.0.8 cuda:0"
# Methods, what is the far machine's own (its disk too, which a log file would fill), and what HTTP workers alone read.
NOT_SENT = {
    "model_copy", "model_dump", "registry", "resolve", "device", "devices", "state_dir", "log_file", "log_file_max_mb",
    "otel_exporter_otlp_endpoint",
}  # fmt: skip
# Properties, and the settings that they are made of.
MADE_OF = {"default_size": {"default_height", "default_width"}, "controlnets": {"controlnet"}}


def sent(**settings):
    return write_travelling_config(EngineConfig(Settings(_env_file=None, **settings), NEAR), MACHINE)


def received(content):
    return read_travelling_config(content, "cuda:1", FAR)


@pytest.fixture(autouse=True)
def _far_machine(monkeypatch):
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def test_all_that_the_engine_reads_travels():
    read = {
        node.attr
        for file in python_files("imageserver")
        if name_of(file).startswith(("imageserver/engine/", "imageserver/telemetry/"))
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Attribute)
        if (isinstance(node.value, ast.Name) and node.value.id in ("settings", "_settings"))
        or (isinstance(node.value, ast.Attribute) and node.value.attr in ("settings", "_settings"))
    }
    read = read.union(*(MADE_OF.get(name, ()) for name in read)) - MADE_OF.keys()
    assert len(read) > 20
    assert read - NOT_SENT == ENGINE_SETTINGS | FOLDERS


def test_prompts_stay_out_of_the_logs_of_far_machines_too():
    assert not received(sent(log_prompts=False)).settings.log_prompts


def test_no_key_and_no_secret_travels():
    secrets = {name: field for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    content = sent(**{name: SecretStr("hush-hush") for name in secrets})
    assert {"api_keys", "cluster_token"} <= secrets.keys()
    for secret in (b"hush-hush", b"near-key", b"near.sock", *(name.encode() for name in secrets)):
        assert secret not in content


def test_the_far_engine_has_these_settings_with_its_own_device_and_socket():
    config = received(sent(model="demo", max_pixels=65536, device="cuda:7"))
    assert (config.settings.model, config.settings.max_pixels) == ("demo", 65536)
    assert (config.settings.device, config.address) == ("cuda:1", FAR)


def test_a_model_that_a_client_has_chosen_is_the_far_engine_s_too_with_the_plan_of_its_own_machine():
    chosen = InitialModel("chosen", "A client did.", "full", "It fits.", True, machine=MACHINE)
    config = EngineConfig(Settings(_env_file=None), NEAR, chosen)
    assert received(write_travelling_config(config, MACHINE)).default_model == chosen
    there = received(write_travelling_config(config, ANOTHER)).default_model
    assert there == InitialModel("chosen", "A client did.", "auto", "", False, was_loaded=False, machine=ANOTHER)


def test_what_the_settings_have_meant_on_the_machine_travels_there():
    configured = InitialModel("big", "It fitted.", "full", "It fits.", False, machine=MACHINE)
    config = EngineConfig(Settings(_env_file=None), NEAR)
    assert received(write_travelling_config(config, MACHINE, configured)).configured_model == configured


def test_a_folder_is_the_far_machine_s_unless_it_is_set_here(monkeypatch):
    # As the dispatcher gets them.
    unset = json.loads(Settings(_env_file=None).model_dump_json())
    unset, content = sent(**unset), sent(models_dir="/models/here")
    monkeypatch.setenv("MODELS_DIR", "/models/there")
    assert str(received(unset).settings.models_dir) == "/models/there"
    assert str(received(content).settings.models_dir) == "/models/here"


def test_what_this_machine_says_wins_over_the_far_machine_s_environment(monkeypatch):
    content = sent(model="demo")
    monkeypatch.setenv("MODEL", "another")
    assert received(content).settings.model == "demo"
