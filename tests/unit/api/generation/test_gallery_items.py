"""What the gallery keeps of a generation generates the same again."""

from types import SimpleNamespace

import pytest

from imageserver.api.generation.gallery_items import item_of, record
from imageserver.api.generation.run import GenerationRequest, GenerationResult
from imageserver.api.inputs.generate_request import parse, resolve
from imageserver.api.output_options import OutputOptions
from imageserver.errors import StorageFull
from imageserver.generation import Control, Lora, ModelInfo, Outcome, Source, Upscale
from imageserver.settings import Settings
from tests.support.factories import generation

INFO = ModelInfo(name="demo", positive_magic={"en": ", Ultra HD", "zh": ", 超清"}, schedulers={"Euler": "EulerX"})
OUTCOME = Outcome(width=64, height=64, seeds=(7, 8), inference_time=1.0, queue_time=0.0, batch_size=1)

PNG = OutputOptions("png", None, None)


def result_of(wanted, options=PNG):
    request = GenerationRequest(number=3, generation=wanted, output_options=options, timeout=9, credential="ann")
    return GenerationResult(request, OUTCOME, (b"a", b"b"), INFO, "miss", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a wolf, Ultra HD"}, {"prompt": "狼, 超清"}, {"prompt": "a wolf"}, {"scheduler": "Euler"},
        {"quality": "fast", "steps": 9, "true_cfg_scale": 1.5, "negative_prompt": "blurred"}, {"deterministic": True},
        {"seed": 2**64 - 3},
    ],
)  # fmt: skip
def test_its_settings_are_a_request_for_the_same_image(changes):
    wanted = generation(**({"count": 2} | changes))
    item = item_of(result_of(wanted), "a.png", 1)
    settings = Settings(_env_file=None)
    again, warnings = resolve(parse(item.settings, settings), settings, INFO)
    assert warnings == []
    assert again.seed == 8
    for name in ("prompt", "negative_prompt", "width", "height", "steps", "true_cfg_scale", "quality", "scheduler"):
        assert getattr(again, name) == getattr(wanted, name)
    assert (again.deterministic, again.count) == (wanted.deterministic, 1)


def test_loras_upscaling_and_format_are_settings_too():
    wanted = generation(
        loras=(Lora(name="night", digest="d", scale=0.5),),
        upscale=Upscale(width=96, height=96, strength=0.3, steps=5, tile=(64, 64)),
    )
    item = item_of(result_of(wanted, OutputOptions("jpeg", 80, "1:1")), "a.jpg", 0)
    body = parse(item.settings, Settings(_env_file=None))
    assert [(lora.name, lora.scale) for lora in body.loras] == [("night", 0.5)]
    assert (body.upscale, body.upscale_strength, body.upscale_steps) == (1.5, 0.3, 5)
    assert (body.output_format, body.output_compression, body.add_overlay, body.model) == ("jpeg", 80, True, "demo")


def test_images_that_were_sent_are_named_but_not_kept():
    source, control = Source(strength=0.5, digest="d", masked=True), Control(digest="c", scale=0.7)
    item = item_of(result_of(generation(source=source, controls=(control,))), "a.png", 0)
    assert item.inputs == ("image", "mask", "control_image")
    assert (item.settings["strength"], item.settings["controlnet_conditioning_scale"]) == (0.5, 0.7)
    assert "d" not in item.settings.values()
    several = item_of(result_of(generation(controls=(control, control))), "a.png", 0)
    assert several.inputs == ("controls",)
    parse(several.settings, Settings(_env_file=None))
    assert (item.credential, item.width) == ("ann", 64)


def test_an_image_that_cannot_be_recorded_is_saved_all_the_same(caplog):
    def add(items):
        raise StorageFull("The disk of the state database is full.")

    record(SimpleNamespace(gallery=SimpleNamespace(add=add)), result_of(generation()), ["a.png"])
    assert "not in the gallery" in caplog.text
    record(SimpleNamespace(gallery=None), result_of(generation()), ["a.png"])
