"""`interrogate` describes an image through the queue, and says nothing about it in the log."""

import pytest

from tests.support.automatic1111_client import Automatic1111Client, text_of
from tests.support.images import colours


@pytest.fixture(scope="module")
def describing(servers):
    return servers(FAKE_CAPTIONS="1", LOG_PROMPTS="0")


def test_an_image_is_described_in_a_sentence_or_in_tags(describing):
    client = Automatic1111Client(describing)
    image = text_of(colours(96, 64))
    answer = client.post("/sdapi/v1/interrogate", {"image": f"data:image/png;base64,{image}", "model": "clip"})
    assert answer.json() == {"caption": "a sentence about 96x64"}
    assert describing.get("/info").json()["caption"] is True
    job = describing.get(f"/v1/jobs/{answer.headers['X-Request-Id']}").json()
    assert (job["kind"], job["state"], job["dialect"], job["n"]) == ("caption", "completed", "automatic1111", 0)
    for model in ("deepdanbooru", "deepbooru"):
        body = {"image": image, "model": model}
        assert client.post("/sdapi/v1/interrogate", body).json()["caption"].startswith("a tags")
    assert client.post("/sdapi/v1/interrogate", {"image": image}).json()["caption"].startswith("a sentence")
    assert "about 96x64" not in describing.log
    assert "Described an image" in describing.log


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"image": "aGk="}, 422, "image"),
        ({}, 422, "image"),
        ({"image": text_of(colours()), "model": "blip2"}, 404, "model"),
    ],
)
def test_what_cannot_be_described_is_refused_by_name(describing, body, status, param):
    answer = Automatic1111Client(describing).post("/sdapi/v1/interrogate", body)
    assert (answer.status_code, answer.json()["param"]) == (status, param)


def test_the_demo_model_refuses_and_says_so_in_info(demo_server):
    answer = Automatic1111Client(demo_server).post("/sdapi/v1/interrogate", {"image": text_of(colours())})
    assert (answer.status_code, answer.json()["param"]) == (404, None)
    assert "describes images" in answer.json()["detail"]
    assert demo_server.get("/info").json()["caption"] is False
