"""Every title in the lists chooses its model back."""

from types import SimpleNamespace

import pytest

from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint
from imageserver.dispatch.client.model_names import ModelNames
from imageserver.generation import ModelInfo
from imageserver.settings import Settings

FIRST, *OTHERS = [
    ModelInfo(name="ann/model", source="ann/model", revision="aaaaaaaaaaaa"),
    ModelInfo(name="bob/model", source="bob/model", revision="bbbbbbbbbbbb"),
    ModelInfo(name="merged.safetensors", source="merged.safetensors"),
    ModelInfo(name="merged", source="cat/merged"),
]


def service():
    snapshot = SimpleNamespace(models=(FIRST, *OTHERS), loaded=())
    return SimpleNamespace(
        default_info=FIRST, loaded_info=lambda: FIRST, snapshot=snapshot,
        settings=Settings(_env_file=None, model_loading="off"),
        client=SimpleNamespace(names=ModelNames("ann/model", ())),
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
    assert find_checkpoint(service(), title) == name
