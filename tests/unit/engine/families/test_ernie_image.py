"""ERNIE-Image is served without its prompt enhancer: prompts are generated as clients send them."""

import json

import torch

from imageserver.engine.models import model_files
from imageserver.engine.models.model_files import locate_pipeline
from imageserver.registry import ModelEntry, read_registry
from imageserver.settings import PACKAGE_DIR, Settings
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, difference
from tests.support.tiny_ernie_image import tiny_ernie_image
from tests.support.tiny_models import load, silent

ENHANCER = {
    "pe": ["transformers", "Ministral3ForCausalLM"], "pe_tokenizer": ["transformers", "TokenizersBackend"],
}  # fmt: skip
INDEX = ENHANCER | {
    "_class_name": "ErnieImagePipeline",
    "text_encoder": ["transformers", "Mistral3Model"],
    "tokenizer": ["transformers", "TokenizersBackend"],
}
LOADED = {"model_index.json", "text_encoder/model.safetensors", "tokenizer/tokenizer.json"}
ENHANCERS_FILES = {"pe/config.json", "pe/model.safetensors", "pe_tokenizer/tokenizer.json"}


def test_it_is_loaded_from_its_published_layout_without_the_prompt_enhancer(tmp_path):
    pipeline = tiny_ernie_image()
    pipeline.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    # Of its enhancer nothing is on the disk.
    index.write_text(json.dumps(json.loads(index.read_text()) | ENHANCER))
    model = load(Settings(model=str(tmp_path), _env_file=None))
    assert (model.info.family, model.info.kinds) == ("ernie-image", ("text",))
    assert (model.info.default_steps, model.info.default_true_cfg_scale) == (50, 4.0)
    engine, one = TinyEngine(model.pipeline), generation()
    [image] = engine.generate(one)
    assert (image == engine.plain(one)).all()
    # Weights in a file are aligned otherwise, which may change the last bits of a sum.
    assert difference(image, TinyEngine(pipeline).generate(one)[0]) <= 1


def test_the_prompt_enhancer_is_not_downloaded(monkeypatch, tmp_path):
    chosen = []

    def locate(model, settings, report, *, wanted, **options):
        chosen.extend(wanted(dict.fromkeys(LOADED | ENHANCERS_FILES, 1), (), INDEX))
        return tmp_path

    monkeypatch.setattr(model_files, "locate", locate)
    entry = ModelEntry(source="baidu/ERNIE-Image")
    locate_pipeline("ernie-image", entry, Settings(_env_file=None), torch.device("cpu"), silent)
    assert set(chosen) == LOADED


def test_turbo_has_its_steps_from_the_registry_by_its_name_and_by_its_id():
    registry = read_registry(PACKAGE_DIR / "models.toml")
    for name in ("ernie-image-turbo", "baidu/ERNIE-Image-Turbo"):
        assert (registry[name].steps, registry[name].guidance, registry[name].family) == (8, 1.0, "ernie-image")
