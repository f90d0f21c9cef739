"""`models` on this machine: the engine's packages are asked in a process of their own."""

import io
import json
import sys

import pytest

from imageserver.cli import main
from imageserver.cli.commands import models
from imageserver.engine.models.storage.__main__ import main as answer
from imageserver.protocol.model_storage import StorageRequest, read_answer
from imageserver.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    blobs = tmp_path / "models--ann--small" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "weights").write_bytes(bytes(10**8))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    return tmp_path


def test_the_list_has_what_is_on_the_disk(folder, capsys):
    assert main.run(["models", "list", "--json"]) == 0
    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)["data"]}
    assert found["ann/small"]["stored_bytes"] == 10**8
    assert found["qwen-image"]["stored_bytes"] == 0
    assert found["qwen-image"]["licence"] == "Apache-2.0"


def test_a_model_is_removed_only_after_a_yes(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main.run(["models", "remove", "ann/small"]) == 2
    assert capsys.readouterr().err == "Nothing was removed; --yes removes without asking.\n"
    assert main.run(["models", "remove", "ann/small", "--yes"]) == 0
    assert capsys.readouterr().out == "Removed 0.1 GB of ann/small.\n"
    assert not list(folder.glob("models--*"))


def test_what_cannot_be_removed_is_a_sentence_and_a_failure(folder, capsys):
    assert main.run(["models", "remove", "bob/none", "--yes"]) == 1
    assert capsys.readouterr().err == f"Nothing of bob/none was downloaded to {folder}.\n"


def test_an_engine_that_cannot_start_says_why(monkeypatch, capsys):
    monkeypatch.setattr(models, "STORAGE", "imageserver.engine.nowhere")
    assert main.run(["models", "list"]) == 1
    assert "No module named imageserver.engine.nowhere" in capsys.readouterr().err


def answered(monkeypatch, capsys, request, **settings):
    monkeypatch.setattr(sys, "stdin", io.StringIO(request.write(Settings(_env_file=None, **settings))))
    answer()
    return read_answer(capsys.readouterr().out.splitlines()[-1])


def test_pulling_another_model_needs_nothing_of_the_configured_one_and_no_device_for_its_plan(
    monkeypatch, capsys, tmp_path
):
    configured = {"device": "cpu", "offline": True, "models_dir": tmp_path, "controlnet": "ann/net"}
    pulled = answered(monkeypatch, capsys, StorageRequest("pull", "demo"), model="ann/none", **configured)
    assert pulled.folder.endswith("demo_model")
    for model in ("demo", "auto"):
        pulled = answered(monkeypatch, capsys, StorageRequest("pull", "demo"), model=model, **configured)
        assert "ann/net" in pulled.error
    pulled = answered(monkeypatch, capsys, StorageRequest("pull", "demo"), device="cpu", memory="model-offload")
    assert pulled.folder.endswith("demo_model")


def test_pulling_finds_the_files_as_a_start_would(monkeypatch, capsys, tmp_path):
    pulled = answered(monkeypatch, capsys, StorageRequest("pull", "demo"), device="cpu")
    assert pulled.folder.endswith("demo_model")
    offline = {"device": "cpu", "offline": True, "models_dir": tmp_path}
    failed = answered(monkeypatch, capsys, StorageRequest("pull", "ann/none"), **offline)
    assert "ann/none" in failed.error
    assert "OFFLINE" in failed.error
