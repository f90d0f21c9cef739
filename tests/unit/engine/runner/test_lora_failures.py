"""Whatever fails while a LoRA is placed, rehearsed or taken off: its request is told, and nobody else notices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.devices.placement import move_to_device
from imageserver.engine.runner import lora_adapters
from imageserver.engine.runner.lora_adapters import LoraAdapters, open_adapters
from imageserver.generation import Generation, Lora, MemoryPlanName
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Failed, LoraRequest, LorasLoaded
from tests.support.device_errors import DEVICE_LOST, Ended
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_loras import save_lora
from tests.support.tiny_models import tiny_qwen_image

NAMES = ("red", "green", "blue")
FULL, BROKEN = torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("backend='inductor' raised: no compiler")
DEVICE_CALLS = ["enable_lora", "disable_lora", "set_adapters", "delete_adapters", "unload_lora_weights"]


class Failing(TinyEngine):
    """An engine that rehearses LoRAs, where `fail` lets one call fail as often as it is asked to."""

    def __init__(self, pipeline: QwenImagePipeline, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for seed, name in enumerate(NAMES):
            save_lora(path, name, pipeline, seed=seed)
        self._files = LoraFolder(path)
        self.loras = LoraAdapters(pipeline, "transformer", self._files)
        self.loras.rehearse = lambda: self._called(f"rehearse {' '.join(self.in_use)}".strip())
        self.calls: list[str] = []
        self._failing: dict[str, tuple[Exception, int]] = {}
        super().__init__(pipeline, adapters=self.loras)
        self._watch(monkeypatch, lora_adapters, "install")
        for name in DEVICE_CALLS:
            self._watch(monkeypatch, pipeline, name)

    @property
    def in_use(self) -> list[str]:
        return [each.name for each in self.loras._active or ()]

    def lora(self, name: str) -> Lora:
        return Lora(name=name, digest=self._files.find(name).digest)

    def wanted(self, *names: str, steps: int = 1) -> Generation:
        """Return a generation of one call a step, whose image no neighbour changes."""
        return generation(loras=tuple(map(self.lora, names)), steps=steps, true_cfg_scale=0.0, deterministic=True)

    def image(self, *names: str, steps: int = 1) -> np.ndarray:
        [image] = self.generate(self.wanted(*names, steps=steps))
        return image

    def images(self) -> list[list[int]]:
        """Return the images without LoRAs and with those that are loaded."""
        return [self.image().tolist(), *(self.image(name).tolist() for name in self.loras.names)]

    def fail(self, call: str, error: Exception, times: int = 10**6) -> None:
        self._failing[call] = error, times

    def heal(self) -> None:
        self._failing.clear()

    def ask(self, **change: Any) -> LorasLoaded:
        return self.scheduler.change_loras(LoraRequest(job=9, **change))

    def told(self, name: str, *, by_job: bool) -> Failed:
        """Return why a job, or a load, that names a LoRA has failed."""
        failure = self.generate(self.wanted(name))[0] if by_job else self.ask(load=self.lora(name)).failure
        assert isinstance(failure, Failed)
        return failure

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        stock = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self._called(name)
            return stock(*arguments, **named)

        monkeypatch.setattr(owner, name, watched)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        error, times = self._failing.get(name, (None, 0))
        if error is not None and times:
            self._failing[name] = error, times - 1
            raise error


@pytest.fixture
def engine(pipeline: QwenImagePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    failing = Failing(pipeline, tmp_path, monkeypatch)
    yield failing
    failing.heal()
    pipeline.unload_lora_weights()
    failing.gate.remove()


@pytest.mark.parametrize(
    ("call", "error", "by_job"),
    [
        ("install", FULL, False), ("set_adapters", BROKEN, False), ("set_adapters", FULL, True),
        ("rehearse red", FULL, False), ("rehearse red", BROKEN, True), ("rehearse", BROKEN, False),
    ],
)  # fmt: skip
def test_a_lora_that_fails_on_its_way_is_off_the_model_again_and_the_others_are_as_they_were(
    engine: Failing, call: str, error: Exception, by_job: bool
) -> None:
    engine.ask(load=engine.lora("blue"))
    before = engine.images()
    # The calls that take it off again must not fail, too.
    engine.fail(call, error, times=1)
    failure = engine.told("red", by_job=by_job)
    reason = "cannot hold red beside the model." if error is FULL else f"red does not fit the model: {BROKEN}."
    assert failure.sentence.endswith(reason)
    assert failure.code == ("out_of_memory" if error is FULL else "invalid_parameter")
    assert engine.loras.names == ("blue",)
    assert engine.images() == before


@pytest.mark.parametrize("plan", ["model-offload", "group-offload"])
@pytest.mark.parametrize("others", [(), ("blue",)])
def test_one_that_fails_inside_diffusers_leaves_the_hooks_that_move_the_weights(
    plan: MemoryPlanName, others: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card, the next image would find its text encoder in the host's memory; here only the hooks show it."""
    pipeline, folder = tiny_qwen_image(), LoraFolder(tmp_path)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.get_device", lambda: "cpu:0")
    move_to_device(pipeline, BY_NAME[plan], torch.device("cpu"))
    engine = TinyEngine(pipeline)
    adapters = open_adapters(
        pipeline, "transformer", folder, compiled=False, plan=plan, reinstall_gate=engine.gate.install
    )
    engine = TinyEngine(pipeline, adapters=adapters)

    def load(name: str) -> Failed | None:
        save_lora(tmp_path, name, tiny_qwen_image(), seed=len(name))
        lora = Lora(name=name, digest=folder.find(name).digest)
        return engine.scheduler.change_loras(LoraRequest(job=9, load=lora)).failure

    def hooked() -> list[str]:
        return [name for name, part in pipeline.components.items() if hasattr(part, "_hf_hook")]

    def full(*arguments: Any, **options: Any) -> Any:
        raise FULL

    assert [load(name) for name in others] == [None] * len(others)
    [alone], hooks = engine.generate(generation(steps=3)), hooked()
    assert bool(hooks) == (plan == "model-offload")
    engine.sent.clear()
    engine.add(0, generation(steps=3))
    engine.step(2)
    monkeypatch.setattr(peft, "set_peft_model_state_dict", full)
    failure = load("red")
    assert failure is not None
    assert failure.sentence == "The device's memory cannot hold red beside the model."
    assert hooked() == hooks
    assert vars(engine.denoiser)["forward"] is engine.gate
    engine.run()
    assert (engine.result(0) == alone).all()


