"""A file that peft refuses while it is placed in the model is not read again by every request that names it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import QwenImagePipeline

from imageserver.engine.runner import lora_adapters
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.errors import InvalidParameter, OutOfMemory
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from tests.support.tiny_loras import save_lora


class Refusing(LoraAdapters):
    """LoRAs whose files are counted when they are read, and a pipeline that refuses to place some."""

    def __init__(self, pipeline: QwenImagePipeline, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.files = path, LoraFolder(path)
        super().__init__(pipeline, "transformer", self.files)
        self.reads: list[str] = []
        self.errors: dict[str, Exception] = {}
        read, install = lora_adapters.read_adapter, lora_adapters.install

        def counted(file: Path, *arguments: Any) -> Any:
            self.reads.append(file.stem)
            return read(file, *arguments)

        def refusing(pipeline: Any, denoiser: str, adapters: Any, name: str) -> None:
            if error := self.errors.get(self.reads[-1]):
                raise error
            install(pipeline, denoiser, adapters, name)

        monkeypatch.setattr(lora_adapters, "read_adapter", counted)
        monkeypatch.setattr(lora_adapters, "install", refusing)

    def ask(self, name: str) -> None:
        """Load one as a request does: a thread reads the file, then the model takes it."""
        lora = Lora(name=name, digest=self.files.find(name).digest)
        self.read(lora)
        self.load(lora)

    def refusal(self, name: str) -> str:
        with pytest.raises(InvalidParameter) as caught:
            self.ask(name)
        return caught.value.sentence


@pytest.fixture
def loras(pipeline: QwenImagePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    for seed, name in enumerate(("red", "blue")):
        save_lora(tmp_path, name, pipeline, seed=seed)
    refusing = Refusing(pipeline, tmp_path, monkeypatch)
    yield refusing
    for name in refusing.names:
        refusing.unload(name)


@pytest.mark.parametrize("error", [IndexError("list index out of range"), AssertionError(), ImportError("No dctorch.")])
def test_whatever_a_file_makes_peft_raise_is_said_to_everybody_and_the_file_is_read_once(
    loras: Refusing, error: Exception
) -> None:
    loras.errors["red"] = error
    sentences = {loras.refusal("red") for _ in range(3)}
    assert sentences == {f"loras: red does not fit the model: {str(error).rstrip('.') or type(error).__name__}."}
    assert loras.reads == ["red"]
    assert loras.names == ()


def test_a_file_that_has_changed_is_tried_again(loras: Refusing) -> None:
    loras.errors["red"] = ValueError("odd")
    loras.refusal("red")
    loras.errors.clear()
    save_lora(loras.path, "red", loras._pipeline, seed=5)
    loras.ask("red")
    assert loras.names == ("red",)
    assert loras.reads == ["red", "red"]


def test_a_refused_file_is_tried_again_when_another_is_taken_off_the_model(loras: Refusing) -> None:
    loras.ask("blue")
    loras.errors["red"] = ValueError("not beside blue")
    loras.refusal("red")
    loras.errors.clear()
    assert "not beside blue" in loras.refusal("red")
    loras.unload("blue")
    loras.ask("red")
    assert loras.names == ("red",)


def test_a_full_device_is_not_remembered_as_a_refusal(loras: Refusing) -> None:
    loras.errors["red"] = MemoryError()
    with pytest.raises(OutOfMemory):
        loras.ask("red")
    loras.errors.clear()
    loras.ask("red")
    assert loras.names == ("red",)
