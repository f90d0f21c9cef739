"""The ControlNet's training shows where things stand, and what it writes is a ControlNet that the server can use."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageControlNetModel

from tests.unit.tools.conftest import tiny_demo
from tools.demo.rendering import render
from tools.demo.scenes import sample_scene
from tools.demo.train_control import ControlPlan, ControlTraining, silhouettes, wandering


def test_silhouettes_are_white_where_the_objects_are_and_nowhere_else() -> None:
    generator = random.Random(5)
    for scene in [wandering(sample_scene(generator), generator) for _ in range(20)]:
        guide = np.asarray(silhouettes(scene, 128, 128))[..., 0] == 255
        image, empty = (np.asarray(render(shown, 128, 128, None, 1)) for shown in (scene, replace(scene, things=())))
        assert (image[~guide] == empty[~guide]).all()
        assert guide.any() == bool(scene.things)
        for thing in scene.things:
            x, y, radius = int(thing.x * 128), int(thing.y * 128), int(thing.radius * 128)
            around = slice(max(0, y - radius), y + radius), slice(max(0, x - radius), x + radius)
            assert guide[around].mean() > 0.1, "it stands there"


def test_single_objects_wander_and_their_texts_do_not_tell_where() -> None:
    generator = random.Random(5)
    scenes = [sample_scene(generator) for _ in range(60)]
    moved = [wandering(scene, generator) for scene in scenes]
    single = [
        (before.things[0], after.things[0])
        for before, after in zip(scenes, moved, strict=True)
        if len(before.things) == 1
    ]
    assert len(single) > 20
    assert all((before.x, before.y) != (after.x, after.y) for before, after in single)
    assert not any({"place", "size"} & after.told for _, after in single)


def test_what_is_trained_repeats_itself_guides_and_fits_the_model(tmp_path: Path) -> None:
    plan = ControlPlan(scenes=6, steps=3, batch=2, rate=0.1)
    files = []
    for folder in ("first", "second"):
        training = trained(plan)
        files.append(training.save(tmp_path / folder))
    assert files[0].read_bytes() == files[1].read_bytes()
    net: Any = QwenImageControlNetModel.from_pretrained(tmp_path / "first", dtype=torch.float32)
    assert net.controlnet_x_embedder.weight.abs().sum() > 0, "it has learnt to look at what guides it"
    [example, *_] = training.examples()[0]
    assert example.control is not None
    [residual] = net(
        hidden_states=example.tokens[None], controlnet_cond=example.control[None],
        encoder_hidden_states=example.text[None], timestep=torch.ones(1), img_shapes=[[(1, *example.grid[::-1])]],
        return_dict=False,
    )  # fmt: skip
    assert residual.abs().sum() > 0, "and tells the model of it"


def trained(plan: ControlPlan) -> ControlTraining:
    with torch.enable_grad():
        training = ControlTraining(tiny_demo(), plan)
        training.run()
    return training