def test_the_first_one_that_fails_leaves_the_model_as_it_was_loaded(engine: Failing) -> None:
    before, layers = engine.image(), str(engine.denoiser)
    engine.fail("rehearse red", BROKEN)
    engine.told("red", by_job=True)
    assert (str(engine.denoiser), engine.loras.names) == (layers, ())
    assert (engine.image() == before).all()


def test_what_cannot_be_compiled_is_not_compiled_by_every_request_and_what_did_not_fit_is_tried_again(
    engine: Failing,
) -> None:
    for error, tries in ((BROKEN, 1), (FULL, 2)):
        engine.loras.unload("red")
        engine.calls.clear()
        engine.fail("rehearse red", error)
        for by_job in (True, False):
            engine.told("red", by_job=by_job)
        assert engine.calls.count("rehearse red") == tries
    engine.heal()
    assert engine.ask(load=engine.lora("red")).names == ("red",)


@pytest.mark.parametrize("call", ["install", "rehearse red", "rehearse"])
def test_one_that_fails_pushes_out_no_other_and_there_are_never_too_many(
    engine: Failing, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(lora_adapters, "MAX_LOADED", 2)
    for name in ("green", "blue"):
        engine.ask(load=engine.lora(name))
    engine.fail(call, FULL, times=1)
    engine.told("red", by_job=False)
    # What all need is rehearsed once more when there is room again; who fails only then has pushed one out.
    assert engine.loras.names == (("blue",) if call == "rehearse" else ("blue", "green"))
    assert engine.ask(load=engine.lora("red")).names == ("blue", "red")
    assert engine.image("red").shape == (64, 64, 3)


def test_an_image_under_way_notices_nothing_of_one_that_fails_nor_waits_for_its_compiler_in_a_step(
    engine: Failing,
) -> None:
    alone = engine.image("blue", steps=3)
    engine.sent.clear()
    engine.add(0, engine.wanted("blue", steps=3))
    engine.step(2)
    engine.fail("rehearse red", BROKEN)
    engine.ask(load=engine.lora("red"))
    engine.calls.clear()
    engine.run()
    assert (engine.result(0) == alone).all()
    assert engine.calls == [], "what it needs again was prepared by the request that failed"


def test_a_change_that_succeeds_prepares_what_the_image_under_way_needs(engine: Failing) -> None:
    alone = engine.image("blue", steps=3)
    engine.sent.clear()
    engine.add(0, engine.wanted("blue", steps=3))
    engine.step(2)
    for change in ({"load": engine.lora("red")}, {"unload": "red"}):
        engine.ask(**change)
        assert engine.in_use == ["blue"]
    engine.calls.clear()
    engine.run()
    assert (engine.result(0) == alone).all()
    assert engine.calls == []


def test_several_that_cannot_be_compiled_together_are_named_and_stay(engine: Failing) -> None:
    engine.fail("rehearse red blue", BROKEN)
    [failure] = engine.generate(engine.wanted("red", "blue"))
    assert failure.sentence == f"loras: the model cannot use red, blue: {BROKEN}."
    assert engine.loras.names == ("blue", "red")
    engine.fail("rehearse red blue", FULL)
    [failure] = engine.generate(engine.wanted("red", "blue"))
    assert failure.sentence == "The device's memory cannot hold red, blue beside the model."
    engine.heal()
    assert engine.image("red", "blue").shape == (64, 64, 3)


def test_an_image_after_one_whose_loras_could_not_be_switched_is_its_own(engine: Failing) -> None:
    engine.image("red")
    plain = engine.image()
    engine.fail("set_adapters", BROKEN, times=1)
    [failure] = engine.generate(engine.wanted("red"))
    assert failure.sentence == f"loras: the model cannot use red: {BROKEN}."
    assert (engine.image() == plain).all()


def test_a_step_whose_rehearsal_fails_is_computed_all_the_same_and_rehearsed_once(engine: Failing) -> None:
    alone = engine.image("blue", steps=3)
    engine.sent.clear()
    engine.add(0, engine.wanted("blue", steps=3))
    engine.step(1)
    engine.loras._forget_state()
    engine.fail("rehearse blue", FULL)
    engine.calls.clear()
    engine.run()
    assert (engine.result(0) == alone).all()
    assert engine.calls.count("rehearse blue") == 1


@pytest.mark.parametrize("call", ["rehearse", "rehearse blue"])
def test_one_is_unloaded_also_where_what_remains_cannot_be_rehearsed(engine: Failing, call: str) -> None:
    for name in ("red", "blue"):
        engine.ask(load=engine.lora(name))
    before = engine.image()
    engine.image("blue")
    engine.fail(call, FULL)
    answer = engine.ask(unload="red")
    assert (answer.names, answer.failure) == (("blue",), None)
    assert (engine.image() == before).all()


@pytest.mark.parametrize("call", ["set_adapters", "delete_adapters"])
def test_where_one_cannot_be_taken_off_alone_all_are_and_images_load_theirs_again(engine: Failing, call: str) -> None:
    plain, blue = engine.image(), engine.image("blue")
    engine.ask(load=engine.lora("red"))
    engine.fail(call, BROKEN, times=1)
    answer = engine.ask(unload="red")
    assert (answer.names, answer.failure) == ((), None)
    engine.heal()
    assert (engine.image() == plain).all()
    assert (engine.image("blue") == blue).all()


def test_where_none_can_be_taken_off_it_is_said_and_no_image_is_generated_with_what_is_left(engine: Failing) -> None:
    plain = engine.image()
    engine.ask(load=engine.lora("red"))
    engine.image("red")
    engine.fail("unload_lora_weights", BROKEN)
    failure = engine.ask(unload="red").failure
    assert failure is not None
    assert failure.sentence == "The model's LoRAs could not be changed (RuntimeError)."
    assert engine.generate(engine.wanted())[0].code == "generation_failed"
    engine.heal()
    assert (engine.image() == plain).all()


@pytest.mark.parametrize(
    ("call", "change"),
    [("rehearse red", "load"), ("rehearse", "load"), ("unload_lora_weights", "unload"), ("rehearse", "unload")],
)
def test_a_device_that_is_lost_meanwhile_ends_the_engine(
    engine: Failing, ended: list[int], call: str, change: str
) -> None:
    if change == "unload":
        engine.ask(load=engine.lora("red"))
    engine.fail(call, DEVICE_LOST[1])
    with pytest.raises(Ended):
        engine.ask(**({"load": engine.lora("red")} if change == "load" else {"unload": "red"}))
    assert ended == [70]
