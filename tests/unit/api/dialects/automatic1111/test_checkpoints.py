"""Every title in the lists chooses its model back."""

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint
from imageserver.dispatch.client.model_names import ModelNames
from imageserver.errors import ModelNotFound
from imageserver.generation import ModelInfo
from imageserver.settings import Settings

QWEN = ModelInfo(name="Qwen/Qwen-Image")
FIRST, *OTHERS = [
    ModelInfo(name="ann/model", source="ann/model", revision="aaaaaaaaaaaa"),
    ModelInfo(name="bob/model", source="bob/model", revision="bbbbbbbbbbbb"),
    ModelInfo(name="merged.safetensors", source="merged.safetensors"),
    ModelInfo(name="merged", source="cat/merged"),
]


def service(*models: ModelInfo) -> Any:
    """Return a service of these models, the default one first."""
    default = models[0]
    return SimpleNamespace(
        default_info=default, loaded_info=lambda: default, snapshot=SimpleNamespace(models=models, loaded=()),
        settings=Settings(_env_file=None, model_loading="off"),
        client=SimpleNamespace(names=ModelNames(default.name, ())),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("title", "name"),
    [
        *((info.name, info.name) for info in (FIRST, *OTHERS)),
        ("merged.safetensors [0123abcdef]", "merged"), ("bob/model.safetensors [bbbbbbbbbb]", "bob/model"),
        ("bbbbbbbbbb", "bob/model"), ("BOB/Model", "bob/model"), ("model", "ann/model"), ("cat/merged", "merged"),
    ],
)  # fmt: skip
def test_a_title_chooses_its_model(title, name):
    assert find_checkpoint(service(FIRST, *OTHERS), title) == name


@pytest.mark.parametrize("name", ["Qwen/Qwen-Image", "qwen-image", "Qwen-Image.safetensors [0123abcdef]"])
def test_a_model_may_be_named_in_every_way(name):
    assert find_checkpoint(service(QWEN), name) == "Qwen/Qwen-Image"


@pytest.mark.parametrize("name", [None, "", " \n"])
def test_no_name_means_no_model(name):
    assert find_checkpoint(service(QWEN), name) is None


@pytest.mark.parametrize("name", ["sd15", "Qwen", 5, "x" * 100_000])
def test_another_model_is_not_found(name):
    with pytest.raises(ModelNotFound) as caught:
        find_checkpoint(service(QWEN), name)
    assert len(caught.value.sentence) < 200
