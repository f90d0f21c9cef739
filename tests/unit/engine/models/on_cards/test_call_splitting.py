"""Whether a model's calls can be split is known by its files, or by the registry before they are there."""

import json
from pathlib import Path
from typing import Literal

import pytest

from imageserver.engine.models.on_cards.call_splitting import splits_calls
from imageserver.generation import MemoryPlanName
from imageserver.settings import Settings


@pytest.mark.parametrize(
    ("model", "splits"),
    [
        ("qwen-image", True),
        ("flux.1-schnell", True),
        ("hidream-i1-full", False),
        ("z-image-turbo", False),
        ("some/id", None),
        ("auto", None),
    ],
)
def test_a_model_that_is_not_downloaded_is_known_by_its_entry(tmp_path: Path, model: str, splits: bool | None):
    assert splits_calls(Settings(_env_file=None, model=model, models_dir=tmp_path)) is splits


@pytest.mark.parametrize(("pipeline", "splits"), [("FluxPipeline", True), ("CogView4Pipeline", False)])
def test_a_folder_is_known_by_its_pipeline(tmp_path: Path, pipeline: str, splits: bool):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    assert splits_calls(Settings(_env_file=None, model=str(tmp_path))) is splits


@pytest.mark.parametrize(("memory", "splits"), [("auto", True), ("model-offload", False)])
def test_an_entry_that_divides_the_transformer_keeps_all_cards_where_memory_is_auto(
    tmp_path: Path, memory: MemoryPlanName | Literal["auto"], splits: bool
):
    file = tmp_path / "models.toml"
    file.write_text('[mine]\nsource = "owner/mine"\nfamily = "hidream-i1"\nmemory = "tensor-parallel"\n')
    settings = Settings(_env_file=None, model="mine", models_dir=tmp_path, models_file=file, memory=memory)
    assert splits_calls(settings) is splits
