"""The tiny Qwen-Image, one for all tests, and an engine over it."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.engine.pipelines.suspension import Gate
from tests.support.device_errors import Ended
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_models import tiny_qwen_image


@pytest.fixture(autouse=True)
def _process_wide_switches_are_put_back() -> Iterator[None]:
    """Loading a model replaces the VAE's arithmetic and ends gradients for the whole process."""
    single_frame_vae.uninstall()
    # As in an engine: some operations round differently where gradients are wanted.
    torch.set_grad_enabled(False)
    yield
    single_frame_vae.uninstall()
    torch.set_grad_enabled(True)


@pytest.fixture
def fast_vae() -> None:
    """The VAE's arithmetic as in an engine."""
    single_frame_vae.install()


@pytest.fixture(scope="session")
def pipeline() -> QwenImagePipeline:
    """The tiny pipeline, shared; nothing may change it."""
    return tiny_qwen_image()


@pytest.fixture
def engine(pipeline: QwenImagePipeline) -> Iterator[TinyEngine]:
    """An engine over the shared pipeline."""
    engine = TinyEngine(pipeline)
    yield engine
    engine.gate.remove()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes that the engine's process would have ended with; `Ended` is raised instead."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("imageserver.engine.device_errors.os._exit", end)
    return codes


@pytest.fixture
def gate(engine: TinyEngine) -> Gate:
    """The gate of the shared pipeline's transformer."""
    return engine.gate
