"""Accelerations are applied once at the start, and what cannot be had is named in one sentence."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
from diffusers.models.attention_dispatch import attention_backend
from torch._dynamo import config as dynamo
from torch.fx.experimental import _config as symbolic_shapes

from imageserver import scheduling_policy
from imageserver.engine.caching.taylorseer import TaylorSeer
from imageserver.engine.capturing import captured_forwards
from imageserver.engine.devices import batch_limits, memory_plans, placement, plan_choice
from imageserver.engine.devices.batch_limits import SizeLimit
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import acceleration, warmup
from imageserver.engine.models.compiling import faster_forward, rehearsal
from imageserver.engine.models.compiling.recompilations import compiled_graphs
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Finished
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.fake_graphs import FakeGraphs
from tests.support.full_mode import needs_full_mode
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import save_tiny_qwen_image, silent
from tests.support.tiny_pool import TinyPool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on the disk."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("accelerated"))


def settings(folder: Path, tmp_path: Path, **changes: Any) -> Settings:
    changes = {"max_pixels": 512 * 512} | changes
    return Settings(model=str(folder), device="cpu", state_dir=tmp_path, **changes)


def test_a_pool_that_has_just_been_opened_generates(folder: Path, tmp_path: Path) -> None:
    opened = TinyPool(settings(folder, tmp_path))
    [pixels] = opened.generate(generation())
    assert len(pixels) == 64 * 64 * 3
    assert opened.pool.loaded[0].device.batch_caps
    assert 1 <= opened.pool.loaded[0].device.max_in_flight <= warmup.MAX_IN_FLIGHT


def test_another_attention_backend_is_used(folder: Path, tmp_path: Path) -> None:
    # A model's backend becomes that of the process, the ranks of other tests have theirs: put it back.
    with attention_backend("native"):
        assert TinyPool(settings(folder, tmp_path, attention_backend="_native_math")).names == [str(folder)]


def test_an_attention_backend_that_does_not_exist_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="ATTENTION_BACKEND=nonsense cannot be used"):
        TinyPool(settings(folder, tmp_path, attention_backend="nonsense"))


def test_compile_reaches_the_transformers_blocks() -> None:
    compiled: list[dict[str, Any]] = []

    class Transformer:
        def compile_repeated_blocks(self, **options: Any) -> None:
            compiled.append(options)

    acceleration.accelerate(Transformer(), Settings(compile=True), silent)
    assert compiled == [{"dynamic": True}]


def test_what_was_probed_is_captured_before_the_first_client_and_freed_when_memory_runs_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = FakeGraphs()
    monkeypatch.setattr(acceleration, "open_graphs", lambda device: graphs)
    # A fake replay computes everything again.
    monkeypatch.setattr(captured_forwards, "MIN_GAIN", 0.0)
    monkeypatch.setattr(batch_limits, "measure", lambda *_: {512 * 512: SizeLimit(2)})
    opened = TinyPool(settings(folder, tmp_path, cuda_graphs=True))
    captured = opened.pool.served_model(str(folder)).captured
    assert captured is not None
    assert len(captured) == 3, "a prompt, the empty negative prompt, and two prompts together"
    replays = graphs.replays
    opened.generate(generation(width=512, height=512, steps=2))
    assert graphs.replays > replays, "the negative prompt of a client"
    opened.pool.step_scheduler._release_memory()
    assert len(captured) == 0


@pytest.mark.parametrize("memory", ["model-offload", "group-offload", "device-map"])
def test_weights_that_move_are_not_captured(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "open_graphs", lambda device: FakeGraphs())
    cpu, plan, adapters = torch.device("cpu"), memory_plans.BY_NAME[memory], Mock()

    def open_for(plan: memory_plans.MemoryPlan) -> object:
        return acceleration.open_captured_forwards(Mock(), Settings(cuda_graphs=True), cpu, plan, adapters)

    assert open_for(plan) is None
    adapters.weights.return_value = (0, ())
    assert open_for(memory_plans.BY_NAME["full"]) is not None


def test_cuda_graphs_without_cuda_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="CUDA_GRAPHS=1 cannot be used: it needs a CUDA device, not cpu"):
        TinyPool(settings(folder, tmp_path, cuda_graphs=True))


def test_a_first_forward_that_fails_blames_what_was_switched_on() -> None:
    error = acceleration.explain_failed_measurement(
        Settings(compile=True, attention_backend="flash"), torch.device("cpu"), RuntimeError("no such kernel\nmore")
    )
    sentence = "The first forward on cpu failed: no such kernel; try without ATTENTION_BACKEND=flash and COMPILE=1."
    assert str(error) == sentence


def test_what_a_fast_image_and_an_exact_one_beside_it_need_is_computed_at_the_start(
    pipeline: QwenImagePipeline, engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a machine that is so busy that the fast one is due before the exact one has arrived.
    monkeypatch.setitem(scheduling_policy.AGEING_SECONDS, "normal", 0.0)
    cached = TinyEngine(pipeline, cache=TaylorSeer())
    hooked: list[bool] = []
    cached.before_forward = lambda: hooked.append(pipeline.transformer.is_cache_enabled)
    tiers, settings = cached.model.tiers, Settings(compile=True)
    assert tiers is not None
    acceleration.compile_tiers(cached.runner, cached.forward, tiers, settings, silent, side=64)
    assert hooked == [True] * (2 * 20 + 2 * 2)
    assert not pipeline.transformer.is_cache_enabled


def test_a_cache_that_fails_when_it_is_compiled_is_named(pipeline: QwenImagePipeline, engine: TinyEngine) -> None:
    def fail() -> None:
        raise RuntimeError("graph break")

    cached = TinyEngine(pipeline, cache=TaylorSeer())
    cached.before_forward = fail
    assert cached.model.tiers is not None
    with pytest.raises(ModelUnavailable, match="QUALITY_CACHE=taylorseer cannot be used with COMPILE=1: "):
        acceleration.compile_tiers(cached.runner, cached.forward, cached.model.tiers, Settings(compile=True), silent)


def test_compiling_takes_equal_sizes_for_two_and_has_room_for_variants() -> None:
    """At 512x512 the offset of the text's rotary part is the number of the image's tokens, by chance."""
    # By torch's own patch: pytest's would delete the settings instead of putting them back.
    as_published = dynamo.patch(recompile_limit=8, accumulated_recompile_limit=256)
    with as_published, symbolic_shapes.patch(use_duck_shape=True):
        acceleration.accelerate(Mock(), Settings(_env_file=None, compile=True), silent)
        assert not symbolic_shapes.use_duck_shape
        # Six variants serve every size and batch; each of 16 LoRAs may need twelve more.
        assert dynamo.recompile_limit > 6 + 16 * 12
        assert dynamo.accumulated_recompile_limit > dynamo.recompile_limit


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are traced and counted as on a card, without the minutes of a C++ compiler."""
    stock = QwenImageTransformer2DModel.compile_repeated_blocks
    monkeypatch.setattr(
        QwenImageTransformer2DModel,
        "compile_repeated_blocks",
        lambda self, **options: stock(self, backend="eager", **options),
    )


