"""The LoRA's training darkens what lies behind the objects, and what it writes is a LoRA that the server can use."""

import random

import numpy as np
import torch

from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from tests.unit.tools.conftest import tiny_demo
from tools.demo.rendering import render
from tools.demo.scenes import sample_scene
from tools.demo.train_lora import LoraPlan, LoraTraining, at_night


def test_at_night_the_background_is_dark_and_the_objects_are_as_they_were():
    generator = random.Random(5)
    for scene in [sample_scene(generator) for _ in range(20)]:
        day = np.asarray(render(scene, 128, 128, None, 1)).astype(int)
        night = np.asarray(at_night(scene, 128, 128)).astype(int)
        changed = (day != night).any(2)
        assert (night[changed].mean(1) < 65).all()
        assert changed.any()
        assert not scene.things or not changed.all()


def test_what_is_trained_is_small_repeats_itself_and_fits_the_model(tmp_path):
    plan = LoraPlan(scenes=6, steps=3, batch=2, rank=2)
    files = []
    for folder in ("first", "second"):
        with torch.enable_grad():
            training = LoraTraining(tiny_demo(), plan)
            training.run()
        files.append(training.save(tmp_path / folder, "night"))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size < 100_000
    file = LoraFolder(tmp_path / "first").find("night")
    assert file.profile.description
    adapters = LoraAdapters(tiny_demo(), "transformer", LoraFolder(tmp_path / "first"))
    adapters.use((Lora(name="night", digest=file.digest),))
    assert adapters.names == ("night",)
