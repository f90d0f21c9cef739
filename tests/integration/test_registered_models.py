"""A model that models.toml names, from the start to the image."""

import subprocess

import pytest

from tests.support import tiny_models
from tests.support.images import opened
from tests.support.server import GUNICORN, ROOT, SMALL_IMAGES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_tiny_qwen_image(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(servers, folder):
    file = folder.parent / "names.toml"
    file.write_text(f'["mine"]\nsource = "{folder}"\nsteps = 3\nguidance = 1.0\nsize = "128x64"\n', encoding="utf-8")
    return servers(engine="preloaded", MODEL="mine", MODELS_FILE=str(file), **SMALL_IMAGES)


def test_the_model_is_told_under_its_name_and_with_its_defaults(server):
    assert server.get("/info").json()["model_name"] == "mine"
    defaults = server.health()["generator_info"]["defaults"]
    assert defaults == {"steps": 3, "guidance_scale": 1.0, "width": 128, "height": 64}


def test_a_request_without_a_size_gets_the_usual_one_and_may_name_the_model_either_way(server, folder):
    for model in ("mine", str(folder)):
        answer = server.generate("a cat", model=model)
        assert opened(answer).size == (128, 64)
    assert server.generate("a cat", model="yours").status_code == 404


def test_a_mistake_in_the_file_ends_the_start_with_one_sentence(tmp_path):
    file = tmp_path / "names.toml"
    file.write_text('["mine"]\nsource = "demo"\nstepz = 3\n', encoding="utf-8")
    ended = subprocess.run(
        GUNICORN, cwd=ROOT, env={"PATH": "", "MODELS_FILE": str(file)}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0
    assert "unknown key 'stepz'" in ended.stderr
    assert "Traceback" not in ended.stderr
