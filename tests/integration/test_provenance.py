"""A real server knows its own images, says so to nobody else, and makes them again."""

import base64
import signal

import pytest
import requests

from imageserver.imaging.provenance.xmp import SEAL
from tests.support.images import opened
from tests.support.server import GUNICORN, refused_start

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


def test_every_image_is_signed_and_nothing_tells_the_key(servers, tmp_path_factory):
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from tests.support.signing import SIGNER, Authority

    files = Authority().issue(tmp_path_factory.mktemp("signer"))
    server = servers(**files.variables)
    first = server.generate("a wolf", output_format="jpeg", **SMALL).content
    image = base64.b64encode(first).decode()
    edited = server.generate("a wolf", image=image, output_format="png", **SMALL).content
    for data in (first, edited, server.generate("a wolf", output_format="webp", **SMALL).content):
        found = asked(server, "/v1/verify", data).json()
        assert (found["made_here"], found["unchanged"], found["manifest"]["signer"]) == (True, True, SIGNER)
    assert (edited.count(b"c2pa.created"), edited.count(b"c2pa.edited")) == (1, 1)
    secret = files.key.read_text().splitlines()[1]
    for told in (server.get("/info").text, server.get("/health").text, server.log):
        assert secret not in told
        assert str(files.key) not in told
    # Half of it is written when the server is told to read it again.
    files.cert.write_bytes(files.cert.read_bytes()[:100])
    server.process.send_signal(signal.SIGHUP)
    server.wait_for(lambda: "has no certificate in PEM format" in server.health()["reason"], "a worker without it")
    unsigned = server.generate("a wolf", seed=3, output_format="png", **SMALL)
    assert (server.health()["status"], unsigned.status_code, b"c2pa" in unsigned.content) == ("degraded", 200, False)


def test_a_key_that_is_not_the_certificates_ends_the_start(tmp_path):
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from tests.support.signing import Authority

    (tmp_path / "other").mkdir()
    files, other = Authority().issue(tmp_path), Authority().issue(tmp_path / "other")
    sentence = refused_start(GUNICORN, tmp_path, **(files.variables | {"C2PA_KEY": str(other.key)}))
    assert "is not the key of the first certificate of" in sentence


def test_provenance_off_marks_no_image_but_keeps_its_request(servers):
    server = servers(PROVENANCE="off")
    data = server.generate("a wolf", **SMALL).content
    assert SEAL.search(data) is None
    assert "xmp" not in opened(data).info
    assert asked(server, "/v1/verify", data).json()["made_here"] is None
    assert asked(server, "/v1/replay", data).json()["equal"] is True
