"""A real server knows its own images, says so to nobody else, and makes them again."""

import pytest
import requests

from imageserver.imaging.provenance.xmp import SEAL
from tests.support.images import opened

SMALL = {"size": "96x64", "num_inference_steps": 2, "add_overlay": False}


def asked(server, path, data):
    return requests.post(server.url + path, files={"image": ("image", data)}, timeout=60)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_what_one_server_made_is_unknown_to_another(fake_server, demo_server, output_format):
    data = fake_server.generate("a wolf", output_format=output_format, **SMALL).content
    known, unknown = (asked(server, "/v1/verify", data).json() for server in (fake_server, demo_server))
    assert (known["made_here"], known["unchanged"], known["model"]) == (True, True, "fake")
    assert (known["settings"]["prompt"], known["settings"]["width"]) == ("a wolf", 96)
    assert (unknown["made_here"], unknown["unchanged"], unknown["settings"]) == (None, None, None)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_deterministic_image_is_made_again_to_the_last_bit(demo_server, output_format):
    data = demo_server.generate(
        "a red circle on a blue background", seed=11, n=1, deterministic=True, output_format=output_format, **SMALL
    ).content
    found = asked(demo_server, "/v1/replay", data).json()
    assert (found["equal"], found["deterministic"], found["seed"], found["warnings"]) == (True, True, 11, [])
    assert (found["largest_difference"], found["differing_pixels"], found["differs_within"]) == (0, 0.0, None)


def test_an_image_with_other_pixels_is_told_from_what_is_made_again(fake_server):
    first, second = (fake_server.generate("a wolf", seed=seed, **SMALL).content for seed in (1, 2))
    mixed = first[: first.index(b"IDAT") - 4] + second[second.index(b"IDAT") - 4 :]
    found = asked(fake_server, "/v1/replay", mixed).json()
    assert (found["equal"], found["same_size"], found["seed"]) == (False, True, 1)
    assert found["differing_pixels"] > 0


def test_the_overlay_is_said_to_differ(fake_server):
    data = fake_server.generate("a wolf", **(SMALL | {"add_overlay": True, "size": "512x512"})).content
    found = asked(fake_server, "/v1/replay", data).json()
    assert any("overlay" in warning for warning in found["warnings"])


def test_provenance_off_marks_no_image_but_keeps_its_request(servers):
    server = servers(PROVENANCE="off")
    data = server.generate("a wolf", **SMALL).content
    assert SEAL.search(data) is None
    assert "xmp" not in opened(data).info
    assert asked(server, "/v1/verify", data).json()["made_here"] is None
    assert asked(server, "/v1/replay", data).json()["equal"] is True
