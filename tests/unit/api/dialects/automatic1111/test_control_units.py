"""A ControlNet unit that is switched off guides nothing, however a client writes that."""

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked
from imageserver.api.dialects.automatic1111.controlnet import units
from imageserver.settings import Settings
from tests.support.blocking import cpu_seconds, longest_block

SETTINGS = Settings(_env_file=None, controlnet="silhouettes")


@pytest.fixture
def guiding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the images of the units that guide a request with the given ones."""
    monkeypatch.setattr(units, "fetch", lambda service, text, *, name: text.encode())

    def images(*args: dict[str, Any]) -> list[bytes]:
        service: Any = SimpleNamespace(settings=SETTINGS)
        body = checked(Txt2ImgBody, {"alwayson_scripts": {"ControlNet": {"args": list(args)}}}, SETTINGS)
        return [each.image for each in units.extract_units(service, body)[1].images]

    return images


@pytest.mark.parametrize("off", [False, "false", "False", " false ", 0, 0.0, "0"])
def test_a_unit_that_is_switched_off_does_not_guide_and_is_not_checked(off, guiding):
    ignored = {"enabled": off, "image": "off", "weight": "heavy"}
    assert guiding(ignored) == []
    assert guiding(ignored, {"image": "on"}) == [b"on"]


@pytest.mark.parametrize("on", [True, "true", 1, 1.0, "1", "", None])
def test_a_unit_that_is_switched_on_guides(on, guiding):
    assert guiding({"enabled": on, "image": "on"}) == [b"on"]


def test_a_title_of_any_length_keeps_others_waiting_for_a_fraction_of_the_time_that_looking_for_its_hash_takes(guiding):
    title = " [a" * 1_000_000
    blocks = [longest_block(lambda: guiding({"image": "on", "model": title, "module": title})) for _ in range(3)]
    assert min(blocks) < cpu_seconds(lambda: units.HASH.sub("", title)) / 2
