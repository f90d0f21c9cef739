"""A licence that forbids commercial use is said in the log, whichever way the model was named."""

import logging

import pytest

from imageserver.engine.models.licence import restriction
from imageserver.settings import Settings, shipped_registry
from tests.support.tiny_models import save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool


def test_a_published_model_is_known_by_its_id_without_any_entry():
    assert restriction("Qwen/Qwen-Image-2.1", {}) == (
        "The licence of Qwen/Qwen-Image-2.1 (Qwen Research) forbids commercial use."
    )
    assert restriction("Tongyi-MAI/Z-Image-Turbo", {}) is None
    assert restriction("owner/unknown", shipped_registry()) is None


@pytest.mark.parametrize("commercial", [True, False])
def test_the_log_says_it_when_the_model_is_loaded(tmp_path, caplog, commercial):
    folder = save_tiny_qwen_image(tmp_path / "model")
    names = tmp_path / "names.toml"
    names.write_text(f"[mine]\nsource = '{folder}'\nlicence = 'Own'\ncommercial = {str(commercial).lower()}")
    with caplog.at_level(logging.WARNING):
        TinyPool(Settings(_env_file=None, model="mine", models_file=names, device="cpu", state_dir=tmp_path))
    assert ("(Own) forbids commercial use" in caplog.text) != commercial
