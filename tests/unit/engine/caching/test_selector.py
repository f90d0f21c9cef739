"""A cache that cannot be had is named at the start with the reason; MagCache's magnitudes outlive a start."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.hooks import (
    FasterCacheConfig,
    PyramidAttentionBroadcastConfig,
    SeaCacheConfig,
    TextKVCacheConfig,
)

from imageserver.engine import caching
from imageserver.engine.caching import Calibration, calibration, open_tiers
from imageserver.engine.caching.selector import REFUSED
from imageserver.engine.downloads import ModelUnavailable
from imageserver.settings import Settings
from imageserver.settings.source import load_settings
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_models import save_tiny_qwen_image, tiny_qwen_image
from tests.support.tiny_pool import TinyPool

USABLE = ("taylorseer", "first_block", "magcache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on the disk."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("cached"))


def open_with(folder: Path, state: Path, cache: str) -> TinyPool:
    return TinyPool(
        Settings(model=str(folder), device="cpu", state_dir=state, max_pixels=512 * 512, quality_cache=cache)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_cache_that_qwen_image_breaks_on_or_ignores_is_refused_before_the_model_is_looked_for(name: str) -> None:
    settings = Settings(model="/there/is/no/model", quality_cache=name)
    with pytest.raises(ModelUnavailable) as refusal:
        TinyPool(settings)
    sentence = str(refusal.value)
    assert f"QUALITY_CACHE={name} cannot be used: " in sentence
    assert all(choice in sentence for choice in USABLE)


def test_every_cache_that_the_setting_takes_is_offered_or_refused() -> None:
    assert set(get_args(Settings.model_fields["quality_cache"].annotation)) == {*USABLE, *REFUSED}


def test_a_cache_that_diffusers_does_not_know_is_refused_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUALITY_CACHE", "teacache")
    with pytest.raises(SystemExit, match="QUALITY_CACHE='teacache' is not valid"):
        load_settings()


@pytest.mark.parametrize("name", USABLE)
def test_every_usable_cache_generates_a_fast_image(name: str, folder: Path, tmp_path: Path) -> None:
    [pixels] = open_with(folder, tmp_path, name).generate(generation(steps=8, quality="fast"))
    assert len(pixels) == 64 * 64 * 3


def test_answers_of_another_cache_are_not_taken_for_those_of_this_one(folder: Path, tmp_path: Path) -> None:
    revisions = {open_with(folder, tmp_path, name).pool.loaded[0].revision for name in ("taylorseer", "first_block")}
    assert len(revisions) == 2


def test_magnitudes_are_measured_once_for_a_model(folder: Path, tmp_path: Path) -> None:
    def told(pool: TinyPool) -> bool:
        return any("calibrate QUALITY_CACHE=magcache" in sentence for _, sentence in pool.reports)

    assert told(open_with(folder, tmp_path, "magcache"))
    kept = json.loads((tmp_path / "magnitudes.json").read_text())
    times = [time for time, _ in next(iter(kept.values()))]
    assert len(times) == calibration.STEPS
    assert times == sorted(times, reverse=True)
    assert not told(open_with(folder, tmp_path, "magcache"))


def test_the_other_caches_measure_no_magnitudes(folder: Path, tmp_path: Path) -> None:
    open_with(folder, tmp_path, "taylorseer")
    assert not (tmp_path / "magnitudes.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"mine": [1]}', '{"mine": null}', '{"other": [[1, 1]]}'])
def test_magnitudes_are_measured_again_when_the_file_is_of_no_use(content: str, tmp_path: Path) -> None:
    file = tmp_path / "magnitudes.json"
    file.write_text(content)
    measured = Calibration((1.0, 0.5), (1.0, 2.0))
    assert caching.load_or_measure(file, "mine", lambda: measured) == measured
    assert caching.load_or_measure(file, "mine", lambda: Calibration((1.0,), (1.0,))) == measured


def test_measuring_magnitudes_leaves_no_trace_in_the_transformer(engine: TinyEngine) -> None:
    assert engine.gate.set_context is not None
    [before] = engine.generate(generation())
    measured = caching.measure(engine.denoiser, engine.gate.set_context, engine.forward, engine.runner)
    assert measured.sizes[0] == 1.0
    assert not engine.denoiser.is_cache_enabled
    assert (engine.generate(generation())[0] == before).all()


def test_a_ratio_is_taken_between_two_times_for_any_number_of_steps() -> None:
    measured = Calibration((1.0, 0.5, 0.0), (1.0, 2.0, 3.0))
    assert measured.ratio(1.0, 0.5) == 2.0
    assert measured.ratio(0.5, 0.25) == 1.25
    assert measured.ratio(0.3, 0.3) == 1.0


class Uncached(torch.nn.Module):
    """A denoiser that diffusers has no caches for, as Stable Diffusion's is."""


def test_a_cache_that_was_asked_for_is_refused_for_a_model_without_any() -> None:
    with pytest.raises(ModelUnavailable, match="QUALITY_CACHE=magcache cannot be used with this model: diffusers has"):
        open_tiers(Settings(quality_cache="magcache"), Uncached(), None, lambda: None, lambda context: None)


def test_a_model_without_caches_is_served_exactly_when_none_was_asked_for() -> None:
    assert open_tiers(Settings(), Uncached(), None, lambda: None, lambda context: None) is None


def refused_configs(transformer: torch.nn.Module) -> dict[str, Any]:
    times: list[float] = []
    transformer.register_forward_pre_hook(
        lambda _, arguments, named: times.append(1000 * float(named["timestep"][0])), with_kwargs=True
    )

    def now() -> float:
        return times[-1]

    return {
        "pyramid_attention_broadcast": PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(1, 999),
            current_timestep_callback=now,
        ),
        "fastercache": FasterCacheConfig(
            spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(-1, 681),
            current_timestep_callback=now, attention_weight_callback=lambda module: 0.3, tensor_format="BCHW",
        ),
        "sea_cache": SeaCacheConfig(),
        "text_kv_cache": TextKVCacheConfig(),
    }  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_diffusers_still_breaks_or_ignores_what_is_refused(name: str) -> None:
    engine = TinyEngine(tiny_qwen_image())
    wanted = generation(steps=6, negative_prompt="blurry, dark, ugly")
    exact = engine.plain(wanted)
    engine.denoiser.enable_cache(refused_configs(engine.denoiser)[name])
    if name in ("pyramid_attention_broadcast", "fastercache"):
        with pytest.raises((RuntimeError, IndexError)):
            engine.plain(wanted)
    else:
        assert (engine.plain(wanted) == exact).all()
