"""A registered family has a tiny model, which generates an image, and whose calls are merged without a wait."""

import functools
from typing import Any

import pytest
import torch

from imageserver.engine.batching.batch import companions
from imageserver.engine.families import FAMILIES, published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models.probe_calls import LONG_PROMPT, suspended_call
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation
from tests.support.tiny_families import TINY_MODELS

SIDE = 64
# The first with each merger: the others share it.
MERGING = list({id(family.merger): family for family in reversed(FAMILIES) if family.merger}.values())


@functools.cache
def tiny(name: str) -> Any:
    """Return a family's tiny model, built once for all tests here: nothing may change it."""
    return TINY_MODELS[name]()


@pytest.fixture(params=MERGING, ids=lambda family: family.name)
def merging(request: pytest.FixtureRequest) -> Family:
    """A family whose calls are merged, one for each merger."""
    family: Family = request.param
    return family


def test_every_registered_family_has_a_tiny_model() -> None:
    assert sorted(TINY_MODELS) == sorted(family.name for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_tiny_model_of_a_family_generates_an_image(family: Family) -> None:
    pipeline = tiny(family.name)
    assert type(pipeline).__name__ == published_class(family)
    family.customize(pipeline)
    runner = PipelineRunner(pipeline, family)
    defaults = family.defaults(pipeline)
    assert defaults.steps > 0
    wanted, source = runner.warmup_generation(
        Generation(
            prompt="a red circle", negative_prompt=" ", width=SIDE, height=SIDE, steps=1, seed=0,
            true_cfg_scale=defaults.guidance,
        )
    )  # fmt: skip
    usage = runner.token_usage(wanted)
    assert usage.prompt_tokens > 0
    assert usage.image_tokens > 0
    steps: list[Any] = []
    image = runner.run(wanted, 0, steps.append, source)
    assert len(steps) == 1
    assert (image.dtype, image.min() < image.max()) == (torch.uint8, True)
    assert runner.postprocess(image, wanted, source)


def test_forming_and_merging_a_batch_waits_for_no_value_from_the_device(
    merging: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, merger = tiny(merging.name), merging.merger
    assert merger is not None
    merging.customize(pipeline)
    gate = Gate(getattr(pipeline, merging.denoiser))
    runner = PipelineRunner(pipeline, merging)
    with suspended_call(runner, SIDE) as short, suspended_call(runner, SIDE, LONG_PROMPT) as long:
        # What is read once per image is read at its first call.
        assert merger.shape_of(short) != ()
        assert merger.shape_of(long) != ()
        with monkeypatch.context() as patched:
            for reader in ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "cpu"):
                patched.setattr(torch.Tensor, reader, _refuse)
            companions(merger, short, [short, long], cap=4)
            for calls in ([short, short], [short, long]):
                if len({merger.shape_of(call) for call in calls}) == 1:
                    merger.merge(calls)
    gate.remove()


def test_texts_of_one_length_share_a_forward_of_qwen_image_without_a_mask() -> None:
    """With a mask attention leaves its fast path."""
    family = next(family for family in FAMILIES if family.name == "qwen-image")
    pipeline, merger = tiny("qwen-image"), family.merger
    assert merger is not None
    gate = Gate(pipeline.transformer)
    runner = PipelineRunner(pipeline, family)
    with suspended_call(runner, SIDE) as short, suspended_call(runner, SIDE, LONG_PROMPT) as long:
        assert merger.merge([short, short])["encoder_hidden_states_mask"] is None
        assert merger.merge([short, long])["encoder_hidden_states_mask"] is not None
    gate.remove()


def _refuse(tensor: torch.Tensor, *_: Any) -> None:
    raise AssertionError("A value was read from the device.")