@pytest.mark.usefixtures("traced_only")
def test_compiled_forwards_that_are_not_faster_leave_the_model_as_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faster_forward, "MIN_GAIN", 1e9)
    monkeypatch.setattr(warmup, "compile_calls", lambda forward, calls, merger: forward(**calls[0]))
    with caplog.at_level("INFO"):
        opened = TinyPool(settings(folder, tmp_path, compile=True, max_pixels=64 * 64))
    assert "so it stays eager" in caplog.text
    graphs = compiled_graphs()
    torch.compiler.reset()
    opened.generate(generation())
    assert compiled_graphs() == graphs, "nothing compiled is used, or it would have been compiled again"


@pytest.mark.usefixtures("traced_only")
def test_after_the_start_nothing_is_compiled_while_clients_wait(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Traced blocks are not faster, and would stay eager.
    monkeypatch.setattr(faster_forward, "MIN_GAIN", 0.0)
    monkeypatch.setattr(batch_limits, "measure", lambda *_: {512 * 512: SizeLimit(4)})
    graphs = compiled_graphs()
    # At this size the offset of the text's rotary part is the number of the image's tokens, 16.
    opened = TinyPool(settings(folder, tmp_path, compile=True, max_pixels=64 * 64))
    assert compiled_graphs() > graphs
    assert opened.pool.usage().recompilations == 0
    longer = "a big red circle"
    for width, height in ((64, 64), (128, 64), (64, 128), (96, 96)):
        sizes = {"width": width, "height": height}
        opened.generate(generation(**sizes))
        opened.generate(generation(**sizes), generation(seed=2, **sizes), generation(seed=3, **sizes))
        opened.generate(generation(**sizes), generation(longer, **sizes))
        assert {message.outcome.batch_size for message, _ in opened.of(Finished)} == {2}
    assert opened.pool.usage().recompilations == 0
    torch.compiler.reset()
    opened.generate(generation())
    recompiled = opened.pool.usage().recompilations
    assert recompiled > 0, "compiled blocks were in use"
    torch.compiler.reset()
    with dynamo.patch(recompile_limit=1):
        opened.generate(generation())
    refused = opened.pool.usage().recompilations - recompiled
    assert refused == 2, "the first variant, and the limit"
    opened.generate(generation())
    opened.pool.unload(str(folder))
    assert opened.pool.usage().recompilations == recompiled + refused, "a counter never falls"
    assert caplog.text.count("torch.compile has reached its limit of variants") == 1


@needs_full_mode
@pytest.mark.usefixtures("traced_only")
def test_a_lora_is_compiled_before_the_steps_and_its_image_is_that_of_the_reference(
    pipeline: QwenImagePipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faster_forward, "MIN_GAIN", 0.0)
    # One kind of forward: the others are compiled in the same way.
    for module in (warmup, rehearsal):
        monkeypatch.setattr(module, "compile_calls", lambda forward, calls, merger: forward(**calls[0]))
    monkeypatch.setattr(warmup, "compile_tiers", lambda *_: None)
    save_lora(tmp_path, "red", pipeline)
    red = Lora(name="red", digest=LoraFolder(tmp_path).find("red").digest)
    wanted = [generation(loras=(red,), true_cfg_scale=1.0), generation(true_cfg_scale=1.0)]
    common = {"lora_dir": tmp_path, "max_batch": 1, "max_pixels": 64 * 64}
    reference = [TinyPool(settings(folder, tmp_path, **common)).generate(one) for one in wanted]
    opened = TinyPool(settings(folder, tmp_path, compile=True, **common))
    graphs = compiled_graphs()
    assert [opened.generate(one) for one in wanted] == reference
    assert compiled_graphs() > graphs, "they were compiled"
    assert opened.pool.usage().recompilations == 0, "but not in a step"
    opened.pool.unload(str(folder))
    assert opened.pool.usage().recompilations == 0


def test_a_model_whose_components_take_turns_on_the_device_leaves_it_after_it_was_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The denoiser stayed beside the first client's text encoder, 58 GB on a card of 48 GB."""
    events: list[str] = []
    stock_forward = QwenImageTransformer2DModel.forward

    def forward(self: Any, *positional: Any, **arguments: Any) -> Any:
        events.append("forward")
        return stock_forward(self, *positional, **arguments)

    def free(self: QwenImagePipeline) -> None:
        events.append("free")
        # As accelerate does, which hooks itself in again.
        self.transformer.forward = forward.__get__(self.transformer)

    monkeypatch.setattr(QwenImageTransformer2DModel, "forward", forward)
    monkeypatch.setattr(QwenImagePipeline, "maybe_free_model_hooks", free)
    for room in (plan_choice, memory_plans):
        monkeypatch.setattr(room, "obstacle", lambda plan, *_: "one card" if plan.sharded else None)
    monkeypatch.setattr(placement, "move_to_device", lambda pipeline, plan, device: None)
    opened = TinyPool(settings(folder, tmp_path, memory="model-offload"))
    assert "forward" in events
    assert events[-1] == "free"
    opened.add(1, generation(steps=9))
    opened.pool.step_scheduler.step()
    assert opened.pool.step_scheduler.busy, "suspended at its first step, so the gate is in its place again"
