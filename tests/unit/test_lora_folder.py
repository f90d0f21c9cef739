"""LoRA files are found by their names alone, and known by their content."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from imageserver.errors import InvalidParameter
from imageserver.lora_folder import LoraFolder


@pytest.fixture
def folder(tmp_path):
    for name in ("night", "with.dots", "red"):
        (tmp_path / "loras").mkdir(exist_ok=True)
        (tmp_path / "loras" / f"{name}.safetensors").write_bytes(name.encode())
    (tmp_path / "loras" / "notes.txt").write_text("no LoRA")
    (tmp_path / "secret.safetensors").write_bytes(b"outside")
    return tmp_path / "loras"


def test_every_file_has_its_name(folder):
    loras = LoraFolder(folder)
    assert loras.names() == ["night", "red", "with.dots"]
    assert loras.find("with.dots").path == folder / "with.dots.safetensors"
    assert loras.find("red").size == 3


def test_files_in_folders_have_the_folders_before_their_names_and_any_case_of_the_ending(folder):
    (folder / "people" / "old").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for name in ("people/ann.safetensors", "people/old/bob.SAFETENSORS", "Loud.SafeTensors", ".cache/x.safetensors"):
        (folder / name).write_bytes(name.encode())
    (folder / "people" / "ann.json").write_text('{"scale": 0.5}')
    loras = LoraFolder(folder)
    assert loras.names() == ["Loud", "night", "people/ann", "people/old/bob", "red", "with.dots"]
    assert loras.find("people/ann").profile.scale == 0.5
    assert loras.find("people/old/bob").path == folder / "people" / "old" / "bob.SAFETENSORS"


def test_a_published_name_is_known_in_a_folder_too(folder):
    (folder / "fast").mkdir()
    (folder / "fast" / "sdxl_lightning_4step_lora.safetensors").write_bytes(b"x")
    assert LoraFolder(folder).find("fast/sdxl_lightning_4step_lora").profile.num_inference_steps == 4


PIXEL = "data:image/jpeg;base64,/9j/4AAQ"
TAGS = json.dumps({"10_sks": {"sks cat": 9, "sitting": 4}, "2_more": {"garden": 9}})
METADATA = [
    ({"modelspec.trigger_phrase": "sks cat, in ink", "ss_tag_frequency": TAGS}, ("sks cat", "in ink"), None),
    ({"ss_tag_frequency": TAGS}, ("sks cat", "garden"), None),
    ({"ss_tag_frequency": "[1]", "modelspec.thumbnail": PIXEL}, (), PIXEL),
    ({"modelspec.thumbnail": "data:text/html;base64,PHNjcmlwdD4="}, (), None),
    ({"modelspec.thumbnail": "https://example.org/a.png"}, (), None),
    ({}, (), None),
]


@pytest.mark.parametrize(("metadata", "words", "preview"), METADATA)
def test_trigger_words_and_a_preview_come_from_the_file(folder, metadata, words, preview):
    save_file({"a": torch.ones(1)}, folder / "told.safetensors", metadata)
    found = LoraFolder(folder).find("told").metadata
    assert (found.trigger_words, found.preview) == (words, preview)


NAMES = [
    "../secret",
    "people/../../secret",
    "..",
    "",
    "/etc/passwd",
    "loras/night",
    "night.safetensors",
    "notes",
    "a\0b",
]


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_anywhere_else(folder, name):
    with pytest.raises(InvalidParameter, match="there are: night, red, with") as refused:
        LoraFolder(folder).find(name)
    assert refused.value.param == "loras"


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert LoraFolder(tmp_path / "missing").names() == []
    with pytest.raises(InvalidParameter, match="there are: none"):
        LoraFolder(tmp_path / "missing").find("x")


def test_the_owners_file_goes_before_the_packages(folder, tmp_path):
    other = tmp_path / "packaged"
    other.mkdir()
    for name in ("night", "more"):
        (other / f"{name}.safetensors").write_bytes(b"packaged")
    loras = LoraFolder(folder, other)
    assert loras.names() == ["more", "night", "red", "with.dots"]
    assert loras.find("night").path.parent == folder


def test_the_digest_changes_with_the_content_and_with_the_profile(folder):
    loras = LoraFolder(folder)
    seen = {loras.find("night").digest}
    assert loras.find("night").digest in seen
    (folder / "night.safetensors").write_bytes(b"other")
    os.utime(folder / "night.safetensors", ns=(1, 1))
    seen.add(loras.find("night").digest)
    (folder / "night.json").write_text('{"num_inference_steps": 4}')
    seen.add(loras.find("night").digest)
    assert len(seen) == 3
    assert loras.find("night").profile.num_inference_steps == 4


@pytest.mark.parametrize("profile", ["", "[]", '{"steps": 4}', '{"num_inference_steps": "four"}', "\x00"])
def test_a_profile_that_is_none_is_named(folder, profile):
    (folder / "night.json").write_text(profile)
    with pytest.raises(InvalidParameter, match=r"loras: the profile night\.json cannot be used"):
        LoraFolder(folder).find("night")
