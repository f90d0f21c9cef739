"""`POST /v1/verify` and `/v1/replay` on the wire, without an engine: what they say, and what they refuse."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest

from imageserver import __version__
from imageserver.api.credentials.signing_certificate import open_reader, open_signer
from imageserver.generation import ModelInfo, Outcome, Source
from imageserver.imaging.encoding import encode
from imageserver.imaging.finishing import finish
from imageserver.imaging.metadata import ImageMetadata
from imageserver.imaging.provenance.sealing import Sealer
from tests.support.factories import generation
from tests.support.gallery import GalleryServer
from tests.support.images import coded, noise, one_colour

INFO = ModelInfo(name="demo", positive_magic={"en": ", Ultra HD"})
OUTCOME = Outcome(width=64, height=64, seeds=(7,), inference_time=1.0, queue_time=0.0, batch_size=1)
KNOWS_NOTHING = {"settings": None, "model": None, "version": None}


@pytest.fixture
def server(tmp_path):
    return GalleryServer(tmp_path)


def image_of(server, wanted, sealer=None, output_format="png", signer=None):
    [data] = finish(
        bytes(64 * 64 * 3), OUTCOME, wanted, INFO, output_format=output_format, compression=None,
        aspect_ratio_name=None, font_path=None, sealer=sealer or server.service.sealer, signer=signer,
    ).files  # fmt: skip
    return data


def ask(server, path, data):
    return server.ask("POST", path, json={"image": coded(data)})


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_an_image_of_this_server_is_known_with_the_request_that_made_it(server, output_format):
    answer = ask(server, "/v1/verify", image_of(server, generation("a wolf, Ultra HD"), output_format=output_format))
    found = answer.get_json()
    assert (answer.status_code, found["made_here"], found["unchanged"]) == (200, True, True)
    assert (found["settings"]["prompt"], found["settings"]["positive_magic"]) == ("a wolf", True)
    assert (found["settings"]["seed"], found["model"], found["inputs"]) == (7, "demo", [])


def test_the_manifest_of_an_image_is_reported_whoever_signed_it(server, tmp_path):
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from tests.support.signing import SIGNER, Authority

    signer = open_signer(Authority().issue(tmp_path).settings)
    data = image_of(server, generation(), output_format="jpeg", signer=signer)
    assert ask(server, "/v1/verify", data).get_json()["manifest"] is None
    server.service.manifest_reader = open_reader(signer)
    own, unsealed = (
        ask(server, "/v1/verify", one).get_json() for one in (data, data.replace(b"qis:seal", b"qis:feal"))
    )
    assert (own["made_here"], own["unchanged"]) == (True, True)
    assert own["manifest"] == {
        "valid": True, "changed": False, "trusted": True, "signer": SIGNER, "problems": [],
        "generator": f"qwen-image-server {__version__}",
    }  # fmt: skip
    assert (unsealed["made_here"], unsealed["manifest"]["changed"]) == (None, True)
    assert "assertion.dataHash.mismatch" in unsealed["manifest"]["problems"]
    assert ask(server, "/v1/verify", one_colour()).get_json()["manifest"] is None


def test_a_manifest_is_read_within_the_memory_of_a_worker_and_one_that_is_too_large_is_not(
    server, tmp_path, monkeypatch
):
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from imageserver.imaging.provenance.manifests import store
    from tests.support.signing import Authority

    signer = open_signer(Authority().issue(tmp_path).settings)
    server.service.manifest_reader, reserved = open_reader(signer), []

    def reserve(needed, *_):
        reserved.append(needed)
        return contextlib.nullcontext()

    server.service.decoding_memory = SimpleNamespace(reserve=reserve)
    data = image_of(server, generation(), signer=signer)
    ask(server, "/v1/verify", data)
    ask(server, "/v1/verify", one_colour())
    assert reserved == [store.memory_needed([data]), 0]
    assert reserved[0] > 100_000
    monkeypatch.setattr(store, "MAX_STORE_BYTES", 1000)
    found = ask(server, "/v1/verify", data).get_json()
    assert (found["manifest"]["valid"], found["manifest"]["changed"]) == (False, False)
    assert (found["unchanged"], found["manifest"]["problems"]) == (False, ["too_large"])


def test_a_form_and_a_data_url_are_read_too(server):
    data = image_of(server, generation())
    form = server.ask("POST", "/v1/verify", data={"image": (io.BytesIO(data), "a.png")})
    url = server.ask("POST", "/v1/verify", json={"image": "data:image/png;base64," + coded(data)})
    assert form.get_json()["made_here"] is url.get_json()["made_here"] is True


def test_images_of_others_and_without_metadata_are_unknown(server):
    for data in (one_colour(), image_of(server, generation(), Sealer(b"o" * 32))):
        found = ask(server, "/v1/verify", data).get_json()
        assert (found["made_here"], found["unchanged"]) == (None, None)
        assert KNOWS_NOTHING.items() <= found.items()


def test_settings_that_this_server_did_not_write_are_not_repeated(server):
    data = image_of(server, generation("a wolf"), output_format="jpeg")
    forged = ask(server, "/v1/verify", data.replace(b"a wolf", b"a dove")).get_json()
    assert (forged["made_here"], forged["unchanged"], forged["settings"]) == (False, False, None)
    changed = ask(server, "/v1/verify", data + b"more").get_json()
    assert (changed["made_here"], changed["unchanged"]) == (None, False)
    assert changed["settings"]["prompt"] == "a wolf"


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/replay"])
@pytest.mark.parametrize(
    ("body", "status"), [({}, 422), ({"image": 3}, 422), ({"image": "aGk="}, 422), ({"image": "x", "more": 1}, 422)]
)
def test_what_is_not_an_image_is_refused_with_its_field(server, path, body, status):
    answer = server.ask("POST", path, json=body)
    assert answer.status_code == status
    assert answer.get_json()["param"] in ("image", "more")


def test_images_over_the_limits_are_refused(tmp_path):
    server = GalleryServer(tmp_path, max_image_mb=0.01, max_pixels=64 * 64)
    assert "MAX_IMAGE_MB" in ask(server, "/v1/verify", encode(np.asarray(noise()), output_format="png")).text
    wide = one_colour(400, 100)
    assert "the limit is" in ask(server, "/v1/replay", wide).get_json()["error"]
    assert ask(server, "/v1/verify", wide).status_code == 200


def image_with(request):
    metadata = ImageMetadata(
        prompt="a wolf", negative_prompt="", steps=4, sampler="", cfg_scale=1.0, seed=7, width=64, height=64,
        model="demo", version="1", request=request,
    )  # fmt: skip
    return encode(np.zeros((64, 64, 3), np.uint8), output_format="jpeg", metadata=metadata)


def test_an_image_whose_request_is_not_kept_cannot_be_replayed(server):
    for data in (one_colour(), image_with({})):
        answer = ask(server, "/v1/replay", data)
        assert (answer.status_code, answer.get_json()["param"]) == (422, "image")
        assert "does not say which request" in answer.get_json()["error"]


def test_an_image_that_was_made_from_others_cannot_be_replayed(server):
    edited = image_of(server, generation(source=Source(strength=0.5, digest="d")))
    answer = ask(server, "/v1/replay", edited)
    assert answer.status_code == 422
    assert "generated from other images" in answer.get_json()["error"]


def test_a_request_in_an_image_is_checked_like_any_other(server):
    answer = ask(server, "/v1/replay", image_with({"prompt": "x", "num_inference_steps": 10**6}))
    assert (answer.status_code, answer.get_json()["param"]) == (422, "num_inference_steps")
    assert ask(server, "/v1/replay", image_with({"prompt": "x", "made_up": 1})).get_json()["param"] == "made_up"
